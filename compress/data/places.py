"""Where in a JSON text a value begins, to say which line is wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

Steps = tuple[str | int, ...]
BLANKS = re.compile(r"[ \t\r\n]*")
DECODER = json.JSONDecoder()


@dataclass(frozen=True)
class Place:
    """A value of a JSON file; its line is looked for when it has to be told, since that takes as long as reading.

    Attributes:
        name: what people call the file.
        text: of the file, which is valid JSON.
        path: keys and numbers that lead to the value.
        what: which value it is, in words.
    """

    name: str
    text: str
    path: Steps
    what: str = ""

    def __str__(self) -> str:
        return f"{self.name}, line {line_of(self.text, self.path)}" + (f" ({self.what})" if self.what else "")


def line_of(text: str, path: Steps) -> int:
    """The line in which the value at the end of a path begins, or the last one on the way that exists.

    Example:
        >>> line_of('{"data": [1,\\n 2]}', ("data", 1))
        2
    """
    at = _skip(text, 0)
    for step in path:
        steps = dict(_children(text, at))  # of a key that stands twice the last one, as json.loads takes it
        if step not in steps:
            break
        at = steps[step]
    return text.count("\n", 0, at) + 1


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
