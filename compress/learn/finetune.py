"""Fine-tuning for questions or texts, at full length."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from compress.learn.distill import Guidance, distillation
from compress.learn.loop import Hook, Schedule, train
from compress.learn.student import Student, Workplace
from compress.learn.vocabulary import renumber
from compress.recipe.groups import Learning, Training
from compress.recipe.length_adaptive import LengthAdaptiveRecipe
from compress.recipe.stage import StageContext
from compress.tasks import dropping
from compress.tasks.samples import Loss
from compress.tasks.subject import Subject
from compress.tasks.subjects import subject_of, training_samples
from zoo.catalog import checkpoint_of
from zoo.errors import UserError
from zoo.features import Tokenizer, check_vocabulary, load_tokenizer
from zoo.layers import Layer
from zoo.modeling import LengthAdaptiveModel


def run(ctx: StageContext[LengthAdaptiveRecipe]) -> dict[str, Any]:
    """Stage `finetune`: a checkpoint of an encoder -> one with the head of the recipe's task.

    It is distilled from a teacher where the recipe has one.

    Raises:
        UserError: the data or the teacher do not fit the model.
    """
    recipe, subject = ctx.recipe, subject_of(ctx.recipe)
    settings, training = recipe.finetune, recipe.training
    weight = settings.significance_weight
    own = dropping.dropping(recipe.length_drop) if weight else {}
    model, tokenizer = start(subject, recipe.model, recipe.tokenizer, settings.dropout, training.seed, own)
    model.attention_dropout = settings.attention_dropout
    student = Student(model, tokenizer, training_samples(recipe, tokenizer, settings))
    loss = subject.loss(weight, dropping.bounds_of(recipe.length_drop, model) if weight else ())
    if recipe.distill.apply:
        loss = distillation(Guidance.of(recipe, ctx.inputs), loss, student)
    return learn(Workplace.of(ctx), student, settings, loss, model.save)


def start(
    subject: Subject[Any],
    source: str,
    tokenizer: str | None,
    dropout: float,
    seed: int,
    own: Mapping[str, Any] | None = None,
    new_head: bool = True,
) -> tuple[LengthAdaptiveModel, Tokenizer]:
    """The model that a training starts from, with a new head if it has none for the task, and its tokenizer.

    Args:
        subject: of the recipe.
        source: the checkpoint.
        tokenizer: folder of another tokenizer than the checkpoint's; the model's words are renumbered for it.
        dropout: of hidden states.
        seed: of a new head.
        own: keys of the checkpoint's configuration to set.
        new_head: it is trained, so that one without a head for the task gets a new one.
    """
    folder = checkpoint_of(source)
    reader = load_tokenizer(checkpoint_of(tokenizer) if tokenizer else folder)
    torch.manual_seed(seed)
    model = subject.load_model(folder, dropout, new_head, **(own or {}))
    if tokenizer and (folder / "tokenizer.json").is_file():
        renumber(model, load_tokenizer(folder), reader)
    check_vocabulary(reader, model.config["vocab_size"], source)
    return model, reader


def learn(
    place: Workplace,
    student: Student[nn.Module],
    settings: Learning,
    loss: Loss,
    save: Callable[[Path], object],
    hooks: Sequence[Hook] = (),
    rates: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Trains a student as a group of the recipe says, and leaves its checkpoint and tokenizer in the workplace.

    Args:
        place: where.
        student: whom, on what.
        settings: the group of the training.
        loss: of `compress.learn.loop.train`.
        save: writes the checkpoint into a folder.
        hooks: see `compress.learn.loop.train`.
        rates: see `compress.learn.loop.Schedule`.

    Returns:
        What `train` returned, and how many windows there are.
    """
    freeze(student.model, place.training)
    tokenizer = student.tokenizer
    schedule = replace(
        schedule_of(place, settings),
        minutes=settings.max_minutes or 0,
        average=settings.average,
        keep_start=settings.keep_start,
        word_dropout=settings.word_dropout,
        mask_id=mask_of(tokenizer) if settings.word_dropout else 0,
        special_ids=tuple(tokenizer.all_special_ids),
        pad_id=tokenizer.pad_token_id,
        rates=rates or {},
        groups=student.groups,
    )
    result = train(student.model, student.data, loss, schedule, place.folder, place.progress, hooks)
    if place.first:
        save(place.folder)
        tokenizer.save_pretrained(str(place.folder))
    return {**result, "windows": len(student.data)}


def freeze(model: nn.Module, training: Training) -> None:
    """Freezes the embeddings, or the first layers and all below them, as `training` asks.

    Raises:
        UserError: no layer would be left.
    """
    count = training.freeze_layers
    below: list[nn.Module] = []
    if count:
        blocks: Sequence[Layer] = getattr(model, "blocks", ())
        if count >= len(blocks):
            size = f"the model has {len(blocks)} layers" if blocks else "this model's layers learn together"
            raise UserError(f"freeze_layers is {count}, {size}: leave some to train, or set it to 0.")
        below = [model.get_submodule("norm"), *blocks[:count]]
    if count or training.freeze_embeddings:
        below += getattr(model, "embeddings", ())
    for part in below:
        part.requires_grad_(False)


class Pace(Protocol):
    """What every group of a training has."""

    @property
    def learning_rate(self) -> float: ...
    @property
    def epochs(self) -> float: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def warmup_ratio(self) -> float: ...
    @property
    def weight_decay(self) -> float: ...
    @property
    def max_grad_norm(self) -> float: ...


def schedule_of(place: Workplace, settings: Pace) -> Schedule:
    """What a group of a recipe says of a training that every group says."""
    return Schedule(
        learning_rate=settings.learning_rate,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        warmup_ratio=settings.warmup_ratio,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        seed=stage_seed(place.training.seed, place.folder.name),
        precision=place.training.precision,
        parts=place.training.gradient_accumulation,
        recompute=place.training.gradient_checkpointing,
        checkpoint_minutes=place.training.checkpoint_minutes,
    )


def mask_of(tokenizer: Tokenizer) -> int:
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
