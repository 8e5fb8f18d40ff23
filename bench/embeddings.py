"""A sentence encoder of ours beside sentence-transformers: likeness, search, compute, passages a second; in one run."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from bench import peers
from bench.entries import points_of
from bench.report import Json, report
from compress.data.examples import QueryExample, TextExample
from compress.data.fingerprints import load_fingerprints
from compress.data.names import OWN
from compress.data.texts import draw
from compress.tasks.lengths import drop_layers_of, effective, macs_share
from compress.tasks.pairs import Pairs
from compress.tasks.searches import Searches
from compress.tasks.subject import Reading
from zoo import catalog, latency
from zoo.catalog import Entry, checkpoint_of
from zoo.checkpoints import read_config
from zoo.engines import GRAPH, engine_class, engines_here, open_engine, open_float
from zoo.engines.base import Engine
from zoo.errors import UserError
from zoo.features import Tokenizer, load_tokenizer, make_texts, pad
from zoo.lengths import LengthConfig, Shape
from zoo.settings import get_settings
from zoo.tasks import EMBEDDINGS, find_task

log = logging.getLogger(__name__)

OURS = "ours"  # how names of our rows begin
BATCHES = [32]
SEED = 0  # of the questions and passages that are drawn

app = typer.Typer()


@dataclass(frozen=True)
class Data:
    """What all are measured on.

    Attributes:
        pairs: texts and how alike they are.
        queries: questions, each among all passages.
        timed: passages that are embedded on the clock.
    """

    pairs: list[TextExample]
    queries: list[QueryExample]
    timed: list[str]


@dataclass(frozen=True)
class Contender:
    """What gives vectors.

    Attributes:
        name: of its row.
        embed: texts and the size of a batch to vectors.
        run: the same, on the clock.
        macs: shares of the full length's MACs, over the passages and over the texts of the pairs.
    """

    name: str
    embed: Callable[[Sequence[str], int], np.ndarray]
    run: Callable[[Sequence[str], int], object]
    macs: tuple[float, float] = (1.0, 1.0)


@dataclass(frozen=True)
class Row:
    """A contender.

    Attributes:
        spearman: of cosines and the pairs' likeness; this, `recall` (at 1) and `mrr` (at 10) in points of 100.
        macs, macs_of_pairs: share of the unpadded full length's, over the passages and over the texts of the pairs.
        batch: the size that was fastest, of those tried.
        per_second: passages, at the median.
        p50_s, p90_s: seconds for all timed passages.
        n: how often.
        faster: times as fast as the fastest of sentence-transformers.
        tried: medians in seconds by size of the batch.
    """

    name: str
    spearman: float
    recall: float
    mrr: float
    macs: float
    macs_of_pairs: float
    batch: int
    per_second: float
    p50_s: float
    p90_s: float
    n: int
    faster: float
    tried: Mapping[int, float]


def read(stsb: str | None, squad: str | None, questions: int | None, passages: int | None, known: set[str]) -> Data:
    """Pairs and queries, by default those of the data folder, or of the Hub.

    Args:
        stsb: a source of pairs.
        squad: a source of queries.
        questions: so many of the queries, drawn at random among all passages; None for all.
        passages: so many on the clock, likewise.
        known: fingerprints of what the entry was trained on.

    Raises:
        UserError: there are none, or some that the entry was trained on.
    """
    pairs = Pairs(find_task("embeddings"), Reading(EMBEDDINGS.padded))
    searches = Searches(find_task("search"), Reading(EMBEDDINGS.padded))
    queries = searches.read(squad or _own("qa", "squad-dev-v1.1.json"))
    likeness = pairs.read(stsb or _own("glue", "stsb", "validation.jsonl"))
    pairs.refuse_overlap(known, likeness)
    searches.refuse_overlap(known, queries)
    return Data(likeness, draw(queries, questions, SEED), draw(queries[0].passages, passages, SEED))


def _own(*parts: str) -> str:
    """A file of the data folder, else the task's own data."""
    place = get_settings().data
    path = place.joinpath(*parts) if place else None
    return str(path) if path and path.is_file() else OWN


@contextmanager
def contenders(
    entry: Entry, original: Path, data: Data, engines: Sequence[str], points: int | None, python: str
) -> Generator[tuple[list[Contender], list[str]]]:
    """sentence-transformers on each backend, our float, our int8 on each engine at each point; and what is left out."""
    threads = get_settings().threads
    with peers.opened(original, python, threads) as (theirs, lacking):
        found = [Contender(peer.name, peer.embed, peer.run) for peer in theirs]
        exact = open_float(original, threads)
        found.append(_ours(f"{OURS}, float32, {exact.name}", exact, original, LengthConfig.full(exact.layers), data))
        *shorter, full = points_of(entry, points)
        for name in engines:
            engine = open_engine(name, entry, threads)
            for point in (full, *shorter):
                said = "full length" if point.config.is_full else f"lengths {point.config}"
                found.append(_ours(f"{OURS}, int8, {name}, {said}", engine, entry.folder, point.config, data))
        yield found, lacking


def _ours(name: str, engine: Engine, folder: Path, config: LengthConfig, data: Data) -> Contender:
    settings, tokenizer = read_config(folder), load_tokenizer(folder)
    longest = Pairs.longest(find_task("embeddings"), settings)
    config = effective(config, drop_layers_of(settings))
    texts = data.queries[0].passages, [text for one in data.pairs for text in (one.first, one.second or "")]
    counts = ([len(window.input_ids) for window in make_texts(tokenizer, part, None, longest)] for part in texts)
    passages, pairs = (macs_share(Shape.from_config(settings), each, config) for each in counts)
    run = partial(embedded, engine, tokenizer, config, longest)
    return Contender(name, run, run, (passages, pairs))


def embedded(
    engine: Engine, tokenizer: Tokenizer, config: LengthConfig, longest: int, texts: Sequence[str], batch: int
) -> np.ndarray:
    """Vectors of texts, `[texts, hidden]`, in batches of like length, padded to their longest.

    Args:
        engine, tokenizer: of the model.
        config: length configuration.
        longest: tokens of a text at most.
        texts: any number.
        batch: texts that an engine gets at once.
    """
    windows = make_texts(tokenizer, texts, None, longest)
    order = sorted(range(len(windows)), key=lambda i: len(windows[i].input_ids))
    rows = [np.empty(0)] * len(windows)
    for at in range(0, len(order), batch):
        alike = order[at : at + batch]
        some = [windows[i] for i in alike]
        lengths = np.array([config.tokens(len(window.input_ids)) for window in some], np.int64)
        for i, vector in zip(alike, engine.run(pad(some, tokenizer.pad_token_id), lengths).logits, strict=True):
            rows[i] = vector
    return np.stack(rows)


def compare(found: Sequence[Contender], data: Data, batches: Sequence[int] = BATCHES, rounds: int = 5) -> list[Row]:
    """Scores all, then times them in turn.

    Args:
        found: contenders, those of sentence-transformers among them.
        data: what they are measured on.
        batches: sizes that each is timed at.
        rounds: how often each embeds the timed passages at each size.

    Raises:
        UserError: another measurement uses the machine.
    """
    scores = [scored(each, data, batches[0]) for each in found]
    if latency.disturbed():
        log.warning("Something else keeps this machine busy: the figures will be disturbed.")
    calls = {
        f"{place} {size}": partial(each.run, data.timed, size) for place, each in enumerate(found) for size in batches
    }
    with latency.device_lock():
        took = latency.measure(calls, rounds=rounds, warmup=1)
    fastest = [min(batches, key=lambda size: took[f"{place} {size}"].p50_ms) for place in range(len(found))]
    bests = [took[f"{place} {size}"] for place, size in enumerate(fastest)]
    bar = min(best.p50_ms for each, best in zip(found, bests, strict=True) if not each.name.startswith(OURS))
    return [
        Row(
            each.name,
            *scores[place],
            *each.macs,
            size,
            1000 * len(data.timed) / best.p50_ms,
            best.p50_ms / 1000,
            best.p90_ms / 1000,
            best.n,
            bar / best.p50_ms,
            {other: took[f"{place} {other}"].p50_ms / 1000 for other in batches},
        )
        for place, (each, size, best) in enumerate(zip(found, fastest, bests, strict=True))
    ]


def scored(each: Contender, data: Data, batch: int) -> tuple[float, float, float]:
    """Spearman's correlation, recall at 1 and MRR at 10, in points of 100."""
    reading = Reading(EMBEDDINGS.padded)

    def embed(texts: list[str]) -> np.ndarray:
        return each.embed(texts, batch)

    likeness = Pairs(find_task("embeddings"), reading).score_by(embed, data.pairs)
    search = Searches(find_task("search"), reading).score_by(embed, data.queries)
    log.info("%s: %.2f Spearman, %.2f recall@1", each.name, likeness["spearman"], search["recall_at_1"])
    return likeness["spearman"], search["recall_at_1"], search["mrr_at_10"]


def table(rows: Sequence[Row], data: Data) -> str:
    """The rows as a Markdown table, and below it what they were measured on. Losses are against the first row's."""
    base = rows[0]
    lines = [
        "| model | Spearman | recall@1 | MRR@10 | MACs, passages | pairs | batch | passages/s | p50 (p90) s | × peer |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for r in rows:
        lines.append(
            f"| {r.name} | {r.spearman:.2f} ({r.spearman - base.spearman:+.2f}) | "
            f"{r.recall:.2f} ({r.recall - base.recall:+.2f}) | {r.mrr:.2f} | {r.macs:.1%} | {r.macs_of_pairs:.1%} | "
            f"{r.batch} | {r.per_second:.1f} | {r.p50_s:.2f} ({r.p90_s:.2f}) | {r.faster:.2f} |"
        )
    said = (
        f"{len(data.pairs):,} pairs; {len(data.queries):,} questions among {len(data.queries[0].passages):,} passages; "
        f"{len(data.timed):,} passages on the clock, in turn, from text to vector, in batches of like length, "
        f"n = {rows[0].n}, each at the fastest size of a batch. In brackets the difference to the first row; × peer: "
        "times as fast as the fastest of sentence-transformers."
    )
    return "\n".join([*lines, "", said])


@app.command("embeddings")
def command(
    name: Annotated[str, typer.Argument(metavar="ENTRY", help="a length-adaptive int8 entry for embeddings")],
    original: Annotated[
        str | None, typer.Option(help="the model it was made from, a folder or a Hub id; by default its base model")
    ] = None,
    stsb: Annotated[
        str | None, typer.Option(metavar="FILE", help="pairs and how alike they are; by default STS-B validation")
    ] = None,
    squad: Annotated[
        str | None, typer.Option(metavar="FILE", help="questions with passages; by default SQuAD dev")
    ] = None,
    questions: Annotated[int, typer.Option(min=1, metavar="N", help="search for so many at most")] = 2000,
    passages: Annotated[int, typer.Option(min=1, metavar="N", help="time so many at most")] = 256,
    batch: Annotated[list[int], typer.Option(min=1, metavar="N...", help="texts at once")] = BATCHES,
    points: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="of the front, beside full length; by default all")
    ] = None,
    engine: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="of the entry; may be given again; by default all of int8")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, metavar="N", help="measure each row N times")] = 5,
    python: Annotated[
        str, typer.Option("--peers", metavar="PYTHON", help="interpreter that has sentence-transformers")
    ] = sys.executable,
    path: Json = None,
) -> None:
    """A sentence encoder of ours beside sentence-transformers: likeness, search, compute, passages a second."""
    entry = catalog.find(name)
    able = [each for each in engines_here(entry) if engine_class(each).opens == GRAPH]
    if entry.task != EMBEDDINGS.name or entry.front is None or not able:
        raise UserError(f"{entry.name} is no length-adaptive int8 entry for embeddings. Make one: minilm_embeddings.")
    if wrong := [each for each in engine or () if each not in able]:
        raise UserError(f"{entry.name} does not run on {wrong[0]} here: choose of {', '.join(able)}.")
    folder = checkpoint_of(original or entry.base_model)
    data = read(stsb, squad, questions, passages, load_fingerprints(entry.folder))
    with contenders(entry, folder, data, engine or able, points, python) as (found, lacking):
        rows = compare(found, data, batch, rounds)
    figures: dict[str, Any] = {"rows": [asdict(row) for row in rows], "left_out": lacking}
    figures |= {"pairs": len(data.pairs), "questions": len(data.queries), "passages": len(data.timed)}
    report("\n".join([table(rows, data), *lacking]), path, {**figures, "machine": latency.machine()})
