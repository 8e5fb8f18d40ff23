"""Results by name, kept as they come: what a killed stage does not have to compute again."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from zoo.errors import UserError


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
