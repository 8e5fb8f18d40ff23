"""One question, batch 1, on every engine in turn: BERT-base, MiniLM, MiniLM in int8, and ours.

Where the CPU multiplies bf16 numbers, peers and ours run in that, too: each is compared in its own best precision.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated

import numpy as np
import typer

from bench import contenders
from bench.report import Json, report
from zoo import catalog, latency
from zoo.catalog import Entry
from zoo.engines import open_engine
from zoo.engines.base import Engine
from zoo.engines.onednn import OneDnnEngine
from zoo.errors import UserError
from zoo.features import Tokenizer, load_tokenizer, make_windows, pad
from zoo.lengths import Front, LengthConfig
from zoo.settings import get_settings

log = logging.getLogger(__name__)

FLOAT, OURS = "minilm-l6-qa", "minilm-l6-qa-length-adaptive-int8"
BASELINE, PRODUCTS = "bert-base-fp32-torch", "integer-products-alone"
PEER, OUR_OWN = "minilm-", "ours-100-"  # at full length
TOKENS = (384, 170)
LOSS = 1.0
SECONDS = 8.0  # for one row at the most
TOTAL_SECONDS = 200.0  # for all of it, the slowest machine's last rounds aside
CALIBRATION = 30


app = typer.Typer()


@dataclass(frozen=True)
class Row:
    """How long a name takes at a number of tokens, in milliseconds; n is the number of samples."""

    name: str
    tokens: int
    p50_ms: float
    p90_ms: float
    n: int


def compare(
    plain: Entry | None = None, ours: Entry | None = None, tokens: Sequence[int] = TOKENS, rounds: int = 40
) -> list[Row]:
    """Time every name at each of `tokens`, all in one interleaved run.

    Args:
        plain: the full-precision entry; the bundled one by default.
        ours: the length-adaptive int8 entry; the bundled one by default.
        tokens: how long the inputs are.
        rounds: samples of a row at the most; slow rows get fewer.

    Raises:
        UserError: an entry is missing, or the machine is in use by another measurement.
    """
    began = time.monotonic()
    plain, ours = plain or catalog.find(FLOAT), ours or catalog.find(OURS)
    if ours.front is None:
        raise UserError(f"{ours.name} has no front.json. Make it with `python -m compress run`.")
    if latency.disturbed():
        log.warning("Something else keeps this machine busy: the figures will be disturbed.")
    tokenizer = load_tokenizer(plain.folder)
    batches = {count: passage(tokenizer, count) for count in tokens}
    runners = _runners(plain, ours, ours.front, calibration(tokenizer))
    calls = {(name, count): runner(batches[count]) for count in tokens for name, runner in runners.items()}
    spent = time.monotonic() - began
    log.info("prepared in %.0f s; measuring", spent)
    with latency.device_lock():
        timings = latency.measure(
            {f"{name}@{count}": call for (name, count), call in calls.items()},
            rounds=rounds,
            warmup=2,
            seconds=min(SECONDS, max(1.0, (TOTAL_SECONDS - spent) / len(calls))),
        )
    results = ((name, count, timings[f"{name}@{count}"]) for name, count in calls)
    return [Row(name, count, round(t.p50_ms, 3), round(t.p90_ms, 3), t.n) for name, count, t in results]


def table(rows: Sequence[Row]) -> str:
    """The rows as one Markdown table, with the speed-up over BERT-base at the same number of tokens."""
    base = {row.tokens: row.p50_ms for row in rows if row.name == BASELINE}
    lines = ["| name | tokens | p50 ms | p90 ms | n | × BERT-base |", "|---|--:|--:|--:|--:|--:|"]
    for row in rows:
        ratio = f"{base[row.tokens] / row.p50_ms:.1f}" if row.tokens in base else "–"
        lines.append(f"| {row.name} | {row.tokens} | {row.p50_ms:.1f} | {row.p90_ms:.1f} | {row.n} | {ratio} |")
    return "\n".join([*lines, *_standing(rows)])


def _standing(rows: Sequence[Row]) -> list[str]:
    """A line for each number of tokens: our fastest row beside the fastest peer, each of any engine and precision."""
    said = []
    for tokens in dict.fromkeys(row.tokens for row in rows):
        here = [row for row in rows if row.tokens == tokens]
        ours, peers, ours_1f1 = (
            min((row for row in here if row.name.startswith(kind)), key=lambda row: row.p50_ms, default=None)
            for kind in (OUR_OWN, PEER, "ours-1f1-")
        )
        if ours is None or peers is None or ours_1f1 is None:
            continue
        words = (
            f"{tokens} tokens: {ours.name} is {peers.p50_ms / ours.p50_ms:.2f} times as fast as {peers.name}, the "
            f"fastest peer; {ours_1f1.name} {peers.p50_ms / ours_1f1.p50_ms:.2f} times"
        )
        bound = [row.p50_ms for row in here if row.name == PRODUCTS]
        said.append(words + "".join(f"; {ours.p50_ms / ms:.1f} times the integer products alone" for ms in bound) + ".")
    return ["", *said] if said else []


def passage(tokenizer: Tokenizer, tokens: int) -> contenders.Batch:
    """A bundled question with as many bundled passages behind it as fill exactly `tokens` tokens: `[1, tokens]`."""
    examples = catalog.examples()
    context = " ".join(dict.fromkeys(example["context"] for example in examples))
    window = make_windows(tokenizer, [examples[0]["question"]], [context], max_length=tokens)[0]
    if len(window.input_ids) != tokens:
        raise UserError(f"The bundled passages have only {len(window.input_ids)} tokens. Ask for fewer than {tokens}.")
    return pad([window])


def calibration(tokenizer: Tokenizer) -> list[contenders.Batch]:
    """Bundled questions with their passages, one a batch."""
    chosen = catalog.examples()[::2][:CALIBRATION]
    questions, contexts = ([example[key] for example in chosen] for key in ("question", "context"))
    return [pad([window]) for window in make_windows(tokenizer, questions, contexts)]


def _runners(plain: Entry, ours: Entry, front: Front, samples: list[contenders.Batch]) -> dict[str, contenders.Runner]:
    threads, cache = get_settings().threads, get_settings().home / "cache" / "bench"
    # Without VNNI two int8 products can overflow their 16-bit sum.
    narrow = not latency.machine()["vnni"]
    runners = {
        BASELINE: contenders.bert_base(threads),
        "minilm-fp32-torch": contenders.pretrained(plain.folder, threads),
        "minilm-int8-onnxruntime": contenders.onnxruntime_int8(plain.folder, cache, threads, narrow),
        "minilm-int8-openvino": contenders.openvino_int8(plain.folder, cache, threads, narrow, samples),
    }
    bf16 = latency.multiplies_bf16()
    if bf16:
        runners["minilm-int8-openvino-bf16"] = contenders.openvino_int8(
            plain.folder, cache, threads, narrow, samples, "bf16"
        )
        if shutil.which("g++"):
            runners["minilm-bf16-compiled"] = contenders.compiled(plain.folder, threads)
    if not OneDnnEngine.refusal():
        runners[PRODUCTS] = contenders.integer_products(plain.folder, threads)
    names = ("onnxruntime", "openvino", *(["openvino-bf16"] if bf16 else []))
    engines = {name: open_engine(name, ours, threads) for name in names}
    configs = {"100": front.full.config, "1f1": front.at("loss", LOSS).point.config}
    for label, config in configs.items():
        for name, engine in engines.items():
            runners[f"ours-{label}-{name}"] = _ours(engine, config)
    return runners


def _ours(engine: Engine, config: LengthConfig) -> contenders.Runner:
    def prepare(batch: contenders.Batch) -> Callable[[], object]:
        lengths = np.array([config.tokens(int(batch["attention_mask"].sum()))], dtype=np.int64)
        return lambda: engine.run(batch, lengths)

    return prepare


@app.command("latency")
def command(
    path: Json = None,
    rounds: Annotated[int, typer.Option(min=1, metavar="N", help="measure each row up to N times")] = 40,
) -> None:
    """One question at 384 and at 170 tokens, every engine in turn."""
    rows = compare(rounds=rounds)
    report(table(rows), path, [asdict(row) for row in rows])
