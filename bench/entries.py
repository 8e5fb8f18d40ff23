"""Int8 entries of the zoo beside each other: what each scores, and how long it takes, all timed in turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Annotated, Any, Literal

import numpy as np
import typer

from bench.latency import passage
from bench.report import Json, report
from compress.nas.space import Arch
from zoo import catalog, latency
from zoo.catalog import Entry
from zoo.engines import open_engine
from zoo.errors import UserError
from zoo.features import load_tokenizer
from zoo.files import read_json
from zoo.lengths import Point, Shape, macs
from zoo.settings import get_settings

TOKENS, SECONDS = (128,), 5.0  # that are timed, and for how long each at the most


app = typer.Typer()
DEFAULT_TOKENS = [128]


@dataclass(frozen=True)
class Row:
    """An entry at a budget.

    Attributes:
        sizes: of its encoder, as in `l6-h384-f1536-a12`.
        kept: tokens that go on after each layer, of `tokens`.
        score: its main metric, as its card has it, 0 to 100.
        data: what that was scored on.
        macs: multiplications on an input of `tokens` tokens.
        n: calls that were timed.
    """

    name: str
    sizes: str
    kept: tuple[int, ...]
    metric: str
    score: float
    data: str
    tokens: int
    macs: int
    p50_ms: float
    p90_ms: float
    n: int


def compare(
    names: Sequence[str],
    tokens: Sequence[int] = TOKENS,
    points: int = 4,
    engine: str = "onnxruntime",
    rounds: int = 60,
) -> list[Row]:
    """Times entries in turn on the same input, batch 1; those with a front at full length and at points of it.

    Args:
        names: bundled names, folders or Hub ids.
        tokens: lengths of the input.
        points: so many of a front's, evenly from the cheapest on, beside full length.
        engine: that runs them.
        rounds: samples of a row at the most.

    Raises:
        UserError: an entry is no int8 model or has no scores, or another measurement uses the machine.
    """
    calls: dict[str, Callable[[], object]] = {}
    rows: dict[str, tuple[Entry, dict[str, Any], int, tuple[int, ...], Point]] = {}
    for name in names:
        entry = catalog.find(name)
        if entry.front is None or engine not in entry.engines:
            raise UserError(f"{entry.name} has no scores, or does not run on {engine}: name an int8 entry of the zoo.")
        runner = open_engine(engine, entry, get_settings().threads)
        settings = read_json(entry.folder / "config.json")
        for count in tokens:
            batch = passage(load_tokenizer(entry.folder), count)
            for place, point in enumerate(points_of(entry, points)):
                lengths = point.config.tokens(count)
                key = f"{len(calls)} {entry.name} {place} {count}"
                calls[key] = partial(runner.run, batch, np.array([lengths], np.int64))
                rows[key] = (entry, settings, count, lengths, point)
    with latency.device_lock():
        took = latency.measure(calls, rounds=rounds, warmup=3, seconds=SECONDS)
    return [_row(*rows[key], timing) for key, timing in took.items()]


def points_of(entry: Entry, most: int | None) -> list[Point]:
    """So many points of an entry's front, evenly from the cheapest on, all for None; and full length, the last."""
    assert entry.front is not None
    *others, full = entry.front.everything
    places = (
        np.linspace(0, len(others) - 1, min(len(others) if most is None else most, len(others))).round().astype(int)
    )
    return [*(others[place] for place in places), full]


def _row(
    entry: Entry, settings: dict[str, Any], count: int, kept: tuple[int, ...], point: Point, timing: latency.Timing
) -> Row:
    assert entry.front is not None
    facts = entry.front.measured_on
    data = f"{facts.get('n', 0):,} of {facts.get('dataset', 'unknown data')}, {facts.get('split', '')}".rstrip(", ")
    times = round(timing.p50_ms, 3), round(timing.p90_ms, 3), timing.n
    cost = macs(Shape.from_config(settings), count, kept)
    sizes = Arch.from_config(settings).key
    return Row(entry.name.rpartition("/")[2], sizes, kept, entry.front.metric, point.score, data, count, cost, *times)


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    lines = [
        "| entry | encoder | tokens kept | score | MACs, millions | p50 (p90) ms |",
        "|---|---|---|--:|--:|--:|",
    ]
    for r in rows:
        lengths = f"all {r.tokens}" if set(r.kept) == {r.tokens} else f"{r.tokens}: {r.kept}"
        lines.append(
            f"| {r.name} | {r.sizes} | {lengths} | {r.score:.2f} {r.metric} | {r.macs / 1e6:,.0f} | "
            f"{r.p50_ms:.2f} ({r.p90_ms:.2f}) |"
        )
    data = dict.fromkeys(f"{r.name}: {r.data}" for r in rows)
    return "\n".join([*lines, "", "Scored on: " + "; ".join(data) + "."])


@app.command("entries")
def command(
    names: Annotated[list[str], typer.Argument(metavar="ENTRY...", help="bundled names, folders or Hub ids")],
    tokens: Annotated[list[int], typer.Option(min=16, metavar="N...", help="of the input")] = DEFAULT_TOKENS,
    points: Annotated[int, typer.Option(min=0, metavar="N", help="of a front, beside full length")] = 4,
    engine: Annotated[Literal["onnxruntime", "openvino"], typer.Option(help="that runs them")] = "onnxruntime",
    path: Json = None,
) -> None:
    """Int8 entries of the zoo beside each other: score and latency."""
    rows = compare(names, tokens, points, engine)
    report(table(rows), path, {"rows": [asdict(row) for row in rows], "machine": latency.machine()})
