"""What a training minimises, by what the task asks for."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from compress.tasks import dropping
from compress.tasks.samples import IGNORED, Forward, Loss, inputs_of
from zoo.task_types import TaskType
from zoo.tasks import LOST

SHARP = 0.05  # a temperature of cosines, at which the nearest few of a batch have most of the weight


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


def token_loss(logits: Tensor, label: Tensor) -> Tensor:
    """Mean cross-entropy of the classes of tokens; those without one (`IGNORED`) do not count.

    Args:
        logits: `[batch, tokens, labels]`.
        label: `[batch, tokens]`.
    """
    total = F.cross_entropy(logits.flatten(0, 1).float(), label.flatten().long(), ignore_index=IGNORED, reduction="sum")
    return total / (label != IGNORED).sum().clamp_min(1)


def plain(loss_of: Callable[[Tensor, Mapping[str, Tensor]], Tensor]) -> Loss:
    """The loss of `compress.learn.loop.train` for a task whose loss follows from logits and batch alone.

    Args:
        loss_of: as `compress.tasks.subject.Subject.loss_of`.
    """

    def loss(
        model: Forward, batch: dict[str, Tensor], _chance: random.Random
    ) -> Iterator[tuple[Tensor, dict[str, float]]]:
        value = loss_of(model(**inputs_of(batch)).logits, batch)
        yield value, {"loss": value.item()}

    return loss


def divergence(student: Tensor, teacher: Tensor, kind: TaskType, temperature: float = 1.0) -> Tensor:
    """T^2 KL(teacher || student) at temperature T: mean over the batch, and over start and end for questions, or over
    the real tokens where each has labels. Of one output, a score, it is the squared difference; of vectors 1 - cosine
    and what `likeness` says of them; of labels of which several may hold the sum over labels.

    Args:
        student, teacher: logits, with `LOST` at padded tokens.
        kind: says what they are a distribution over.
        temperature: softens both.
    """
    student, teacher = student.float(), teacher.detach().float()
    if kind.reads == "pooled":
        return angle(student, teacher) + likeness(student, teacher)
    if kind.spread == "nothing" or (student.ndim == 2 and student.shape[1] == 1):
        return F.mse_loss(student, teacher)
    if kind.spread == "each":
        mine, goal = student / temperature, teacher / temperature  # autocast on a GPU takes logits here, no shares
        far, least = (F.binary_cross_entropy_with_logits(x, goal.sigmoid(), reduction="none") for x in (mine, goal))
        return temperature**2 * (far - least).sum(1).mean()
    axis = 1 if kind.spread == "tokens" else -1
    padded = teacher <= LOST / 2  # padding has to stay without any probability at high temperatures too
    mine, goal = ((each / temperature).masked_fill(padded, LOST).log_softmax(axis) for each in (student, teacher))
    far = temperature**2 * F.kl_div(mine, goal, log_target=True, reduction="none").sum(axis)
    if kind.spread == "tokens":
        return far.mean()
    real = ~padded.all(-1)
    return (far * real).sum() / real.sum().clamp_min(1)


def angle(student: Tensor, teacher: Tensor) -> Tensor:
    """1 - cosine of vectors `[texts, hidden]`, a mean."""
    return (1 - F.cosine_similarity(student.float(), teacher.detach().float(), dim=1)).mean()


def likeness(student: Tensor, teacher: Tensor) -> Tensor:
    """How far vectors `[texts, hidden]` are from the teacher's in whom of the others each is most like, a mean.

    Each text's cosines with the others of its batch, divided by `SHARP`, are a distribution over them by a softmax; it
    is KL(teacher || student) of these. Cosine alone makes a vector right on the whole: what little tells texts apart
    that are alike counts for nothing there, and for much here.
    """
    if len(student) < 2:
        return student.sum() * 0
    other = ~torch.eye(len(student), dtype=torch.bool, device=student.device)
    unit = [F.normalize(vectors.float()) for vectors in (student, teacher.detach())]
    mine, goal = (((each @ each.T) / SHARP)[other].view(len(each), -1).log_softmax(1) for each in unit)
    return F.kl_div(mine, goal, log_target=True, reduction="batchmean")


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


def ranking(significance: Sequence[tuple[int, Tensor, Tensor]], needed: Mapping[int, Tensor]) -> Tensor:
    """Cross-entropy of what scorers give to the tokens that are left, to how much these are needed by a pass over all
    tokens (top-one probabilities of ListNet, Cao et al. 2007), mean over layers.

    Args:
        significance: `Output.significance`.
        needed: `Output.needed` of the pass over all tokens.
    """
    total = torch.zeros(())
    for layer, share, where in significance:
        alive = share > 0
        goal = needed[layer].gather(1, where) * alive
        goal = goal / goal.sum(1, keepdim=True).clamp_min(1e-6)
        total = total.to(goal.device) - (goal * share.clamp_min(1e-9).log()).sum(1).mean()
    return total / max(1, len(significance))


def of_answer(logits: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
    """The loss of questions, from logits and batch."""
    return span_loss(logits, batch["start"], batch["end"])
