"""The table of QuaLA-MiniLM (arXiv 2210.17114), made again here: full precision, int8, and both ways to rank tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import numpy as np
import typer

from bench import contenders
from bench.latency import BASELINE, FLOAT, OURS, passage
from bench.report import Json, report
from compress.recipe.published import PUBLISHED
from compress.results.score import score_entry
from zoo import catalog, latency
from zoo.catalog import Entry
from zoo.engines import open_engine
from zoo.errors import UserError
from zoo.features import load_tokenizer
from zoo.files import read_json
from zoo.lengths import PAPER_TOKENS, LengthConfig, Shape, macs_ratio
from zoo.settings import get_settings
from zoo.significance import is_learned

LENGTHS = "(315, 251, 242, 159, 142, 33)"  # as published, of 384
LOSS = 1.0  # points of F1 that our own lengths may lose against int8 at full length
SECONDS = 10.0  # for one row at the most

app = typer.Typer()


@dataclass(frozen=True)
class Row:
    """A model at a configuration.

    Attributes:
        ranked: how its tokens are ranked, "" where none is dropped.
        kept: tokens of 384 that go on after each layer.
        f1, em: points of 100; None where the weights are random.
        macs: share of the full model's MACs at the real lengths of the questions, and `padded` at 384 tokens.
        faster: times as fast as a BERT-base in float32.
    """

    name: str
    ranked: str
    kept: str
    f1: float | None
    em: float | None
    macs: float
    padded: float
    p50_ms: float
    p90_ms: float
    faster: float


@dataclass(frozen=True)
class Run:
    """What is scored and timed: an entry on an engine at a configuration, None for full length."""

    name: str
    entry: Entry
    engine: str
    config: LengthConfig | None = None


def compare(
    source: str,
    plain: str = FLOAT,
    ours: Sequence[str] = (OURS,),
    questions: int | None = None,
    engine: str = "onnxruntime",
    rounds: int = 40,
) -> list[Row]:
    """Scores and times BERT-base's size, the model in float32 and int8, and each entry at both lengths.

    Args:
        source: questions to score on.
        plain: the model in full precision.
        ours: length-adaptive int8 entries; of the first there is a row at full length, too.
        questions: score on so many, drawn at random; None: all.
        engine: of the int8 entries.
        rounds: samples of a row's latency at the most.

    Returns:
        Rows, timed in turn at 384 tokens.

    Raises:
        UserError: an entry has no front, its layers are not those that the published lengths are for, or another
            measurement uses the machine.
    """
    whole = catalog.find(plain)
    runs = [Run("MiniLM fp32", whole, whole.engines[0])]
    for name in ours:
        entry = catalog.find(name)
        if entry.front is None:
            raise UserError(f"{entry.name} has no front: name a length-adaptive int8 entry.")
        runs += [Run("MiniLM int8", entry, engine)] if len(runs) == 1 else []
        runs.append(Run("length-adaptive int8, published lengths", entry, engine, LengthConfig.parse(LENGTHS)))
        own = entry.front.at("loss", LOSS).point.config
        runs.append(Run(f"length-adaptive int8, own lengths for {LOSS:g} F1", entry, engine, own))
    scores = [_score(run, source, questions) for run in runs]
    batch = passage(load_tokenizer(whole.folder), PAPER_TOKENS)
    calls = {"0": contenders.bert_base(get_settings().threads)(batch)}
    calls |= {str(place): _call(run, batch) for place, run in enumerate(runs, 1)}
    with latency.device_lock():
        took = latency.measure(calls, rounds=rounds, warmup=2, seconds=SECONDS)
    base = took["0"].p50_ms
    rows = [Row(BASELINE, "", f"all {PAPER_TOKENS}", None, None, 1, 1, took["0"].p50_ms, took["0"].p90_ms, 1)]
    for place, (run, score) in enumerate(zip(runs, scores, strict=True), 1):
        settings, timing = read_json(run.entry.folder / "config.json"), took[str(place)]
        config = run.config or LengthConfig.full(settings["num_hidden_layers"])
        ranked = "" if config.is_full else "learned" if is_learned(settings) else "attention"
        kept = f"all {PAPER_TOKENS}" if config.is_full else config.absolute()
        padded = macs_ratio(Shape.from_config(settings), PAPER_TOKENS, config)
        figures = score["f1"], score["exact_match"], score["macs_ratio"], padded, timing.p50_ms, timing.p90_ms
        rows.append(Row(run.name, ranked, kept, *figures, base / timing.p50_ms))
    return rows


def _score(run: Run, source: str, questions: int | None) -> dict[str, Any]:
    config = ", ".join(map(str, run.config.fractions)) if run.config else None
    return score_entry(str(run.entry.folder), source, None, config, run.engine, questions, "squad")


def _call(run: Run, batch: contenders.Batch) -> Callable[[], object]:
    engine = open_engine(run.engine, run.entry, get_settings().threads)
    config = run.config or LengthConfig.full(engine.layers)
    lengths = np.array([config.tokens(PAPER_TOKENS)], np.int64)
    return lambda: engine.run(batch, lengths)


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table, and below it what was published."""
    lines = [
        "| model | tokens ranked by | kept of 384 | F1 | EM | MACs | MACs, padded | p50 (p90) ms | × BERT-base |",
        "|---|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    for r in rows:
        scores = ("", "") if r.f1 is None or r.em is None else (f"{r.f1:.2f}", f"{r.em:.2f}")
        shares = ("", "") if r.f1 is None else (f"{r.macs:.1%}", f"{r.padded:.1%}")
        times = f"{r.p50_ms:.1f} ({r.p90_ms:.1f})"
        lines.append(f"| {' | '.join((r.name, r.ranked, r.kept, *scores, *shares, times, f'{r.faster:.1f}'))} |")
    one = next(each for each in PUBLISHED if each.kind == "length_adaptive")
    beside = f"Published: {one.system}, F1 {one.full:.2f} in full precision, {one.small:.2f} compressed {one.note}."
    return "\n".join([*lines, "", beside])


@app.command("quala")
def command(
    source: Annotated[str, typer.Option("--eval-file", help="questions to score on, a file or a Hub id")],
    ours: Annotated[
        list[str] | None, typer.Option("--entry", help="a length-adaptive int8 entry; may be given again")
    ] = None,
    plain: Annotated[str, typer.Option(help="the same model in full precision")] = FLOAT,
    questions: Annotated[int | None, typer.Option(min=1, metavar="N", help="score on so many; else on all")] = None,
    engine: Annotated[str, typer.Option(help="of the int8 entries")] = "onnxruntime",
    rounds: Annotated[int, typer.Option(min=1, metavar="N", help="measure each row up to N times")] = 40,
    path: Json = None,
) -> None:
    """QuaLA-MiniLM's own table: fp32, int8, and length-adaptive int8 at the published lengths and at one's own."""
    rows = compare(source, plain, ours or [OURS], questions, engine, rounds)
    report(table(rows), path, [asdict(row) for row in rows])
