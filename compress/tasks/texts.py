"""Texts, or pairs of texts, to classify or to score (GLUE, XNLI): how they are read, asked and scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from compress.data import texts
from compress.data.intake import Intake
from compress.data.names import HELD_OUT, HELD_PART, OWN
from compress.data.squad import Example
from compress.data.texts import TextExample
from compress.tasks.heads import (
    CHECKED,
    HEAR,
    Outputs,
    check_stated,
    load_labelled,
    named,
    settings_as_labelled,
    shown_order,
)
from compress.tasks.losses import class_loss, classes
from compress.tasks.metrics import task_scores
from compress.tasks.samples import Loss, Sample
from compress.tasks.subject import About, Asked, Reading, Subject, Tell
from zoo.checkpoints import SIGMOID, activation_of, labels_of, read_config
from zoo.classify import predict
from zoo.engines.base import Engine
from zoo.engines.torch import TorchEngine
from zoo.errors import UserError
from zoo.features import Tokenizer, Window, load_tokenizer, make_texts
from zoo.lengths import Lengths
from zoo.modeling import LengthAdaptiveModel
from zoo.pretrained import FloatModel
from zoo.settings import get_settings
from zoo.tasks import TASKS, TEXTS, Task, find_task


class Texts(Subject[TextExample]):
    """Texts, or pairs of texts, to classify or to score."""

    def __init__(self, task: Task, reading: Reading, recipe: About | None = None):
        super().__init__(task, reading, recipe)
        self.labels = recipe.dataset.labels if recipe is not None else None

    @classmethod
    def task_of(cls, entry: str, config: Mapping[str, Any], asked: Asked) -> Task:
        name = asked.task or config.get("finetuning_task")
        if not name or (name not in TASKS and not asked.task):
            raise UserError(f"{entry} does not say what it was trained for: name it, for example --task sst2.")
        task = find_task(name)
        if task.type is not TEXTS:
            raise UserError(f"{entry} classifies text: name a task of texts, for example --task sst2.")
        labels = labels_of(dict(config))
        if not asked.labels and not task.may_have(labels):
            several = activation_of(config) == SIGMOID and len(labels) > 1
            raise UserError(
                f"{entry} gives {', '.join(labels)}, which {name} is not about. "
                + (
                    "Several of them may hold at once (multi-label), and no task here is scored so."
                    if several
                    else "Name another task, or say by --labels which of its labels each output stands for."
                )
            )
        check_stated(task, config, asked.labels)
        return task

    def read(self, source: str, intake: Intake | None = None) -> list[TextExample]:
        named = None if source == OWN else source
        return texts.load_texts(self.task, named, self.task.split("evaluation"), intake)

    def of_split(self, split: str, intake: Intake) -> list[TextExample]:
        source = getattr(self.recipe.dataset, split)
        if source == HELD_OUT:
            reported = self.fingerprints(self.part("evaluation"))
            return [e for e in self.part("train") if _is_held_out(e) and not texts.fingerprint([e]) & reported]
        reported = getattr(self.recipe.dataset, "evaluation_task", None) if split == "evaluation" else None
        task = find_task(reported) if reported else self.task
        return texts.load_texts(task, None if source == OWN else source, task.split(split), intake)

    def learned(self) -> list[TextExample]:
        """Neither texts that are reported on (some of GLUE's stand in both splits) nor those that are chosen by."""
        examples, data = self.part("train"), self.recipe.dataset
        if not self.recipe.trains:
            return examples
        holds_out = getattr(data, "validation", None) == HELD_OUT
        others = ["evaluation", *([] if holds_out or not hasattr(data, "validation") else ["validation"])]
        apart = set[str]().union(*(self.fingerprints(self.part(split)) for split in others))
        rest = [e for e in examples if not (holds_out and _is_held_out(e)) and not texts.fingerprint([e]) & apart]
        if not rest:
            raise UserError("All texts to train on are searched or reported on, too. Take other data for one of these.")
        return rest

    def windows(self, tokenizer: Tokenizer, examples: Sequence[TextExample]) -> list[Window]:
        firsts, seconds = columns(examples)
        return make_texts(tokenizer, firsts, seconds, self.reading.max_length)

    def samples(self, tokenizer: Tokenizer, examples: Sequence[TextExample]) -> list[Sample]:
        """Labelled windows; a sample's key is its example's id.

        Raises:
            UserError: there are no examples, or one has no label.
        """
        _check_labels(self.task, examples, "learn from")
        return [
            Sample(window, label=float(e.label or 0) if self.task.regression else e.label, key=e.id)
            for window, e in zip(self.windows(tokenizer, examples), examples, strict=True)
        ]

    def loss(self, significance_weight: float = 0.0, bounds: Sequence[float] = ()) -> Loss:
        return classes()

    def loss_of(self, logits: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        return class_loss(logits, batch["label"])

    def load_model(
        self, folder: Path | str, dropout: float = 0.0, new_head: bool = True, **overrides: Any
    ) -> LengthAdaptiveModel:
        if self.labels and self.is_start(folder):
            check_stated(self.task, read_config(folder), self.labels)
        return load_labelled(folder, self._outputs(folder, self.labels, new_head), dropout, **overrides)

    def stated(self, folder: Path | str, config: dict[str, Any]) -> dict[str, Any]:
        check_stated(self.task, config, self.labels)
        return settings_as_labelled(folder, self._outputs(folder, self.labels, new=False))

    def load_teacher(self, folder: Path | str, labels: Sequence[str] | None = None) -> LengthAdaptiveModel:
        return load_labelled(folder, self._outputs(folder, labels, new=False))

    def has_head(self, config: Mapping[str, Any]) -> bool:
        return Outputs(self.task, self.labels).is_of(config)

    def _outputs(self, folder: Path | str, labels: Sequence[str] | None, new: bool) -> Outputs:
        """How a checkpoint's outputs are settled: where nobody names them, by examples of the recipe's own."""
        return Outputs(self.task, labels, partial(self._look, folder) if self.has_recipe else None, new)

    def _look(self, folder: Path | str, model: FloatModel) -> list[int] | None:
        labelled = [e for e in self.part("train") if e.label is not None]
        examples = texts.draw(labelled, CHECKED)
        if not examples:
            return None
        engine, tokenizer = TorchEngine(model, get_settings().threads), load_tokenizer(folder)
        logits = predict(engine, tokenizer, *columns(examples), None, self.reading.max_length)
        return shown_order(self.task, logits, [e.label for e in examples])

    def score(
        self,
        engine: Engine,
        tokenizer: Tokenizer,
        examples: Sequence[TextExample],
        config: Lengths | None = None,
        progress: Tell | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> dict[str, float]:
        task = self.task
        _check_labels(task, examples, "evaluate on")
        names = list(task.labels or ["score"]) if settings is None else labels_of(dict(settings))
        order = Outputs(task, self.labels).order(names)
        firsts, seconds = columns(examples)
        logits = predict(engine, tokenizer, firsts, seconds, config, self.reading.max_length, progress)
        if logits.shape[1] != task.outputs:
            raise UserError(
                f"This model has {logits.shape[1]} outputs, {task.name} needs {task.outputs}. "
                "Choose a model that was trained for the task."
            )
        if order is None:
            order = shown_order(task, logits, [e.label for e in examples])
            if order is None:
                raise UserError(
                    f"The outputs {', '.join(names)} have no names, and these {len(examples)} examples show no order "
                    f"clearly. {HEAR}."
                )
            self.remark(
                f"The outputs {', '.join(names)} have no names: these examples show that they are {named(task, order)}."
            )
        predictions = logits[:, 0] if task.regression else logits[:, order].argmax(1)
        return task_scores(task, predictions, np.array([e.label for e in examples]))

    def passages(self, examples: Sequence[TextExample]) -> list[Example]:
        return texts.passages(examples)

    def remarks(self, n: int) -> dict[str, str]:
        task = self.task
        remarks = [task.remark] if task.remark else []
        if n < task.rows:
            remarks.append(f"{n:,} texts were scored, the task's own validation set has {task.rows:,}")
        return {"columns": ", ".join(task.columns), **({"remark": "; ".join(remarks)} if remarks else {})}


def columns(examples: Sequence[TextExample]) -> tuple[list[str], list[str] | None]:
    """First texts, and second ones where the examples are pairs."""
    seconds = [e.second for e in examples if e.second is not None]
    return [e.first for e in examples], seconds or None


def _check_labels(task: Task, examples: Sequence[TextExample], purpose: str) -> None:
    if not examples:
        raise UserError(f"There are no texts to {purpose}. Take other data.")
    unlabelled = [e.id for e in examples if e.label is None]
    if unlabelled:
        raise UserError(
            f"{len(unlabelled)} of the texts to {purpose} have no label of {task.name}, first {unlabelled[0]!r}. "
            "Take a split with labels: those of GLUE's test sets are kept secret."
        )


def _is_held_out(example: TextExample) -> bool:
    """Whether a text is held out: settled by the text itself, so that equal ones share their fate."""
    (mark,) = texts.fingerprint([example])
    return int(mark, 16) % HELD_PART == 0
