"""Stage `package` of recipes that quantize a checkpoint as it is."""

from __future__ import annotations

from typing import Any

from compress.data.fingerprints import load_fingerprints
from compress.data.names import shown
from compress.learn.pruning.report import zeros_left
from compress.recipe.load import load
from compress.recipe.stage import source_of
from compress.results.package import TOKENIZER, assemble, measured, size
from compress.results.verify import verify_loading
from compress.tasks.subjects import subject_of
from zoo import card, catalog
from zoo.card_files import versions
from zoo.latency import machine


def package(ctx: Any) -> dict[str, Any]:
    """Stage `package`: the int8 entry `<name>`, and `<name>-float` beside it where its source is a mere folder."""
    recipe, evaluated, quantized = ctx.recipe, ctx.inputs["evaluate"], ctx.inputs["quantize"]
    settings, known = recipe.package, load_fingerprints(ctx.root)
    folder, published = source_of(recipe)
    source = catalog.find(recipe.model if published else str(folder))
    source = catalog.full_precision(source) or source
    about = {
        "task": source.task,
        "license": settings.license or source.license or card.read(source.card).get("license") or "other",
        "base_model": settings.base_model or source.base_model or shown(recipe.model),
        "provenance": provenance(ctx),
    }
    half, int8 = measured(evaluated)
    made, full_precision = [], source.name
    if not published:
        full_precision = f"{settings.name}-float"
        files = {name: evaluated / "float" / name for name in ("config.json", "model.safetensors", *TOKENIZER)}
        facts = {"title": f"{settings.title}, its float source", "method": recipe.float_method, "weights_dtype": "f16"}
        made.append(assemble(ctx.folder / full_precision, files, {**about, **facts, "metrics": half}, known))
    files = {name: quantized / name for name in ("config.json", "model.int8.onnx", *TOKENIZER)}
    facts = {
        "title": settings.title,
        "method": recipe.int8_method,
        "weights_dtype": "int8",
        "parameters": source.parameters,
        "full_precision": full_precision,
        "metrics": int8,
    }
    files["front.json"] = evaluated / "front.json"
    made.append(assemble(ctx.folder / settings.name, files, {**about, **facts}, known))
    for entry in made:
        verify_loading(entry, folder)
    return {"entries": [entry.name for entry in made], "bytes": [size(entry) for entry in made]}


def provenance(ctx: Any) -> dict[str, Any]:
    """Where the entry comes from, as the recipe names it; and whether the report is on what it was calibrated with."""
    recipe = load(ctx.root)
    facts = recipe.origin()
    if recipe.quantize.approach == "static":
        subject = subject_of(ctx.recipe)
        calibrated, reported = (subject.fingerprints(subject.load(part)) for part in ("train", "evaluation"))
        if calibrated & reported:
            facts["note"] = (
                f"the same {subject.noun} were used to calibrate and to report; nothing was learned from them, but the "
                "scores may flatter"
            )
    if zeros := zeros_left(source_of(ctx.recipe)[0]):
        facts["zeros"] = zeros
    return {**facts, "seed": recipe.seed, "date": machine()["date"], "versions": versions()}
