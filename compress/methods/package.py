"""The two entries of the zoo that a training ends in."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from compress.evaluation import TRAINED_ON, save_fingerprints, trained_on
from compress.methods.quantize import trained_in
from compress.methods.verify import verify_loading
from zoo import card, catalog
from zoo.card_files import versions
from zoo.files import read_json, write_json
from zoo.latency import machine
from zoo.lengths import Front

SUFFIX = "-length-adaptive-int8"
TOKENIZER = ("tokenizer.json", "tokenizer_config.json")


def run(ctx: Any) -> dict[str, Any]:
    """Stage `package`: the entries `<name>` (float, half precision on disk) and `<name>-…-int8`, loaded back.

    Raises:
        UserError: an entry, loaded as users load it, says something else than what was trained and quantized.
    """
    settings, evaluated, quantized = ctx.recipe.package, ctx.inputs["evaluate"], ctx.inputs["quantize"]
    known = trained_on(ctx)
    about = {
        "task": "qa",
        "license": settings.license,
        "base_model": settings.base_model or shown(ctx.recipe.model),
        "provenance": provenance(ctx),
    }
    half, int8 = measured(evaluated)
    adaptive = ctx.recipe.kind == "length_adaptive"
    suffix = SUFFIX if adaptive else "-int8"

    float_folder = assemble(
        ctx.folder / settings.name,
        {name: evaluated / "float" / name for name in ("config.json", "model.safetensors", *TOKENIZER)},
        {**about, "title": settings.title, "method": how(ctx.recipe), "weights_dtype": "f16", "metrics": half},
        known,
    )
    parameters = catalog.find(str(float_folder)).parameters
    int8_folder = assemble(
        ctx.folder / (settings.name + suffix),
        {
            **{name: quantized / name for name in ("config.json", "model.int8.onnx", *TOKENIZER)},
            "front.json": evaluated / "front.json",
        },
        {
            **about,
            "title": f"{settings.title}, length-adaptive, int8" if adaptive else f"{settings.title}, int8",
            "method": "length-adaptive-int8" if adaptive else f"{how(ctx.recipe)}-int8",
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


def how(recipe: Any) -> str:
    """What was done to the float model, as the catalogue's `method`."""
    if recipe.kind == "length_adaptive":
        return "length-drop"
    parts = {"prune": "pruned", "distill": "distilled", "aware": "quantization-aware"}
    return "-".join(word for part, word in parts.items() if getattr(recipe, part).apply) or "fine-tuned"


def measured(evaluated: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The metrics of `entry.json` for the float and for the int8 model, from what the stage `evaluate` left."""
    scores, front = read_json(evaluated / "scores.json"), Front.load(evaluated / "front.json")
    stamp = scores["measured_on"]
    named = {key: stamp[key] for key in ("metric", "dataset", "split", "n") if stamp.get(key)}
    machine_ = {key: stamp[key] for key in ("threads", "cpu", "vnni", "amx", "date")}
    half = {"f1": scores["float"]["f1"], "em": scores["float"]["em"], **named, "engine": "torch", **machine_}
    return half, {"f1": front.full.f1, "em": front.full.em, **named, "engine": stamp["engine"], **machine_}


def assemble(target: Path, files: dict[str, Path], facts: dict[str, Any], known: set[str]) -> Path:
    """Builds an entry beside its place and moves it there complete.

    Args:
        target: the entry's folder; an earlier one is replaced.
        files: what to copy, by name.
        facts: of `entry.json`.
        known: fingerprints of the passages trained on.
    """
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
    from compress.recipe import load

    recipe: Any = load(ctx.root)
    data = recipe.dataset
    averaged = recipe.average.checkpoints if recipe.kind == "length_adaptive" else []
    searches = hasattr(recipe, "search")
    titles = {"titles": data.titles, "validation titles": data.validation_titles}
    return {
        "recipe": recipe.kind,
        "trained from": shown(recipe.model),
        "trained on": shown(data.train),
        **({"searched on": shown(data.validation), "search objective": recipe.search.objective} if searches else {}),
        **{key: ", ".join(patterns) for key, patterns in titles.items() if patterns},
        **({"averaged with": ", ".join(map(shown, averaged))} if averaged else {}),
        "seed": recipe.training.seed,
        "quantization": recipe.quantize.approach,
        "date": machine()["date"],
        "versions": versions(),
    }


def shown(source: str) -> str:
    """A name without the folders that it lies in; a Hub id stays whole."""
    is_path = source.startswith(("/", ".", "~", "$")) or source.endswith(".json") or Path(source).exists()
    return Path(source).name if is_path else source


def size(folder: Path) -> int:
    """Bytes of an entry's files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
