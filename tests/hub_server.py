"""A small Hugging Face Hub on this machine: what the real client needs to publish, pull, list and deploy.

Start one by hand with `python -m tests.hub_server --port 8899 --folder DIR`, then point any process at it with
`HF_ENDPOINT=http://127.0.0.1:8899 HF_TOKEN=hf_writer`. `POST /faults` takes a JSON object such as
`{"upload": [null, 500]}`: the second upload fails. What else can be said of a call is in `tests/hub_state.py`.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import hashlib
import json
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import uvicorn
import yaml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from tests.hub_answers import Lost, befall
from tests.hub_answers import error as _error
from tests.hub_jobs import Jobs
from tests.hub_state import DAY, Hub, Repo

LFS = (".safetensors", ".onnx", ".png", ".bin")
PREFIX = {"models": "", "spaces": "spaces/", "datasets": "datasets/"}


class Api:
    """The endpoints, over one Hub."""

    def __init__(self, hub: Hub):
        self.hub = hub

    def found(self, request: Request, write: bool = False) -> Repo | Response:
        kind = request.path_params.get("kind", "models")
        repo_id = f"{request.path_params['owner']}/{request.path_params['name']}"
        repo, user = self.hub.repos.get((kind, repo_id)), self.hub.user(request)
        namespace = request.path_params["owner"]
        if request.headers.get("authorization") and user is None:
            return _error(401, "", "Invalid credentials in Authorization header")
        if repo is None or (repo.private and not (user and user.reads(namespace))):
            return _error(404 if user else 401, "RepoNotFound", "Repository not found")
        proposes = user is not None and user.role != "read" and "create_pr" in request.query_params
        if write and not proposes and not (user and user.writes(namespace)):
            return _error(403, "", f"You may not write to {namespace}")
        return repo

    async def whoami(self, request: Request) -> Response:
        user = self.hub.user(request)
        if user is None:
            return _error(401, "", "Invalid credentials in Authorization header")
        access = {"displayName": "test", "role": user.role, "createdAt": DAY}
        if user.role == "fineGrained":
            access["fineGrained"] = {"scoped": user.scoped}  # type: ignore[assignment]
        orgs = [{"type": "org", "name": name, "roleInOrg": role} for name, role in user.orgs.items()]
        about = {"type": "user", "name": user.name, "fullname": user.name, "avatarUrl": "", "orgs": orgs}
        return JSONResponse({**about, "auth": {"type": "access_token", "accessToken": access}})

    async def create(self, request: Request) -> Response:
        user, asked = self.hub.user(request), await request.json()
        kind = asked.get("type", "model") + "s"
        if user is None:
            return _error(401, "", "Invalid credentials in Authorization header")
        namespace = asked.get("organization") or user.name
        repo_id = f"{namespace}/{asked['name']}"
        url = f"{self.hub.url}/{PREFIX[kind]}{repo_id}"
        if not user.writes(namespace):
            return _error(403, "", f"You don't have the rights to create a model under the namespace {namespace}")
        if (kind, repo_id) in self.hub.repos:
            return JSONResponse({"error": "You already created this repo", "url": url}, 409)
        repo = self.hub.create(repo_id, kind, asked.get("visibility") == "private" or bool(asked.get("private")))
        repo.extra["asked"] = asked
        return JSONResponse({"url": url})

    async def list(self, request: Request) -> Response:
        user, query = self.hub.user(request), request.query_params
        if request.path_params["kind"] not in PREFIX:
            return _error(404, "", "There is nothing here")
        tags = set(query.getlist("filter"))
        found = []
        for (kind, repo_id), repo in self.hub.repos.items():
            namespace = repo_id.split("/")[0]
            about = self.hub.about(repo, repo.head)
            if (
                kind == request.path_params["kind"]
                and (not repo.private or (user and user.reads(namespace)))
                and query.get("author") in (None, namespace)
                and tags <= set(about["tags"])
                and query.get("search", "").lower() in repo_id.lower()
            ):
                found.append(about)
        return JSONResponse(found[: int(query.get("limit", 1000))])

    async def info(self, request: Request) -> Response:
        repo = self.found(request)
        if isinstance(repo, Response):
            return repo
        revision = request.path_params.get("revision", "main")
        if repo.at(revision) is None:
            return _error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return JSONResponse(self.hub.about(repo, revision))

    async def tree(self, request: Request) -> Response:
        repo = self.found(request)
        if isinstance(repo, Response):
            return repo
        found = repo.at(request.path_params["revision"])
        if found is None:
            return _error(404, "RevisionNotFound", "Invalid rev id")
        return JSONResponse([blob.describe(name) for name, blob in found[1].items()])

    async def paths(self, request: Request) -> Response:
        repo = self.found(request)
        if isinstance(repo, Response):
            return repo
        wanted = (await request.form()).getlist("paths")
        found = repo.at(request.path_params["revision"])
        files = found[1] if found else {}
        return JSONResponse([files[name].describe(name) for name in wanted if name in files])  # type: ignore[index]

    async def refs(self, request: Request) -> Response:
        repo = self.found(request)
        if isinstance(repo, Response):
            return repo
        tags = [{"name": n, "ref": f"refs/tags/{n}", "targetCommit": oid} for n, oid in repo.tags.items()]
        branch = {"name": "main", "ref": "refs/heads/main", "targetCommit": repo.head}
        return JSONResponse({"branches": [branch], "converts": [], "tags": tags})

    async def discussions(self, request: Request) -> Response:
        repo, query = self.found(request), request.query_params
        if isinstance(repo, Response):
            return repo
        found = [offer.describe(repo.id) for offer in repo.offers if offer.fits(query)]
        return JSONResponse({"discussions": found, "count": len(found), "start": 0})

    async def tag(self, request: Request) -> Response:
        repo = self.found(request, write=True)
        if isinstance(repo, Response):
            return repo
        name, found = (await request.json())["tag"], repo.at(request.path_params["revision"])
        if found is None:
            return _error(404, "RevisionNotFound", "Invalid rev id")
        if name in repo.tags:
            return _error(409, "", "Tag reference exists already")
        repo.tags[name] = found[0]
        return JSONResponse({})

    async def validate(self, request: Request) -> Response:
        text = (await request.json())["content"]
        try:
            yaml.safe_load(text.split("---\n")[1]) if text.startswith("---\n") else None
        except yaml.YAMLError as error:
            return JSONResponse({"errors": [{"message": str(error)}], "warnings": []}, 400)
        return JSONResponse({"errors": [], "warnings": []})

    async def preupload(self, request: Request) -> Response:
        repo = self.found(request, write=True)
        if isinstance(repo, Response):
            return repo
        files = repo.commits[-1][2]
        answer = []
        for file in (await request.json())["files"]:
            large = file["path"].endswith(LFS) or file["size"] > 10_000_000
            here = files.get(file["path"])
            oid = (here.sha256 or here.oid) if here else None
            mode = "lfs" if large else "regular"
            answer.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        return JSONResponse({"files": answer})

    async def batch(self, request: Request) -> Response:
        repo, user = self.found(request), self.hub.user(request)
        if isinstance(repo, Response):
            return repo
        if user is None or user.role == "read":  # whoever may propose may upload
            return _error(403, "", "This token may only read")
        objects = []
        for wanted in (await request.json())["objects"]:
            oid = wanted["oid"]
            put, verify = f"{self.hub.url}/lfs/{oid}", f"{self.hub.url}/lfs-verify"
            actions = {"upload": {"href": put, "header": {}}, "verify": {"href": verify, "header": {}}}
            objects.append({**wanted, **({} if self.hub.stored(oid) else {"actions": actions})})
        return JSONResponse({"transfer": "basic", "objects": objects})

    async def upload(self, request: Request) -> Response:
        oid, data = request.path_params["oid"], await request.body()
        if hashlib.sha256(data).hexdigest() != oid:
            return _error(400, "", "The content has another hash")
        (self.hub.folder / "lfs" / oid).write_bytes(data)
        self.hub.uploads.append(oid)
        return Response()

    async def verify(self, request: Request) -> Response:
        return Response(status_code=200 if self.hub.stored((await request.json())["oid"]) else 404)

    async def commit(self, request: Request) -> Response:
        repo = self.found(request, write=True)
        if isinstance(repo, Response):
            return repo
        files, message, text = dict(repo.commits[-1][2]), "", ""
        for line in (await request.body()).splitlines():
            key, value = (item := json.loads(line))["key"], item["value"]
            if key == "header":
                message, text = value["summary"], value.get("description", "")
                if value.get("parentCommit") not in (None, repo.head):
                    return _error(412, "", "A commit has happened since. Please refresh and try again.")
            elif key == "file":
                files[value["path"]] = self.hub.store(base64.b64decode(value["content"]))
            elif key == "lfsFile":
                blob = self.hub.stored(value["oid"])
                if blob is None:
                    return _error(400, "", f"The object of {value['path']} was not uploaded")
                files[value["path"]] = blob
            elif key == "deletedFile":
                files.pop(value["path"])
            elif key == "deletedFolder":
                files = {name: blob for name, blob in files.items() if not name.startswith(value["path"].rstrip("/"))}
        if "create_pr" in request.query_params:
            author = self.hub.user(request)
            offer = repo.propose(files, author.name if author else "", title=message, text=text)
            answer = {"commitUrl": f"{self.hub.url}/{repo.id}/commit/{offer.commit[0]}", "commitOid": offer.commit[0]}
            return JSONResponse({**answer, "pullRequestUrl": f"{self.hub.url}/{repo.id}/discussions/{offer.number}"})
        oid = repo.add(files, message)
        return JSONResponse({"commitUrl": f"{self.hub.url}/{repo.id}/commit/{oid}", "commitOid": oid})

    async def resolve(self, request: Request) -> Response:
        repo = self.found(request)
        if isinstance(repo, Response):
            return repo
        found = repo.at(request.path_params["revision"])
        blob = found and found[1].get(request.path_params["path"])
        if not found or not blob:
            return _error(404, "EntryNotFound", "Entry not found", **{"X-Repo-Commit": repo.head})
        etag = f'"{blob.sha256 or blob.oid}"'
        headers = {"X-Repo-Commit": found[0], "ETag": etag, "Accept-Ranges": "bytes"}
        if blob.sha256:
            headers |= {"X-Linked-Etag": etag, "X-Linked-Size": str(blob.size)}
        return FileResponse(blob.path, headers=headers, media_type="application/octet-stream")

    async def page(self, request: Request) -> Response:
        repo = self.found(request)
        return repo if isinstance(repo, Response) else PlainTextResponse(f"{repo.id} at {repo.head}")

    async def collections(self, request: Request) -> Response:
        user = self.hub.user(request)
        if request.method == "GET":
            owner = request.query_params.get("owner")
            mine = [c for c in self.hub.collections.values() if owner in (None, c["owner"]["name"])]
            # The client counts positions itself where it lists.
            return JSONResponse([{key: value for key, value in c.items() if key != "position"} for c in mine])
        asked = await request.json()
        if user is None or not user.writes(asked["namespace"]):
            return _error(403, "", f"You may not write to {asked['namespace']}")
        slug = f"{asked['namespace']}/{asked['title'].lower().replace(' ', '-')}-{len(self.hub.collections):024x}"
        made = {"slug": slug, "title": asked["title"], "owner": {"name": asked["namespace"]}, "items": []}
        made |= {"lastUpdated": DAY, "position": 0, "private": asked["private"], "theme": "green", "upvotes": 0}
        self.hub.collections[slug] = made
        return JSONResponse(made)

    async def collection(self, request: Request) -> Response:
        slug = f"{request.path_params['owner']}/{request.path_params['slug']}"
        found, user = self.hub.collections.get(slug), self.hub.user(request)
        if found is None:
            return _error(404, "", "Collection not found")
        if request.method == "POST":
            if not (user and user.writes(request.path_params["owner"])):
                return _error(403, "", "You may not write to this collection")
            item = (await request.json())["item"]
            if any(here["id"] == item["id"] for here in found["items"]):
                return _error(409, "", "The item is in the collection already")
            count = len(found["items"])
            found["items"].append({"_id": f"{count:024x}", **item, "position": count, "repoType": item["type"]})
        return JSONResponse(found)

    async def space(self, request: Request) -> Response:
        repo = self.found(request, write=True)
        if isinstance(repo, Response):
            return repo
        what = request.path_params["what"]
        asked = await request.json() if request.method == "POST" else {}
        if what in ("hardware", "runtime"):
            repo.extra["hardware"] = asked.get("flavor", repo.extra.get("hardware"))
            about = {"hardware": {"requested": repo.extra["hardware"]}, "volumes": repo.extra.get("volumes")}
            return JSONResponse({"stage": "BUILDING", **about})
        kept = repo.extra.setdefault(what, {})
        if asked:
            kept[asked["key"]] = asked["value"]
        return JSONResponse({key: {"key": key, "value": value} for key, value in kept.items()})

    async def set_faults(self, request: Request) -> Response:
        self.hub.faults.update(await request.json())
        return JSONResponse({})


def build(hub: Hub) -> Starlette:
    """The server over a state."""
    api, repo = Api(hub), "/api/{kind:str}/{owner}/{name}"

    def route(path: str, operation: str, call: Any, *methods: str) -> Route:
        async def endpoint(request: Request) -> Response:
            hub.log.append((request.method, request.url.path, operation))
            queue = hub.faults.get(operation)
            fault = queue.pop(0) if queue else None
            if refused := await befall(fault, hub.retry_after):
                return refused
            if fault == "stale":
                hub.put(f"{request.path_params['owner']}/{request.path_params['name']}", {"NOTES.md": b"mine"})
            answer = await call(request)
            return Lost() if fault == "drop" else answer

        return Route(path, endpoint, methods=list(methods) or ["GET"])

    return Starlette(
        routes=[
            Route("/faults", api.set_faults, methods=["POST"]),
            route("/api/whoami-v2", "whoami", api.whoami),
            route("/api/repos/create", "create", api.create, "POST"),
            route("/api/validate-yaml", "validate", api.validate, "POST"),
            route("/api/collections", "collection", api.collections, "GET", "POST"),
            route("/api/collections/{owner}/{slug}", "collection", api.collection),
            route("/api/collections/{owner}/{slug}/items", "collection", api.collection, "POST"),
            *Jobs(hub).routes(route),
            route("/api/{kind:str}", "list", api.list),
            route(repo, "info", api.info),
            route(repo + "/revision/{revision:path}", "info", api.info),
            route(repo + "/discussions", "discussions", api.discussions),
            route(repo + "/tree/{revision:path}", "tree", api.tree),
            route(repo + "/paths-info/{revision}", "tree", api.paths, "POST"),
            route(repo + "/refs", "refs", api.refs),
            route(repo + "/tag/{revision}", "tag", api.tag, "POST"),
            route(repo + "/preupload/{revision}", "preupload", api.preupload, "POST"),
            route(repo + "/commit/{revision}", "commit", api.commit, "POST"),
            route(repo + "/{what}", "space", api.space, "GET", "POST"),
            route("/{owner}/{name}.git/info/lfs/objects/batch", "batch", api.batch, "POST"),
            route("/{kind}/{owner}/{name}.git/info/lfs/objects/batch", "batch", api.batch, "POST"),
            route("/lfs-verify", "verify", api.verify, "POST"),
            route("/lfs/{oid}", "upload", api.upload, "PUT"),
            route("/{owner}/{name}/resolve/{revision}/{path:path}", "resolve", api.resolve, "GET", "HEAD"),
            route("/{kind}/{owner}/{name}/resolve/{revision}/{path:path}", "resolve", api.resolve, "GET", "HEAD"),
            route("/{owner}/{name}", "page", api.page),
            route("/{kind}/{owner}/{name}", "page", api.page),
        ]
    )


class HubServer:
    """A Hub that runs in a thread while the `with` block lasts; `.hub` is its state, `.url` its address."""

    def __init__(self, folder: Path, port: int = 0):
        self.hub = Hub(folder)
        config = uvicorn.Config(build(self.hub), host="127.0.0.1", port=port, log_level="critical", lifespan="off")
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True, name="hub-server")

    @property
    def url(self) -> str:
        return self.hub.url

    def __enter__(self) -> HubServer:
        self.thread.start()
        until = time.monotonic() + 60
        while not self.server.started:
            if not self.thread.is_alive() or time.monotonic() > until:
                raise RuntimeError("the local Hub did not start: is the port free?")
            time.sleep(0.01)
        port = self.server.servers[0].sockets[0].getsockname()[1]
        self.hub.url = f"http://127.0.0.1:{port}"
        return self

    def __exit__(self, *_: Any) -> None:
        self.server.should_exit = True
        self.hub.end_jobs()
        self.thread.join(timeout=30)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8899)
    parser.add_argument("--folder", type=Path, help="where files are kept; by default a temporary folder")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="budget-zoo-hub-"))
    with HubServer(folder, options.port) as running:
        print(f"export HF_ENDPOINT={running.url} HF_TOKEN=hf_writer", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            running.thread.join()


if __name__ == "__main__":
    main()
