"""Distillation: what a student learns from a teacher beside its task, from stored logits or from the teacher itself."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from compress.data.names import shown
from compress.learn.loop import computing
from compress.learn.teacher import TASKS, Teacher, TeacherLogits, check_fit, check_reading, mark_of, teacher_for
from compress.tasks.samples import Loss, Sample
from compress.tasks.subjects import training_samples
from zoo.catalog import checkpoint_of
from zoo.errors import UserError
from zoo.features import load_tokenizer
from zoo.modeling import MASK, LengthAdaptiveModel


def teacher(ctx: Any, check: Callable[[int], None] | None = None) -> dict[str, Any]:
    """Stage `teacher`: asks the teacher about the training data and keeps its logits, where the recipe wants that.

    Args:
        check: called with the number of windows to train on before the teacher is asked about them.

    Raises:
        UserError: the teacher does not fit, or the training after it would not reach a step that the recipe names.
    """
    recipe, settings = ctx.recipe, ctx.recipe.distill
    if not settings.apply:
        return {}
    tokenizer = tokenizer_of(recipe)
    folder, model, known = open_teacher(recipe, tokenizer)
    if not settings.store_logits:
        return {}
    data = training_samples(recipe, tokenizer, recipe.finetune)
    if check:
        check(len(data))
    if (data[0].label is None) != (model.head == "qa"):
        task = TASKS["qa" if data[0].label is None else "classification"]
        raise UserError(f"The training data are for {task}, the teacher is not. Set distill.teacher to one that is.")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    mark = mark_of(folder, tokenizer, recipe.finetune.max_length, recipe.finetune.stride)
    guide = teacher_for(model.to(device), known, data)
    with computing(recipe.training.precision, device):  # as in the training that would ask it at every step
        TeacherLogits.make(ctx.folder, guide, data, mark, ctx.progress, tokenizer.pad_token_id)
    size = sum(path.stat().st_size for path in ctx.folder.glob("*.f32"))
    return {"teacher": shown(settings.teacher or recipe.model), "samples": len(data), "bytes": size}


def distillation(
    ctx: Any, task_loss: Loss, student: LengthAdaptiveModel, tokenizer: Any, data: Sequence[Sample], passes: int = 1
) -> Loss:
    """The loss of a training stage that distils as its recipe says: with what stage `teacher` stored, or with it live.

    Args:
        passes: see `distilled`.

    Raises:
        UserError: the teacher does not fit the student, or what is stored is of another teacher or other data.
    """
    recipe, settings = ctx.recipe, ctx.recipe.distill
    folder, model, known = open_teacher(recipe, tokenizer)
    check_fit(model, student)
    if not settings.store_logits:
        return distilled(task_loss, settings, student, teacher_for(model, known, data), passes)
    mark = mark_of(folder, tokenizer, recipe.finetune.max_length, recipe.finetune.stride)
    return distilled(task_loss, settings, student, TeacherLogits(ctx.inputs["teacher"], data, mark), passes)


def open_teacher(recipe: Any, tokenizer: Any) -> tuple[Path, LengthAdaptiveModel, Any]:
    """A recipe's teacher, which can read what the student's `tokenizer` writes: folder, model and own tokenizer.

    Raises:
        UserError: it has no head for a task, another vocabulary or too few positions.
    """
    folder = checkpoint_of(recipe.distill.teacher or recipe.model)
    try:
        model = LengthAdaptiveModel.load(folder)
    except UserError as error:
        raise UserError(f"This cannot be a teacher: {error} Set distill.teacher to a fine-tuned checkpoint.") from error
    known = load_tokenizer(folder) if recipe.distill.teacher else tokenizer
    check_reading(model, known, tokenizer, recipe.finetune.max_length)
    return folder, model, known


def tokenizer_of(recipe: Any) -> Any:
    """The tokenizer that a recipe reads with: its own, else that of its checkpoint."""
    return load_tokenizer(checkpoint_of(recipe.tokenizer or recipe.model))


def distilled(
    task_loss: Loss, settings: Any, student: LengthAdaptiveModel, guide: Teacher | TeacherLogits, passes: int = 1
) -> Loss:
    """The loss of `learn.loop.train` for a task and a teacher: the mean of their parts by the settings' weights.

    The parts are the task's loss, T^2 KL(teacher || student) of the logits softened by T, and, with the teacher in the
    loop, the squared distance of hidden states and KL(teacher || student) of attention. Each is a mean over examples.

    Args:
        task_loss: a loss of `train` by itself; each of its passes is compared with the teacher.
        settings: a `Distill` group.
        student: the model that is trained.
        guide: the teacher, or what it said about the data that are trained on.
        passes: of `task_loss` in a step, each of which yields its share of a mean: so does the teacher's part.

    Raises:
        UserError: hidden states of different widths, or attention of different numbers of heads, are to be compared.
    """
    weights = {
        "task": settings.label_weight,
        "teacher": settings.teacher_weight,
        "hidden": settings.hidden_weight,
        "attention": settings.attention_weight,
    }
    total = sum(weights.values())
    inside = weights["hidden"] > 0, weights["attention"] > 0
    pairs: list[tuple[int, int]] = []
    if any(inside):
        if not isinstance(guide, Teacher):
            raise UserError("Stored logits have no hidden states and no attention: set distill.store_logits to false.")
        pairs = paired_layers(student, guide.model, settings.layers, *inside)

    def loss(model: Any, batch: dict[str, Tensor], chance: random.Random) -> Iterator[tuple[Tensor, dict[str, float]]]:
        target, told_inside = None, Inside()
        if isinstance(guide, TeacherLogits):
            target = guide.lookup(batch["row"]).to(batch["input_ids"].device)
        else:
            with watching(guide.model, [there for _, there in pairs], *inside) as told_inside:
                target = guide(batch).logits
        alive = batch["attention_mask"].bool()
        heard = Listener(model)
        turns = task_loss(heard, batch, chance)
        while True:
            with watching(student, [here for here, _ in pairs], *inside) as own_inside:
                task, told = next(turns, (None, {}))
            if task is None:
                return
            parts = {"task": task}
            if weights["teacher"]:
                parts["teacher"] = divergence(heard.logits, target, settings.temperature, student.head)
            if weights["hidden"]:
                parts["hidden"] = hidden_distance(own_inside.hidden, told_inside.hidden, alive)
            if weights["attention"]:
                parts["attention"] = attention_distance(own_inside, told_inside, alive)
            mean = {key: part if key == "task" else part / passes for key, part in parts.items()}
            value = torch.stack([weights[key] * part for key, part in mean.items() if weights[key]]).sum() / total
            figures = {f"{key}_loss": part.item() for key, part in parts.items()}
            yield value, {**told, **figures, "loss": value.item()}

    return loss


class Listener:
    """A model that remembers the logits of its last pass."""

    def __init__(self, model: Any):
        self._model = model
        self.logits = torch.empty(0)

    def __call__(self, *args: Any, **named: Any) -> Any:
        out = self._model(*args, **named)
        self.logits = out.logits
        return out


def divergence(student: Tensor, teacher: Tensor, temperature: float, head: str) -> Tensor:
    """T^2 KL(teacher || student) at temperature T, mean over the batch, and over start and end for questions.

    Args:
        student, teacher: `[batch, tokens, 2]` with `LOST` at padded tokens, or `[batch, labels]`; of one label, a
            score, the squared distance is taken instead.
        head: "qa" or "classification".
    """
    student, teacher = student.float(), teacher.detach().float()
    if head != "qa" and student.shape[1] == 1:
        return F.mse_loss(student, teacher)
    padded = teacher <= MASK / 2  # padding has to stay without any probability at high temperatures too
    soft = ((logits / temperature).masked_fill(padded, MASK).log_softmax(1) for logits in (student, teacher))
    mine, goal = soft
    return temperature**2 * F.kl_div(mine, goal, log_target=True, reduction="none").sum(1).mean()


@dataclass
class Inside:
    """What was seen inside a pass: of every watched layer its output, and its attention's queries and keys."""

    hidden: list[Tensor] = field(default_factory=list)
    queries: list[Tensor] = field(default_factory=list)
    keys: list[Tensor] = field(default_factory=list)
    heads: int = 1


@contextmanager
def watching(
    model: LengthAdaptiveModel, layers: Sequence[int], hidden: bool = True, attention: bool = False
) -> Iterator[Inside]:
    """Sees what passes through `layers` of a model until the block ends."""
    seen = Inside(heads=model.blocks[0].heads)
    handles = []
    for layer in layers:
        block = model.blocks[layer]
        watched = [(block.output_norm, seen.hidden)] if hidden else []
        if attention:
            watched += [(block.query, seen.queries), (block.key, seen.keys)]
        for module, into in watched:
            handles.append(module.register_forward_hook(lambda _m, _a, out, into=into: into.append(out)))
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def paired_layers(
    student: LengthAdaptiveModel, teacher: LengthAdaptiveModel, which: str, hidden: bool, attention: bool
) -> list[tuple[int, int]]:
    """Which layers are compared: the last ones, or each of the student's with the teacher's at the same depth.

    Raises:
        UserError: they cannot be compared.
    """
    ours, theirs = student.shape, teacher.shape
    if hidden and ours.hidden != theirs.hidden:
        raise UserError(
            f"Hidden states of {theirs.hidden} numbers (the teacher's) and {ours.hidden} (the student's) cannot be "
            "compared. Set hidden_weight to 0, or take a teacher of the student's width."
        )
    heads = student.blocks[0].heads, teacher.blocks[0].heads
    if attention and heads[0] != heads[1]:
        raise UserError(
            f"Attention of {heads[1]} heads (the teacher's) and {heads[0]} (the student's) cannot be compared. Set "
            "attention_weight to 0, or take a teacher with as many heads."
        )
    if which == "last":
        return [(ours.layers - 1, theirs.layers - 1)]
    return [(layer, -(-(layer + 1) * theirs.layers // ours.layers) - 1) for layer in range(ours.layers)]


def hidden_distance(student: Sequence[Tensor], teacher: Sequence[Tensor], alive: Tensor) -> Tensor:
    """Mean squared distance of hidden states `[batch, tokens, hidden]` over real tokens, numbers and layers."""
    far = [(a.float() - b.detach().clone().float()).square().mean(-1) for a, b in zip(student, teacher, strict=True)]
    return torch.stack([_mean(each, alive) for each in far]).mean()


def attention_distance(student: Inside, teacher: Inside, alive: Tensor) -> Tensor:
    """KL(teacher || student) of attention, mean over real query tokens, heads and layers."""
    far = []
    for layer in range(len(student.queries)):
        mine, goal = (_attention(seen, layer, alive) for seen in (student, teacher))
        each = F.kl_div(mine, goal.detach().clone(), log_target=True, reduction="none").sum(-1).mean(1)
        far.append(_mean(each, alive))
    return torch.stack(far).mean()


def _attention(seen: Inside, layer: int, alive: Tensor) -> Tensor:
    """Logarithms of attention, `[batch, heads, queries, keys]`."""
    q, k = (part[layer].float().unflatten(-1, (seen.heads, -1)).transpose(1, 2) for part in (seen.queries, seen.keys))
    scores = q @ k.transpose(2, 3) * q.shape[-1] ** -0.5
    return scores.masked_fill(~alive[:, None, None, :], MASK).log_softmax(-1)


def _mean(each: Tensor, alive: Tensor) -> Tensor:
    return (each * alive).sum() / alive.sum()
