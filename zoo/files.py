"""Small files, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from zoo.errors import UserError


@contextmanager
def atomic(path: str | Path, shared: bool = False) -> Generator[Path]:
    """A draft to write, which takes the place of `path` when the block ends without an error, and else is removed.

    A reader, or a crash, sees the old file or the new one and nothing in between.

    Args:
        path: the file; its folder is made.
        shared: whether others may write the same file meanwhile. Where not, the draft of a process that was killed is
            written over by the next.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp" if shared else f"{path.name}.tmp")
    try:
        yield draft
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text so that a reader, or a crash, sees the old file or the new one and nothing in between."""
    with atomic(path, shared=True) as draft:
        draft.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: str | Path, obj: Any) -> None:
    """Write `obj` as indented JSON, atomically. Paths become strings, numpy values plain ones; NaN is refused."""
    write_text(path, json.dumps(obj, indent=1, ensure_ascii=False, allow_nan=False, default=_plain) + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        UserError: the file is missing, unreadable or broken; the message names it.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror or error}. Check the path.") from error
    except ValueError as error:
        raise UserError(f"{path} is not valid JSON ({error}). Restore the file or make it again.") from error


def sha256(path: str | Path) -> str:
    """The hexadecimal SHA-256 of a file's bytes."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} does not go into JSON")


class Archive:
    """A file of JSON lines `{"key", ...}`. Half a line at its end, from a process that was killed, is dropped.

    Raises:
        UserError: another line is broken; the message names it.
    """

    def __init__(self, path: Path):
        self.path = path
        self._found: dict[str, dict[str, Any]] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        whole, _, torn = path.read_bytes().rpartition(b"\n")
        if torn:
            os.truncate(path, path.stat().st_size - len(torn))
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                result = json.loads(line)
                self._found[result.pop("key")] = result
            except (ValueError, KeyError, AttributeError, TypeError) as error:
                raise UserError(f"Line {number} of {path} is broken. Remove the line; it is computed again.") from error

    def __len__(self) -> int:
        return len(self._found)

    def get(self, key: str) -> dict[str, Any] | None:
        """The result of this name, if there is one."""
        return self._found.get(key)

    def add(self, key: str, result: dict[str, Any]) -> None:
        """Stores a result for good before it returns."""
        line = json.dumps({"key": key, **result}, allow_nan=False)
        with self.path.open("ab", buffering=0) as file:
            file.write(line.encode() + b"\n")
            os.fsync(file.fileno())
        self._found[key] = result
