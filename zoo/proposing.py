"""An entry's int8 files as a pull request to the model that they were quantized from."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub import CommitOperationAdd, hf_hub_download
from huggingface_hub import errors as hub

from zoo import card, catalog, layouts
from zoo.catalog import Entry
from zoo.checkpoints import head_of, labels_of, normalized, read_config
from zoo.commits import Item, State, look, unchanged
from zoo.engines import runs_int8
from zoo.errors import UserError
from zoo.files import read_json
from zoo.hub import TRIES, client, explain, patiently, pause, plainly, response_of
from zoo.metrics import scores_of
from zoo.safety import is_hub_id, split_revision
from zoo.stored import weights_in_words

if TYPE_CHECKING:
    from huggingface_hub import HfApi

CONFIG = "config.json"
SIZES = ("model_type", "num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads", "vocab_size")


@dataclass(frozen=True)
class Proposal:
    """A pull request as it is to be made.

    Attributes:
        base: the repository that gets it.
        title, text: of the pull request.
        files: by path with their bytes.
        replaced: those of them that the repository has already, with other bytes.
    """

    base: str
    title: str
    text: str
    files: list[tuple[str, int]]
    replaced: list[str]


@dataclass(frozen=True)
class Proposed:
    """What was proposed: the pull request's number, address and commit. `new` is False where it was open already."""

    base: str
    number: int
    url: str
    revision: str
    new: bool


def preview(folder: Path, token: str | None, base: str | None = None) -> Proposal:
    """What `propose` would send, without sending anything.

    Raises:
        UserError: see `propose`.
    """
    entry = catalog.open_folder(folder)
    base = base_of(entry, base)
    with layouts.written(entry) as written, plainly(base):
        items, state = _looked(client(token), entry, base, written)
        return _proposal(entry, base, items, state)


def propose(folder: Path, token: str, base: str | None = None) -> Generator[str, None, Proposed]:
    """Opens a pull request with an entry's int8 files in the standard layout, and what was measured of it.

    Nothing of the base's own is touched, but files of these very names. Where one of the same title is open by the
    same person, nothing is done.

    Args:
        folder: an int8 entry's.
        token: of whoever proposes; it needs no right to write to the base.
        base: the repository, `owner/name`; by default the entry's base model.

    Yields:
        Each step, in words.

    Raises:
        UserError: the base is not known or no id of the Hub, or another model than the entry; nothing was measured; the
            entry has no standard layout; or the Hub refuses.
    """
    entry = catalog.open_folder(folder)
    base = base_of(entry, base)
    api = client(token)
    yield "writing the standard layouts"
    with layouts.written(entry) as written, plainly(base):
        items, state = _looked(api, entry, base, written)
        proposal = _proposal(entry, base, items, state)
        author = _author(api)
        if there := _opened(api, base, author, proposal.title):
            return there
        size = sum(count for _, count in proposal.files) / 1e6
        yield f"proposing {len(items)} files, {size:.1f} MB, to {base}"
        done = yield from _send(api, proposal, items, author)
        sent = patiently(lambda: look_at(api, base, done.revision))
        if wrong := [item.path for item in items if not item.equals(sent.get(item.path))]:
            raise UserError(f"{done.url} does NOT hold what was sent ({', '.join(wrong)}): close it, and try again.")
        yield f"{len(items)} files of {done.url} have the right hashes"
    return done


def base_of(entry: Entry, base: str | None = None) -> str:
    """The repository that an entry's files can be proposed to.

    Args:
        base: the one that a person names; None for the entry's base model.

    Raises:
        UserError: see `propose`.
    """
    if reason := layouts.refusal(entry):
        raise UserError(reason)
    if not runs_int8(entry):
        raise UserError(f"{entry.name} is not in int8, so its base model gains nothing by it. Choose an int8 entry.")
    if not scores_of(entry.metrics):
        raise UserError(
            f"Nothing was measured of {entry.name}, and a pull request without figures helps nobody. Run "
            f"`python -m compress evaluate --entry {entry.name}`, or the recipe's stage evaluate, first."
        )
    name = (base or entry.base_model).strip()
    if not name:
        raise UserError(f"{entry.name} does not say which model it was made from. Name it: owner/name.")
    repo_id = split_revision(name)[0] if is_hub_id(name) else ""
    if "/" not in repo_id:
        raise UserError(f"The base model of {entry.name} is “{name}”, which is no id of the Hub. Name it: owner/name.")
    return repo_id


def look_at(api: HfApi, repo_id: str, revision: str) -> dict[str, Any]:
    """The files of a repository at a revision, by path."""
    tree = api.list_repo_tree(repo_id, recursive=True, revision=revision)
    return {file.path: file for file in tree if hasattr(file, "blob_id")}


def _looked(api: HfApi, entry: Entry, base: str, written: dict[str, Path]) -> tuple[list[Item], State]:
    """The files to propose, and the base as it is, which is the same model."""
    paths = {layouts.ONNX: entry.folder / layouts.ONNX, **written}
    items = [Item(name, paths[name]) for name in layouts.GRAPHS if name in paths]
    state = look(api, base)
    if state is None:
        raise UserError(f"There is no {base} on the Hub that you may see. Check the name and the token.")
    _check_same(api, entry, base, state)
    if len(unchanged(items, state)) == len(items):
        raise UserError(f"{base} holds these very files already: there is nothing to propose.")
    return items, state


def _check_same(api: HfApi, entry: Entry, base: str, state: State) -> None:
    """Refuses a base that is another model than the entry: with another head, other sizes or other labels."""
    if CONFIG not in state.files:
        raise UserError(f"{base} has no {CONFIG}, so nobody can tell whether these files belong to it. Name another.")
    path = hf_hub_download(base, CONFIG, revision=state.head, token=api.token, endpoint=api.endpoint)
    mine, theirs = normalized(read_config(entry.folder)), normalized(read_json(path))
    for key in SIZES:
        if mine.get(key) != theirs.get(key) and key in mine and key in theirs:
            raise UserError(
                f"{entry.name} is another model than {base}: {key} is {mine[key]}, there {theirs[key]}. "
                "Name the repository of the model that it was quantized from."
            )
    if entry.type.reads == "pooled" and layouts.MODULES in state.files:
        return  # an encoder of sentence-transformers, under whatever name it was saved
    try:
        head = head_of(theirs)
    except UserError as error:
        raise UserError(f"{base} is another model than {entry.name}. {error}") from error
    if head.ending != entry.type.ending or (head.has_labels and len(labels_of(theirs)) != len(entry.labels)):
        raise UserError(
            f"{entry.name} is for {entry.type.title} ({len(entry.labels)} labels), {base} for {head.title}: its files "
            "do not belong there. Name the repository of the model that it was quantized from."
        )


def _proposal(entry: Entry, base: str, items: Sequence[Item], state: State) -> Proposal:
    same = set(unchanged(items, state))
    replaced = [item.path for item in items if item.path in state.files and item.path not in same]
    files = [(item.path, item.size) for item in items]
    return Proposal(base, f"Add {entry.title} for ONNX Runtime and OpenVINO"[:200], _text(entry, base, files, replaced),
                    files, replaced)  # fmt: skip


def _text(entry: Entry, base: str, files: Sequence[tuple[str, int]], replaced: Sequence[str]) -> str:
    """The description: what the files are, what was measured of them and where, and how they are opened."""
    rows = "\n".join(
        f"| `{name}` | {size / 1e6:.1f} MB | {'replaces the one that is there' if name in replaced else 'new'} |"
        for name, size in files
    )
    trained = entry.provenance.get("trained on")
    parts = [
        f"This adds {base} in eight bits: {weights_in_words(entry)}, at full length.",
        f"| file | size | |\n|---|--:|---|\n{rows}",
        f"It was trained further on {trained}, so these are not the weights of {base} merely rounded." * bool(trained),
        card.measured(entry),
        layouts.describe(entry, base, [name for name, _ in files]),
        'Before it is merged, `revision="refs/pr/N"` opens it, N being the number of this pull request.',
        f"Made by Budget Zoo ({entry.method}).",
    ]
    return "\n\n".join(part for part in parts if part)


def _author(api: HfApi) -> str:
    """Who proposes."""
    me = patiently(lambda: api.whoami())
    access = (me.get("auth") or {}).get("accessToken") or {}
    if access.get("role") == "read":
        raise UserError("This token may only read. Take one that may write: a pull request needs it, if no right more.")
    return str(me["name"])


def _opened(api: HfApi, base: str, author: str, title: str) -> Proposed | None:
    """The open pull request of this person with this title."""
    try:
        offers = patiently(
            lambda: list(
                api.get_repo_discussions(base, author=author, discussion_type="pull_request", discussion_status="open")
            )
        )
    except hub.HfHubHTTPError as error:
        if error.response.status_code in (403, 404):
            raise UserError(
                f"{base} takes no pull requests. Ask its owner, or publish under a name of yours."
            ) from error
        raise
    for offer in offers:
        if offer.title == title and offer.author == author:
            return Proposed(base, offer.num, offer.url, offer.git_reference or f"refs/pr/{offer.num}", new=False)
    return None


def _send(api: HfApi, proposal: Proposal, items: Sequence[Item], author: str) -> Generator[str, None, Proposed]:
    """Opens the pull request; where the answer is lost, looks whether it is there before trying again."""
    for attempt in range(TRIES):
        operations = [CommitOperationAdd(item.path, item.plain) for item in items]
        try:
            done = api.create_commit(
                proposal.base,
                operations,
                commit_message=proposal.title,
                commit_description=proposal.text,
                create_pr=True,
            )
            revision = done.pr_revision or f"refs/pr/{done.pr_num}"
            return Proposed(proposal.base, int(done.pr_num or 0), str(done.pr_url), revision, new=True)
        except Exception as error:
            response, wait = response_of(error), pause(error, attempt)
            if response is not None and response.status_code == 403:
                raise UserError(
                    f"This token may open no pull request at {proposal.base}. Take one that may write, and see whether "
                    "its owner takes any."
                ) from error
            if wait is None or attempt == TRIES - 1:
                raise explain(error, proposal.base) from error
            if there := _opened(api, proposal.base, author, proposal.title):
                yield "the pull request had arrived, only its answer was lost"
                return Proposed(there.base, there.number, there.url, there.revision, new=True)
            yield f"the Hub is busy: again in {wait:g} s"
            time.sleep(wait)
    raise AssertionError("unreachable")
