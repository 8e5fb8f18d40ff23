"""One commit that brings a repository of the Hub to a wanted state, made once however often it is asked for."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, RepoFile
from huggingface_hub.errors import RepositoryNotFoundError

from zoo.errors import UserError
from zoo.files import sha256
from zoo.hub import TRIES, explain, patiently, pause, response_of

if TYPE_CHECKING:
    from huggingface_hub import HfApi

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True)
class Item:
    """A file as it is to be in the repository; `source` is where it is here, or its bytes."""

    path: str
    source: Path | bytes

    @cached_property
    def size(self) -> int:
        return len(self.source) if isinstance(self.source, bytes) else self.source.stat().st_size

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.source).hexdigest() if isinstance(self.source, bytes) else sha256(self.source)

    @cached_property
    def git_oid(self) -> str:
        digest = hashlib.sha1(b"blob %d\0" % self.size, usedforsecurity=False)
        if isinstance(self.source, bytes):
            digest.update(self.source)
        else:
            with self.source.open("rb") as file:
                while chunk := file.read(1 << 20):
                    digest.update(chunk)
        return digest.hexdigest()

    @property
    def plain(self) -> bytes | str:
        """The source as huggingface_hub takes it."""
        return self.source if isinstance(self.source, bytes) else str(self.source)

    def equals(self, there: RepoFile | None) -> bool:
        """Whether a file of the Hub (`RepoFile`) has these very bytes."""
        if there is None or there.size != self.size:
            return False
        return there.lfs.sha256 == self.sha256 if there.lfs else there.blob_id == self.git_oid


@dataclass(frozen=True)
class State:
    """A repository as it is now: newest commit, files by path."""

    head: str
    private: bool
    files: dict[str, Any] = field(default_factory=dict)


def look(api: HfApi, repo_id: str, kind: str = "model") -> State | None:
    """The repository's newest state, or None where this token sees none."""
    try:
        info = patiently(lambda: api.repo_info(repo_id, repo_type=kind))
    except RepositoryNotFoundError:
        return None
    head = str(info.sha)
    tree = patiently(lambda: list(api.list_repo_tree(repo_id, recursive=True, revision=head, repo_type=kind)))
    return State(head, bool(info.private), {file.path: file for file in tree if isinstance(file, RepoFile)})


def unchanged(items: Iterable[Item], state: State | None) -> list[str]:
    """Paths of the items that the repository holds already, byte for byte."""
    return [item.path for item in items if state and item.equals(state.files.get(item.path))]


def follow(steps: Generator[str, None, T], tell: Callable[[str], None]) -> T:
    """Goes through all steps and tells each of them; returns what they came to."""
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            return end.value
        tell(step)


def push(
    api: HfApi,
    repo_id: str,
    items: Sequence[Item],
    message: str,
    state: State,
    kind: str = "model",
    delete: Sequence[str] = (),
) -> Generator[str, None, tuple[str, bool]]:
    """Brings the repository from `state` to the items in one commit; makes none where nothing differs.

    Large files go up before the commit, and those that the Hub has are not sent again. If the answer to the commit is
    lost, the repository is looked at before anything is repeated, so no commit is made twice.

    Args:
        api: with a token that may write.
        items: what the repository should hold; its other files stay, but for `delete`.
        state: what the changes are made against; a commit of somebody else's since then makes this fail.

    Yields:
        Each step, in words.

    Returns:
        The newest commit, and whether it was made here.

    Raises:
        UserError: somebody else committed meanwhile, or the commit failed for another reason.
    """
    same = set(unchanged(items, state))
    changed = [item for item in items if item.path not in same]
    gone = [path for path in delete if path in state.files]
    if not changed and not gone:
        yield "nothing has changed: no commit is needed"
        return state.head, False
    yield f"sending {len(changed)} files, {sum(item.size for item in changed) / 1e6:.1f} MB"
    for attempt in range(TRIES):
        # Operations remember how far they came, so each attempt has its own.
        operations: list[Any] = [CommitOperationAdd(item.path, item.plain) for item in changed]
        operations += [CommitOperationDelete(path) for path in gone]
        try:
            commit = api.create_commit(
                repo_id, operations, commit_message=message, repo_type=kind, parent_commit=state.head
            )
            return commit.oid, True
        except Exception as error:
            response = response_of(error)
            stale = response is not None and response.status_code == 412
            wait = None if stale else pause(error, attempt)
            if wait is None and not stale:
                raise
            now = look(api, repo_id, kind)
            if now and now.head != state.head:
                if len(unchanged(items, now)) == len(items) and not any(path in now.files for path in gone):
                    yield "the commit had arrived, only its answer was lost"
                    return now.head, True
                raise UserError(
                    f"Somebody changed {repo_id} meanwhile, so nothing was published. Look at what is new on the Hub, "
                    "then publish again."
                ) from error
            if stale or wait is None or attempt == TRIES - 1:
                raise explain(error, repo_id) from error
            yield f"the Hub is busy: again in {wait:g} s"
            time.sleep(wait)
    raise AssertionError("unreachable")
