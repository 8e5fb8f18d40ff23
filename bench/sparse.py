"""What zeros are good for: one model pruned in every pattern, its int8 file, and how long it takes on each engine."""

from __future__ import annotations

import logging
import tempfile
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from bench.latency import passage
from bench.prunings import prune_of
from bench.report import Json, report
from compress.int8.graph import calibrate_checkpoint, calibration_windows, store_graph
from compress.learn.pruning.prune import Pruner
from compress.learn.pruning.report import compressed_bytes
from compress.learn.shrink import shrink
from compress.recipe.load import load
from zoo import latency, torchvision_fix
from zoo.catalog import checkpoint_of
from zoo.checkpoints import most_tokens
from zoo.engines.base import Engine
from zoo.engines.onnx import OnnxEngine
from zoo.engines.openvino import OpenVinoEngine
from zoo.errors import UserError
from zoo.features import load_tokenizer
from zoo.files import read_json
from zoo.modeling import LengthAdaptiveModel
from zoo.settings import get_settings

log = logging.getLogger(__name__)

MODEL = "minilm-l6-qa"
DENSE, CUT = "dense", "channels and heads, cut out"
PLAIN, PACKING = "openvino", "openvino, packing zeros"
LEAST = 32  # tokens: the question and something of the passage
PATTERNS = {  # settings of `prune`
    "1x1": {"pattern": "1x1"},
    "4x1": {"pattern": "4x1"},
    "2:4": {"pattern": "2:4", "target_sparsity": 0.5},
    CUT: {"pattern": "channelx1", "heads": True, "scope": "local"},
}
DECOMPRESSION = "CPU_SPARSE_WEIGHTS_DECOMPRESSION_RATE"
TAKEN_AS_SPARSE = 0.5  # OpenVINO packs matrices with more zeros than this share
SECONDS = 10.0  # for one row at the most


app = typer.Typer()


@dataclass(frozen=True)
class Row:
    """One pattern on one engine.

    Attributes:
        zeros: share of zeros of the linear layers' weights, as they were pruned.
        bytes, compressed: of the int8 file, as it is and by zlib at level 6.
        p50_ms, p90_ms: of one input.
        gain: how many times as fast as the dense model on the same engine, by medians.
        same: whether the file's logits are those of the same file without OpenVINO's packing; True elsewhere.
    """

    pattern: str
    engine: str
    zeros: float
    bytes: int
    compressed: int
    p50_ms: float
    p90_ms: float
    gain: float
    same: bool


def compare(model: str = MODEL, sparsity: float = 0.8, tokens: int = 384, rounds: int = 30) -> list[Row]:
    """Prunes a checkpoint at once by magnitude, without training, and times its int8 file: time asks nothing of F1.

    Channels and heads that are pruned are really cut out; other zeros stay in the file.

    Args:
        model: a question-answering checkpoint.
        sparsity: share of zeros; 2:4 has one half.
        tokens: length of the input.
        rounds: samples of a row at the most.

    Raises:
        UserError: no such checkpoint, a sparsity or length that cannot be, or another measurement uses the machine.
    """
    torchvision_fix.mend()
    source = checkpoint_of(model)
    most = most_tokens(read_json(source / "config.json"))
    if not LEAST <= tokens <= most:
        raise UserError(f"--tokens is from {LEAST} to {most} for this model, not {tokens}.")
    batch, threads = passage(load_tokenizer(source), tokens), get_settings().threads
    if latency.disturbed():
        log.warning("Something else keeps this machine busy: the figures will be disturbed.")
    with tempfile.TemporaryDirectory() as scratch:
        zeros, files = {}, {}
        for i, name in enumerate((DENSE, *PATTERNS)):
            zeros[name], files[name] = _make(source, name, sparsity, Path(scratch) / str(i))
        sizes = {name: (path.stat().st_size, compressed_bytes(path)) for name, path in files.items()}
        engines: dict[tuple[str, str], Engine] = {}
        for name, path in files.items():
            engines[name, "onnxruntime"] = OnnxEngine.open(path.parent, threads)
            engines[name, PLAIN] = OpenVinoEngine.open(path.parent, threads)
            engines[name, PACKING] = OpenVinoEngine.open(path.parent, threads, {DECOMPRESSION: TAKEN_AS_SPARSE})
        lengths = np.full((1, engines[DENSE, PLAIN].layers), tokens, np.int64)
        logits = {key: engine.run(batch, lengths).logits for key, engine in engines.items()}
        calls = {"|".join(key): partial(engine.run, batch, lengths) for key, engine in engines.items()}
        with latency.device_lock():
            took = latency.measure(calls, rounds=rounds, warmup=2, seconds=SECONDS)
    rows = []
    for name, engine in engines:
        own, dense = took[f"{name}|{engine}"], took[f"{DENSE}|{engine}"]
        same = engine != PACKING or bool(np.allclose(logits[name, PACKING], logits[name, PLAIN], atol=1e-3))
        gain = dense.p50_ms / own.p50_ms
        rows.append(Row(name, engine, zeros[name], *sizes[name], own.p50_ms, own.p90_ms, gain, same))
    return rows


def table(rows: list[Row]) -> str:
    """The rows as a Markdown table."""
    lines = ["| pattern | zeros | file, MB | compressed, MB | engine | p50 (p90) ms | × dense | same answers |"]
    lines.append("|---|--:|--:|--:|---|--:|--:|---|")
    for row in rows:
        lines.append(
            f"| {row.pattern} | {100 * row.zeros:.0f} % | {row.bytes / 1e6:.1f} | {row.compressed / 1e6:.1f} | "
            f"{row.engine} | {row.p50_ms:.1f} ({row.p90_ms:.1f}) | {row.gain:.2f} | {'yes' if row.same else 'NO'} |"
        )
    return "\n".join(lines)


def _make(source: Path, name: str, sparsity: float, folder: Path) -> tuple[float, Path]:
    """Leaves the pruned checkpoint and its static int8 file in `folder`; returns the share of zeros, and the file."""
    model, zeros = LengthAdaptiveModel.load(source), 0.0
    if name != DENSE:
        settings = {"approach": "magnitude", "target_sparsity": sparsity, "start_step": 0, "end_step": 0}
        pruner = Pruner(model, prune_of(**{**settings, **PATTERNS[name]}))
        pruner.before_step(0, 1)
        zeros = pruner.report()["operators"]
        if name == CUT:
            model, _ = shrink(model)
    model.save(folder)
    load_tokenizer(source).save_pretrained(str(folder))
    recipe = load("static_int8", [f"model={folder}"])
    ready = calibrate_checkpoint(folder, recipe.quantize, partial(calibration_windows, recipe))
    store_graph(ready, folder / "int8", recipe.quantize)
    return zeros, folder / "int8" / "model.int8.onnx"


@app.command("sparse")
def command(
    model: Annotated[str, typer.Option(help="checkpoint to prune")] = MODEL,
    sparsity: Annotated[float, typer.Option(metavar="S", help="share of zeros")] = 0.8,
    tokens: Annotated[int, typer.Option(metavar="N", help="tokens of the input")] = 384,
    path: Json = None,
) -> None:
    """What zeros are good for: one model pruned in every pattern, timed."""
    rows = compare(model, sparsity, tokens)
    report(table(rows), path, {"rows": [asdict(row) for row in rows], "machine": latency.machine()})
