"""Prune Once for All (Zafrir et al., arXiv 2111.05754): zeros of pre-training, the recipe's own or another's, stay
through two fine-tunings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from compress.learn.aware import FakeQuant
from compress.learn.distill import Guidance, distillation
from compress.learn.finetune import learn, start
from compress.learn.loop import Hook
from compress.learn.pruning.prune import Pruner
from compress.learn.pruning.report import sparsity_of
from compress.learn.student import Student, Workplace, tokenizer_of
from compress.recipe.groups import Learning
from compress.recipe.prune_once import PruneOnceRecipe
from compress.recipe.stage import StageContext
from compress.recipe.training_groups import Aware, Prune
from compress.tasks.subjects import subject_of, training_samples
from zoo.catalog import checkpoint_of
from zoo.errors import UserError
from zoo.modeling import LengthAdaptiveModel
from zoo.tasks import QUESTIONS


def lock(ctx: StageContext[PruneOnceRecipe]) -> dict[str, Any]:
    """Stage `lock`: a sparse pre-trained checkpoint -> one that is fine-tuned on the task with the same zeros.

    Raises:
        UserError: the teacher does not fit, or a zero was lost.
    """
    return _train(ctx, _sparse(ctx), ctx.recipe.lock)


def _sparse(ctx: StageContext[PruneOnceRecipe]) -> Path:
    """The checkpoint whose zeros stay: of pre-training, or the recipe's own where that has them already."""
    return ctx.inputs["pretrain"] if ctx.recipe.pretrains else checkpoint_of(ctx.recipe.model)


def aware(ctx: StageContext[PruneOnceRecipe]) -> dict[str, Any]:
    """Stage `aware`: a sparse fine-tuned checkpoint -> one that has learned to be rounded, with the same zeros.

    Where the recipe leaves this training out, the checkpoint of stage `lock` is taken as it is.

    Raises:
        UserError: the teacher does not fit, or a zero was lost.
    """
    recipe = ctx.recipe
    if recipe.aware.apply:
        return _train(ctx, ctx.inputs["lock"], recipe.aware, recipe.aware)
    if ctx.first:
        LengthAdaptiveModel.load(ctx.inputs["lock"]).save(ctx.folder)
        tokenizer_of(recipe.model, recipe.tokenizer).save_pretrained(str(ctx.folder))
    return {}


def _train(
    ctx: StageContext[PruneOnceRecipe], source: Path, settings: Learning, rounded: Aware | None = None
) -> dict[str, Any]:
    """Trains the checkpoint in `source` with its zeros locked, and as `rounded` says with rounding simulated."""
    recipe, subject = ctx.recipe, subject_of(ctx.recipe)
    given = None if recipe.pretrains or rounded else recipe.tokenizer  # later checkpoints have its words already
    model, tokenizer = start(subject, str(source), given, settings.dropout, recipe.training.seed)
    student = Student(model, tokenizer, training_samples(recipe, tokenizer, settings))
    loss = subject.loss()
    if recipe.distill.apply:
        loss = distillation(Guidance.of(recipe, ctx.inputs), loss, student)
    hooks: list[Hook] = [Pruner(model, Prune(apply=True, approach="pattern_lock", excluded=recipe.prune.excluded))]
    rounding = None
    if rounded:
        narrow = recipe.quantize.reduce_range is not False
        rounding = FakeQuant(model, rounded, student.data, recipe.training.seed, tokenizer.pad_token_id, narrow)
        hooks.append(rounding)
    result = learn(Workplace.of(ctx), student, settings, loss, model.save, hooks)
    if not ctx.first:
        return result
    if rounding:
        rounding.save(ctx.folder)
    return {**result, **check_zeros(_sparse(ctx), ctx.folder)}


def check_zeros(before: Path, after: Path) -> dict[str, float]:
    """Compares the zeros of two checkpoints' linear layers, as they are on disk.

    Returns:
        How many zeros there are, and their share of these layers' weights and of all parameters.

    Raises:
        UserError: a weight that was zero is not, or the other way round.
    """
    first, last = LengthAdaptiveModel.load(before, QUESTIONS), LengthAdaptiveModel.load(after)
    shares = sparsity_of(last)
    pairs = [(_zeros(first, name), _zeros(last, name)) for name in shares["per_operator"]]
    zeros = sum(int(old.sum()) for old, _ in pairs)
    lost = sum(int((old & ~new).sum()) for old, new in pairs)
    gained = sum(int((new & ~old).sum()) for old, new in pairs)
    if lost or gained:
        raise UserError(
            f"Of the {zeros:,} zeros of the sparse checkpoint, {lost:,} are zero no more after stage {after.name}, and "
            f"{gained:,} other weights have become zero. The result should not be used: run the stage again, and if "
            "that does not help, report it with the recipe."
        )
    return {"zeros": zeros, "sparsity": shares["operators"], "sparsity_of_model": shares["model"]}


def _zeros(model: LengthAdaptiveModel, name: str) -> Tensor:
    return model.get_parameter(f"{name}.weight") == 0
