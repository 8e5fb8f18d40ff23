"""Stage `search`: length configurations that are cheap and good, on a quantized draft of the model."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from compress.int8.graph import calibrate_checkpoint, calibration_windows, loader, store_graph
from compress.learn.evolution import Candidate, Evolution, Space, config_of, filled, frontier, thinned
from compress.recipe.length_adaptive import LengthAdaptiveRecipe
from compress.recipe.stage import StageContext, float_checkpoint
from compress.tasks.fanout import scorers
from compress.tasks.judge import Judge
from compress.tasks.lengths import drop_layers_of
from compress.tasks.subjects import examples_to_search, subject_of
from zoo import catalog
from zoo.checkpoints import normalized, read_config
from zoo.errors import UserError
from zoo.files import Archive, write_json
from zoo.lengths import Front, LengthConfig, Point


def run(ctx: StageContext[LengthAdaptiveRecipe]) -> dict[str, Any]:
    """Stage `search`: a length-adaptive checkpoint -> `front.json`, searched on a quantized draft of it.

    Raises:
        UserError: the examples to search on are also trained or reported on.
    """
    recipe, subject, checkpoint = ctx.recipe, subject_of(ctx.recipe), float_checkpoint(ctx)[0]
    settings = recipe.search
    if not recipe.trainings and not subject.has_head(read_config(checkpoint)):
        raise UserError(
            f"{recipe.model} has no head for {subject.task.name}: set finetune.apply to true, or give a checkpoint "
            "that was fine-tuned for it."
        )
    examples = examples_to_search(ctx, settings.max_questions, settings.seed)
    space = space_of(checkpoint, settings.lower_ratio, recipe.length_drop.length_drop_ratio_bound)
    starts = starts_of(settings.start, space.layers)
    draft = ctx.folder / "draft"
    if not (draft / "built.json").is_file():
        first = [config_of(gene) for gene in space.starting(settings.population)]
        read = partial(calibration_windows, recipe)
        ready = calibrate_checkpoint(checkpoint, recipe.quantize, read, first, load=loader(recipe))
        write_json(draft / "built.json", store_graph(ready, draft, recipe.quantize))
    judge = Judge(draft, recipe, examples)

    def measure(config: LengthConfig, scores: dict[str, float] | None = None) -> dict[str, float]:
        result = scores or judge.score(config)
        if settings.objective == "latency":
            result["relative_latency"] = judge.relative_latency(config)
        return {"cost": result.get("relative_latency", result["macs_ratio"]), **result}

    archive = Archive(ctx.folder / "archive.jsonl")
    with scorers(draft, recipe, examples) as spread:
        evolution = Evolution(measure, space, settings, archive, ctx.progress, spread, subject.primary)
        candidates = evolution.run(starts)
    best = filled(thinned(frontier(candidates), settings.points), candidates, settings.points)

    def point(one: Candidate) -> Point:
        scores = {key: one.measured[key] for key in subject.task.metrics}
        return Point(one.config, one.measured["macs_ratio"], scores)

    front = Front(
        full=point(candidates[0]),
        points=sorted(map(point, best), key=lambda p: p.macs_ratio),
        dominated=[point(one) for one in candidates if one not in best],
        measured_on={
            "task": subject.task.name,
            "split": "validation",
            "n": len(examples),
            "objective": settings.objective,
            "seed": settings.seed,
        },
    )
    front.save(ctx.folder / "front.json")
    scores = [one.score for one in candidates]
    return {"measured": len(candidates), "points": len(best), f"best_{subject.primary}": max(scores)}


def starts_of(start: str | None, layers: int) -> list[LengthConfig]:
    """The configurations of an entry's front, for a search to start from; none where no entry is named.

    Raises:
        UserError: there is no such entry, it has no front, or it has another number of layers.
    """
    if start is None:
        return []
    front = catalog.find(start).front
    if front is None or len(front.full.config.fractions) != layers:
        has = "no front" if front is None else f"{len(front.full.config.fractions)} layers"
        raise UserError(f"search.start: {start} has {has}. Name a searched entry with {layers} layers, or null.")
    return [point.config for point in front.points]


def space_of(checkpoint: Path, lower_ratio: float | list[float] | None, bound: float | list[float]) -> Space:
    """What a search may vary of a checkpoint.

    Args:
        checkpoint: tells which layers drop tokens.
        lower_ratio: `search.lower_ratio`, the share that each drop layer drops in the cheapest start.
        bound: what training bounded it by, for a `lower_ratio` of None.

    Raises:
        UserError: `lower_ratio` has another number of values than there are drop layers.
    """
    config = read_config(checkpoint)
    drops = tuple(drop_layers_of(config))
    lowest = bound if lower_ratio is None else lower_ratio
    each = tuple(lowest) if isinstance(lowest, list) else (lowest,) * len(drops)
    if len(each) != len(drops):
        raise UserError(f"search.lower_ratio has {len(each)} numbers for {len(drops)} drop layers. Give one for each.")
    return Space(normalized(config)["num_hidden_layers"], drops, each)
