"""Whether the folder for everything that is written can hold the queue: a volume that is mounted may lack something."""

from __future__ import annotations

import tempfile
from pathlib import Path

from filelock import FileLock, Timeout

from zoo.errors import UserError
from zoo.files import write_text

_fit: set[Path] = set()  # what was looked at, by this process


def check(home: Path) -> None:
    """Tries what the queue does with its files: writing, replacing, appending, locking; once a process where it works.

    Args:
        home: the folder that `BUDGET_ZOO_HOME` names.

    Raises:
        UserError: what does not work there, and what to do.
    """
    if home in _fit:
        return
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".probe-", dir=home) as folder:
            lack = _lacking(Path(folder))
    except OSError as error:
        lack = f"nothing can be written there ({error.strerror or error})"
    if lack:
        raise UserError(
            f"{home} (BUDGET_ZOO_HOME) cannot hold jobs: {lack}. Name a folder on a disk, or on a volume that is "
            "mounted for writing."
        )
    _fit.add(home)


def _lacking(folder: Path) -> str:
    """What does not work in an empty folder; empty where all does."""
    state, log, lock = folder / "state.json", folder / "log.txt", folder / ".lock"
    for text in ("first", "second"):
        try:
            write_text(state, text)
        except OSError as error:
            return f"a file there cannot take another's place ({error.strerror or error})"
        with log.open("ab") as file:
            file.write(text.encode())
    if state.read_text() != "second":
        return "a file there does not take another's place"
    if log.read_bytes() != b"firstsecond":
        return "a file there cannot be added to"
    try:
        # Without locks filelock would take to a file that outlives a worker which is killed, and its job would wait.
        with FileLock(lock, timeout=0, fallback_to_soft=False):
            return "its file locks keep nobody out, so that two workers would run one job" if _is_free(lock) else ""
    except Timeout:
        return "its file locks cannot be had"
    except OSError as error:
        return f"it has no file locks ({error.strerror or error})"


def _is_free(lock: Path) -> bool:
    try:
        with FileLock(lock, timeout=0):
            return True
    except Timeout:
        return False
