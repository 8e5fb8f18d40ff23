"""Stage `package` of recipes that quantize a checkpoint as it is."""

from __future__ import annotations

from typing import Any

from compress.data.fingerprints import load_fingerprints
from compress.data.names import short_name
from compress.learn.pruning.report import zeros_left
from compress.recipe.stage import StageContext, source_of
from compress.results.package import float_content, inc_contents, int8_content, measured, pack
from compress.tasks.subjects import subject_of
from zoo import card, catalog
from zoo.card_files import versions
from zoo.latency import machine


def package(ctx: StageContext[Any]) -> dict[str, Any]:
    """Stage `package`: the int8 entry `<name>`, `<name>-float` beside it where its source is a mere folder, and
    `<name>-inc-int8` where neural-compressor quantized it, too."""
    recipe, evaluated = ctx.recipe, ctx.inputs["evaluate"]
    settings = recipe.package
    folder, published = source_of(recipe)
    source = catalog.find(recipe.model if published else str(folder))
    source = catalog.full_precision(source) or source
    about = {
        "task": subject_of(recipe).task.type.name,
        "license": settings.license or source.license or card.read(source.card).get("license") or "other",
        "base_model": settings.base_model or source.base_model or short_name(recipe.model).partition("@")[0],
        "provenance": provenance(ctx),
    }
    metrics = measured(evaluated, subject_of(recipe).task.metrics)
    contents, full_precision = [], source.name
    if not published:
        full_precision, title = f"{settings.name}-float", f"{settings.title}, its float source"
        half = evaluated / "float"
        contents.append(float_content(full_precision, half, title, recipe.float_method, metrics["float"]))
    facts = {
        "title": settings.title,
        "method": recipe.int8_method,
        "parameters": source.parameters,
        "full_precision": full_precision,
        "metrics": metrics["int8"],
    }
    contents.append(int8_content(settings.name, ctx.inputs["quantize"], evaluated, facts))
    contents += inc_contents(settings.name, ctx, facts, metrics)
    taken = subject_of(recipe).load_float(folder)
    return pack(ctx, about, contents, load_fingerprints(ctx.root), taken)


def provenance(ctx: StageContext[Any]) -> dict[str, Any]:
    """Where the entry comes from, as the recipe names it; and whether the report is on what it was calibrated with, or
    on what its operators were chosen by."""
    recipe = ctx.stated
    facts = recipe.origin()
    if recipe.quantize.approach == "static" or recipe.criterion.apply:
        subject = subject_of(ctx.recipe)
        calibrated, reported = (subject.fingerprints(subject.load(part)) for part in ("train", "evaluation"))
        if recipe.criterion.apply and calibrated <= reported:  # there were no others to choose by
            facts["note"] = (
                f"the operators in eight bits were chosen by the {subject.noun} that are reported on, and the scores "
                "flatter"
            )
        elif recipe.quantize.approach == "static" and calibrated & reported:
            facts["note"] = (
                f"the same {subject.noun} were used to calibrate and to report; nothing was learned from them, but the "
                "scores may flatter"
            )
    if zeros := zeros_left(source_of(ctx.recipe)[0]):
        facts["zeros"] = zeros
    return {**facts, "seed": recipe.seed, "date": machine()["date"], "versions": versions()}
