"""Sparse pre-training: masked language modelling with pruning and distillation from the dense model."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from compress.learn.distill import hidden_distance, paired_layers, tokenizer_of, watching
from compress.learn.finetune import freeze, schedule_of
from compress.learn.loop import Hook, Schedule, train
from compress.learn.masked_lm import MaskedLanguageModel
from compress.learn.masking import Masking
from compress.learn.pruning.prune import Pruner
from compress.learn.pruning.report import sparsity_of
from compress.learn.shards import Shards
from compress.learn.teacher import check_reading
from compress.tasks.samples import Loss
from zoo.catalog import checkpoint_of
from zoo.errors import UserError
from zoo.features import load_tokenizer


def run(ctx: Any) -> dict[str, Any]:
    """Stage `pretrain`: a dense checkpoint and blocks of text -> a sparse checkpoint for masked texts.

    Raises:
        UserError: the checkpoint, its teacher or the way of pruning do not fit.
    """
    recipe, settings, training = ctx.recipe, ctx.recipe.pretrain, ctx.recipe.training
    source, tokenizer = checkpoint_of(recipe.model), tokenizer_of(recipe)
    torch.manual_seed(training.seed)
    model = MaskedLanguageModel.load(source, settings.dropout)
    teacher = open_teacher(recipe, tokenizer)
    freeze(model.encoder, training)
    hooks: list[Hook] = [Pruner(model.encoder, recipe.prune)] if recipe.prune.apply else []
    data = Shards(ctx.inputs["text"])
    schedule = schedule_on(ctx, settings, len(data))
    loss = masked(settings, model, Masking(tokenizer), teacher)
    result = train(cast(Any, model), data, loss, schedule, ctx.folder, ctx.progress, tokenizer.pad_token_id, hooks)
    if int(os.environ.get("RANK", "0")) == 0:  # under torchrun all processes hold the same weights
        model.save(ctx.folder)
        tokenizer.save_pretrained(str(ctx.folder))
    found = sparsity_of(model.encoder)
    return {**result, "blocks": len(data), "sparsity": found["operators"], "sparsity_of_model": found["model"]}


def schedule_on(ctx: Any, settings: Any, blocks: int, **more: Any) -> Schedule:
    """What a group of a recipe says of a stage's training on so many blocks, by steps where it counts in steps."""
    if settings.steps:
        more["epochs"] = (settings.steps - 0.5) / -(-blocks // settings.batch_size)
    return schedule_of(ctx, settings, **more)


def open_teacher(recipe: Any, tokenizer: Any) -> MaskedLanguageModel | None:
    """The dense model that pre-training distils from, if it does.

    Raises:
        UserError: it cannot tell words, where that is wanted, or does not fit the tokenizer.
    """
    settings = recipe.pretrain
    if not settings.teacher_weight and not settings.hidden_weight:
        return None
    folder = checkpoint_of(settings.teacher or recipe.model)
    model = MaskedLanguageModel.load(folder)
    if settings.teacher_weight and not model.has_head:
        raise UserError(
            f"{settings.teacher or recipe.model} has no head for masked words, so that it cannot teach them. Set "
            "pretrain.teacher_weight to 0 and pretrain.hidden_weight to 1: its hidden states are learned from then."
        )
    known = load_tokenizer(folder) if settings.teacher else tokenizer
    check_reading(model.encoder, known, tokenizer, settings.block_tokens)
    return model.eval().requires_grad_(False)


def masked(
    settings: Any, student: MaskedLanguageModel, masking: Masking, teacher: MaskedLanguageModel | None = None
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

    def loss(model: Any, batch: dict[str, Tensor], chance: random.Random) -> Iterator[tuple[Tensor, dict[str, float]]]:
        ids, holes = masking(batch, chance)
        alive, goal = batch["attention_mask"], batch["input_ids"][holes]
        with watching(student.encoder, [here for here, _ in pairs]) as mine:
            _, logits = model(ids, alive, holes)
        parts = {"words": F.cross_entropy(logits.float(), goal)}
        if teacher is not None:
            with torch.inference_mode(), watching(teacher.encoder, [there for _, there in pairs]) as taught:
                _, words = teacher.to(ids.device)(ids, alive, holes if weights["teacher"] else None)
            if weights["teacher"]:
                warm = settings.temperature
                soft = (words.clone().float() / warm).log_softmax(1)
                own = (logits.float() / warm).log_softmax(1)
                parts["teacher"] = warm**2 * F.kl_div(own, soft, log_target=True, reduction="batchmean")
            if weights["hidden"]:
                parts["hidden"] = hidden_distance(mine.hidden, taught.hidden, alive.bool())
        value = torch.stack([weights[key] * part for key, part in parts.items() if weights[key]]).sum() / total
        right = (logits.argmax(1) == goal).float().mean().item()
        yield (
            value,
            {f"{key}_loss": part.item() for key, part in parts.items()} | {"loss": value.item(), "right": right},
        )

    return loss
