"""What a cell of a table holds: a list that was written as text, a number, or text to read."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Sequence
from typing import Any

_ITEM = r"(?:'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|-?\d+(?:\.\d+)?)"
_LIST = re.compile(rf"\[\s*(?:{_ITEM}\s*(?:,\s*{_ITEM}\s*)*(?:,\s*)?)?\]", re.DOTALL)  # as Python writes one


def listed(value: object) -> list[Any] | None:
    """A list, also as JSON or Python write it in a cell of text; None for what is no list."""
    if isinstance(value, list | tuple):
        return list(value)
    if not isinstance(value, str) or not value.strip().startswith("["):
        return None
    text = value.strip()
    try:
        parsed = json.loads(text) if "'" not in text or _LIST.fullmatch(text) is None else ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None
    return parsed if isinstance(parsed, list) else None


def items(cell: object) -> list[Any]:
    """What a list holds, or the words of a text."""
    entries = listed(cell)
    return entries if entries is not None else str(cell or "").split()


def is_number(value: object) -> bool:
    """Whether a value is a number, or the text of one."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return False
    try:
        float(value)
    except (ValueError, OverflowError):
        return False
    return True


def share(found: Sequence[bool]) -> float:
    """How many of them are true, from 0 to 1."""
    return sum(found) / len(found) if found else 0.0


def prose(values: Sequence[Any]) -> float:
    """How far a column holds text to read: 1 for sentences, less for single words, 0 for numbers and lists."""
    texts = [v for v in values if isinstance(v, str) and not is_number(v) and listed(v) is None]
    many = sum(len(text.split()) > 1 for text in texts)
    return share([isinstance(v, str) for v in values]) * (many + 0.5 * (len(texts) - many)) / max(1, len(values))


def length(values: Sequence[Any]) -> float:
    """Characters that a column of text to read has in the mean."""
    return sum(len(v) for v in values if isinstance(v, str)) / len(values) if prose(values) else 0.0


def repetition(values: Sequence[Any]) -> float:
    """How far a column holds the same few values over and over, as labels are; never quite 0."""
    return 1 - len(set(map(str, values))) / (len(values) + 1) if values else 0.0
