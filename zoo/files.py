"""Small files, written whole or not at all."""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import sys
import uuid
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from zoo.errors import UserError

HERE, EXCHANGE = -100, 2  # of Linux's renameat2: AT_FDCWD, RENAME_EXCHANGE
MAX_JSON, MAX_DEPTH = 256 * 1024**2, 100  # bytes, and lists or objects within each other


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
        with draft.open("rb+") as file:  # Windows writes out what may be written alone
            os.fsync(file.fileno())
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def swap(first: Path, second: Path) -> bool:
    """Exchanges two files or folders of one file system in one step; false where the system has no such step."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None) if sys.platform == "linux" else None
    return rename is not None and rename(HERE, bytes(first), HERE, bytes(second), EXCHANGE) == 0


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text so that a reader, or a crash, sees the old file or the new one and nothing in between."""
    with atomic(path, shared=True) as draft:
        draft.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: str | Path, obj: object) -> None:
    """Write `obj` as indented JSON, atomically. Paths become strings, numpy values plain ones; NaN is refused."""
    write_text(path, json.dumps(obj, indent=1, ensure_ascii=False, allow_nan=False, default=_plain) + "\n")


def read_json(path: str | Path, most: int = MAX_JSON) -> Any:
    """Read a JSON file.

    Args:
        path: of the file.
        most: bytes that it may have.

    Raises:
        UserError: the file is missing, unreadable, too large, nested too deep or broken; the message names it.
    """
    try:
        with Path(path).open("rb") as file:
            raw = file.read(most + 1)
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror or error}. Check the path.") from error
    if len(raw) > most:
        raise UserError(f"{path} is larger than {most:,} bytes, which no such file needs. Restore the file.")
    return parse_json(raw, str(path))


def parse_json(raw: bytes | str, where: str) -> Any:
    """What JSON text holds.

    Args:
        raw: the text, in UTF-8 where it is bytes.
        where: it stands, for the message.

    Raises:
        UserError: it is broken, or nested deeper than `MAX_DEPTH`.
    """
    try:
        value = json.loads(raw if isinstance(raw, str) else raw.decode("utf-8"))
    except ValueError as error:
        raise UserError(f"{where} is not valid JSON ({error}). Restore the file or make it again.") from error
    except RecursionError as error:
        raise UserError(_too_deep(where)) from error
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        level = [part for each in level for part in _inside(each)]
        if not level:
            return value
    raise UserError(_too_deep(where))


def _inside(value: object) -> Iterable[Any]:
    """The lists and objects in a list or an object."""
    values = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [each for each in values if isinstance(each, dict | list)]


def _too_deep(where: str) -> str:
    return f"{where} is nested more than {MAX_DEPTH} deep, which no such file needs. Restore the file."


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
