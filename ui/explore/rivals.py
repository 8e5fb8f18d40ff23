"""Other int8 models that were measured at one point only: what an architecture search found, or plain siblings."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ui.text import predicted
from zoo import catalog, library
from zoo.catalog import Entry
from zoo.errors import UserError
from zoo.files import read_json
from zoo.lengths import LengthConfig, Point, Shape, macs

log = logging.getLogger(__name__)

MOST = 24
MACHINE = ("cpu", "cores", "vnni", "amx", "avx512")
DATA = ("dataset", "config", "split", "n")


@dataclass(frozen=True)
class Rival:
    """An entry to stand beside a front.

    Attributes:
        name: of the entry.
        searched: it comes from an architecture search.
        point: its scores; its MACs as a share of those of the front's full-length model; its latency only where it
            was measured as the front's was.
        why: why it has no latency here.
        data: what it was scored on, where that is not what the front was scored on.
        facts: the architecture that a search found, its latency as predicted and as measured, how MACs were counted.
    """

    name: str
    searched: bool
    point: Point
    why: str = ""
    data: str = ""
    facts: str = ""


def find(entry: Entry, owner: str | None = None) -> list[Rival]:
    """The rivals of an entry among what is on this machine, best first, `MOST` of them; no weights are read.

    Args:
        entry: whose front they stand beside.
        owner: whose results are seen beside those of nobody; None sees all.
    """
    rivals: list[Rival] = []
    if entry.front is None:
        return rivals
    query = library.Query(task=entry.task, int8=True, owner=owner, sort="score", descending=True)
    rows = library.listing(query).rows
    for row in rows:
        if row.origin == "hub" or row.metric != entry.front.metric or Path(row.folder) == entry.folder:
            continue
        try:
            rival = rival_of(entry, catalog.look_at(row.folder, row.name))
        except (UserError, KeyError, TypeError, ValueError) as error:
            log.warning("%s stands beside nothing: %s", row.name, error)
            continue
        rivals += [rival] if rival else []
        if len(rivals) == MOST:
            break
    return rivals


def rival_of(entry: Entry, other: Entry) -> Rival | None:
    """Another entry as one to stand beside an entry's front; None where it has a front of its own, another task or
    metric.

    MACs are counted at inputs of 384 tokens, or 128 for texts.
    """
    front, theirs = entry.front, other.front
    if front is None or theirs is None or len(theirs.everything) > 1:
        return None
    own, foreign = front.measured_on, theirs.measured_on
    if (entry.task, front.metric, own.get("metric")) != (other.task, theirs.metric, foreign.get("metric")):
        return None
    shape, full = (Shape.from_config(read_json(one.folder / "config.json")) for one in (other, entry))
    tokens, measured = entry.type.padded, theirs.full
    why = "it was not timed" if measured.p50_ms is None else _differs(own, foreign)
    point = Point(
        LengthConfig.full(shape.layers),
        macs(shape, tokens) / macs(full, tokens),
        measured.metrics,
        None if why else measured.p50_ms,
    )
    data = "" if all(own.get(key) == foreign.get(key) for key in DATA) else _name_data(foreign)
    words = (other.provenance.get("architecture"), f"MACs at {tokens} tokens", predicted(other.provenance))
    facts = ", ".join(str(word) for word in words if word)
    return Rival(other.name, other.method.startswith("nas"), point, why, data, facts)


def _differs(own: Mapping[str, Any], foreign: Mapping[str, Any]) -> str:
    """Why two latencies cannot be compared; empty where they can."""
    if any(own.get(key) != foreign.get(key) for key in MACHINE):
        return "it was timed on another machine"
    for key, words in (("latency_tokens", "tokens"), ("threads", "threads"), ("engine", "as the engine")):
        if own.get(key) != foreign.get(key):
            return f"it was timed with {foreign.get(key)} {words}, this model with {own.get(key)}"
    return ""


def _name_data(foreign: Mapping[str, Any]) -> str:
    words = [
        f"{foreign.get('n')} examples" if foreign.get("n") else "other examples",
        foreign.get("dataset") or "other data",
    ]
    return "scored on " + " of ".join(map(str, words))
