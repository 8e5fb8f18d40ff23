"""The encoder that the search chose becomes a model: fine-tuned, and timed beside what the predictor said of it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from compress.data.names import data_name
from compress.nas.base import base_of, leave_torchrun
from compress.nas.candidates import net_of
from compress.nas.latency_table import time_in_turn
from compress.nas.scoring import finetune_candidate
from compress.nas.search import SEARCHED, winner_of
from compress.nas.table import stamp
from compress.nas.timed import dynamic, ready, whole_run
from compress.recipe.nas import NasRecipe
from compress.recipe.stage import StageContext
from compress.results import evaluate as report
from compress.tasks.subjects import subject_of
from zoo.checkpoints import read_config
from zoo.engines.onnx import OnnxEngine
from zoo.engines.openvino import OpenVinoEngine
from zoo.engines.torch import TorchEngine
from zoo.features import load_tokenizer
from zoo.files import write_json
from zoo.modeling import LengthAdaptiveModel
from zoo.weights import float_weights, spec_of

PROVENANCE = "provenance.json"  # read by the stage `package`
STEADY = 0.1  # that a machine's pace may change by between search and end without a word


def finetune(ctx: StageContext[NasRecipe]) -> dict[str, Any]:
    """Stage `finetune`: the winner's slice of the supernet -> a checkpoint that has learned the task by itself."""
    leave_torchrun()
    recipe, base = ctx.recipe, base_of(ctx)
    arch, _ = winner_of(ctx.inputs["search"])
    net, tokenizer = net_of(recipe, base, subject_of(recipe)), load_tokenizer(base.folder)
    model = finetune_candidate(net, arch, recipe, recipe.finetune, ctx.folder, ctx.progress, tokenizer)
    shutil.rmtree(ctx.folder / "start", ignore_errors=True)
    return {"arch": arch.key, "parameters": sum(part.numel() for part in model.parameters())}


def evaluate(ctx: StageContext[NasRecipe]) -> dict[str, Any]:
    """Stage `evaluate`: scores and front as for other recipes, and the winner's latency as predicted and as measured.

    The machine may have changed its pace since the search: the encoder with made-up weights, which predictions are of,
    is timed beside the finished model again. What the search wrote is left as `search.json` here with all of it.
    """
    facts = report.run(ctx)
    arch, row = winner_of(ctx.inputs["search"])
    setup = base_of(ctx).setup
    vocabulary = min(1000, read_config(ctx.inputs["finetune"])["vocab_size"])
    engine = _engine(row["mode"], ctx.inputs["quantize"], ctx.inputs["finetune"], setup.threads)
    with ready(arch, row["mode"], setup) as made_up_run:
        both = [whole_run(engine, setup, vocabulary), made_up_run]
        timing, made_up = time_in_turn(both, ctx.recipe.latency_table)
    then = row["winner"]["measured_ms"]
    predicted, pace = row["winner"]["predicted_ms"], made_up["p50_ms"] / then
    latency = {
        "predicted_ms": predicted,
        "measured_ms": timing["p50_ms"],
        "made_up_ms": made_up["p50_ms"],
        "pace": pace,
        "p90_ms": timing["p90_ms"],
        "noise": timing["noise"],
        "off": predicted * pace / timing["p50_ms"] - 1,
        "limit_ms": row["limit_ms"],
        "mode": row["mode"],
        "setup": row["setup"],
        "machine": stamp(),
    }
    latency["kept"] = timing["p50_ms"] <= row["limit_ms"]
    if not latency["kept"]:
        ctx.progress.note(
            f"the finished model takes {timing['p50_ms']:.3g} ms, more than the limit of {row['limit_ms']:.3g} ms; "
            f"in the search it took {then:.3g} ms. Search again while nothing else keeps this machine busy, or with a "
            "lower search.limit_ms"
        )
    if abs(pace - 1) > STEADY:
        ctx.progress.note(
            f"the encoder with made-up weights that took {then:.3g} ms in the search takes {made_up['p50_ms']:.3g} ms "
            f"now, on this machine: neither the prediction of {predicted:.3g} ms nor the limit holds for it as it is"
        )
    row["winner"] |= {"measured_ms": timing["p50_ms"], "measured_made_up_ms": row["winner"]["measured_ms"]}
    write_json(ctx.folder / SEARCHED, row | {"finished": latency})
    write_json(ctx.folder / PROVENANCE, provenance(ctx, arch.key, latency, row.get("notice", "")))
    within = {"limit_ms": row["limit_ms"], "limit_kept": latency["kept"]}
    more = {"notice": row["notice"]} if "notice" in row else {}
    return {"predicted_ms": predicted, "measured_ms": timing["p50_ms"], **within, **facts, "arch": arch.key, **more}


def provenance(ctx: StageContext[NasRecipe], arch: str, latency: dict[str, Any], notice: str) -> dict[str, Any]:
    """What the entry tells about the search.

    Args:
        arch: the encoder that was chosen.
        latency: as predicted and as measured.
        notice: of the predictor, see `Predictor.notice`.
    """
    recipe = ctx.stated
    settings, setup = recipe.search, latency["setup"]
    how = f"{setup['tokens']} tokens, batch {setup['batch']}, {setup['threads']} threads, {latency['mode']}"
    return {
        "architecture": arch,
        "searched on": data_name(recipe.dataset, "validation"),
        "search": f"{settings.strategy}, {settings.approach}, candidates scored by {settings.scoring}",
        "latency limit, ms": round(latency["limit_ms"], 3),
        **({} if latency["kept"] else {"latency limit": "not kept by the finished model"}),
        "predicted latency, ms": round(latency["predicted_ms"], 3),
        "measured latency, ms": round(latency["measured_ms"], 3),
        **(
            {"pace of the machine": f"{latency['pace']:.2f} times the milliseconds of the search, in the end"}
            if abs(latency["pace"] - 1) > STEADY
            else {}
        ),
        "latency measured with": how,
        **({"latency predictor": notice} if notice else {}),
    }


def _engine(mode: str, quantized: Path, checkpoint: Path, threads: int) -> Any:
    """The finished model as the mode of the search runs it."""
    if mode == "onnxruntime_int8":
        return OnnxEngine.open(quantized, threads)
    if mode == "openvino_int8":
        return OpenVinoEngine.open(quantized, threads)
    model = LengthAdaptiveModel.load(checkpoint)
    if mode == "onnxruntime_fp32":
        return OnnxEngine(float_weights(model), spec_of(model), threads)
    return TorchEngine(dynamic(model) if mode == "torch_dynamic_int8" else model, threads)
