"""The stages `quantize`: our own eight bits, with the accuracy criterion and neural-compressor where a recipe asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from compress.int8 import inc
from compress.int8.criterion import Own, Quantizable, Scorer, answering, within
from compress.int8.exported import Exported
from compress.int8.graph import ReadWindows, calibrate_checkpoint, calibration_windows, loader, store_graph
from compress.int8.ranges import RANGES_FILE, Range, load_ranges
from compress.recipe.groups import Quantize
from compress.recipe.kind import Kind
from compress.recipe.length_adaptive import LengthAdaptiveRecipe
from compress.recipe.nas import NasRecipe
from compress.recipe.prune_once import PruneOnceRecipe
from compress.recipe.quantize import QuantizeRecipe
from compress.recipe.stage import StageContext, float_checkpoint
from compress.recipe.train import TrainRecipe
from compress.tasks.subject import Subject
from compress.tasks.subjects import subject_of
from zoo.checkpoints import read_config
from zoo.encoders import encoder_of
from zoo.features import load_tokenizer
from zoo.files import write_json
from zoo.lengths import Front, LengthConfig, ladder
from zoo.modeling import LengthAdaptiveModel
from zoo.pretrained import Pretrained


def run(ctx: StageContext[QuantizeRecipe | TrainRecipe | PruneOnceRecipe | NasRecipe]) -> dict[str, Any]:
    """Stage `quantize` of recipes that search no lengths: a float checkpoint -> the int8 file, and `configs.json` with
    the lengths to report on."""
    folder, _ = float_checkpoint(ctx)
    is_own = folder.resolve().is_relative_to(ctx.root.resolve())  # another run's recipe is not this one
    learned = load_ranges(folder / RANGES_FILE) if is_own and (folder / RANGES_FILE).is_file() else None
    if not is_own and (folder / RANGES_FILE).is_file():
        ctx.progress.note(f"the ranges that a training has left beside the checkpoint, {RANGES_FILE}, are not used")
    configs = ladder(read_config(folder), ctx.recipe.budgets)
    ctx.progress.update(0, 1)
    facts = write_int8(ctx, folder, configs[1:], learned)
    write_json(ctx.folder / "configs.json", [config.fractions for config in configs])
    ctx.progress.update(1, 1)
    asked, field = ctx.recipe.budgets, type(ctx.recipe).model_fields.get("budgets")
    if len(configs) == 1 and asked.points and field and asked != field.default:
        ctx.progress.note(
            "budgets are not heard: the checkpoint was not trained to drop tokens, so that full length is"
        )
    return {**facts, "configurations": len(configs)}


def at_front(ctx: StageContext[LengthAdaptiveRecipe]) -> dict[str, Any]:
    """Stage `quantize` behind a search: the length-adaptive checkpoint, calibrated at the front's points -> the int8
    file."""
    recipe, front = ctx.recipe, Front.load(ctx.inputs["search"] / "front.json")
    read = partial(calibration_windows, recipe)
    configs = [point.config for point in front.everything]
    checkpoint, settings = float_checkpoint(ctx)[0], recipe.quantize
    if settings.neural_compressor:
        inc.backend()
    ready = calibrate_checkpoint(checkpoint, settings, read, configs, load=loader(recipe))
    facts = store_graph(ready, ctx.folder, settings)
    if settings.neural_compressor:
        facts["neural_compressor"] = inc.build(checkpoint, ctx.folder / inc.FOLDER, settings, read)
    return facts


def prepared(
    checkpoint: Path,
    settings: Quantize,
    read: ReadWindows,
    subject: Subject[Any] | None = None,
    configs: Sequence[LengthConfig] = (),
    ranges: Mapping[str, Range] | None = None,
) -> Quantizable:
    """A float checkpoint of any family, calibrated.

    Args:
        checkpoint: its folder.
        settings: how it is quantized.
        read: reads what to calibrate on.
        subject: the task that it is loaded for; None takes it as it is.
        configs, ranges: see `write_int8`.
    """
    if encoder_of(read_config(checkpoint)):
        whole = subject.load_whole(checkpoint) if subject else Pretrained.load(checkpoint)
        return Exported(whole, load_tokenizer(checkpoint), settings, read)
    load = partial(subject.load_model, new_head=False) if subject else LengthAdaptiveModel.load
    return Own(calibrate_checkpoint(checkpoint, settings, read, configs, ranges, load), settings, read)


def write_int8(
    ctx: StageContext[Kind],
    checkpoint: Path,
    configs: Sequence[LengthConfig] = (),
    ranges: Mapping[str, Range] | None = None,
    scorer: Scorer | None = None,
) -> dict[str, Any]:
    """A float checkpoint -> int8 in the stage's folder, within the recipe's criterion if it has one.

    Args:
        ctx: of the stage.
        checkpoint: its folder.
        configs: length configurations to calibrate at, beside full length.
        ranges: those that a training has learned; nothing is calibrated then.
        scorer: by default the recipe's task is done, see `answering`.

    Returns:
        As `store_graph`; with a criterion also whether it holds, scores and trials, which are in `criterion.json` with
        the sensitivities in full; with neural-compressor what that returns.
    """
    recipe, settings, criterion = ctx.recipe, ctx.recipe.quantize, getattr(ctx.recipe, "criterion", None)
    if settings.neural_compressor:
        inc.backend()  # absent, it is said before anything is computed
    read = partial(calibration_windows, recipe)
    model = prepared(checkpoint, settings, read, subject_of(recipe), configs, ranges)
    if criterion is None or not criterion.apply:
        facts = model.store(ctx.folder)
    else:
        scorer = scorer or answering(recipe, checkpoint, criterion.max_questions, ctx.progress)
        facts = within(criterion, model, scorer, ctx.folder, ctx.progress)
    if settings.neural_compressor:
        facts["neural_compressor"] = inc.build(checkpoint, ctx.folder / inc.FOLDER, settings, read, loader(recipe))
    return facts
