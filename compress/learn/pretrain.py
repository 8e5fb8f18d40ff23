"""Sparse pre-training: masked language modelling with pruning and distillation from the dense model."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from compress.learn.distill import hidden_distance, paired_layers, recording
from compress.learn.finetune import Pace, freeze, schedule_of
from compress.learn.loop import Hook, Schedule, train
from compress.learn.masked_lm import MaskedLanguageModel
from compress.learn.masking import Masking
from compress.learn.pruning.prune import Pruner
from compress.learn.pruning.report import sparsity_of
from compress.learn.shards import Shards
from compress.learn.student import Workplace, tokenizer_of
from compress.learn.teacher import check_reading
from compress.recipe.prune_once import PruneOnceRecipe
from compress.recipe.stage import StageContext
from compress.recipe.training_groups import Pretrain
from compress.tasks.samples import Loss
from zoo.catalog import checkpoint_of
from zoo.errors import UserError
from zoo.features import Tokenizer, load_tokenizer


def run(ctx: StageContext[PruneOnceRecipe]) -> dict[str, Any]:
    """Stage `pretrain`: a dense checkpoint and blocks of text -> a sparse checkpoint for masked texts.

    Raises:
        UserError: the checkpoint, its teacher or the way of pruning do not fit.
    """
    recipe, settings = ctx.recipe, ctx.recipe.pretrain
    source, tokenizer = checkpoint_of(recipe.model), tokenizer_of(recipe.model, recipe.tokenizer)
    torch.manual_seed(recipe.training.seed)
    model = MaskedLanguageModel.load(source, settings.dropout)
    teacher = open_dense(settings, recipe.model, tokenizer)
    freeze(model.encoder, recipe.training)
    hooks: list[Hook] = [Pruner(model.encoder, recipe.prune)] if recipe.prune.apply else []
    data = Shards(ctx.inputs["text"])
    schedule = replace(schedule_on(Workplace.of(ctx), settings, len(data)), pad_id=tokenizer.pad_token_id)
    loss = masked(settings, model, Masking(tokenizer), teacher)
    result = train(model, data, loss, schedule, ctx.folder, ctx.progress, hooks)
    if ctx.first:  # under torchrun all processes hold the same weights
        model.save(ctx.folder)
        tokenizer.save_pretrained(str(ctx.folder))
    zeros = sparsity_of(model.encoder)
    return {**result, "blocks": len(data), "sparsity": zeros["operators"], "sparsity_of_model": zeros["model"]}


class SteppedPace(Pace, Protocol):
    """A group of a training that may count in steps."""

    @property
    def steps(self) -> int | None: ...


def schedule_on(place: Workplace, settings: SteppedPace, blocks: int) -> Schedule:
    """What a group of a recipe says of a training on so many blocks, by steps where it counts in steps."""
    schedule = schedule_of(place, settings)
    if not settings.steps:
        return schedule
    return replace(schedule, epochs=(settings.steps - 0.5) / -(-blocks // settings.batch_size))


def open_dense(settings: Pretrain, model: str, tokenizer: Tokenizer) -> MaskedLanguageModel | None:
    """The dense model that pre-training distils from, if it does.

    Args:
        settings: of the pre-training.
        model: the recipe's checkpoint, which teaches where `settings` name no other.
        tokenizer: of the student.

    Raises:
        UserError: it cannot tell words, where that is asked for, or does not fit the tokenizer.
    """
    if not settings.teacher_weight and not settings.hidden_weight:
        return None
    folder = checkpoint_of(settings.teacher or model)
    teacher = MaskedLanguageModel.load(folder)
    if settings.teacher_weight and not teacher.has_head:
        raise UserError(
            f"{settings.teacher or model} has no head for masked words, so that it cannot teach them. Set "
            "pretrain.teacher_weight to 0 and pretrain.hidden_weight to 1: its hidden states are learned from then."
        )
    own = load_tokenizer(folder) if settings.teacher else tokenizer
    check_reading(teacher.encoder, own, tokenizer, settings.block_tokens)
    return teacher.eval().requires_grad_(False)


def masked(
    settings: Pretrain, student: MaskedLanguageModel, masking: Masking, teacher: MaskedLanguageModel | None = None
) -> Loss:
    """The loss of `compress.learn.loop.train` for masked texts: the mean of its parts by the settings' weights.

    The parts are the cross-entropy of the masked words, T^2 KL(teacher || student) over all words at the same places,
    and the squared distance of hidden states, the last or every layer's. Teacher and student read the same texts with
    the same holes.

    Args:
        settings: a `Pretrain` group.
        student: the model that is trained.
        masking: makes the holes.
        teacher: the dense model.

    Raises:
        UserError: hidden states of different widths are to be compared.
    """
    weights = {"words": settings.label_weight, "teacher": settings.teacher_weight, "hidden": settings.hidden_weight}
    total = sum(weights.values())
    pairs: list[tuple[int, int]] = []
    if teacher is not None and weights["hidden"]:
        pairs = paired_layers(student.encoder, teacher.encoder, settings.layers, True, False)

    def loss(
        model: Callable[..., tuple[Tensor, Tensor]], batch: dict[str, Tensor], chance: random.Random
    ) -> Iterator[tuple[Tensor, dict[str, float]]]:
        ids, holes = masking(batch, chance)
        alive, goal = batch["attention_mask"], batch["input_ids"][holes]
        with recording(student.encoder, [layer for layer, _ in pairs]) as ours:
            _, logits = model(ids, alive, holes)
        parts = {"words": F.cross_entropy(logits.float(), goal)}
        if teacher is not None:
            with torch.inference_mode(), recording(teacher.encoder, [layer for _, layer in pairs]) as theirs:
                _, words = teacher.to(ids.device)(ids, alive, holes if weights["teacher"] else None)
            if weights["teacher"]:
                warm = settings.temperature
                soft = (words.clone().float() / warm).log_softmax(1)
                own = (logits.float() / warm).log_softmax(1)
                parts["teacher"] = warm**2 * F.kl_div(own, soft, log_target=True, reduction="batchmean")
            if weights["hidden"]:
                parts["hidden"] = hidden_distance(ours.hidden, theirs.hidden, alive.bool())
        value = torch.stack([weights[key] * part for key, part in parts.items() if weights[key]]).sum() / total
        figures = {f"{key}_loss": part.item() for key, part in parts.items()}
        yield value, {**figures, "loss": value.item(), "right": (logits.argmax(1) == goal).float().mean().item()}

    return loss
