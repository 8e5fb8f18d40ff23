"""Heads whose outputs are the labels of a task, or its score: what a checkpoint says of them, and how one is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zoo.checkpoints import head_of, labels_of, read_config
from zoo.errors import UserError
from zoo.modeling import LengthAdaptiveModel
from zoo.tasks import Task


def head_settings(task: Task) -> dict[str, Any]:
    """What `config.json` says of a task's head, in transformers' keys."""
    names = ["score"] if task.regression else list(task.labels)
    return {
        "id2label": {str(i): name for i, name in enumerate(names)},
        "label2id": {name: i for i, name in enumerate(names)},
        "problem_type": "regression" if task.regression else "single_label_classification",
        "finetuning_task": task.name,
    }


def load_labelled(folder: Path | str, task: Task, dropout: float = 0.0, **overrides: Any) -> LengthAdaptiveModel:
    """A checkpoint's encoder with the task's head.

    The head is the checkpoint's own where it has the task's labels in the task's order, else a new one, drawn from
    torch's random numbers.

    Args:
        folder: `config.json` and `model.safetensors`; a bare encoder, or one with any head.
        overrides: further keys of the configuration.

    Raises:
        UserError: see `LengthAdaptiveModel.load`.
    """
    settings = {**head_settings(task), **overrides}
    fits = has_labels(read_config(folder), task)
    model = LengthAdaptiveModel.load(folder, None if fits else task.type, dropout, **settings)
    if not fits:
        model.last.reset_parameters()
    return model


def has_labels(config: Mapping[str, Any], task: Task) -> bool:
    """Whether a checkpoint's outputs are the task's, in its order."""
    try:
        is_alike = head_of(dict(config)) is task.type
    except UserError:
        return False
    return is_alike and task.order_of(labels_of(dict(config))) == list(range(task.outputs))


def order_of(task: Task, config: Mapping[str, Any] | None) -> list[int]:
    """Places of the task's labels among a model's outputs.

    Args:
        config: the model's `config.json`; None where its labels are the task's.

    Raises:
        UserError: the model gives other labels.
    """
    names = list(task.labels or ["score"]) if config is None else labels_of(dict(config))
    order = task.order_of(names)
    if order is None:
        raise UserError(
            f"This model gives {', '.join(names)}; {task.name} wants {', '.join(task.labels) or 'a score'}. "
            "Choose a model that was trained for the task."
        )
    return order
