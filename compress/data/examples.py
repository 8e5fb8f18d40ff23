"""What is learned from and scored: questions about passages, texts with labels, sentences whose words have labels, and
queries with passages to rank."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Example:
    """A question about a passage; `answers` are `{"text", "answer_start"}`, none where it is `impossible` to answer."""

    id: str
    question: str
    context: str
    answers: list[dict[str, Any]] = field(default_factory=list)
    title: str = ""
    impossible: bool = False


@dataclass(frozen=True)
class TextExample:
    """A text, or a pair of texts; `label` is the class's number, a score, or the numbers of all classes that hold where
    several may; None where nobody tells."""

    id: str
    first: str
    second: str | None = None
    label: int | float | tuple[int, ...] | None = None


@dataclass(frozen=True)
class QueryExample:
    """A query with passages; `gains` has the places of the relevant ones, and how relevant each is."""

    id: str
    query: str
    passages: tuple[str, ...]
    gains: Mapping[int, float]


@dataclass(frozen=True)
class TaggedExample:
    """A sentence in words, and the label of each."""

    id: str
    words: tuple[str, ...]
    tags: tuple[str, ...]
