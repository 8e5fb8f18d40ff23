"""Text classification: what to learn from texts, with which head and loss, and how well it is learned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from compress.data import texts
from compress.data.fingerprints import refuse_overlap
from compress.data.names import HELD_OUT, OWN
from compress.data.tasks import Task
from compress.data.texts import TextExample
from compress.tasks.losses import classes
from compress.tasks.metrics import task_scores
from compress.tasks.samples import Sample
from compress.tasks.subject import Tell, _is_held, _present, _stated
from zoo.checkpoints import head_of, labels_of
from zoo.classify import MAX_LENGTH, predict
from zoo.engines.base import Engine
from zoo.errors import UserError
from zoo.features import Window, make_texts
from zoo.files import read_json
from zoo.lengths import TEXT_TOKENS, LengthConfig
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


class Texts:
    """Texts, or pairs of texts, to classify or to score (GLUE, XNLI)."""

    padded, noun = TEXT_TOKENS, "texts"

    def __init__(self, task: Task, recipe: Any, reading: Any):
        self.task, self.primary = task, task.primary
        self._recipe, self._longest = recipe, reading.max_length

    def load(self, split: str, limit: int | None = None, seed: int = 0) -> list[texts.TextExample]:
        found = self._learned() if split == "train" else self._read(split)
        most = getattr(self._recipe.dataset, "max_train_examples", None) if split == "train" else None
        if most:
            found = texts.draw(found, most, self._recipe.seed)
        return texts.draw(found, limit, seed)

    def _read(self, split: str) -> list[texts.TextExample]:
        split = _present(self._recipe.dataset, split)
        source = getattr(self._recipe.dataset, split)
        if source == HELD_OUT:
            reported = texts.fingerprint(self._read("evaluation"))
            return [e for e in self._read("train") if _is_held(e) and not texts.fingerprint([e]) & reported]
        return texts.load_texts(
            self.task,
            None if source == OWN else source,
            self.task.train_split if split == "train" else self.task.validation_split,
        )

    def _learned(self) -> list[texts.TextExample]:
        """What may be trained on: neither texts that are reported on (some of GLUE's stand in both splits) nor those
        that are chosen by."""
        found, data = self._read("train"), self._recipe.dataset
        if not self._recipe.trains:
            return found
        held = getattr(data, "validation", None) == HELD_OUT
        others = ["evaluation", *([] if held or not hasattr(data, "validation") else ["validation"])]
        known = set().union(*(texts.fingerprint(self._read(split)) for split in others))
        kept = [e for e in found if not (held and _is_held(e)) and not texts.fingerprint([e]) & known]
        if not kept:
            raise UserError("All texts to train on are searched or reported on, too. Take other data for one of these.")
        return kept

    def windows(self, tokenizer: Any, examples: Sequence[texts.TextExample]) -> list[Window]:
        return text_windows(tokenizer, examples, self._longest)

    def samples(self, tokenizer: Any, examples: Sequence[texts.TextExample]) -> list[Any]:
        return text_samples(tokenizer, self.task, examples, self._longest)

    def loss(self, significance_weight: float = 0.0, bounds: Sequence[float] = ()) -> Any:
        return classes()

    def load_model(self, folder: Path | str, dropout: float = 0.0, **overrides: Any) -> Any:
        return load_classifier(folder, self.task, dropout, **overrides)

    def score(
        self,
        engine: Engine,
        tokenizer: Any,
        examples: Sequence[texts.TextExample],
        config: Any = None,
        progress: Tell | None = None,
        settings: dict[str, Any] | None = None,
    ) -> dict[str, float]:
        names = None if settings is None else labels_of(settings)
        say = partial(evaluate_texts, names=names, max_length=self._longest)
        return say(engine, tokenizer, self.task, examples, config, progress)

    def fingerprints(self, examples: Sequence[texts.TextExample]) -> set[str]:
        return texts.fingerprint(examples)

    def refuse_overlap(
        self,
        known: set[str],
        examples: Sequence[texts.TextExample],
        what: str = "the data to report on",
        why: str = "were trained on",
    ) -> None:
        refuse_overlap(known, texts.passages(examples), what, why)

    def everything_learned(self) -> set[str]:
        return texts.fingerprint(self._learned())

    def named(self, n: int) -> dict[str, Any]:
        source, task = self._recipe.dataset.evaluation, self.task
        own = {"dataset": task.hub, "split": task.validation_split} if source == OWN else {"dataset": Path(source).name}
        remarks = [task.remark] if task.remark else []
        if n < task.rows:
            remarks.append(f"{n:,} texts were scored, the task's own validation set has {task.rows:,}")
        return {
            "metric": task.title,
            "task": task.name,
            **own,
            **({"config": task.config} if task.config else {}),
            **_stated(self._recipe.evaluate),
            "columns": ", ".join(task.columns),
            **({"remark": "; ".join(remarks)} if remarks else {}),
        }
