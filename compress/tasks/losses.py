"""What a training minimises, by what the task asks for."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from compress.tasks import dropping
from compress.tasks.samples import Forward, Loss


def span_loss(logits: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """Mean cross-entropy of the start and the end position."""
    cross = torch.nn.functional.cross_entropy
    return (cross(logits[..., 0].float(), start) + cross(logits[..., 1].float(), end)) / 2


def span(significance_weight: float = 0.0, bounds: Sequence[float] = ()):
    """The loss of `compress.learn.loop.train` for fine-tuning: cross-entropy of the answer's start and end.

    Args:
        significance_weight: of the hinge on attention, see `compress.learn.length_drop`.
        bounds: share of the tokens that each layer will be asked to drop.
    """

    def loss(
        model: Forward, batch: dict[str, Tensor], _chance: random.Random
    ) -> Iterator[tuple[Tensor, dict[str, float]]]:
        inputs = {key: batch[key] for key in ("input_ids", "attention_mask", "token_type_ids")}
        out = model(**inputs, scored=significance_weight > 0)
        value = span_loss(out.logits, batch["start"], batch["end"])
        figures = {"loss": value.item()}
        if significance_weight:
            goal = dropping.smallest(batch["attention_mask"].sum(1), bounds)
            hinge = attention_hinge(out.significance, batch["start"], batch["end"], goal)
            value, figures["hinge_full"] = value + significance_weight * hinge, hinge.item()
        yield value, figures

    return loss


def class_loss(logits: Tensor, label: Tensor) -> Tensor:
    """Mean cross-entropy of the class; mean squared error where there is one output, a score; mean binary cross-entropy
    where several labels may hold, `[batch, labels]`."""
    if label.ndim == 2:
        return F.binary_cross_entropy_with_logits(logits.float(), label.float())
    if logits.shape[-1] == 1:
        return F.mse_loss(logits[:, 0].float(), label.float())
    return F.cross_entropy(logits.float(), label)


def classes() -> Loss:
    """The loss of `compress.learn.loop.train` for classification and regression."""

    def loss(
        model: Forward, batch: dict[str, Tensor], _chance: random.Random
    ) -> Iterator[tuple[Tensor, dict[str, float]]]:
        inputs = {key: batch[key] for key in ("input_ids", "attention_mask", "token_type_ids")}
        value = class_loss(model(**inputs).logits, batch["label"])
        yield value, {"loss": value.item()}

    return loss


def distance(student: Tensor, teacher: Tensor) -> Tensor:
    """KL(teacher || student), mean over the batch and, of logits `[batch, tokens, 2]`, over start and end.

    A classifier's logits are `[batch, labels]`; of a score, `[batch, 1]`, it is the squared difference.
    """
    if student.ndim == 2 and student.shape[1] == 1:
        return F.mse_loss(student.float(), teacher.detach().float())
    target = teacher.detach().float().log_softmax(1)
    return F.kl_div(student.float().log_softmax(1), target, log_target=True, reduction="none").sum(1).mean()


def attention_hinge(
    significance: Sequence[tuple[int, Tensor, Tensor]], start: Tensor, end: Tensor, goal: Tensor
) -> Tensor:
    """How far the answer's first and last token are from being sure to be kept, mean over tokens and layers.

    Of all attention at most n tokens receive a share of 1/n or more: one that receives it is among the n kept.

    Args:
        significance: `Output.significance`.
        start, end: answer's token positions, `[batch]`.
        goal: tokens that go on after each layer, `[batch, layers]`.
    """
    total = torch.zeros((), device=start.device)
    for layer, share, where in significance:
        answer = (where == start[:, None]) | (where == end[:, None])
        short = -(share.float() * goal[:, layer, None]).clamp_min(1e-6).log()
        total = total + (short.clamp_min(0) * answer).sum() / answer.sum().clamp_min(1)
    return total / max(1, len(significance))


def of_answer(logits: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
    """The loss of questions, from logits and batch."""
    return span_loss(logits, batch["start"], batch["end"])
