"""Texts, or pairs of texts, to classify or to score (GLUE, XNLI): how they are read, asked and scored."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from compress.data import own_texts, texts
from compress.data.intake import Intake
from compress.data.names import OWN
from compress.data.squad import Example
from compress.data.texts import TextExample
from compress.tasks.heads import CHECKED, HEAR, Outputs, check_stated, named, shown_order
from compress.tasks.labelled import Labelled
from compress.tasks.losses import class_loss, plain
from compress.tasks.metrics import several_scores, task_scores
from compress.tasks.samples import Loss, Sample
from compress.tasks.subject import About, Asked, Reading, Tell
from zoo.catalog import checkpoint_of
from zoo.checkpoints import SIGMOID, activation_of, head_of, labels_of, names_outputs, read_config
from zoo.classify import predict
from zoo.engines.base import Engine
from zoo.engines.torch import TorchEngine
from zoo.errors import UserError
from zoo.features import Tokenizer, Window, each_text, load_tokenizer
from zoo.lengths import Lengths
from zoo.pretrained import FloatModel
from zoo.settings import get_settings
from zoo.tasks import TASKS, TEXTS, Task, find_task


class Texts(Labelled[TextExample]):
    """Texts, or pairs of texts, to classify or to score."""

    def __init__(self, task: Task, reading: Reading, recipe: About | None = None):
        super().__init__(task, reading, recipe)
        # Of an open task they are the task's own, see `settled`, which a checkpoint need not have.
        self.labels = recipe.dataset.labels if recipe is not None and not task.is_open else None

    @classmethod
    def settled(cls, task: Task, recipe: About) -> Task:
        """A person's own labels: those that the recipe names, or those of its data.

        Where nothing is trained they are those of the model, and where it has the same ones their order is the model's.
        """
        data, model = recipe.dataset, getattr(recipe, "model", None)
        task = own_texts.settled(task, data.columns)
        if task.regression:
            return task
        config = read_config(checkpoint_of(str(model))) if model else {}
        theirs = labels_of(config) if head_fits(config, task) and names_outputs(config) else []
        stated = list(getattr(data, "labels", None) or [])
        if not recipe.trains and (theirs or stated):
            return task.with_labels(theirs or stated)
        intake = Intake(skip=data.skip, columns=data.columns, values=data.label_values)
        labels = stated or own_texts.checked(
            texts.labels_in(task, data.train, task.split("train"), intake), task, data.train
        )
        return task.with_labels(theirs if sorted(theirs) == sorted(labels) else labels)

    @classmethod
    def task_of(cls, entry: str, config: Mapping[str, Any], asked: Asked) -> Task:
        labels, stated = labels_of(dict(config)), config.get("finetuning_task")
        name = asked.task or (stated if stated in TASKS else open_task_of(config))
        if not name:
            raise UserError(
                f"{entry} says neither what it was trained for nor what its outputs are called: name the task, for "
                "example --task sst2, or its labels (--labels) with --task labels."
            )
        task = find_task(name)
        if task.type is not TEXTS:
            raise UserError(f"{entry} classifies text: name a task of texts, for example --task sst2.")
        if task.is_open:
            return _with_its_labels(task, entry, config, asked)
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
        if self.task.is_open and intake:
            self.task = own_texts.settled(self.task, intake.columns)
        return texts.load_texts(self.task, named, self.task.split("evaluation"), intake)

    def rows_of(self, source: str, split: str, intake: Intake) -> list[TextExample]:
        reported = getattr(self.recipe.dataset, "evaluation_task", None) if split == "evaluation" else None
        task = find_task(reported) if reported else self.task
        return texts.load_texts(task, None if source == OWN else source, task.split(split), intake)

    def windows(self, tokenizer: Tokenizer, examples: Sequence[TextExample]) -> list[Window]:
        return list(self._each_window(tokenizer, examples))

    def _each_window(self, tokenizer: Tokenizer, examples: Sequence[TextExample]) -> Iterator[Window]:
        firsts, seconds = columns(examples)
        return each_text(tokenizer, firsts, seconds, self.reading.max_length)

    def samples(self, tokenizer: Tokenizer, examples: Sequence[TextExample]) -> list[Sample]:
        """Labelled windows; a sample's key is its example's id.

        Raises:
            UserError: there are no examples, or one has no label.
        """
        _check_labels(self.task, examples, "learn from")
        return [
            Sample(window, label=self._target(e.label), key=e.id)
            for window, e in zip(self._each_window(tokenizer, examples), examples, strict=True)
        ]

    def _target(self, label: int | float | tuple[int, ...] | None) -> int | float | list[float] | None:
        """A label as it is learned: a class, a score, or for several labels 1 for each that holds and 0 for others."""
        if isinstance(label, tuple):
            return [float(i in label) for i in range(self.task.outputs)]
        return float(label or 0) if self.task.regression else label

    def loss(self, significance_weight: float = 0.0, bounds: Sequence[float] = ()) -> Loss:
        return plain(self.loss_of)

    def loss_of(self, logits: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        return class_loss(logits, batch["label"])

    def look(self, folder: Path | str) -> Callable[[FloatModel], list[int] | None] | None:
        return partial(self._look, folder) if self.has_recipe else None

    def _look(self, folder: Path | str, model: FloatModel) -> list[int] | None:
        if self.task.several:
            return None
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
        if order is None and task.several:
            raise UserError(f"The outputs {', '.join(names)} have no names. {HEAR}.")
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
        if task.several:
            right = np.array([self._target(e.label) for e in examples])
            return several_scores(task, logits[:, order], right)
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


def head_fits(config: Mapping[str, Any], task: Task) -> bool:
    """Whether a checkpoint has a head of the task's kind: classes, several labels, or a score."""
    try:
        return head_of(dict(config)) is TEXTS and open_task_of(config, named=False) == task.name
    except UserError:
        return False


def open_task_of(config: Mapping[str, Any], named: bool = True) -> str:
    """The open task of a checkpoint that no task of `zoo.tasks` was named for; empty where its outputs have no names.

    Args:
        config: its `config.json`.
        named: names are asked for.
    """
    labels = labels_of(dict(config))
    if len(labels) == 1 and not is_multi(config):
        return "score"
    if named and not names_outputs(config):
        return ""
    return "several" if is_multi(config) else "labels"


def is_multi(config: Mapping[str, Any]) -> bool:
    """Whether several of a checkpoint's labels may hold at once."""
    return config.get("problem_type") == "multi_label_classification"


def _with_its_labels(task: Task, entry: str, config: Mapping[str, Any], asked: Asked) -> Task:
    """An open task with an entry's labels.

    Raises:
        UserError: the entry is of another kind, or neither it nor a person says what its outputs are called.
    """
    labels = labels_of(dict(config))
    if open_task_of(config, named=False) != task.name:
        raise UserError(
            f"{entry} gives {', '.join(labels)}: that is the task {open_task_of(config, named=False)}, not {task.name}."
        )
    if task.regression:
        return task
    if asked.labels and len(asked.labels) != len(labels):
        raise UserError(f"{entry} has {len(labels)} outputs, and {len(asked.labels)} labels are named. Name each.")
    if not names_outputs(config) and not asked.labels:
        raise UserError(f"The outputs {', '.join(labels)} of {entry} have no names. {HEAR}.")
    return task.with_labels(asked.labels or labels)


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
