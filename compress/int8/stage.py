"""Stage `quantize` of recipes that search no lengths, and what the recipe `quantize` has of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from zoo.checkpoints import normalized
from zoo.files import read_json, write_json
from zoo.lengths import LengthConfig


def run(ctx: Any) -> dict[str, Any]:
    """Stage `quantize`: a float checkpoint -> the int8 file, and `configs.json` with the lengths to report on."""
    from compress.int8.criterion import quantize
    from compress.int8.ranges import load_ranges
    from compress.learn.aware import RANGES_FILE

    folder, _ = trained_in(ctx)
    learned = load_ranges(folder / RANGES_FILE) if (folder / RANGES_FILE).is_file() else None
    configs = ladder(read_json(folder / "config.json"), ctx.recipe.budgets)
    ctx.progress.update(0, 1)
    facts = quantize(ctx, folder, configs[1:], learned)
    write_json(ctx.folder / "configs.json", [config.fractions for config in configs])
    ctx.progress.update(1, 1)
    return {**facts, "configurations": len(configs)}


# Stages that leave a checkpoint, the last one first.
TRAININGS = ("aware", "lock", "train", "average", "length_drop", "finetune")


def trained_in(ctx: Any) -> tuple[Path, bool]:
    """The float checkpoint that the run has trained or taken, and whether others can find it (see `source_of`)."""
    for stage in TRAININGS:
        if stage in ctx.inputs and (ctx.inputs[stage] / "model.safetensors").is_file():  # an idle one leaves none
            return ctx.inputs[stage], False
    return source_of(ctx.recipe)


def source_of(recipe: Any) -> tuple[Path, bool]:
    """The float checkpoint's folder, and whether others can find it: a bundled entry or a Hub id, not a folder."""
    from compress.learn.finetune import checkpoint_of

    return checkpoint_of(recipe.model), not Path(recipe.model).expanduser().is_dir()


def ladder(config: dict[str, Any], budgets: Any) -> list[LengthConfig]:
    """Full length and, where the checkpoint was trained to drop tokens, evenly spaced steps down from it."""
    layers, drops = normalized(config)["num_hidden_layers"], config.get("length_drop_layers") or []
    made = [LengthConfig.full(layers)]
    for step in range(1, budgets.points + 1 if drops else 1):
        share = 1 - budgets.drop * step / budgets.points
        kept = np.cumprod([share if layer in drops else 1.0 for layer in range(layers)])
        made.append(LengthConfig(tuple(float(k) for k in kept.round(4))))
    return made


def package(ctx: Any) -> dict[str, Any]:
    """Stage `package`: the int8 entry `<name>`, and `<name>-float` beside it where its source is a mere folder."""
    from compress.results.package import TOKENIZER, assemble, measured, shown, size
    from compress.results.verify import verify_loading
    from compress.tasks.scores import load_fingerprints
    from zoo import card, catalog

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
        facts = {"title": f"{settings.title}, its float source", "method": "none", "weights_dtype": "f16"}
        made.append(assemble(ctx.folder / full_precision, files, {**about, **facts, "metrics": half}, known))
    files = {name: quantized / name for name in ("config.json", "model.int8.onnx", *TOKENIZER)}
    facts = {
        "title": settings.title,
        "method": f"{recipe.quantize.approach}-int8",
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
    from compress.learn.pruning.report import zeros_left
    from compress.recipe.load import load
    from compress.results.package import called, shown
    from compress.tasks.subject import subject_of
    from zoo.card_files import versions
    from zoo.latency import machine

    recipe = load(ctx.root)
    facts: dict[str, Any] = {
        "recipe": recipe.kind,
        "quantized from": shown(recipe.model),
        "quantization": recipe.quantize.approach,
    }
    if recipe.quantize.approach == "static":
        facts["calibrated on"] = called(recipe.dataset, "train")
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
