"""Fine-tuning for questions or texts, at full length."""

from __future__ import annotations

import logging
import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from compress.learn.distill import distillation
from compress.learn.loop import Hook, Schedule, train
from compress.learn.vocabulary import renumber
from compress.tasks import dropping
from compress.tasks.samples import Sample
from compress.tasks.subjects import subject_of, training_samples
from zoo.catalog import checkpoint_of
from zoo.errors import UserError
from zoo.features import load_tokenizer
from zoo.modeling import LengthAdaptiveModel

log = logging.getLogger(__name__)


def run(ctx: Any) -> dict[str, Any]:
    """Stage `finetune`: a checkpoint of an encoder -> one with the head of the recipe's task, taught by another or not.

    Raises:
        UserError: the data or the teacher do not fit the model.
    """
    recipe = ctx.recipe
    model, tokenizer = start(recipe, **dropping.dropping(recipe.length_drop))
    data = training_samples(recipe, tokenizer, recipe.finetune)
    bounds = dropping.bounds_of(recipe.length_drop, model)
    loss = subject_of(recipe).loss(recipe.finetune.significance_weight, bounds)
    if recipe.distill.apply:
        loss = distillation(ctx, loss, model, tokenizer, data)
    return learn(ctx, model, tokenizer, data, recipe.finetune, loss)


def start(recipe: Any, **own: Any) -> tuple[LengthAdaptiveModel, Any]:
    """The model that a recipe starts from, with a new head if it has none for the task, and its tokenizer.

    Args:
        recipe: names both.
        **own: keys of the checkpoint's configuration to set.
    """
    source = checkpoint_of(recipe.model)
    tokenizer = load_tokenizer(checkpoint_of(recipe.tokenizer) if recipe.tokenizer else source)
    torch.manual_seed(recipe.training.seed)
    model = subject_of(recipe).load_model(source, recipe.finetune.dropout, **own)
    if recipe.tokenizer and (source / "tokenizer.json").is_file():
        renumber(model, load_tokenizer(source), tokenizer)
    return model, tokenizer


def learn(
    ctx: Any,
    model: LengthAdaptiveModel,
    tokenizer: Any,
    data: list[Sample],
    settings: Any,
    loss: Any,
    hooks: Sequence[Hook] = (),
    save: Callable[[Path], None] | None = None,
    rates: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Trains as the recipe says and writes checkpoint and tokenizer into the stage's folder.

    Args:
        save: writes the checkpoint; by default the model does.
        rates: see `compress.learn.loop.train`.
    """
    training = ctx.recipe.training
    freeze(model, training)
    schedule = schedule_of(
        ctx,
        settings,
        minutes=settings.max_minutes or 0,
        average=settings.average,
        keep_start=settings.keep_start,
        word_dropout=settings.word_dropout,
        mask_id=mask_of(tokenizer) if settings.word_dropout else 0,
        special_ids=tuple(tokenizer.all_special_ids),
    )
    result = train(model, data, loss, schedule, ctx.folder, ctx.progress, tokenizer.pad_token_id, hooks, rates)
    if int(os.environ.get("RANK", "0")) == 0:  # under torchrun all processes hold the same weights
        (save or model.save)(ctx.folder)
        tokenizer.save_pretrained(str(ctx.folder))
    return {**result, "windows": len(data)}


def freeze(model: Any, training: Any) -> None:
    """Leaves out of a training what a `training` group says: the embeddings, or the first layers and all below them.

    Raises:
        UserError: no layer would be left.
    """
    count, below = training.freeze_layers, []
    if count:
        blocks = getattr(model, "blocks", [])
        if count >= len(blocks):
            there = f"the model has {len(blocks)} layers" if blocks else "this model's layers learn together"
            raise UserError(f"freeze_layers is {count}, {there}: leave some to train, or set it to 0.")
        below = [model.norm, *blocks[:count]]
    for part in [*below, *(model.embeddings if training.freeze_embeddings or count else [])]:
        part.requires_grad_(False)


def schedule_of(ctx: Any, settings: Any, **more: Any) -> Schedule:
    """What a group of a recipe says of a stage's training; `more` is what not every group has."""
    training = ctx.recipe.training
    names = ("learning_rate", "epochs", "batch_size", "warmup_ratio", "weight_decay", "max_grad_norm")
    common: dict[str, Any] = {name: getattr(settings, name) for name in names}
    common |= {"seed": stage_seed(training.seed, ctx.folder.name)}
    common |= {name: getattr(training, name) for name in ("precision", "checkpoint_minutes")}
    return Schedule(**{**common, **more})


def mask_of(tokenizer: Any) -> int:
    """The id of the token that stands for a hidden word.

    Raises:
        UserError: the tokenizer has none.
    """
    if tokenizer.mask_token_id is None:
        raise UserError("The tokenizer has no mask token to hide words behind: set word_dropout to 0.")
    return tokenizer.mask_token_id


def stage_seed(seed: int, stage: str) -> int:
    """A seed of the stage's own: cut short, two stages with one data order would learn from the same part of it."""
    return zlib.crc32(f"{seed}/{stage}".encode())
