"""Where a value stands in a file, to say which line is wrong."""

from __future__ import annotations

import json
import re
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, replace

Steps = tuple[str | int, ...]
BLANKS = re.compile(r"[ \t\r\n]*")
DECODER = json.JSONDecoder()


class Document:
    """A JSON text, and in which line a value of it begins.

    Lines are looked for when one has to be told. Every list and object on the way is then read through once, so that
    all lines of a file in which everything is wrong take as long as a few readings.

    Args:
        name: what people call the file.
        text: of the file, which is valid JSON.

    Example:
        >>> Document("a.json", '{"data": [1,\\n 2]}').line(("data", 1))
        2
    """

    def __init__(self, name: str, text: str):
        self.name, self._text = name, text
        self._values: dict[Steps, dict[str | int, int]] = {}
        self._breaks: array[int] | None = None

    def line(self, path: Steps) -> int:
        """The line in which the value at the end of a path begins, or the last one on the way that exists."""
        at = _skip(self._text, 0)
        for depth, step in enumerate(path):
            values = self._values.get(path[:depth])
            if values is None:  # of a key that stands twice the last one, as json.loads takes it
                values = self._values[path[:depth]] = dict(_children(self._text, at))
            if step not in values:
                break
            at = values[step]
        if self._breaks is None:
            self._breaks = array("Q", (match.start() for match in re.finditer("\n", self._text)))
        return bisect_left(self._breaks, at) + 1


@dataclass(frozen=True)
class Place:
    """A value of a JSON file.

    Attributes:
        document: that it is in.
        path: keys and numbers that lead to the value.
        what: which value it is, in words.
    """

    document: Document
    path: Steps = ()
    what: str = ""

    def inside(self, *steps: str | int, what: str = "") -> Place:
        """The place of a value inside this one."""
        return Place(self.document, (*self.path, *steps), what)

    def __str__(self) -> str:
        line = f"{self.document.name}, line {self.document.line(self.path)}"
        return line + (f" ({self.what})" if self.what else "")


@dataclass(frozen=True)
class Spot:
    """A value of a source that is made of lines, or of rows.

    Attributes:
        name: of the source, and the line or row, in words.
        what: which value of it, in words.
    """

    name: str
    what: str = ""

    def inside(self, *_steps: str | int, what: str = "") -> Spot:
        """The place of a value inside this one."""
        return replace(self, what=what)

    def __str__(self) -> str:
        return self.name + (f" ({self.what})" if self.what else "")


def _children(text: str, at: int) -> Iterator[tuple[str | int, int]]:
    """Keys or numbers of an object's or a list's values, and where these begin."""
    if text[at] not in "[{":
        return
    has_keys, number, at = text[at] == "{", 0, _skip(text, at + 1)
    while text[at] not in "]}":
        key: str | int = number
        if has_keys:
            key, at = DECODER.raw_decode(text, at)
            at = _skip(text, _skip(text, at) + 1)  # over the colon
        yield key, at
        at = _skip(text, DECODER.raw_decode(text, at)[1])
        at = _skip(text, at + 1) if text[at] == "," else at
        number += 1


def _skip(text: str, at: int) -> int:
    blanks = BLANKS.match(text, at)
    return blanks.end() if blanks else at
