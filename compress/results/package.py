"""The two entries of the zoo that a training ends in."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from compress.data.fingerprints import TRAINED_ON, save_fingerprints
from compress.data.names import shown
from compress.learn.pruning.report import zeros_left, zeros_stored
from compress.recipe.load import load
from compress.recipe.stage import trained_in
from compress.results.verify import verify_loading
from compress.tasks.subjects import trained_on
from zoo import card, catalog
from zoo.card_files import versions
from zoo.files import read_json, write_json
from zoo.latency import machine
from zoo.lengths import Front

WEIGHTS = ("model.int8.onnx", "model.safetensors")
TOKENIZER = ("tokenizer.json", "tokenizer_config.json")


def run(ctx: Any) -> dict[str, Any]:
    """Stage `package`: the entries `<name>` (float, half precision on disk) and `<name>-…-int8`, loaded back.

    Raises:
        UserError: an entry, loaded as users load it, says something else than what was trained and quantized.
    """
    settings, evaluated, quantized = ctx.recipe.package, ctx.inputs["evaluate"], ctx.inputs["quantize"]
    known = trained_on(ctx)
    about = {
        "task": ctx.recipe.dataset.type.name,
        "license": settings.license,
        "base_model": settings.base_model or shown(ctx.recipe.model),
        "provenance": provenance(ctx),
    }
    half, int8 = measured(evaluated)
    adaptive = ctx.recipe.kind == "length_adaptive"

    float_folder = assemble(
        ctx.folder / settings.name,
        {name: evaluated / "float" / name for name in ("config.json", "model.safetensors", *TOKENIZER)},
        {**about, "title": settings.title, "method": ctx.recipe.float_method, "weights_dtype": "f16", "metrics": half},
        known,
    )
    parameters = catalog.find(str(float_folder)).parameters
    int8_folder = assemble(
        ctx.folder / (settings.name + ctx.recipe.suffix),
        {
            **{name: quantized / name for name in ("config.json", "model.int8.onnx", *TOKENIZER)},
            "front.json": evaluated / "front.json",
        },
        {
            **about,
            "title": f"{settings.title}, length-adaptive, int8" if adaptive else f"{settings.title}, int8",
            "method": ctx.recipe.int8_method,
            "weights_dtype": "int8",
            "parameters": parameters,
            "full_precision": settings.name,
            "metrics": int8,
        },
        known,
    )
    verify_loading(float_folder, trained_in(ctx)[0])
    verify_loading(int8_folder, trained_in(ctx)[0])
    return {"entries": [float_folder.name, int8_folder.name], "bytes": [size(float_folder), size(int8_folder)]}


def measured(evaluated: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The metrics of `entry.json` for the float and for the int8 model, from what the stage `evaluate` left."""
    scores, front = read_json(evaluated / "scores.json"), Front.load(evaluated / "front.json")
    stamp = scores["measured_on"]
    keys = ("metric", "dataset", "config", "split", "columns", "remark", "n")
    named = {key: stamp[key] for key in keys if stamp.get(key)}
    machine_ = {key: stamp[key] for key in ("threads", "cpu", "vnni", "amx", "date")}
    exact = {key: scores["float"][key] for key in front.full.metrics}
    more = stamp.get("beside", {})
    also = {kind: {more["task"]: {**more[kind], "n": more["n"]}} if more else {} for kind in ("float", "int8")}
    half = {**exact, **named, **also["float"], "engine": "torch", **machine_}
    return half, {**front.full.metrics, **named, **also["int8"], "engine": stamp["engine"], **machine_}


def assemble(target: Path, files: dict[str, Path], facts: dict[str, Any], known: set[str]) -> Path:
    """Builds an entry beside its place and moves it there complete.

    Args:
        target: the entry's folder; an earlier one is replaced.
        files: what to copy, by name.
        facts: of `entry.json`; of zeros that its provenance tells, what the weights compress to is added.
        known: fingerprints of the passages trained on.
    """
    if zeros := facts["provenance"].get("zeros"):
        stored = zeros_stored(zeros, files[next(name for name in WEIGHTS if name in files)])
        rest = {key: value for key, value in facts["provenance"].items() if key != "zeros"}
        facts = {**facts, "provenance": {**rest, **({"zeros": stored} if stored else {})}}
    # The card is rendered from the entry as the catalog reads it, under its own name.
    draft = target.with_name(f".{target.name}.tmp")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    for name, source in files.items():
        shutil.copyfile(source, draft / name)
    write_json(draft / "entry.json", {"name": target.name, **facts})
    save_fingerprints(draft / TRAINED_ON, known)
    entry = replace(catalog.find(str(draft)), name=target.name, folder=target)
    for name, content in card.files(entry).items():
        (draft / name).parent.mkdir(exist_ok=True)
        (draft / name).write_bytes(content)
    shutil.rmtree(target, ignore_errors=True)
    os.replace(draft, target)
    return target


def provenance(ctx: Any) -> dict[str, Any]:
    """Where an entry comes from: recipe and data as they were named (no path of this machine), seed, date, program."""
    recipe: Any = load(ctx.root)
    told = ctx.inputs["evaluate"] / "provenance.json"  # what a recipe's own stages add
    return {
        **recipe.origin(),
        **(read_json(told) if told.is_file() else {}),
        "seed": recipe.training.seed,
        "quantization": recipe.quantize.approach,
        **({"zeros": zeros} if (zeros := zeros_left(trained_in(ctx)[0])) else {}),
        "date": machine()["date"],
        "versions": versions(),
    }


def size(folder: Path) -> int:
    """Bytes of an entry's files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
