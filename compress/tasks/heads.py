"""Heads whose outputs are the labels of a task, or its score: what a checkpoint says of them, and how one is loaded.

Checkpoints have a task's labels in any order, and many do not name them. What is loaded here has the task's labels, in
the task's order: rows of the head are put into it once, here, and whatever is made of the model has them so.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from zoo.checkpoints import head_of, labels_of, read_config
from zoo.errors import UserError
from zoo.modeling import LengthAdaptiveModel
from zoo.pretrained import FloatModel, Pretrained
from zoo.task_types import TaskType
from zoo.tasks import Task

log = logging.getLogger(__name__)

CHECKED = 96  # labelled examples that tell an order
MOST_ORDERED = 6  # classes whose orders are all tried
CLEAR = 2.5  # standard deviations by which the best order has to be ahead of the next
HEAR = (
    "Say what its outputs are called, in their order: dataset.labels of a recipe (distill.labels of a teacher), "
    "--labels of `evaluate`"
)


def head_settings(task: Task) -> dict[str, Any]:
    """What `config.json` says of a task's head, in transformers' keys."""
    names = ["score"] if task.regression else list(task.labels)
    return {
        "id2label": {str(i): name for i, name in enumerate(names)},
        "label2id": {name: i for i, name in enumerate(names)},
        "problem_type": f"{'multi' if task.several else 'single'}_label_classification"
        if not task.regression
        else "regression",
        "finetuning_task": task.name,
    }


@dataclass(frozen=True)
class Outputs:
    """How a checkpoint's outputs are settled to be a task's labels.

    Attributes:
        task: the task.
        stated: their names in their order, as a person says, where the checkpoint does not.
        look: says for a model without names which order labelled examples show, None if none clearly.
        new: a head that is not the task's may be replaced by a new one, since it is trained.
    """

    task: Task
    stated: Sequence[str] | None = None
    look: Callable[[FloatModel], list[int] | None] | None = None
    new: bool = True

    def order(self, names: Sequence[str]) -> list[int] | None:
        """Places of the task's labels among a checkpoint's outputs; None where neither names nor a person say.

        Raises:
            UserError: other labels than the task's.
        """
        if (by_name := self.task.order_of(names)) is not None:
            return by_name
        if self.stated and len(names) == len(self.stated):
            return stated_order(self.task, self.stated)
        if self.task.may_have(names):
            return None
        wanted = ", ".join(self.task.labels) or "a score"
        raise UserError(
            f"This model gives {', '.join(names)}; {self.task.name} wants {wanted}. Choose a model that was trained "
            "for the task, or say by dataset.labels (`evaluate`: --labels) which of these each output stands for."
        )

    def is_of(self, config: Mapping[str, Any]) -> bool:
        """Whether a checkpoint's outputs are the task's labels, in some order."""
        if not _has_type(config, self.task.type):
            return False
        try:
            self.order(labels_of(dict(config)))
        except UserError:
            return False
        return True


def stated_order(task: Task, stated: Sequence[str]) -> list[int]:
    """Places of the task's labels among those that a person says.

    Raises:
        UserError: they are others.
    """
    order = task.order_of(stated)
    if order is None:
        raise UserError(
            f"The labels {', '.join(stated)} are not those of {task.name}: write {', '.join(task.labels) or 'none'}, "
            "each once, in the order of the checkpoint's outputs."
        )
    return order


def check_stated(task: Task, config: Mapping[str, Any], stated: Sequence[str] | None) -> None:
    """Refuses what a person says of a checkpoint that says something else itself.

    Raises:
        UserError: it names its outputs, in another order; or the labels are not the task's.
    """
    if not stated:
        return
    names, order = labels_of(dict(config)), stated_order(task, stated)
    if (own := task.order_of(names)) is not None and own != order:
        raise UserError(
            f"The checkpoint names its outputs {', '.join(names)} itself: leave out that they are {', '.join(stated)}, "
            "or correct id2label in its config.json."
        )


def load_labelled(
    folder: Path | str, outputs: Task | Outputs, dropout: float = 0.0, **overrides: Any
) -> LengthAdaptiveModel:
    """A checkpoint's encoder with the task's head, its outputs in the task's order.

    The head is the checkpoint's own where it has the task's labels, else a new one, drawn from torch's random numbers;
    that a trained one is replaced is told.

    Args:
        folder: `config.json` and `model.safetensors`; a bare encoder, or one with any head.
        outputs: how the outputs are settled.
        overrides: further keys of the configuration.

    Raises:
        UserError: see `LengthAdaptiveModel.load`; or the head is not the task's, or in no known order, and nothing is
            trained.
    """
    outputs = Outputs(outputs) if isinstance(outputs, Task) else outputs
    task, config = outputs.task, read_config(folder)
    settings = {**head_settings(task), **overrides}
    if not outputs.is_of(config):
        replaced = replace_head(config, task.title or task.name, outputs.new)
        if replaced and _has_type(config, task.type):
            log.warning("%s", f"{replaced} Its outputs were {', '.join(labels_of(config))}.")
        elif replaced:
            log.warning("%s", replaced)
        model = LengthAdaptiveModel.load(folder, task.type, dropout, **settings)
        model.last.reset_parameters()
        return model
    model = LengthAdaptiveModel.load(folder, None, dropout, **settings)
    names = labels_of(config)
    put_in_order(model, outputs.order(names) or _seen_order(outputs, model, names))
    return model


def settings_as_labelled(folder: Path | str, outputs: Outputs) -> dict[str, Any]:
    """What `config.json` says of a head that stays as it is: the task's labels, in the order of its outputs.

    Raises:
        UserError: other labels than the task's, or in no known order.
    """
    task, names = outputs.task, labels_of(read_config(folder))
    order = outputs.order(names) or _seen_order(outputs, Pretrained.load(folder), names)
    settings = head_settings(task)
    if task.regression:
        return settings
    own = [task.labels[order.index(place)] for place in range(len(names))]
    return {**settings, "id2label": dict(enumerate(own)), "label2id": {name: i for i, name in enumerate(own)}}


def replace_head(config: Mapping[str, Any], purpose: str, new: bool) -> str:
    """What to say where a checkpoint gets a new head; empty where it has none.

    Raises:
        UserError: nothing is trained, so that a new head would say anything.
    """
    has_head, kind = True, (config.get("architectures") or ["a bare encoder"])[0]
    try:
        head_of(dict(config))
    except UserError:
        has_head = False
    if not new:
        gives = f" for {', '.join(labels_of(dict(config)))}" if has_head and head_of(dict(config)).has_labels else ""
        raise UserError(
            f"The checkpoint ({kind}{gives}) has no head for {purpose}, and nothing is trained here that could make "
            "one: take a checkpoint that was fine-tuned for the task, or a recipe that trains. If its outputs are the "
            "task's under other names, say so by dataset.labels."
        )
    return f"The head of the checkpoint ({kind}) is not for {purpose}: it gets a new one, to be trained." * has_head


def put_in_order(model: LengthAdaptiveModel, order: Sequence[int]) -> None:
    """Puts the rows of a head into the order of the task's labels: row i becomes what row `order[i]` was."""
    if list(order) != sorted(order):
        with torch.no_grad():
            for part in (model.last.weight, model.last.bias):
                part.copy_(part[list(order)].clone())


def shown_order(task: Task, logits: npt.NDArray[np.floating[Any]], labels: Sequence[Any]) -> list[int] | None:
    """The order of outputs in which a model is right clearly most often; None where it is not clear.

    It is clear where the best order is right on so many more of the examples on which the next one differs from it that
    chance would hardly do it (McNemar's test).

    Args:
        task: with few classes.
        logits: `[examples, outputs]`.
        labels: what is right, a class each.
    """
    if task.outputs > MOST_ORDERED:
        return None
    said, right = logits.argmax(1), np.asarray(labels)
    hits = {order: np.asarray(order)[right] == said for order in permutations(range(task.outputs))}
    best, second = sorted(hits, key=lambda order: -int(hits[order].sum()))[:2]
    ahead, apart = int(hits[best].sum() - hits[second].sum()), int((hits[best] != hits[second]).sum())
    return list(best) if ahead > CLEAR * apart**0.5 else None


def named(task: Task, order: Sequence[int]) -> str:
    """An order in words: the labels as the outputs give them."""
    return ", ".join(task.labels[list(order).index(place)] for place in range(task.outputs))


def _seen_order(outputs: Outputs, model: FloatModel, names: Sequence[str]) -> list[int]:
    """The order that labelled examples show of a head without names, which is told."""
    task, called = outputs.task, ", ".join(names)
    order = outputs.look(model) if outputs.look else None
    if order is not None:
        log.warning(
            "The outputs %s have no names: labelled examples show that they are %s.", called, named(task, order)
        )
        return order
    if not outputs.new:
        raise UserError(
            f"The outputs {called} of the checkpoint have no names, and labelled examples show no order clearly. "
            f"{HEAR}."
        )
    log.warning(
        "The outputs %s have no names, and labelled examples show no order clearly: they are trained as %s. %s if that "
        "is wrong.",
        called,
        ", ".join(task.labels),
        HEAR,
    )
    return list(range(task.outputs))


def _has_type(config: Mapping[str, Any], kind: TaskType) -> bool:
    try:
        return head_of(dict(config)) is kind
    except UserError:
        return False
