"""Text classification: what to learn from texts, with which head and loss, and how well it is learned."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from compress.data.tasks import Task
from compress.data.texts import TextExample
from compress.learn.loop import Loss, Sample
from compress.tasks.metrics import task_scores
from zoo.checkpoints import head_of, labels_of
from zoo.classify import MAX_LENGTH, predict
from zoo.engines import Engine
from zoo.errors import UserError
from zoo.features import Window, make_texts
from zoo.files import read_json
from zoo.lengths import LengthConfig
from zoo.modeling import LengthAdaptiveModel


def text_windows(tokenizer: Any, examples: Sequence[TextExample], max_length: int = MAX_LENGTH) -> list[Window]:
    """One window an example, in their order; of a pair the longer text is cut first."""
    firsts, seconds = columns(examples)
    return make_texts(tokenizer, firsts, seconds, max_length)


def text_samples(
    tokenizer: Any, task: Task, examples: Sequence[TextExample], max_length: int = MAX_LENGTH
) -> list[Sample]:
    """Labelled windows; a sample's key is its example's id.

    Raises:
        UserError: there are no examples, or one has no label.
    """
    check_labels(task, examples, "learn from")
    windows = text_windows(tokenizer, examples, max_length)
    return [
        Sample(window, label=float(e.label or 0) if task.regression else e.label, key=e.id)
        for window, e in zip(windows, examples, strict=True)
    ]


def columns(examples: Sequence[TextExample]) -> tuple[list[str], list[str] | None]:
    """First texts, and second ones where the examples are pairs."""
    seconds = [e.second for e in examples if e.second is not None]
    return [e.first for e in examples], seconds or None


def check_labels(task: Task, examples: Sequence[TextExample], purpose: str) -> None:
    """Refuses examples without labels.

    Raises:
        UserError: there are none, or one has no label.
    """
    if not examples:
        raise UserError(f"There are no texts to {purpose}. Take other data.")
    unlabelled = [e.id for e in examples if e.label is None]
    if unlabelled:
        raise UserError(
            f"{len(unlabelled)} of the texts to {purpose} have no label of {task.name}, first {unlabelled[0]!r}. "
            "Take a split with labels: those of GLUE's test sets are kept secret."
        )


def class_loss(logits: Tensor, label: Tensor) -> Tensor:
    """Mean cross-entropy of the class; mean squared error where there is one output, a score."""
    if logits.shape[-1] == 1:
        return F.mse_loss(logits[:, 0].float(), label.float())
    return F.cross_entropy(logits.float(), label)


def of_label(logits: Tensor, batch: dict[str, Tensor]) -> Tensor:
    """The task's loss for texts, from logits and batch."""
    return class_loss(logits, batch["label"])


def classes() -> Loss:
    """The loss of `compress.learn.loop.train` for classification and regression."""

    def loss(model: Any, batch: dict[str, Tensor], _chance: random.Random) -> Iterator[tuple[Tensor, dict[str, float]]]:
        inputs = {key: batch[key] for key in ("input_ids", "attention_mask", "token_type_ids")}
        value = class_loss(model(**inputs).logits, batch["label"])
        yield value, {"loss": value.item()}

    return loss


def head_settings(task: Task) -> dict[str, Any]:
    """What `config.json` says of a task's head, in transformers' keys."""
    names = ["score"] if task.regression else list(task.labels)
    return {
        "id2label": {str(i): name for i, name in enumerate(names)},
        "label2id": {name: i for i, name in enumerate(names)},
        "problem_type": "regression" if task.regression else "single_label_classification",
        "finetuning_task": task.name,
    }


def load_classifier(folder: Path | str, task: Task, dropout: float = 0.0, **overrides: Any) -> LengthAdaptiveModel:
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
    fits = has_head(read_json(Path(folder) / "config.json"), task)
    model = LengthAdaptiveModel.load(folder, None if fits else "classification", dropout, **settings)
    if not fits:
        model.classifier.reset_parameters()
    return model


def has_head(config: dict[str, Any], task: Task) -> bool:
    """Whether a checkpoint's outputs are the task's, in its order."""
    try:
        classifies = head_of(config) == "classification"
    except UserError:
        return False
    return classifies and task.order_of(labels_of(config)) == list(range(task.outputs))


def evaluate_texts(
    engine: Engine,
    tokenizer: Any,
    task: Task,
    examples: Sequence[TextExample],
    config: LengthConfig | None = None,
    progress: Callable[[int, int], None] | None = None,
    names: Sequence[str] | None = None,
    max_length: int = MAX_LENGTH,
) -> dict[str, float]:
    """Scores a classifier.

    Args:
        engine: the loaded model.
        examples: with their labels.
        config: length configuration; None for full length.
        progress: called with (texts done, texts in all).
        names: the model's labels in its order, from its `config.json`; None where it is the task's.

    Returns:
        The task's metrics in points of 100, and `n`.

    Raises:
        UserError: no examples, examples without labels, or a model for other labels.
    """
    check_labels(task, examples, "evaluate on")
    firsts, seconds = columns(examples)
    names = list(names if names is not None else task.labels or ["score"])
    order = task.order_of(names)
    if order is None:
        raise UserError(
            f"This model gives {', '.join(names)}; {task.name} wants {', '.join(task.labels) or 'a score'}. "
            "Choose a model that was trained for the task."
        )
    logits = predict(engine, tokenizer, firsts, seconds, config, max_length, progress)
    if logits.shape[1] != task.outputs:
        raise UserError(
            f"This model has {logits.shape[1]} outputs, {task.name} needs {task.outputs}. "
            "Choose a model that was trained for the task."
        )
    said = logits[:, 0] if task.regression else logits[:, order].argmax(1)
    return task_scores(task, said, np.array([e.label for e in examples]))
