"""Publishing a model to the Hub: looked at first, then one commit, then pulled back and compared."""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo import card, card_files, catalog, layouts, safety, shelf
from zoo.catalog import Entry
from zoo.commits import Item, State, look, push, unchanged
from zoo.errors import UserError
from zoo.hub import client, hub_settings, patiently, plainly
from zoo.onnx_files import attached, names_in
from zoo.pooling import module_files
from zoo.pulling import revision_of
from zoo.stored import weights_in_words
from zoo.tokens import standard_token
from zoo.verification import Verification, compare

if TYPE_CHECKING:
    from huggingface_hub import HfApi

__all__ = ["Preview", "Published", "Verification", "namespaces", "preview", "publish", "standard_token", "verify"]

log = logging.getLogger(__name__)

WRITERS = ("admin", "write", "contributor")
DESCRIPTION = "Transformers made smaller and faster, each with what was measured of it."
OURS = "entry.json"  # what tells a repository of the zoo from any other
EXTRAS = ("LICENSE*", "NOTICE*")


@dataclass(frozen=True)
class Preview:
    """What publishing would do: every file with its bytes, which of them the Hub has already, and the card."""

    repo_id: str
    exists: bool
    private: bool
    files: list[tuple[str, int]]
    unchanged: list[str]
    total: int
    card: str
    notices: list[str]


@dataclass(frozen=True)
class Published:
    """What publishing did. `verified` is False where what was pulled back is not what was sent: see `checks`."""

    repo_id: str
    commit: str
    url: str
    changed: bool
    verified: bool
    checks: list[str]


def namespaces(token: str) -> list[str]:
    """Whom a token may publish for: its user first, then organisations; empty where it may only read.

    Raises:
        UserError: the token is not known any more, or the Hub cannot be asked.
    """
    return _rights(client(token), "your account")[0]


def preview(folder: Path, repo_id: str, token: str | None, private: bool = True, with_layouts: bool = False) -> Preview:
    """What `publish` would send, without sending anything; with no token only what this machine knows is told.

    Raises:
        UserError: the folder holds no model of the zoo, the name is no name, the token may not write there, or there
            are no standard layouts of it, see `zoo.layouts.refusal`.
    """
    entry, repo_id = catalog.open_folder(folder), _checked(repo_id)
    with layouts.written(entry, with_layouts) as more:
        return _previewed(entry, repo_id, token, private, more)


def _previewed(entry: Entry, repo_id: str, token: str | None, private: bool, more: Mapping[str, Path]) -> Preview:
    state, notices = None, []
    if token:
        api = client(token)
        with plainly(repo_id):
            check_right(api, repo_id)
            state = look(api, repo_id)
            _check_taken(state, repo_id, private)
        license, remark = _license(api, entry)
    else:
        license, remark = None, ["Nobody is signed in, so the Hub was not asked what it has."]
    items = stage(entry, repo_id, license, more)
    if more:
        size = sum(item.size for item in items if item.path in more)
        notices.append(f"The standard layouts add {size / 1e6:.1f} MB: {', '.join(more)}.")
    if state:
        left = sorted(set(state.files) - {item.path for item in items} - {".gitattributes"})
        notices += [f"Stays as it is on the Hub: {', '.join(left)}."] if left else []
    if not entry.metrics:
        notices.append("Nothing was measured of this model, so its card shows no scores.")
    staged = {item.path for item in items}
    if skipped := [n for n in names_in(entry.folder) if n not in staged and not ("/" not in n and _wanted(n))]:
        notices.append(f"Not published: {', '.join(sorted(skipped))}.")
    sizes = [(item.path, item.size) for item in items]
    return Preview(
        repo_id,
        state is not None,
        state.private if state else private,
        sizes,
        unchanged(items, state),
        sum(size for _, size in sizes),
        next(item.source.decode() for item in items if item.path == "README.md" and isinstance(item.source, bytes)),
        remark + notices,
    )


def publish(
    folder: Path,
    repo_id: str,
    token: str,
    private: bool = True,
    tag: str | None = None,
    collection: str | None = "Budget Zoo",
    with_layouts: bool = False,
) -> Generator[str, None, Published]:
    """Publishes a model in one commit, tags it, adds it to a Collection, pulls it back and compares.

    May be repeated after any interruption: what is done is recognised and not done twice. Every step is one of a
    generator: `zoo.commits.follow` goes through all.

    Args:
        folder: an entry's; its card, picture and results are drawn anew from its facts.
        repo_id: owner/name.
        token: may write to the owner; kept in memory only.
        private: of a new repository. An existing public one is refused where this is True.
        tag: of the commit; by default v1, v2, ...
        collection: title of the owner's Collection that shows the zoo; None for none.
        with_layouts: add what other programs open, see `zoo.layouts`.

    Yields:
        Each step, in words, before it is taken.

    Returns:
        Where it is now, and whether what came back is what was sent.

    Raises:
        UserError: no right to write, a token that is gone, a name that is taken, a newer commit of somebody else's, or
            a Hub that is busy or away; nothing is half published then.
    """
    entry, repo_id = catalog.open_folder(folder), _checked(repo_id)
    if with_layouts:
        yield "writing the standard layouts"
    with layouts.written(entry, with_layouts) as more:
        return (yield from _publish(entry, _Place(repo_id, private, tag, collection), token, more))


@dataclass(frozen=True)
class _Place:
    """Where to publish, see `publish`."""

    repo_id: str
    private: bool
    tag: str | None
    collection: str | None


def _publish(entry: Entry, place: _Place, token: str, more: Mapping[str, Path]) -> Generator[str, None, Published]:
    api, repo_id, private, tag = client(token), place.repo_id, place.private, place.tag
    with plainly(repo_id):
        check_right(api, repo_id)
        state = look(api, repo_id)
        _check_taken(state, repo_id, private)
        license, notices = _license(api, entry)
        items = stage(entry, repo_id, license, more)
        if tag and state:
            _check_tag(api, repo_id, tag, len(unchanged(items, state)) == len(items))
        if state is None:
            yield f"making the {'private' if private else 'public'} repository {repo_id}"
            patiently(lambda: api.create_repo(repo_id, private=private, exist_ok=True))
            state = look(api, repo_id)
            if state is None:
                raise UserError(f"The Hub made {repo_id} but does not show it. Try again in a while.")
            _check_taken(state, repo_id, private)
        message = f"Publish {entry.title}"
        commit, changed = yield from push(api, repo_id, items, message, state)
        label = _tag(api, repo_id, commit, tag)
    checks = [*notices, f"tagged {label}"]
    if place.collection:
        checks.append(_collect(api, repo_id, place.collection, private))
    yield "pulling it back and comparing"
    comparison = compare(repo_id, items, entry.folder, commit, token)
    checks += comparison.checks + [f"NOT VERIFIED: {problem}" for problem in comparison.problems]
    try:
        shelf.note_published(entry.folder, f"{api.endpoint}/{repo_id}")
    except UserError as error:  # the catalogue on this machine is no reason to call the publishing failed
        log.warning("%s", error)
    return Published(repo_id, commit, f"{api.endpoint}/{repo_id}", changed, comparison.ok, checks)


def export(folder: Path, out: Path) -> list[tuple[str, int]]:
    """Writes what `publish` would send, the standard layouts with it, into a new folder; nobody is asked.

    Returns:
        The files by path, with their bytes.

    Raises:
        UserError: `out` is there already, or there are no standard layouts of the model.
    """
    entry = catalog.open_folder(folder)
    if out.exists():
        raise UserError(f"{out} is there already. Name a new folder.")
    with layouts.written(entry) as more:
        items = stage(entry, None, None, more)
        for item in items:
            (out / item.path).parent.mkdir(parents=True, exist_ok=True)
            if isinstance(item.source, bytes):
                (out / item.path).write_bytes(item.source)
            else:
                shutil.copyfile(item.source, out / item.path)
        return [(item.path, item.size) for item in items]


def verify(
    repo_id: str, folder: Path | None = None, revision: str | None = None, token: str | None = None
) -> Verification:
    """Pulls a published model and compares it with a folder, or where none is given with what the Hub says of it.

    Raises:
        UserError: there is no such model, or the Hub cannot be asked.
    """
    repo_id, revision = revision_of(repo_id, revision)
    repo_id = _checked(repo_id)
    if folder is None:
        return compare(repo_id, None, None, revision, token)
    entry = catalog.open_folder(folder)
    api = client(token)
    with plainly(repo_id):
        there = set(patiently(lambda: api.list_repo_files(repo_id, revision=revision)))
    # The bytes of the picture and of the layouts depend on the versions of what made them; the card tells of these.
    planned = layouts.planned(entry) if {layouts.OPENVINO, layouts.POOLING} & there else []
    more = {name: entry.folder for name in planned if name in there}
    items = [
        i for i in stage(entry, repo_id, _license(api, entry)[0], more) if i.path not in (card_files.PICTURE, *more)
    ]
    return compare(repo_id, items, Path(folder), revision, token)


def _checked(repo_id: str) -> str:
    repo_id = safety.check_repo_id(repo_id)
    if "/" not in repo_id:
        raise UserError(f"“{repo_id}” has no owner: write owner/{repo_id}.")
    return repo_id


def _wanted(name: str) -> bool:
    return safety.matches(name, (*safety.ALLOWED, *EXTRAS, card_files.PICTURE))


def stage(entry: Entry, repo_id: str | None, license: str | None, more: Mapping[str, Path] | None = None) -> list[Item]:
    """What the repository is to hold: the entry's own files, those drawn from its facts, and `more`."""
    more = more or {}
    told = replace(entry, weights_dtype=weights_in_words(entry))
    files = card.files(told, repo_id, license, list(more))
    items = [Item(path, data) for path, data in files.items()] + [Item(path, at) for path, at in more.items()]
    present = {item.path for item in items}
    for path in sorted(entry.folder.iterdir()):
        if path.is_file() and path.name not in present and _wanted(path.name) and not path.name.startswith("."):
            items.append(Item(path.name, path))
    within = [*attached(entry.folder), *module_files(entry.folder)]
    items += [Item(name, entry.folder / name) for name in within if name not in present]
    if not any(item.path == OURS for item in items):
        facts = {"name": entry.name, "task": entry.task, "method": entry.method, "base_model": entry.base_model}
        items.append(Item(OURS, _json({**facts, "license": entry.license or license or "", "title": entry.title})))
    return items


def _json(facts: dict[str, Any]) -> bytes:
    return (json.dumps(facts, indent=1, ensure_ascii=False) + "\n").encode()


def _rights(api: HfApi, repo_id: str) -> tuple[list[str], list[str]]:
    """Namespaces, and single repositories, that the token may write to."""
    with plainly(repo_id):
        me = patiently(lambda: api.whoami())
    access = (me.get("auth") or {}).get("accessToken") or {}
    if access.get("role") == "read":
        return [], []
    orgs = [org["name"] for org in me.get("orgs") or () if org.get("roleInOrg") in WRITERS]
    mine = [me["name"], *orgs]
    if access.get("role") != "fineGrained":
        return mine, []
    scoped = (access.get("fineGrained") or {}).get("scoped") or []
    owners = {str(s["entity"].get("name")) for s in scoped if "repo.write" in s.get("permissions", ())}
    return [name for name in mine if name in owners], sorted(name for name in owners if "/" in name)


def check_right(api: HfApi, repo_id: str) -> None:
    """Refuses a repository that the token may not write to.

    Raises:
        UserError: names the namespaces that it may write to.
    """
    owners, repos = _rights(api, repo_id)
    owner = repo_id.split("/")[0]
    if owner in owners or repo_id in repos:
        return
    may = f"It may write to {', '.join(owners + repos)}." if owners or repos else "It may only read."
    raise UserError(f"This token may not write to {owner}. {may} Take another name, or a token with that right.")


def _check_taken(state: State | None, repo_id: str, private: bool) -> None:
    if state is None:
        return
    if OURS not in state.files and set(state.files) - {".gitattributes", "README.md"}:
        raise UserError(f"The name {repo_id} is taken by something else. Choose another name.")
    if private and not state.private:
        raise UserError(f"{repo_id} exists and is public, but private was asked for. Say public, or take another name.")


def _license(api: HfApi, entry: Entry) -> tuple[str | None, list[str]]:
    """The base model's licence as the Hub states it, and what a person should know of it."""
    if not entry.base_model or entry.base_model.count("/") != 1:
        return None, []
    try:
        with hub_settings():
            data = api.model_info(entry.base_model, timeout=10).card_data
    except Exception as error:  # noqa: BLE001 - the base may be gone, private or out of reach: a notice, no failure
        log.info("the licence of %s is not known: %s", entry.base_model, type(error).__name__)
        return None, []
    license = data.get("license") if data else None
    if isinstance(license, str) and entry.license and license != entry.license:
        return license, [
            f"The card says {entry.license}, but {entry.base_model} is {license}: check that this is allowed."
        ]
    return (license, []) if isinstance(license, str) else (None, [])


def _check_tag(api: HfApi, repo_id: str, tag: str, settled: bool) -> None:
    here = {ref.name for ref in patiently(lambda: api.list_repo_refs(repo_id)).tags}
    if tag in here and not settled:
        raise UserError(f"{repo_id} has a tag {tag} for an earlier state. Give another tag.")


def _tag(api: HfApi, repo_id: str, commit: str, tag: str | None) -> str:
    tags = {ref.name: ref.target_commit for ref in patiently(lambda: api.list_repo_refs(repo_id)).tags}
    there = next((name for name, target in tags.items() if target == commit and tag in (None, name)), None)
    if there:
        return there
    numbers = [int(found[1]) for name in tags if (found := re.fullmatch(r"v(\d+)", name))]
    name = tag or f"v{max(numbers, default=0) + 1}"
    if name in tags:
        raise UserError(f"{repo_id} has a tag {name} for an earlier state. Give another tag.")
    patiently(lambda: api.create_tag(repo_id, tag=name, revision=commit, exist_ok=True))
    return name


def _collect(api: HfApi, repo_id: str, title: str, private: bool) -> str:
    """Adds the model to its owner's Collection; that this fails, as for a token without that right, undoes nothing."""
    owner = repo_id.split("/")[0]
    try:
        with plainly(repo_id):
            there = patiently(lambda: list(api.list_collections(owner=owner, limit=100)))
            collection = next((item for item in there if item.title == title), None) or patiently(
                lambda: api.create_collection(
                    title, namespace=owner, description=DESCRIPTION, private=private, exists_ok=True
                )
            )
            patiently(lambda: api.add_collection_item(collection.slug, repo_id, "model", exists_ok=True))
        return f"in the Collection “{title}”"
    except UserError as error:
        return f"not added to the Collection “{title}”: {error}"
