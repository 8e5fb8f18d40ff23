"""The address bar <-> what is selected."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode

from ui.budget import UNITS
from zoo import engines
from zoo.errors import UserError

LONGEST_NAME = 200
COMPARED = "abcd"  # the keys of what the tab Compare has side by side, each `name:percent of compute`
Pairs = list[tuple[str, float]]


@dataclass(frozen=True)
class Link:
    """What a permalink selects; None where it says nothing, or nothing usable (then `notices` says so)."""

    model: str | None = None
    budget: float | None = None
    unit: str | None = None
    engine: str | None = None
    example: int | None = None
    notices: list[str] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Whether it selects nothing."""
        return (self.model, self.budget, self.unit, self.engine, self.example) == (None,) * 5


def read(query: Mapping[str, str]) -> Link:
    """A link from query parameters. Never raises: what cannot be used is left out and named.

    Example:
        >>> read({"model": "minilm-l6-qa", "budget": "55"}).budget
        55.0
    """
    notices: list[str] = []

    def one_of(key: str, choices: Iterable[str]) -> str | None:
        value = query.get(key) or None
        if value is not None and value not in choices:
            notices.append(f"The link's {key} is none of {', '.join(choices)}.")
            return None
        return value

    model = (query.get("model") or "").strip() or None
    if model and len(model) > LONGEST_NAME:
        notices.append("The link's model name is too long.")
        model = None
    unit, engine = one_of("unit", UNITS), one_of("engine", engines.names())
    budget = None
    if text := query.get("budget"):
        try:
            budget = float(text)
        except ValueError:
            budget = math.nan
        if not math.isfinite(budget):
            notices.append("The link's budget is no number.")
            budget = None
    example = query.get("example") or ""
    place = int(example) if example.isdecimal() and len(example) < 4 else None
    return Link(model, budget, unit, engine, place, notices)


def read_pairs(query: Mapping[str, str], known: Collection[str]) -> tuple[Pairs, list[str]]:
    """What a link compares: checkpoints and percents of compute, and what of it cannot be used. Never raises.

    Args:
        query: of the link.
        known: names that a link may pick: it alone must not make this machine download anything.

    Example:
        >>> read_pairs({"a": "minilm-l6-qa:100", "b": "minilm-l6-qa:28"}, ["minilm-l6-qa"])
        ([('minilm-l6-qa', 100.0), ('minilm-l6-qa', 28.0)], [])
    """
    pairs: Pairs = []
    notices: list[str] = []
    for key in COMPARED:
        if not (said := query.get(key)):
            continue
        name, _, text = said.rpartition(":")
        percent = float(text) if text.isdecimal() and len(text) < 4 else 0.0
        if not name or not 1 <= percent <= 100:
            notices.append(f"The link's {key.upper()} is no checkpoint with a percent of compute.")
        elif name not in known:
            notices.append(f"The link's {key.upper()} is not a bundled checkpoint: pick it in the tab Models.")
        else:
            pairs.append((name, percent))
    return pairs, notices


def write_pairs(pairs: Iterable[tuple[str | None, float | None]]) -> str:
    """The part of a link that says what is compared, without a question mark."""
    rows = [f"{name}:{percent:.0f}" for name, percent in pairs if name and percent is not None]
    return urlencode(dict(zip(COMPARED, rows, strict=False)), safe="/:@")


def read_texts(arrived: str) -> tuple[str, str] | None:
    """Both texts of a link as the browser has unpacked them; None where it has none.

    Raises:
        UserError: these are no texts.
    """
    if not arrived:
        return None
    try:
        first, second = json.loads(arrived)
    except (ValueError, TypeError):
        first = second = None
    if not isinstance(first, str) or not isinstance(second, str):
        raise UserError("The link's texts cannot be read: it may have been cut when it was copied.")
    return first, second


def write(model: str, budget: float | None, unit: str, engine: str, example: int | None = None) -> str:
    """The query string of a link, without a question mark; `example` is the place of what is asked, where it is one."""
    parts = {"model": model, "budget": None if budget is None else f"{budget:.6g}", "unit": unit, "engine": engine}
    parts |= {"example": None if example is None else str(example)}
    return urlencode({key: value for key, value in parts.items() if value}, safe="/")
