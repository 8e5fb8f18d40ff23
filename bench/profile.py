"""Where the time goes: onnxruntime's own profile of our graph, by operator."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import typer

from bench.contenders import Batch
from bench.latency import LOSS, OURS, passage
from bench.report import report
from zoo import catalog, latency
from zoo.engines.base import dropping_layers
from zoo.errors import UserError
from zoo.features import load_tokenizer
from zoo.graph import build, read
from zoo.lengths import LengthConfig
from zoo.settings import get_settings

app = typer.Typer()


def profile(tokens: int = 384, runs: int = 30) -> dict[str, dict[str, float]]:
    """Milliseconds a run that each kind of operator takes in the bundled int8 model.

    Returns:
        By operator, for full length ("100") and the point that loses at most 1 F1 ("1f1"); "all" is their sum.

    Raises:
        UserError: the bundled model is missing, or the machine is in use by another measurement.
    """
    entry = catalog.find(OURS)
    if entry.front is None:
        raise UserError(f"{OURS} has no front.json. Make it with `python -m compress run`.")
    batch = passage(load_tokenizer(entry.folder), tokens)
    configs = {"100": entry.front.full.config, "1f1": entry.front.at("loss", LOSS).point.config}
    weights, spec = read(entry.folder / "model.int8.onnx")
    rows: dict[str, dict[str, float]] = {}
    with latency.device_lock():
        for label, config in configs.items():
            spent = _spent(weights, spec, config, batch, runs)
            for kind, ms in [("all", sum(spent.values())), *spent.items()]:
                rows.setdefault(kind, dict.fromkeys(configs, 0.0))[label] = ms
    return rows


def table(found: dict[str, dict[str, float]]) -> str:
    """The operators as a Markdown table, costliest first."""
    rows = sorted(found.items(), key=lambda item: -item[1]["100"])
    lines = ["| operator | 100 %, ms | 1-F1 point, ms |", "|---|--:|--:|"]
    return "\n".join([*lines, *(f"| {kind} | {ms['100']:.2f} | {ms['1f1']:.2f} |" for kind, ms in rows)])


def _spent(weights: Any, spec: dict[str, Any], config: LengthConfig, batch: Batch, runs: int) -> Counter[str]:
    count = batch["attention_mask"].sum(1)
    lengths = np.array([config.tokens(int(count[0]))], np.int64)
    active = dropping_layers(lengths, count, spec["drop_layers"])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = get_settings().threads, 1
    options.log_severity_level = 3
    model = build(weights, spec, "onnxruntime", active, padded=False).SerializeToString()
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = str(Path(folder) / "run")
        plain = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        inputs = {port.name for port in plain.get_inputs()}
        feed = {key: value for key, value in {**batch, "lengths": lengths}.items() if key in inputs}
        for _ in range(3):
            plain.run(None, feed)
        options.enable_profiling = True
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        for _ in range(runs):
            session.run(None, feed)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    spent: Counter[str] = Counter()
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            spent[event["args"]["op_name"]] += event["dur"] / 1000 / runs  # type: ignore[assignment]
    return spent


@app.command("profile")
def command() -> None:
    """Milliseconds by operator of the bundled model on onnxruntime."""
    report(table(profile()))
