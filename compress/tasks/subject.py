"""What a recipe or a task is about: what every stage reads, learns and scores through."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from torch import Tensor

from compress.data.fingerprints import refuse_overlap
from compress.data.intake import Intake
from compress.data.names import OWN
from compress.data.squad import Example, fingerprint
from compress.data.texts import draw
from compress.recipe.fit import has_head
from compress.recipe.groups import Dataset, Evaluate, Questions
from compress.tasks.heads import replace_head
from compress.tasks.samples import Loss, Sample
from zoo.answers import NoAnswer
from zoo.catalog import checkpoint_of
from zoo.checkpoints import most_tokens, read_config
from zoo.encoders import encoder_of
from zoo.engines.base import Engine
from zoo.errors import UserError
from zoo.features import Tokenizer, Window
from zoo.lengths import Lengths
from zoo.modeling import LengthAdaptiveModel
from zoo.pretrained import FloatModel, Pretrained
from zoo.tasks import Task

log = logging.getLogger(__name__)

SPLITS = ("train", "validation", "evaluation")
E = TypeVar("E")  # an example
Tell = Callable[[int, int], None]


@dataclass(frozen=True)
class Reading:
    """How examples become windows.

    Attributes:
        max_length: tokens of a window at most.
        stride: tokens that neighbouring windows of one passage share.
    """

    max_length: int
    stride: int = 128


class About(Protocol):
    """The fields of a recipe that say what it is about."""

    trains: ClassVar[bool]

    @property
    def dataset(self) -> Dataset | Questions: ...
    @property
    def evaluate(self) -> Evaluate: ...
    @property
    def seed(self) -> int: ...


@dataclass(frozen=True)
class Asked:
    """What a person says of an entry that is to be scored, where the entry does not say it itself.

    Attributes:
        task: name of a task; None for the entry's own.
        labels: what a classifier's outputs are called, in their order; None as the entry names them.
        null_threshold: by how much "no answer" has to score above the best span; None for the entry's own.

    Raises:
        UserError: the threshold is no finite number.
    """

    task: str | None = None
    labels: Sequence[str] | None = None
    null_threshold: float | None = None

    def __post_init__(self) -> None:
        NoAnswer(True, self.null_threshold)

    @classmethod
    def of(cls, task: str | Asked | None) -> Asked:
        """What is said by a task's name alone, or in full."""
        return task if isinstance(task, Asked) else cls(task)


class Subject(ABC, Generic[E]):
    """A task, and where a recipe takes its examples from. Each type of task is a subclass in a module of its own.

    Args:
        task: the task, as data.
        reading: how examples become windows.
        recipe: where examples come from; without one, `read` alone gives some.

    Attributes:
        learns_alone: a model that drops tokens learns from its own full length, or a teacher, and from no labels.
    """

    learns_alone: ClassVar[bool] = False

    def __init__(self, task: Task, reading: Reading, recipe: About | None = None):
        self.task, self.reading, self._recipe = task, reading, recipe
        self._mended: list[str] = []
        self.labels: Sequence[str] | None = None  # of a classifier's outputs, as a person says
        self.noted: list[str] = []

    @property
    def has_recipe(self) -> bool:
        """Whether it has data of its own."""
        return self._recipe is not None

    def is_start(self, folder: Path | str) -> bool:
        """Whether this is the checkpoint that the recipe names, not one that it made."""
        model = getattr(self._recipe, "model", None)
        return bool(model) and Path(folder).resolve() == checkpoint_of(str(model)).resolve()

    def remark(self, text: str) -> None:
        """Says something of a score, once: to who runs it, and in `noted` to what reports it."""
        if text not in self.noted:
            self.noted.append(text)
            log.warning("%s", text)

    @property
    def recipe(self) -> About:
        if self._recipe is None:
            raise ValueError("a task without a recipe has no data of its own")
        return self._recipe

    @property
    def primary(self) -> str:
        """Key of the metric to choose by."""
        return self.task.primary

    @property
    def padded(self) -> int:
        """Tokens that the papers pad this task's inputs to."""
        return self.task.type.padded

    @property
    def noun(self) -> str:
        """What its examples are called."""
        return self.task.noun

    @classmethod
    def settled(cls, task: Task, recipe: About) -> Task:
        """The task with the labels that a recipe's data have, or its model; others than open tasks are as they are.

        Args:
            task: whose labels are not known before (`Task.is_open`).
            recipe: with `model` and `dataset`.

        Raises:
            UserError: nobody says what the labels are.
        """
        return task

    @classmethod
    @abstractmethod
    def task_of(cls, entry: str, config: Mapping[str, Any], asked: Asked) -> Task:
        """The task that an entry is scored on.

        Args:
            entry: its name, for messages.
            config: its `config.json`.
            asked: what a person says of it.

        Raises:
            UserError: the entry does not say what it was trained for, or was trained for something else.
        """

    @classmethod
    def longest(cls, task: Task, settings: Mapping[str, Any]) -> int:
        """Tokens that an entry with this `config.json` reads at most when it is scored."""
        return most_tokens(settings, task.type.padded)

    @abstractmethod
    def read(self, source: str, intake: Intake | None = None) -> list[E]:
        """The examples of a file or a data set on the Hub to score on; `hub` is the task's own.

        Args:
            source: the file or the data set.
            intake: whether wrong lines are left out; hears what was mended.
        """

    def load(self, split: str, limit: int | None = None, seed: int = 0) -> list[E]:
        """The recipe's examples to train on ("train"), to choose by ("validation") or to report on ("evaluation").

        Args:
            split: which.
            limit: take so many, drawn at random with `seed`, in the order of the source.
        """
        if split != "train":
            return draw(self.part(split), limit, seed)
        examples = self.learned()
        most = getattr(self.recipe.dataset, "max_train_examples", None)
        return draw(self.drawn(examples, most) if most else examples, limit, seed)

    def part(self, split: str) -> list[E]:
        """All examples that the recipe names for a split; recipes that choose by nothing name "train" alone for it."""
        if split not in SPLITS:
            raise ValueError(f"there is no split {split!r}")
        data = self.recipe.dataset
        intake = Intake(skip=data.skip, columns=data.columns, values=data.label_values)
        examples = self.of_split(split if hasattr(self.recipe.dataset, split) else "train", intake)
        intake.log()
        if split == "evaluation":
            self._mended = intake.counts
        return examples

    @abstractmethod
    def of_split(self, split: str, intake: Intake) -> list[E]:
        """All examples of a split that the recipe's data have; `intake` hears what was mended and left out."""

    def learned(self) -> list[E]:
        """What may be trained on."""
        return self.part("train")

    def drawn(self, examples: list[E], count: int) -> list[E]:
        """So many of the examples to train on, by the recipe's seed."""
        return draw(examples, count, self.recipe.seed)

    @abstractmethod
    def windows(self, tokenizer: Tokenizer, examples: Sequence[E]) -> list[Window]:
        """What the model reads of the examples; of a question one or several windows, of a text one."""

    @abstractmethod
    def samples(self, tokenizer: Tokenizer, examples: Sequence[E]) -> list[Sample]:
        """Labelled windows to learn from, with keys.

        Raises:
            UserError: nothing can be learned from the examples.
        """

    def unlabelled(self, tokenizer: Tokenizer, examples: Sequence[E]) -> list[Sample]:
        """What a model that drops tokens learns from: where it learns from itself alone, windows without labels.

        Raises:
            UserError: nothing can be learned from the examples.
        """
        return self.samples(tokenizer, examples)

    @abstractmethod
    def loss(self, significance_weight: float = 0.0, bounds: Sequence[float] = ()) -> Loss:
        """The loss of `compress.learn.loop.train` at full length.

        Args:
            significance_weight: of the hinge that asks for attention to the answer, for tasks that have spans.
            bounds: share of the tokens that each layer will be asked to drop.
        """

    @abstractmethod
    def loss_of(self, logits: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        """The task's own loss, from a model's logits and the batch of `compress.tasks.samples.collate`."""

    @abstractmethod
    def load_model(
        self, folder: Path | str, dropout: float = 0.0, new_head: bool = True, **overrides: Any
    ) -> LengthAdaptiveModel:
        """A checkpoint with the task's head, its outputs in the task's order.

        It is the checkpoint's own where it fits, else a new one, drawn from torch's random numbers.

        Args:
            new_head: one may be drawn, since it is trained.
            overrides: further keys of its configuration.

        Raises:
            UserError: the head does not fit, or in no known order, and no new one may be drawn.
        """

    def load_whole(self, folder: Path | str) -> Pretrained:
        """A checkpoint of a family that transformers computes, as it is, its labels under the task's names.

        Raises:
            UserError: it has no head for the task, or its outputs are in no known order.
        """
        config = read_config(folder)
        if not self.has_head(config):
            replace_head(config, self.task.title or self.task.name, new=False)
        return Pretrained.load(folder, **self.stated(folder, config))

    def stated(self, folder: Path | str, config: dict[str, Any]) -> dict[str, Any]:
        """What `config.json` of a checkpoint that is taken as it is has to say of the task."""
        return {}

    def load_float(self, folder: Path | str) -> FloatModel:
        """A checkpoint as it is, of whatever family."""
        is_whole = encoder_of(read_config(folder))
        return self.load_whole(folder) if is_whole else self.load_model(folder, new_head=False)

    def load_teacher(self, folder: Path | str, labels: Sequence[str] | None = None) -> LengthAdaptiveModel:
        """A teacher for the task, its outputs in the task's order.

        Args:
            labels: what its outputs are called, in their order, where it does not say so itself.

        Raises:
            UserError: it was made for something else, or its outputs are in no known order.
        """
        model = LengthAdaptiveModel.load(folder)
        if model.head is not self.task.type:
            raise UserError(f"The training data are for {self.task.type.title}, it is for {model.head.title}.")
        return model

    def has_head(self, config: Mapping[str, Any]) -> bool:
        """Whether a checkpoint with this `config.json` has the task's head."""
        return has_head(self.task, config, self.labels)

    @abstractmethod
    def score(
        self,
        engine: Engine,
        tokenizer: Tokenizer,
        examples: Sequence[E],
        config: Lengths | None = None,
        progress: Tell | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> dict[str, float]:
        """Scores a loaded model.

        Args:
            engine: any; torch, the int8 graph and a simulation are scored by one path.
            examples: of `load` or `read`.
            config: `zoo.lengths.LengthConfig` or padded lengths; None for full length.
            progress: called with (examples done, examples in all).
            settings: the model's `config.json`, for the order of its labels or whether "no answer" may win, and by what
                threshold; by default as the recipe trains it.

        Returns:
            Metrics in points of 100, `primary` first, and `n`.

        Raises:
            UserError: no examples, some without labels, or a model for other labels.
        """

    @abstractmethod
    def passages(self, examples: Sequence[E]) -> list[Example]:
        """The examples as passages, which tell what a model has seen."""

    def fingerprints(self, examples: Sequence[E]) -> set[str]:
        """What identifies the examples, see `compress.data.squad.fingerprint`."""
        return fingerprint(self.passages(examples))

    def searchable(self, examples: Sequence[E], reported: set[str]) -> list[E]:
        """Those of the examples that lengths or encoders may be chosen by.

        Args:
            examples: of a recipe's validation.
            reported: fingerprints of what is reported on.
        """
        return list(examples)

    def everything_learned(self) -> set[str]:
        """Fingerprints of all that a training on the recipe's data may see."""
        return self.fingerprints(self.learned())

    def refuse_overlap(
        self, seen: set[str], examples: Sequence[E], what: str = "the data to report on", why: str = "were trained on"
    ) -> None:
        """Stops a score on what the model has seen, see `compress.data.fingerprints.refuse_overlap`."""
        refuse_overlap(seen, self.passages(examples), what, why)

    @property
    def reported(self) -> Task:
        """The task that a report names."""
        return self.task

    def description(self, n: int) -> dict[str, Any]:
        """What the data to report on are called: `metric`, `task`, `dataset`, and where known `config`, `split`,
        `columns` and `remark`.

        Args:
            n: so many examples are reported on; fewer than the task's own data have is remarked.
        """
        settings, source, task = self.recipe.evaluate, self.recipe.dataset.evaluation, self.task
        own = {"dataset": task.hub, "split": task.split("evaluation")}
        names = {"dataset": settings.dataset_name, "split": settings.dataset_split}
        remarks, mended = self.remarks(n), self._mended
        return {
            "metric": self.reported.title,
            "task": self.reported.name,
            **(own if source == OWN else {"dataset": Path(source).name}),
            **({"config": task.config} if task.config else {}),
            **{key: name for key, name in names.items() if name},
            **(remarks | ({"remark": "; ".join([*filter(None, [remarks.get("remark")]), *mended])} if mended else {})),
        }

    def remarks(self, n: int) -> dict[str, str]:
        """What a report on `n` examples says beside the names of the data."""
        return {}
