"""Every type of task's way to open an entry and ask it: the one door of page, command line and API."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.answers import NO_LABEL, Reply
from zoo.ask import QuestionAnswerer
from zoo.classify import TextClassifier
from zoo.embed import TextEmbedder
from zoo.engines import DEFAULT_ENGINE
from zoo.errors import UserError
from zoo.files import atomic
from zoo.lengths import LengthConfig
from zoo.opened import Opened
from zoo.rank import PassageRanker
from zoo.tag import TokenTagger

if TYPE_CHECKING:
    from zoo.catalog import Entry

OPENED: dict[str, type[Opened]] = {
    opened.task: opened for opened in (QuestionAnswerer, TextClassifier, TokenTagger, TextEmbedder, PassageRanker)
}


def open_entry(entry: Entry, engine: str = DEFAULT_ENGINE, threads: int | None = None) -> Opened:
    """An entry on an engine, ready for what its task reads.

    Raises:
        UserError: it does not run on this engine.
    """
    return OPENED[entry.task](entry, engine, threads)


def facts_of(reply: Reply) -> dict[str, Any]:
    """All that a reply says, as JSON has it: what the task gives, and what was computed for it."""
    parts = {"answers": reply.answers, "labels": reply.labels, "matches": reply.matches}
    said: dict[str, Any] = {name: [asdict(one) for one in each] for name, each in parts.items() if each}
    if reply.labels:
        said |= {"chosen": [label.name for label in reply.chosen], "multi_label": reply.several}
    if reply.tags is not None:
        said["tags"] = [asdict(tag) for tag in reply.tags]
    if reply.score is not None:
        said["score"] = reply.score
    return {**said, "tokens": reply.tokens, "macs_ratio": reply.macs_ratio, "notices": reply.notices}


def line_of(reply: Reply) -> str:
    """What a reply says, in a line, its parts with tabs between them."""
    if reply.answers:
        best = reply.answers[0]
        return f"{best.text or '(no answer)'}\t{best.probability:.3f}"
    if reply.labels:
        return "\t".join(f"{label.name} {label.probability:.3f}" for label in reply.chosen) or NO_LABEL
    if reply.matches:
        return "\t".join(f"{match.score:.3f} {match.text}" for match in reply.matches)
    if reply.score is not None:
        return f"{reply.score:.4f}"
    return "\t".join(f"{tag.label}: {tag.text} {tag.probability:.3f}" for tag in reply.tags or ()) or "(nothing)"


def config_of(entry: Entry, budget: float | None, config: str | None) -> LengthConfig | None:
    """The length configuration that a person asks for; None for full length.

    Args:
        entry: of the catalog.
        budget: percent of the unpadded full-length model's MACs; picks a point of the entry's front.
        config: a configuration instead, as `LengthConfig.parse` takes it.

    Raises:
        UserError: both are given, or a budget of an entry without a front.
    """
    if budget is not None and config:
        raise UserError("Give either --budget or --config.")
    if config:
        return LengthConfig.parse(config, entry.type.padded)
    if budget is None:
        return None
    if entry.front is None:
        raise UserError(f"{entry.name} has no front to pick a budget from. Leave --budget out, or give --config.")
    return entry.front.at("macs", budget).point.config


def lines(source: Iterable[str], second: str | None) -> Iterator[tuple[str, str | None]]:
    """Both texts of every line; empty lines are left out.

    Args:
        source: its lines are a first text, two with a tab between them, or JSON objects with `first` and `second`.
        second: of lines that have none.

    Raises:
        UserError: a line begins like a JSON object and is none with `first`; the message names its number.
    """
    for number, line in enumerate(source, 1):
        text = line.strip("\r\n")
        if not text.strip():
            continue
        if text.lstrip().startswith('{"'):
            try:
                row = json.loads(text)
                yield str(row["first"]), None if row.get("second", second) is None else str(row.get("second", second))
            except (ValueError, KeyError) as error:
                raise UserError(f"Line {number} is no JSON object with `first`: {text[:60]}") from error
            continue
        one, tab, other = text.partition("\t")
        yield one, other if tab else second


def write_vectors(opened: Opened, texts: Sequence[str], config: LengthConfig | None, path: Path) -> tuple[int, int]:
    """Writes a model's vectors of texts, float32, a row each; gives the numbers of rows and columns.

    Raises:
        UserError: the model gives none, or there are no texts.
    """
    if not isinstance(opened, TextEmbedder):
        raise UserError(f"{opened.entry.name} gives no embeddings: leave --npy out.")
    if not texts:
        raise UserError("There are no texts: give one, or lines on standard input.")
    vectors = opened.embed(texts, config)
    with atomic(path) as draft, draft.open("wb") as file:
        np.save(file, vectors)
    return vectors.shape[0], vectors.shape[1]
