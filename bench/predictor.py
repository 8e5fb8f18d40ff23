"""Latency predictors on one table: this program's, whose predictions cannot fall as a size rises, and Bigger&Faster's.

Theirs (LukeBailey181/bigger_and_faster, `latency_predictor.py`) is a network of four layers, 2000 wide, on sizes scaled
to 1, with Adam at 1e-5 and batches of 128 for 5000 steps. Its target is scaled by the largest latency here, where they
divide by 200 ms, so that it is not at a loss with encoders of a few milliseconds.
"""

from __future__ import annotations

import logging
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnxruntime
import torch
import typer
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import nn

from bench.report import Json, report
from compress.nas.latency_table import measure_table, plan, time_call, time_row
from compress.nas.predictor import BASES, errors, train
from compress.nas.space import GENES, Arch, Space
from compress.nas.table import Table, refuse_foreign
from compress.nas.timed import Setup
from compress.progress import Progress
from compress.recipe.nas_groups import LatencyPredictor, LatencyTable
from zoo import torchvision_fix
from zoo.devices import compute_device
from zoo.files import Archive
from zoo.latency import machine
from zoo.settings import get_settings

torchvision_fix.mend()
from transformers import BertConfig, BertForQuestionAnswering  # noqa: E402 - it imports torchvision

log = logging.getLogger(__name__)

MINILM = Space.spanned((2, 6), (128, 384), (256, 1536), 32, 32)  # 1845 encoders: a thousand rows are a sample
WIDTH, HIDDEN_LAYERS, STEPS, BATCH, RATE = 2000, 3, 5000, 128, 1e-5
ERRORS = ("mape", "spearman", "rmse_ms", "n")


app = typer.Typer()


@dataclass(frozen=True)
class Row:
    """A predictor on a mode.

    Attributes:
        mape: mean error in percent, on `n` rows that it has not seen.
        spearman: rank correlation there.
        falls: share of all single steps upward in size, in percent, at which the prediction falls.
        seconds: of learning.
        weights: numbers learned.
    """

    mode: str
    predictor: str
    mape: float
    spearman: float
    rmse_ms: float
    n: int
    falls: float
    seconds: float
    weights: int


@dataclass(frozen=True)
class Pace:
    """Rows a minute, with the graph written directly and with each model exported and quantized by itself."""

    mode: str
    encoders: int
    direct: float
    exported: float
    ratio: float
    apart: float  # median difference of the two latencies, in percent


def make_table(modes: Sequence[str], rows: int, folder: Path, tokens: int, space: Space = MINILM) -> Table:
    """Measures a table of the space, or goes on with the one in `folder`."""
    settings = LatencyTable.model_validate({"modes": list(modes), "rows": rows, "tokens": tokens})
    setup = Setup(tokens=tokens, threads=get_settings().threads)
    with Progress(folder / "progress.jsonl", "latency_table") as progress:
        table = measure_table(space, setup, settings, Archive(folder / "rows.jsonl"), progress)
    table.save(folder / "table.json")
    return table


def compare(latencies: Table, steps: int = STEPS, seed: int = 0, modes: Sequence[str] | None = None) -> list[Row]:
    """Every way of predicting, on the same rows of every mode of the table, or of those named."""
    rows: list[Row] = []
    for mode in modes or latencies.modes:
        one = Table(latencies.of(mode), latencies.machine, latencies.setup, latencies.space)
        unseen: set[str] = set()
        for basis in ("auto", *BASES):
            began = time.perf_counter()
            predictor, held_out = train(one, LatencyPredictor.model_validate({"basis": basis, "seed": seed}))
            seconds = time.perf_counter() - began
            weights, errors_of = predictor.fits[mode].weights, predictor.error[mode]
            name = f"auto ({errors_of['basis']})" if basis == "auto" else basis
            falls = share_that_falls(latencies.space, predictor.predict(list(latencies.space), mode).tolist())
            scores = {key: errors_of.get(key, float("nan")) for key in ERRORS}
            rows.append(Row(mode, name, **scores, falls=falls, seconds=seconds, weights=len(weights)))
            unseen = {key for key, _, _ in held_out[mode]}
        rows.append(_network(one, mode, unseen, steps, seed))
    return rows


def share_that_falls(space: Space, predicted: Sequence[float]) -> float:
    """Percent of the single steps upward in a size at which a prediction falls by more than a millionth."""
    times = dict(zip(space, predicted, strict=True))
    steps = falls = 0
    for arch, ms in times.items():
        for name in GENES:
            for other in space.moved(arch, name):
                if getattr(other, name) > getattr(arch, name):
                    steps += 1
                    falls += times[other] < ms * (1 - 1e-6)
    return 100 * falls / max(steps, 1)


def _network(made: Table, mode: str, unseen: set[str], steps: int, seed: int) -> Row:
    def sizes(archs: Sequence[Arch]) -> torch.Tensor:
        wide = made.space.largest
        largest = (wide.hidden, wide.layers, wide.intermediate, wide.qkv)
        own = [(a.hidden, a.layers, a.intermediate, a.qkv) for a in archs]
        return torch.tensor(own, dtype=torch.float32) / torch.tensor(largest)

    rows = made.of(mode)
    training, testing = [r for r in rows if r.arch.key not in unseen], [r for r in rows if r.arch.key in unseen]
    top = max(r.p50_ms for r in training)
    x, y = sizes([r.arch for r in training]), torch.tensor([r.p50_ms / top for r in training])
    began = time.perf_counter()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[nn.Module] = [nn.Linear(4, WIDTH), nn.ReLU()]
        for _ in range(HIDDEN_LAYERS):
            layers += [nn.Linear(WIDTH, WIDTH), nn.ReLU()]
        net = nn.Sequential(*layers, nn.Linear(WIDTH, 1))
        place = compute_device()
        net, x, y = net.to(place), x.to(place), y.to(place)
        learner = torch.optim.Adam(net.parameters(), lr=RATE)
        for step in range(steps):
            pick = torch.randint(len(x), (BATCH,), device=place)
            loss = nn.functional.mse_loss(net(x[pick])[:, 0], y[pick])
            learner.zero_grad()
            loss.backward()
            learner.step()
            if step % 500 == 0:
                log.info("%s: network, step %d, loss %.6f", mode, step, loss.item())
    seconds = time.perf_counter() - began

    def predict(archs: Sequence[Arch]) -> np.ndarray:
        with torch.no_grad():
            return (net(sizes(archs).to(place))[:, 0] * top).cpu().numpy().astype(float)

    errors_of = errors(predict([r.arch for r in testing]), np.array([r.p50_ms for r in testing]))
    falls = share_that_falls(made.space, predict(list(made.space)).tolist())
    count = sum(part.numel() for part in net.parameters())
    scores: dict[str, Any] = {key: errors_of.get(key, float("nan")) for key in ERRORS}
    return Row(mode, "network of 4 layers", **scores, falls=falls, seconds=seconds, weights=count)


def pace(space: Space, encoders: int, tokens: int) -> Pace:
    """How many rows a minute the graph that is written directly gives, and exporting each model from torch.

    Both make an int8 model of onnxruntime and time it with the same settings; the exported ones are quantized
    dynamically by onnxruntime's own tool, as in Bigger&Faster's `inference_time_evaluation_quant_onnx.py`.
    """
    settings = LatencyTable.model_validate({"tokens": tokens})
    setup = Setup(tokens=tokens, threads=get_settings().threads, approach="dynamic")
    archs = plan(space, encoders + 8, 0)[8:] or plan(space, encoders, 0)
    took = {"direct": 0.0, "exported": 0.0}
    off = []
    for arch in archs:
        began = time.perf_counter()
        direct = time_row(arch, "onnxruntime_int8", setup, settings)
        between = time.perf_counter()
        exported = _exported_row(arch, setup, settings)
        took["direct"] += between - began
        took["exported"] += time.perf_counter() - between
        off.append(abs(exported["p50_ms"] / direct["p50_ms"] - 1))
        log.info("%s: %.2f ms directly, %.2f ms exported", arch, direct["p50_ms"], exported["p50_ms"])
    speeds = {name: 60 * len(archs) / seconds for name, seconds in took.items()}
    gain, apart = speeds["direct"] / speeds["exported"], 100 * float(np.median(off))
    return Pace("onnxruntime_int8", len(archs), speeds["direct"], speeds["exported"], gain, apart)


def _exported_row(arch: Arch, setup: Setup, settings: LatencyTable) -> dict[str, float]:
    config = BertConfig(
        num_hidden_layers=arch.layers,
        hidden_size=arch.hidden,
        intermediate_size=arch.intermediate,
        num_attention_heads=arch.heads,
        attn_implementation="eager",  # pyright: ignore[reportCallIssue]
    )
    inputs = setup.inputs()
    with tempfile.TemporaryDirectory() as place, torch.no_grad():
        plain, small = Path(place) / "model.onnx", Path(place) / "small.onnx"
        example = tuple(torch.from_numpy(inputs[k]) for k in ("input_ids", "attention_mask", "token_type_ids"))
        names = list(inputs)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter that traces is the older one, and several times as fast
            model = BertForQuestionAnswering(config).eval()
            torch.onnx.export(model, example, str(plain), input_names=names, dynamo=False, verbose=False)
            quantize_dynamic(plain, small, weight_type=QuantType.QInt8, reduce_range=True)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = setup.threads, 1
        options.add_session_config_entry("session.force_spinning_stop", "1")
        session = onnxruntime.InferenceSession(str(small), options, providers=["CPUExecutionProvider"])
        feed = {slot.name: inputs[slot.name] for slot in session.get_inputs()}
        return time_call(lambda: session.run(None, feed), settings)


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table."""
    lines = [
        "| mode | predictor | error on held-out rows | Spearman | n | steps up that fall | learned in | weights |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    for r in rows:
        lines.append(
            f"| {r.mode} | {r.predictor} | {r.mape:.2f} % | {r.spearman:.4f} | {r.n} | {r.falls:.1f} % | "
            f"{r.seconds:.1f} s | {r.weights:,} |"
        )
    return "\n".join(lines)


@app.command("predictor")
def command(
    table_file: Annotated[
        Path | None, typer.Option("--table", metavar="FILE", help="table.json of this machine; else one is measured")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(metavar="DIR", help="where a measured one goes on, by default below the home")
    ] = None,
    modes: Annotated[
        list[str] | None,
        typer.Option(metavar="MODE...", help="what to measure, by default onnxruntime_int8; of a given table all"),
    ] = None,
    rows: Annotated[int, typer.Option(metavar="N", help="encoders in each mode")] = 1000,
    tokens: Annotated[int, typer.Option(metavar="N", help="tokens of the input")] = 128,
    steps: Annotated[int, typer.Option(metavar="N", help="of the network's training")] = STEPS,
    export: Annotated[int, typer.Option(metavar="N", help="export so many models by themselves")] = 0,
    path: Json = None,
) -> None:
    """Latency predictors on one table, and how fast a table is made."""
    if table_file:
        latencies = Table.load(table_file)
        refuse_foreign(latencies.machine, "The latency table")
    else:
        place = folder or get_settings().home / "bench" / f"latency-table-{tokens}"
        latencies = make_table(modes or ["onnxruntime_int8"], rows, place, tokens)
    scores = compare(latencies, steps, modes=modes)
    text = table(scores)
    speed = pace(MINILM, export, tokens) if export else None
    if speed:
        text += (
            f"\n\n{speed.direct:.1f} rows a minute, {speed.exported:.1f} with {speed.encoders} models exported by "
            f"themselves: {speed.ratio:.1f} times; medians {speed.apart:.1f} % apart"
        )
    rows_of = [{k: None if v != v else v for k, v in asdict(row).items()} for row in scores]
    figures = {"rows": rows_of, "pace": asdict(speed) if speed else None}
    report(text, path, {**figures, "machine": machine()})
