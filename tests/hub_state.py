"""What the local Hub of the tests knows: people, repositories, files, and the faults that it is to have."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from starlette.requests import Request

# For each operation a list that is used up call by call: None lets a call pass, a number is the status that it is
# answered with, one with a point the seconds that its answer takes, "drop" does what was asked and loses the answer,
# "gone" loses the answer without doing anything, "stale" first commits something of somebody else's.
DAY = "2026-01-01T00:00:00.000Z"
OPERATIONS = ("whoami", "create", "validate", "preupload", "batch", "upload", "verify", "commit", "tag", "refs")
OPERATIONS += ("list", "info", "tree", "resolve", "collection", "space", "page", "discussions")
OPERATIONS += ("hardware", "run_job", "list_jobs", "inspect_job", "job_logs", "cancel_job", "bucket", "volumes")


@dataclass
class User:
    """Who a token belongs to; `orgs` gives the role in each organisation, `role` what the token may do."""

    name: str
    orgs: dict[str, str] = field(default_factory=dict)
    role: str = "write"
    scoped: list[dict[str, Any]] = field(default_factory=list)

    def writes(self, namespace: str) -> bool:
        mine = namespace == self.name or self.orgs.get(namespace) in ("write", "admin", "contributor")
        return mine and self.role != "read"

    def reads(self, namespace: str) -> bool:
        return namespace == self.name or namespace in self.orgs


@dataclass(frozen=True)
class Blob:
    """A stored file; `oid` is git's, `sha256` is there for large ones."""

    path: Path
    oid: str
    size: int
    sha256: str | None

    def describe(self, name: str) -> dict[str, Any]:
        lfs = {"lfs": {"oid": self.sha256, "size": self.size, "pointerSize": 134}} if self.sha256 else {}
        return {"type": "file", "path": name, "oid": self.oid, "size": self.size, **lfs}


@dataclass(frozen=True)
class Offer:
    """A pull request, which is a commit of its own."""

    number: int
    author: str
    status: str
    commit: tuple[str, str, dict[str, Blob]]
    title: str = "Adding `safetensors` variant of this model"
    text: str = ""

    @property
    def ref(self) -> str:
        return f"refs/pr/{self.number}"

    def fits(self, query: Mapping[str, str]) -> bool:
        return query.get("author") in (None, self.author) and query.get("status") in (None, "all", self.status)

    def describe(self, repo_id: str) -> dict[str, Any]:
        about = {"title": self.title, "createdAt": DAY, "pinned": False}
        about |= {"num": self.number, "status": self.status, "author": {"name": self.author}, "isPullRequest": True}
        return {**about, "repo": {"name": repo_id, "type": "model"}}


@dataclass
class Repo:
    """A repository: its commits with all of their files, newest last."""

    kind: str
    id: str
    private: bool
    commits: list[tuple[str, str, dict[str, Blob]]] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    offers: list[Offer] = field(default_factory=list)

    @property
    def head(self) -> str:
        return self.commits[-1][0]

    def at(self, revision: str) -> tuple[str, dict[str, Blob]] | None:
        refs = {"main": self.head, **self.tags, **{offer.ref: offer.commit[0] for offer in self.offers}}
        commits = [*self.commits, *(offer.commit for offer in self.offers)]
        return next(((oid, files) for oid, _, files in commits if oid == refs.get(revision, revision)), None)

    def propose(self, new: dict[str, Blob], author: str, status: str = "open", **about: str) -> Offer:
        """A pull request with these files beside those of the newest commit."""
        number = len(self.offers) + 1
        oid = hashlib.sha1(f"{self.id} {number}".encode()).hexdigest()
        self.offers.append(Offer(number, author, status, (oid, "offer", {**self.commits[-1][2], **new}), **about))
        return self.offers[-1]

    def add(self, files: dict[str, Blob], message: str) -> str:
        named = {name: blob.oid for name, blob in sorted(files.items())}
        text = json.dumps([self.id, len(self.commits), message, named])
        self.commits.append((hashlib.sha1(text.encode()).hexdigest(), message, files))
        return self.head


class Hub:
    """The server's state. Tests read and change it; `log` holds (method, path, operation) of every request."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.tokens = {
            "hf_writer": User("writer", {"zoo-org": "write", "readers-org": "read"}),
            "hf_other": User("other"),
            "hf_reader": User("reader", role="read"),
        }
        self.repos: dict[tuple[str, str], Repo] = {}
        self.collections: dict[str, dict[str, Any]] = {}
        self.jobs: dict[str, Any] = {}  # see `tests.hub_jobs`
        self.buckets: dict[str, dict[str, Any]] = {}
        self.faults: dict[str, list[Any]] = defaultdict(list)
        self.retry_after = 1
        self.log: list[tuple[str, str, str]] = []
        self.uploads: list[str] = []
        self.url = ""
        (folder / "lfs").mkdir(parents=True, exist_ok=True)
        (folder / "git").mkdir(exist_ok=True)

    def end_jobs(self) -> None:
        """Whoever follows one hears that it is over."""
        for job in self.jobs.values():
            job.end("DELETED")

    def count(self, operation: str) -> int:
        """How many requests of an operation came."""
        return sum(1 for _, _, seen in self.log if seen == operation)

    def repo(self, repo_id: str, kind: str = "models") -> Repo:
        return self.repos[kind, repo_id]

    def files(self, repo_id: str, kind: str = "models") -> dict[str, bytes]:
        """What the newest commit holds."""
        return {name: blob.path.read_bytes() for name, blob in self.repo(repo_id, kind).commits[-1][2].items()}

    def create(self, repo_id: str, kind: str = "models", private: bool = False) -> Repo:
        repo = self.repos[kind, repo_id] = Repo(kind, repo_id, private)
        repo.add({".gitattributes": self.store(b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n")}, "initial")
        return repo

    def put(self, repo_id: str, files: dict[str, bytes], kind: str = "models", private: bool = False) -> str:
        """A commit of somebody else's."""
        repo = self.repos.get((kind, repo_id)) or self.create(repo_id, kind, private)
        return repo.add({**repo.commits[-1][2], **{name: self.store(data) for name, data in files.items()}}, "theirs")

    def offer(self, repo_id: str, files: dict[str, bytes], author: str = "SFconvertbot", status: str = "open") -> Offer:
        """A pull request that adds files to what there is."""
        new = {name: self.store(data) for name, data in files.items()}
        return self.repo(repo_id).propose(new, author, status)

    def store(self, data: bytes) -> Blob:
        oid = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        path = self.folder / "git" / oid
        path.write_bytes(data)
        return Blob(path, oid, len(data), None)

    def stored(self, sha256: str) -> Blob | None:
        path = self.folder / "lfs" / sha256
        if not path.is_file():
            return None
        return Blob(path, hashlib.sha1(sha256.encode()).hexdigest(), path.stat().st_size, sha256)

    def user(self, request: Request) -> User | None:
        token = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
        return self.tokens.get(token)

    def about(self, repo: Repo, revision: str) -> dict[str, Any]:
        """What the Hub tells of a repository at a revision."""
        oid, files = repo.at(revision) or (repo.head, {})
        card = {}
        if readme := files.get("README.md"):
            text = readme.path.read_text(encoding="utf-8")
            card = (yaml.safe_load(text.split("---\n")[1]) or {}) if text.startswith("---\n") else {}
        siblings = []
        for name, blob in files.items():
            lfs = {"lfs": {"sha256": blob.sha256, "size": blob.size, "pointerSize": 134}} if blob.sha256 else {}
            siblings.append({"rfilename": name, "size": blob.size, "blobId": blob.oid, **lfs})
        return {
            "_id": hashlib.sha1(repo.id.encode()).hexdigest()[:24],
            "id": repo.id,
            "modelId": repo.id,
            "author": repo.id.split("/")[0],
            "sha": oid,
            "private": repo.private,
            "gated": False,
            "disabled": False,
            "tags": list(card.get("tags", [])),
            "pipeline_tag": card.get("pipeline_tag"),
            "siblings": siblings,
            "cardData": card,
            "createdAt": DAY,
            "lastModified": DAY,
            "downloads": 0,
            "likes": 0,
        }
