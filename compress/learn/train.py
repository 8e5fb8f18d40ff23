"""Fine-tuning with whatever a recipe applies of pruning, distillation and simulated quantization, all at once."""

from __future__ import annotations

from functools import partial
from typing import Any

from compress.learn import aware, distill
from compress.learn.aware import FakeQuant
from compress.learn.distill import Guidance, distillation
from compress.learn.finetune import learn, start
from compress.learn.loop import Hook
from compress.learn.order import steps_of
from compress.learn.pruning import prune
from compress.learn.pruning.prune import Pruner
from compress.learn.shrink import shrink
from compress.learn.student import Student, Workplace
from compress.recipe.stage import StageContext
from compress.recipe.train import TrainRecipe
from compress.tasks.subjects import subject_of, training_samples
from zoo.catalog import checkpoint_of
from zoo.checkpoints import read_config


def teacher(ctx: StageContext[TrainRecipe]) -> dict[str, Any]:
    """Stage `teacher`: see `compress.learn.distill.teacher`; what the training could not reach is said before."""
    return distill.teacher(ctx, partial(check_steps, ctx.recipe))


def run(ctx: StageContext[TrainRecipe]) -> dict[str, Any]:
    """Stage `train`: a checkpoint -> one that is fine-tuned, and pruned, distilled or made ready for int8.

    Channels and heads that are pruned whole are cut out, and what is left is a smaller dense model, unless rounding is
    simulated: the ranges that are learned are those of the whole one.

    Returns:
        What training returned and, where the recipe prunes, the shares of zeros and what was cut.

    Raises:
        UserError: what the recipe applies does not fit the model, the data or the number of steps; before any step.
    """
    recipe, subject, settings = ctx.recipe, subject_of(ctx.recipe), ctx.recipe.finetune
    model, tokenizer = start(subject, recipe.model, recipe.tokenizer, settings.dropout, recipe.training.seed)
    student = Student(model, tokenizer, training_samples(recipe, tokenizer, settings))
    loss = subject.loss()
    if recipe.distill.apply:
        loss = distillation(Guidance.of(recipe, ctx.inputs), loss, student)
    pruner = Pruner(model, recipe.prune) if recipe.prune.apply else None
    rounding = None
    if recipe.aware.apply:
        narrow = recipe.quantize.reduce_range is not False
        rounding = FakeQuant(model, recipe.aware, student.data, recipe.seed, tokenizer.pad_token_id, narrow)
    hooks: list[Hook] = [hook for hook in (pruner, rounding) if hook]
    facts = learn(Workplace.of(ctx), student, settings, loss, model.save, hooks)
    if pruner:
        facts["zeros"] = pruner.report()
    if ctx.first:
        if rounding:
            rounding.save(ctx.folder)
        elif pruner and "channel" in recipe.prune.pattern:
            smaller, facts["cut"] = shrink(model)
            smaller.save(ctx.folder)
    return facts


def check_steps(recipe: TrainRecipe, samples: int) -> None:
    """Checks what `run` would find out at its first step, for the stage before it, which may take hours.

    Args:
        recipe: of kind `train`.
        samples: windows to train on.

    Raises:
        UserError: a step that the recipe names is not reached, or the pattern does not fit the model.
    """
    settings = recipe.finetune
    total = steps_of(samples, settings.epochs, settings.batch_size)
    if recipe.prune.apply:
        prune.check(read_config(checkpoint_of(recipe.model)), recipe.prune, total)
    if recipe.aware.apply:
        aware.check(recipe.aware, total)
