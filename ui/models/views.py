"""The zoo's rows -> the table of the Models tab. Pure; whatever others wrote is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from compress.recipe import published
from ui.text import escape, predicted, size
from zoo.metrics import is_few, metric_name, scored

if TYPE_CHECKING:
    from zoo.shelf import Row

Kind = Literal["str", "number"]

COLUMNS: dict[str, tuple[Kind, int]] = {
    "☑": ("str", 48),
    "model": ("str", 290),
    "method": ("str", 164),
    "task": ("str", 118),
    "MB": ("number", 62),
    "score": ("number", 72),
    "by": ("str", 96),
    "examples": ("number", 96),
    "p50 ms": ("number", 78),
    "tokens": ("number", 76),
    "from": ("str", 72),
}  # what each holds, and its width in pixels: a screen of 1440 shows all of them, narrow ones scroll
HEADERS = list(COLUMNS)
TYPES: list[Kind] = [kind for kind, _ in COLUMNS.values()]
WIDTHS = [width for _, width in COLUMNS.values()]
TICK, NAME = 0, 1  # columns that an event reads
ON, OFF = "☑", "☐"
ANY = "any"
ORIGINS = {"bundled": "bundled", "local": "yours", "hub": "Hub"}


def options(rows: Iterable[Row], key: str) -> list[tuple[str, str]]:
    """What a filter offers: `ANY`, then each value that occurs."""
    values = sorted({str(getattr(row, key)) for row in rows if getattr(row, key)})
    words = ORIGINS if key == "origin" else {}
    return [(ANY, ANY), *((words.get(value, value), value) for value in values)]


def tabulate(rows: Sequence[Row], ticked: Iterable[str] = ()) -> list[list[Any]]:
    """One row a model, as `HEADERS` say."""
    chosen = set(ticked)
    return [
        [
            ON if row.name in chosen else OFF,
            row.name,
            row.method,
            row.task,
            round(row.bytes / 1e6, 1) if row.bytes else None,
            # A score of few examples stands beside its metric: whatever sorts the table has nothing to put on top.
            None if row.score is None or is_few(row.n) else round(row.score, 1),
            _metric(row),
            row.n,
            None if row.p50_ms is None else round(row.p50_ms, 1),
            row.tokens if row.p50_ms is not None else None,
            ORIGINS.get(row.origin, row.origin),
        ]
        for row in rows
    ]


def _metric(row: Row) -> str:
    """What the score of a row is by, and the score itself where it is of few examples."""
    if row.score is None:
        return ""
    return f"{metric_name(row.metric)} {row.score:.1f}: few" if is_few(row.n) else metric_name(row.metric)


def toggle(ticked: Sequence[str], name: str, most: int) -> tuple[list[str], str]:
    """The ticks after a click on a name, and what to say where it cannot be added."""
    if name in ticked:
        return [other for other in ticked if other != name], ""
    if len(ticked) >= most:
        return list(ticked), f"At most {most} can be compared: untick another first."
    return [*ticked, name], ""


def describe(row: Row, facts: Mapping[str, Any] | None = None, body: str = "") -> str:
    """The head of a model's card.

    Args:
        row: of the zoo.
        facts: of its `entry.json`, where it lies on this machine: of what an architecture search found its latency as
            predicted and as measured, and what was published for the same method and task.
        body: of the card below it; what that says was published is not said twice.
    """
    entry = facts or {}
    stated = entry.get("provenance")
    provenance: Mapping[str, Any] = stated if isinstance(stated, Mapping) else {}
    parts = [ORIGINS.get(row.origin, row.origin)]
    parts += [f"{row.parameters / 1e6:.1f} M parameters"] if row.parameters else []
    parts += [size(row.bytes)] if row.bytes else []
    parts += [scored(row.metric, row.score, row.n)] if row.score is not None else []
    how = f", {row.timed}" if row.timed else ""
    parts += [f"{row.p50_ms:.1f} ms (median{how})"] if row.p50_ms is not None else []
    parts += [str(row.license)] if row.license else []
    parts += [latency] if (latency := predicted(provenance)) else []
    beside = published.remark(entry)
    head = f"## {escape(row.title or row.name)}\n\n{' · '.join(escape(part) for part in parts)}"
    return f"{head}\n\n{escape(beside)}" if beside and beside not in body else head
