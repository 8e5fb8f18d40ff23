"""Where the time goes: each runtime's own profile of our graph, by operator."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import onnxruntime
import typer

from bench.contenders import Batch
from bench.latency import LOSS, OURS, passage
from bench.report import report
from zoo import catalog, latency
from zoo.engines import engine_class
from zoo.engines.base import dropping_layers
from zoo.engines.openvino import properties, runtime
from zoo.errors import UserError
from zoo.features import load_tokenizer
from zoo.graph import build, read
from zoo.settings import get_settings

app = typer.Typer()


def profile(tokens: int = 384, runs: int = 30, engine: str = "onnxruntime") -> dict[str, dict[str, float]]:
    """Milliseconds a run that each kind of operator takes in the bundled int8 model.

    Args:
        tokens: of the input.
        runs: to take the mean of.
        engine: one that runs the graph.

    Returns:
        By operator, for full length ("100") and the point that loses at most 1 F1 ("1f1"); "all" is their sum.

    Raises:
        UserError: the bundled model is missing, the engine cannot be looked into or runs on another machine, or this
            machine is in use by another measurement.
    """
    if engine not in SPENT:
        raise UserError(f"{engine} does not say where its time goes: choose {', '.join(SPENT)}.")
    if refusal := engine_class(engine).refusal():
        raise UserError(refusal)
    entry = catalog.find(OURS)
    if entry.front is None:
        raise UserError(f"{OURS} has no front.json. Make it with `python -m compress run`.")
    batch = passage(load_tokenizer(entry.folder), tokens)
    configs = {"100": entry.front.full.config, "1f1": entry.front.at("loss", LOSS).point.config}
    weights, spec = read(entry.folder / "model.int8.onnx")
    rows: dict[str, dict[str, float]] = {}
    with latency.device_lock():
        for label, config in configs.items():
            count = batch["attention_mask"].sum(1)
            lengths = np.array([config.tokens(int(count[0]))], np.int64)
            active = dropping_layers(lengths, count, spec["drop_layers"])
            dialect, spend = SPENT[engine]
            graph = build(weights, spec, dialect, active, padded=False).SerializeToString()
            spent = spend(graph, {**batch, "lengths": lengths}, runs)
            for kind, ms in [("all", sum(spent.values())), *spent.items()]:
                rows.setdefault(kind, dict.fromkeys(configs, 0.0))[label] = ms
    return rows


def table(found: dict[str, dict[str, float]]) -> str:
    """The operators as a Markdown table, costliest first."""
    rows = sorted(found.items(), key=lambda item: -item[1]["100"])
    lines = ["| operator | 100 %, ms | 1-F1 point, ms |", "|---|--:|--:|"]
    return "\n".join([*lines, *(f"| {kind} | {ms['100']:.2f} | {ms['1f1']:.2f} |" for kind, ms in rows)])


def _of_onnxruntime(graph: bytes, feed: Batch, runs: int) -> Counter[str]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = get_settings().threads, 1
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = str(Path(folder) / "run")
        plain = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        inputs = {port.name for port in plain.get_inputs()}
        feed = {key: value for key, value in feed.items() if key in inputs}
        for _ in range(3):
            plain.run(None, feed)
        options.enable_profiling = True
        session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        for _ in range(runs):
            session.run(None, feed)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    spent: Counter[str] = Counter()
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            spent[event["args"]["op_name"]] += event["dur"] / 1000 / runs  # type: ignore[assignment]
    return spent


def _of_openvino(graph: bytes, feed: Batch, runs: int, hint: str = "f32") -> Counter[str]:
    """By kind and kernel, for these tell integers from floats: `FullyConnected (brgemm_avx512_I8)`."""
    core = runtime().Core()
    settings = {**properties(get_settings().threads, hint), "PERF_COUNT": True}
    compiled = core.compile_model(core.read_model(graph, b""), "CPU", settings)
    request = compiled.create_infer_request()
    inputs = {port.get_node().get_friendly_name() for port in request.model_inputs}
    feed = {key: value for key, value in feed.items() if key in inputs}
    for _ in range(3):
        request.infer(feed)
    spent: Counter[str] = Counter()
    for _ in range(runs):
        request.infer(feed)
        for info in request.profiling_info:
            if ms := info.real_time.total_seconds() * 1000:
                spent[f"{info.node_type} ({info.exec_type})"] += ms / runs  # type: ignore[assignment]
    return spent


SPENT: dict[str, tuple[str, Callable[[bytes, Batch, int], Counter[str]]]] = {  # the graph's dialect, and what runs it
    "onnxruntime": ("onnxruntime", _of_onnxruntime),
    "openvino": ("openvino", _of_openvino),
    "openvino-bf16": ("openvino", partial(_of_openvino, hint="bf16")),
}


@app.command("profile")
def command(
    engine: Annotated[str, typer.Option(metavar="NAME", help="onnxruntime, openvino or openvino-bf16")] = "onnxruntime",
) -> None:
    """Milliseconds by operator of the bundled model on an engine."""
    report(table(profile(engine=engine)))
