"""Prune Once for All (Zafrir et al., arXiv 2111.05754): the zeros of pre-training stay through two fine-tunings."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

from torch import Tensor

from compress.learn.aware import FakeQuant
from compress.learn.distill import distillation, tokenizer_of
from compress.learn.finetune import learn, start
from compress.learn.loop import Hook
from compress.learn.pruning.prune import Pruner
from compress.learn.pruning.report import sparsity_of
from compress.recipe.training_groups import Prune
from compress.tasks.subjects import subject_of, training_samples
from zoo.errors import UserError
from zoo.modeling import LengthAdaptiveModel


def lock(ctx: Any) -> dict[str, Any]:
    """Stage `lock`: a sparse pre-trained checkpoint -> one that is fine-tuned on the task with the same zeros.

    Raises:
        UserError: the teacher does not fit, or a zero was lost.
    """
    return _train(ctx, ctx.inputs["pretrain"], ctx.recipe.lock, simulated=False)


def aware(ctx: Any) -> dict[str, Any]:
    """Stage `aware`: a sparse fine-tuned checkpoint -> one that has learned to be rounded, with the same zeros.

    Where the recipe leaves this training out, the checkpoint of stage `lock` is taken as it is.

    Raises:
        UserError: the teacher does not fit, or a zero was lost.
    """
    if ctx.recipe.aware.apply:
        return _train(ctx, ctx.inputs["lock"], ctx.recipe.aware, simulated=True)
    if _is_first():
        LengthAdaptiveModel.load(ctx.inputs["lock"]).save(ctx.folder)
        tokenizer_of(ctx.recipe).save_pretrained(str(ctx.folder))
    return {}


def _train(ctx: Any, source: Path, settings: Any, simulated: bool) -> dict[str, Any]:
    recipe = ctx.recipe
    model, tokenizer = start(recipe.model_copy(update={"model": str(source), "tokenizer": None}))
    model.dropout = settings.dropout
    data = training_samples(recipe, tokenizer, settings)
    loss = subject_of(recipe).loss()
    if recipe.distill.apply:
        loss = distillation(ctx, loss, model, tokenizer, data)
    locked = Prune(apply=True, approach="pattern_lock", excluded=recipe.prune.excluded)
    hooks: list[Hook] = [Pruner(model, locked)]
    if simulated:
        narrow = recipe.quantize.reduce_range is not False
        hooks.append(FakeQuant(model, settings, data, recipe.training.seed, tokenizer.pad_token_id, narrow))
    result = learn(ctx, model, tokenizer, data, settings, loss, hooks)
    if not _is_first():
        return result
    if simulated:
        hooks[-1].save(ctx.folder)  # type: ignore[attr-defined]
    return {**result, **check_zeros(ctx.inputs["pretrain"], ctx.folder)}


def check_zeros(before: Path, after: Path) -> dict[str, float]:
    """Compares the zeros of two checkpoints' linear layers, as they are on disk.

    Returns:
        How many zeros there are, and their share of these layers' weights and of all parameters.

    Raises:
        UserError: a weight that was zero is not, or the other way round.
    """
    first, last = LengthAdaptiveModel.load(before, "qa"), LengthAdaptiveModel.load(after)
    found = sparsity_of(last)
    pairs = [(_zeros(first, name), _zeros(last, name)) for name in found["per_operator"]]
    zeros = sum(int(old.sum()) for old, _ in pairs)
    lost = sum(int((old & ~new).sum()) for old, new in pairs)
    gained = sum(int((new & ~old).sum()) for old, new in pairs)
    if lost or gained:
        raise UserError(
            f"Of the {zeros:,} zeros that pre-training left, {lost:,} are zero no more after stage {after.name}, and "
            f"{gained:,} other weights have become zero. The result should not be used: run the stage again, and if "
            "that does not help, report it with the recipe."
        )
    return {"zeros": zeros, "sparsity": found["operators"], "sparsity_of_model": found["model"]}


def _zeros(model: LengthAdaptiveModel, name: str) -> Tensor:
    return cast(Tensor, model.get_submodule(name).weight) == 0


def _is_first() -> bool:
    return int(os.environ.get("RANK", "0")) == 0
