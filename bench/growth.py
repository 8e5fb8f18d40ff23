"""As the work grows: what longer inputs, more windows, models, jobs and questions cost, and what starting costs."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bench.latency import LOSS, OURS, passage
from bench.load import served
from bench.memory import grow
from bench.report import Json, report
from compress.jobs.ledger import Ledger
from compress.recipe.load import load
from zoo import catalog, latency
from zoo.catalog import Entry
from zoo.engines import open_engine
from zoo.errors import UserError
from zoo.features import Window, load_tokenizer
from zoo.files import atomic
from zoo.lengths import LengthConfig
from zoo.library import Query, listing
from zoo.opened import run_all
from zoo.settings import get_settings
from zoo.shelf import Row, open_table, put

app = typer.Typer()
ENGINES = ("onnxruntime", "openvino")


@dataclass
class Curve:
    """What something costs as it grows.

    Attributes:
        title: what grows.
        x, y: units of the two axes.
        series: by name the points (x, y), x rising.
    """

    title: str
    x: str
    y: str
    series: dict[str, list[tuple[float, float]]] = field(default_factory=dict[str, list[tuple[float, float]]])

    def add(self, name: str, x: float, y: float) -> None:
        """Another point of a series."""
        self.series.setdefault(name, []).append((x, y))


@dataclass(frozen=True)
class Sizes:
    """How far each thing grows."""

    tokens: Sequence[int] = (16, 32, 64, 128, 192, 256, 384)
    windows: Sequence[int] = (1, 2, 5, 10, 20, 50)
    entries: Sequence[int] = (10, 100, 1000, 5000)
    jobs: Sequence[int] = (10, 100, 1000, 10_000)
    questions: int = 1600
    starts: int = 5


SMALL = Sizes((16, 64), (1, 4), (10, 50), (3, 6), 60, 1)


def measure(sizes: Sizes) -> list[Curve]:
    """All curves; a few minutes on two cores.

    Raises:
        UserError: the bundled model is missing, or the machine is in use by another measurement.
    """
    entry = catalog.find(OURS)
    with latency.device_lock():
        curves = [over_tokens(entry, sizes.tokens), over_windows(entry, sizes.windows)]
    with _home():
        curves += [over_entries(sizes.entries), over_jobs(sizes.jobs)]
    curves.append(over_questions(sizes.questions))
    with _home():
        curves.append(starts(sizes.starts))
    return curves


def over_tokens(entry: Entry, tokens: Sequence[int]) -> Curve:
    """Milliseconds of one window at three budgets, timed in turn."""
    if entry.front is None:
        raise UserError(f"{entry.name} has no front.json. Make it with `python -m compress run`.")
    curve, tokenizer = Curve("one question", "tokens", "ms (median)"), load_tokenizer(entry.folder)
    budgets = {
        "full length": entry.front.full.config,
        "at most 1 F1 lost": entry.front.at("loss", LOSS).point.config,
        "the cheapest": entry.front.points[0].config,
    }
    engine = open_engine(ENGINES[0], entry)
    for count in tokens:
        batch = passage(tokenizer, count)

        def at(config: LengthConfig, count: int = count, batch: dict[str, np.ndarray] = batch) -> Callable[[], object]:
            lengths = np.array([config.tokens(count)], np.int64)
            return lambda: engine.run(batch, lengths)

        timings = latency.measure({name: at(config) for name, config in budgets.items()}, rounds=20)
        for name, timing in timings.items():
            curve.add(name, count, timing.p50_ms)
    return curve


def over_windows(entry: Entry, windows: Sequence[int]) -> Curve:
    """Milliseconds a window of a long passage, whose windows of equal length share batches."""
    curve, tokens = Curve("a long passage", "windows", "ms a window"), 128
    ids = passage(load_tokenizer(entry.folder), tokens)["input_ids"][0].tolist()
    for name in ENGINES:
        engine = open_engine(name, entry)
        for count in windows:
            alike = [Window(i, ids, [0] * tokens, [None] * tokens) for i in range(count)]
            timing = latency.measure({name: lambda engine=engine, alike=alike: list(run_all(engine, alike))}, rounds=5)
            curve.add(name, count, timing[name].p50_ms / count)
    return curve


def over_entries(entries: Sequence[int]) -> Curve:
    """Milliseconds of listing and of searching the catalogue."""
    curve = Curve("the catalogue", "models", "ms")
    row = Row("", "hub", "A model", "question-answering", "w8a8", "base", 1, 1, 80.0, 5.0, int8=True, license="mit")
    for count in entries:
        rows = [replace(row, name=f"zoo/model-{i}", score=i % 100) for i in range(count)]
        with open_table([]) as database:
            put(database, rows)
        curve.add("list", count, _ms(lambda: listing(Query(sort="score", descending=True))))
        curve.add("search", count, _ms(lambda: listing(Query("model-7", min_score=50))))
    return curve


def over_jobs(jobs: Sequence[int]) -> Curve:
    """Milliseconds of telling all jobs: by a program that starts, by a page that has seen them, by the command line."""
    curve, recipe = Curve("jobs", "jobs", "ms"), load("length_adaptive_tiny")
    ledger, made = Ledger(get_settings().home), 0
    for count in jobs:
        while made < count:
            job = ledger.create(recipe, "of many", "", "local")
            ledger.change(job.id, state="done")
            made += 1
        curve.add("read anew", count, _ms(lambda: Ledger(get_settings().home).jobs(), 3))
        ledger.jobs()
        curve.add("seen before", count, _ms(ledger.jobs))
        curve.add("command line", count, _ms(lambda: _command("compress", "jobs"), 3))
    return curve


def over_questions(questions: int) -> Curve:
    """Memory of a process that answers questions of all lengths at all budgets, on each engine."""
    curve = Curve("memory", "questions", "MB")
    for name in ENGINES:
        for count, size in grow(OURS, name, questions):
            curve.add(name, count, size)
    return curve


def starts(times: int) -> Curve:
    """Seconds until a command has ended, and until the page has answered its first question."""
    curve = Curve("starting", "start", "s")
    for number in range(1, times + 1):
        for words in (("compress", "list"), ("compress", "jobs"), ("zoo", "list")):
            curve.add(f"python -m {' '.join(words)}", number, _ms(lambda words=words: _command(*words), 1) / 1000)
        begun = time.perf_counter()
        with served() as (_, ask):
            example = catalog.examples()[0]
            ask(example["question"], example["context"])
            curve.add("the page's first answer", number, time.perf_counter() - begun)
    return curve


def table(curves: Sequence[Curve]) -> str:
    """Each curve as a Markdown table."""
    parts = list[str]()
    for curve in curves:
        places = sorted({x for points in curve.series.values() for x, _ in points})
        lines = [f"| {curve.title}: {curve.y} at {curve.x} | " + " | ".join(f"{x:g}" for x in places) + " |"]
        lines.append("|---|" + "--:|" * len(places))
        for name, points in curve.series.items():
            at = dict(points)
            lines.append(f"| {name} | " + " | ".join(f"{at[x]:.3g}" if x in at else "–" for x in places) + " |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def draw(curves: Sequence[Curve], path: Path) -> None:
    """All curves in one picture."""
    figure = Figure(figsize=(13, 4 * ((len(curves) + 2) // 3)), layout="constrained")
    for number, curve in enumerate(curves, 1):
        axes = figure.add_subplot((len(curves) + 2) // 3, 3, number)
        for name, points in curve.series.items():
            axes.plot(*zip(*points, strict=True), marker="o", label=name)
        places = [x for points in curve.series.values() for x, _ in points]
        if max(places) > 50 * min(places):
            axes.set_xscale("log")
        axes.set(title=curve.title, xlabel=curve.x, ylabel=curve.y)
        axes.set_ylim(bottom=0)
        axes.legend(fontsize="small")
    with atomic(path) as draft:
        FigureCanvasAgg(figure).print_figure(str(draft), format="png", dpi=100)


def _ms(call: Callable[[], object], times: int = 5) -> float:
    """Median milliseconds of a call."""
    took = list[float]()
    for _ in range(times):
        begun = time.perf_counter()
        call()
        took.append(1000 * (time.perf_counter() - begun))
    return statistics.median(took)


def _command(module: str, *words: str) -> None:
    subprocess.run([sys.executable, "-m", module, *words], check=True, capture_output=True)


@contextmanager
def _home() -> Generator[None]:
    """A home of its own, for this process and those that it starts."""
    before = os.environ.get("BUDGET_ZOO_HOME")
    with tempfile.TemporaryDirectory(prefix="budget-zoo-growth-") as home:
        os.environ["BUDGET_ZOO_HOME"] = home
        get_settings.cache_clear()
        try:
            yield
        finally:
            os.environ.pop("BUDGET_ZOO_HOME") if before is None else os.environ.update(BUDGET_ZOO_HOME=before)
            get_settings.cache_clear()


@app.command("growth")
def command(
    path: Json = None,
    chart: Annotated[Path | None, typer.Option(metavar="PNG", help="also draw the curves")] = None,
    small: Annotated[bool, typer.Option("--small", help="a few small sizes, to see how it goes")] = False,
) -> None:
    """What longer inputs, more windows, models, jobs and questions cost, and what starting costs."""
    curves = measure(SMALL if small else Sizes())
    if chart:
        draw(curves, chart)
    report(table(curves), path, [asdict(curve) for curve in curves])
