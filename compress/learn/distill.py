"""Distillation: what a student learns from a teacher beside its task, from stored logits or from the teacher itself."""

from __future__ import annotations

import random
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.hooks import RemovableHandle

from compress.data.names import short_name
from compress.learn.precision import computing
from compress.learn.student import Student, Workplace, tokenizer_of
from compress.learn.teacher import Teacher, TeacherLogits, check_fit, check_reading, mark_of, teacher_for
from compress.recipe.groups import Learning
from compress.recipe.length_adaptive import LengthAdaptiveRecipe
from compress.recipe.nncf import NncfRecipe
from compress.recipe.prune_once import PruneOnceRecipe
from compress.recipe.stage import StageContext
from compress.recipe.train import TrainRecipe
from compress.recipe.training_groups import Distill
from compress.tasks.losses import divergence
from compress.tasks.samples import Forward, Loss, Sample, inputs_of
from compress.tasks.subject import Subject
from compress.tasks.subjects import subject_of, taught_samples
from zoo.catalog import checkpoint_of
from zoo.checkpoints import compared_as
from zoo.devices import compute_device
from zoo.errors import UserError
from zoo.features import Tokenizer, load_tokenizer
from zoo.layers import MASK
from zoo.modeling import LengthAdaptiveModel, Output

Taught = LengthAdaptiveRecipe | TrainRecipe | PruneOnceRecipe | NncfRecipe  # kinds with a stage `teacher`


@dataclass(frozen=True)
class Guidance:
    """From whom a student learns beside its labels, and how.

    Attributes:
        settings: the group of a recipe.
        subject: what the student learns.
        model: the recipe's own checkpoint, which teaches where `settings` name no other.
        reading: the group that says how long the windows are.
        stored: where stage `teacher` has left the teacher's logits; None asks the teacher at every step.
    """

    settings: Distill
    subject: Subject[Any]
    model: str
    reading: Learning
    stored: Path | None = None

    @classmethod
    def of(cls, recipe: Taught, inputs: Mapping[str, Path] | None = None) -> Guidance:
        """That of a recipe; `inputs` are the folders of the stages before, for a training."""
        stored = inputs["teacher"] if inputs is not None and recipe.distill.store_logits else None
        return cls(recipe.distill, subject_of(recipe), recipe.model, recipe.finetune, stored)

    @property
    def teacher(self) -> str:
        """The teacher's checkpoint."""
        return self.settings.teacher or self.model

    def open(self, tokenizer: Tokenizer) -> tuple[Path, LengthAdaptiveModel, Tokenizer]:
        """The teacher, which can read what the student's `tokenizer` writes: folder, model and own tokenizer.

        Raises:
            UserError: it has no head for the task, labels in no known order, another vocabulary or too few positions.
        """
        folder = checkpoint_of(self.teacher)
        labels = self.settings.labels if self.settings.teacher else self.subject.labels
        try:
            model = self.subject.load_teacher(folder, labels)
        except UserError as error:
            raise UserError(
                f"This cannot be a teacher: {error} Set distill.teacher to a fine-tuned checkpoint."
            ) from error
        own = load_tokenizer(folder) if self.settings.teacher else tokenizer
        check_reading(model, own, tokenizer, self.reading.max_length)
        return folder, model, own

    def mark(self, folder: Path, tokenizer: Tokenizer) -> dict[str, Any]:
        """What logits of the teacher in `folder` depend on, see `mark_of`."""
        return mark_of(folder, tokenizer, self.reading.max_length, self.reading.stride)


def teacher(ctx: StageContext[Taught], check: Callable[[int], None] | None = None) -> dict[str, Any]:
    """Stage `teacher`: asks the teacher about the training data and keeps its logits, where the recipe wants that.

    Args:
        check: called with the number of windows to train on before the teacher is asked about them.

    Raises:
        UserError: the teacher does not fit, or the training after it would not reach a step that the recipe names.
    """
    recipe = ctx.recipe
    if not recipe.distill.apply:
        return {}
    tokenizer = tokenizer_of(recipe.model, recipe.tokenizer)

    def windows() -> list[Sample]:
        data = taught_samples(recipe, tokenizer)
        if check:
            check(len(data))
        return data

    return store_logits(Workplace.of(ctx), Guidance.of(recipe), tokenizer, windows)


def store_logits(
    place: Workplace,
    guidance: Guidance,
    tokenizer: Tokenizer,
    windows: Callable[[], list[Sample]],
) -> dict[str, Any]:
    """Asks a teacher about the windows to train on, and keeps its logits in the workplace if the guidance says so.

    Args:
        place: where.
        guidance: who teaches.
        tokenizer: of the student.
        windows: reads what is trained on; called when the teacher is known to fit.

    Returns:
        The teacher's name, how many windows and bytes there are; nothing where no logits are to be stored.

    Raises:
        UserError: the teacher does not fit the student or the windows.
    """
    folder, model, own = guidance.open(tokenizer)
    if not guidance.settings.store_logits:
        return {}
    data = windows()
    device = compute_device()
    guide = teacher_for(model.to(device), own, data)
    with computing(place.training.precision, device):  # as in the training that would ask it at every step
        mark = guidance.mark(folder, tokenizer)
        TeacherLogits.make(place.folder, guide, data, mark, place.progress, tokenizer.pad_token_id)
    size = sum(path.stat().st_size for path in place.folder.glob("*.f32"))
    return {"teacher": short_name(guidance.teacher), "samples": len(data), "bytes": size}


def distillation(guidance: Guidance, task_loss: Loss, student: Student[LengthAdaptiveModel], passes: int = 1) -> Loss:
    """The loss of a training that distils: with what stage `teacher` stored, or with the teacher itself.

    Args:
        passes: see `distilled`.

    Raises:
        UserError: the teacher does not fit the student, or what is stored is of another teacher or other data.
    """
    folder, model, own = guidance.open(student.tokenizer)
    check_fit(model, student.model)
    if guidance.stored is None:
        guide = teacher_for(model, own, student.data)
    else:
        guide = TeacherLogits(guidance.stored, student.data, guidance.mark(folder, student.tokenizer))
    return distilled(task_loss, guidance.settings, student.model, guide, passes)


def distilled(
    task_loss: Loss, settings: Distill, student: LengthAdaptiveModel, guide: Teacher | TeacherLogits, passes: int = 1
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
    total, kind = sum(weights.values()), compared_as(student.config)
    inside = weights["hidden"] > 0, weights["attention"] > 0
    pairs: list[tuple[int, int]] = []
    if any(inside):
        if not isinstance(guide, Teacher):
            raise UserError("Stored logits have no hidden states and no attention: set distill.store_logits to false.")
        pairs = paired_layers(student, guide.model, settings.layers, *inside)

    def loss(
        model: Forward, batch: dict[str, Tensor], chance: random.Random
    ) -> Iterator[tuple[Tensor, dict[str, float]]]:
        theirs = Activations()
        if isinstance(guide, TeacherLogits):
            target = guide.lookup(batch["row"], batch["input_ids"].shape[1]).to(batch["input_ids"].device)
        else:
            with recording(guide.model, [layer for _, layer in pairs], *inside) as theirs:
                target = guide(batch).logits
        alive = inputs_of(batch)["attention_mask"].bool()
        recorder = LogitsRecorder(model)
        turns = task_loss(recorder, batch, chance)
        while True:
            with recording(student, [layer for layer, _ in pairs], *inside) as ours:
                task, more = next(turns, (None, {}))
            if task is None:
                return
            parts = {"task": task}
            if weights["teacher"]:
                parts["teacher"] = divergence(recorder.logits, target, kind, settings.temperature)
            if weights["hidden"]:
                parts["hidden"] = hidden_distance(ours.hidden, theirs.hidden, alive)
            if weights["attention"]:
                parts["attention"] = attention_distance(ours, theirs, alive)
            mean = {key: part if key == "task" else part / passes for key, part in parts.items()}
            value = torch.stack([weights[key] * part for key, part in mean.items() if weights[key]]).sum() / total
            figures = {f"{key}_loss": part.item() for key, part in parts.items()}
            yield value, {**more, **figures, "loss": value.item()}

    return loss


class LogitsRecorder:
    """A model that remembers the logits of its last pass."""

    def __init__(self, model: Forward):
        self._model = model
        self.logits = torch.empty(0)

    def __call__(self, *args: Any, **options: Any) -> Output:
        out = self._model(*args, **options)
        self.logits = out.logits
        return out


@dataclass
class Activations:
    """What a pass computed inside: of every recorded layer its output, and its attention's queries and keys."""

    hidden: list[Tensor] = field(default_factory=list[Tensor])
    queries: list[Tensor] = field(default_factory=list[Tensor])
    keys: list[Tensor] = field(default_factory=list[Tensor])
    heads: int = 1


@contextmanager
def recording(
    model: LengthAdaptiveModel, layers: Sequence[int], hidden: bool = True, attention: bool = False
) -> Generator[Activations]:
    """Records what `layers` of a model compute until the block ends."""
    record = Activations(heads=model.blocks[0].heads)
    handles: list[RemovableHandle] = []
    for layer in layers:
        block = model.blocks[layer]
        targets: list[tuple[nn.Module, list[Tensor]]] = [(block.result, record.hidden)] if hidden else []
        if attention:
            targets += [(block.query, record.queries), (block.key, record.keys)]
        handles += [module.register_forward_hook(partial(_append, into)) for module, into in targets]
    try:
        yield record
    finally:
        for handle in handles:
            handle.remove()


def _append(into: list[Tensor], _module: nn.Module, _args: object, out: Tensor) -> None:
    into.append(out)


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
    if attention and (turning := next((each.row for each in (student, teacher) if each.row.rotary), None)):
        raise UserError(
            f"Attention of {turning.title} goes by rotary positions and cannot be compared here. Set "
            "attention_weight to 0."
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


def attention_distance(student: Activations, teacher: Activations, alive: Tensor) -> Tensor:
    """KL(teacher || student) of attention, mean over real query tokens, heads and layers."""
    far = []
    for layer in range(len(student.queries)):
        mine, goal = (_attention(record, layer, alive) for record in (student, teacher))
        each = F.kl_div(mine, goal.detach().clone(), log_target=True, reduction="none").sum(-1).mean(1)
        far.append(_mean(each, alive))
    return torch.stack(far).mean()


def _attention(record: Activations, layer: int, alive: Tensor) -> Tensor:
    """Logarithms of attention, `[batch, heads, queries, keys]`."""
    split = (part[layer].float().unflatten(-1, (record.heads, -1)) for part in (record.queries, record.keys))
    q, k = (part.transpose(1, 2) for part in split)
    scores = q @ k.transpose(2, 3) * q.shape[-1] ** -0.5
    return scores.masked_fill(~alive[:, None, None, :], MASK).log_softmax(-1)


def _mean(each: Tensor, alive: Tensor) -> Tensor:
    return (each * alive).sum() / alive.sum()
