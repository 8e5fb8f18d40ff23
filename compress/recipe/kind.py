"""What every kind of recipe is: one class in one file, with its keys, stages, packages, cost and what cards say."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import chain
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

from pydantic import Field, PrivateAttr, model_validator

from compress.children import NO_RAY
from compress.data.names import data_name, short_name
from compress.recipe import groups, heard
from compress.recipe.fit import Wants, misfits
from compress.recipe.groups import Evaluate, Group, Learning, Training
from compress.recipe.place import Mark, Place
from compress.recipe.stage import Stage
from compress.recipe.training_groups import Aware, Distill, Prune
from compress.recipe.work import BACKWARD, INT8, TORCH, TRAINING, Counts, Size, Work
from zoo.catalog import config_of
from zoo.encoders import Encoder, as_a_whole, encoder_of
from zoo.engines import engine_class
from zoo.families import titles
from zoo.tasks import find_task

KINDS: dict[str, type[Kind]] = {}  # by name; a class enters itself as soon as it is defined

# Stages that several kinds have.
TEACHING = (("training.precision", "distill.apply"),)  # what a teacher says is computed as a training is
TAUGHT = ("distill.apply", "distill.teacher", "distill.labels", "distill.store_logits")
LEARNED = tuple(f"dataset.{key}" for key in groups.LEARNED)
EVALUATE = Stage("compress.results.evaluate:run", ("dataset", "evaluate"), mark="compress.methods.evaluate:run")
PACKAGE = Stage(
    "compress.results.package:run", ("package", "evaluate"), packs=True, mark="compress.methods.package:run"
)


def int8(*parts: str, also: tuple[tuple[str, str], ...] = ()) -> Stage:
    """The stage that quantizes by our own eight bits, of which these keys decide what comes out."""
    scored = ("evaluate.engine", "criterion.apply")  # by the engine that runs the report, too
    return Stage("compress.int8.stage:run", parts, also=(scored, *also), mark="compress.methods.quantize:run")


@dataclass(frozen=True)
class Need:
    """A package that not everybody has installed.

    Attributes:
        module: what it is imported as.
        advice: where it is missing, a sentence with what to do.
    """

    module: str
    advice: str


@dataclass(frozen=True)
class Simulation:
    """What a kind of recipe leaves to compare with fp32: its integers, simulated in torch.

    Attributes:
        by: whose it is, for people.
        stage: the one that leaves it.
        module: imported when it is needed; see `compress.results.simulated`.
    """

    by: str
    stage: str
    module: str


RAY = Need("ray", NO_RAY)
TRACKIO = Need(
    "trackio", "Trackio is not installed. Install it (pip install trackio), or set training.report_to to none."
)


def engine(name: str) -> Need:
    """The package of an engine."""
    package = engine_class(name).package
    return Need(package, f"The engine {name} is not installed. Install it: pip install {package}.")


class Kind(Group, ABC):
    """A kind of recipe.

    A subclass with a `kind` is found by that name from then on; see `compress.recipe.load`. Its docstring's first line
    lists its stages and says what it is.
    """

    trains: ClassVar[bool] = True
    takes_vectors: ClassVar[bool] = False  # it is for tasks whose models give a vector of a text, too
    takes_any_encoder: ClassVar[bool] = False  # its `model` may be one that transformers computes, see `zoo.encoders`
    takes_apart: ClassVar[bool] = False  # it needs encoders whose every operator it knows by name
    stages: ClassVar[Mapping[str, Stage]] = MappingProxyType({})
    simulation: ClassVar[Simulation | None] = None
    suffix: ClassVar[str] = "-int8"  # of the name of the int8 entry
    kind: Any  # stands here so that it comes before the others
    model: Place = Field(description="checkpoint to start from: a folder, a bundled entry or a Hub id")
    _said: frozenset[str] = PrivateAttr(frozenset[str]())  # keys that a person has said, see `heard.said_by`
    if TYPE_CHECKING:  # every kind has these, each among its own keys or worked out from them
        dataset: Any
        evaluate: Evaluate = Evaluate()
        package: Any = None
        quantize: Any = None
        reading: Any = None
        seed: Any = 0

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: object) -> None:
        name = cls.model_fields["kind"].default
        if isinstance(name, str):
            KINDS[name] = cls

    def __eq__(self, other: object) -> bool:
        """Whether both say the same; who said it is no part of that."""
        return type(self) is type(other) and vars(self) == vars(other)

    @property
    def chooses(self) -> bool:
        """Whether anything is chosen by `dataset.validation_titles`, if there are some."""
        return "dataset.validation_titles" not in heard.idle(self)

    def needs(self) -> Iterator[Need]:
        """Packages without which this recipe cannot run to its end."""
        yield engine(self.evaluate.engine)
        if getattr(self.quantize, "neural_compressor", False):
            yield NEURAL_COMPRESSOR

    def unheard(self) -> Iterator[str]:
        """Sentences on keys that are set and that nothing would hear, each with what to do; such a recipe is refused
        before it runs, and opens still where it was run before."""
        yield from heard.unheard(self)

    def unheard_of(self, encoder: Encoder) -> Iterator[str]:
        """As `unheard`, of a `model` that transformers computes, where the kind takes one."""
        yield from ()

    @abstractmethod
    def work(self, counts: Counts) -> list[Work]:
        """What its stages cost.

        Raises:
            Uncounted: that shows only when data or text are read.
        """

    def reported(self, counts: Counts, int8: float, torch: float = 1.0) -> Work:
        """A report: so many passes over its data in int8 and in torch."""
        return Work(counts.passes("evaluation", self.evaluate.max_questions) * (int8 / INT8 + torch / TORCH))

    @property
    def trainings(self) -> tuple[Learning, ...]:
        """How something is trained on the data, in the order of the stages."""
        return ()

    @property
    def makes_head(self) -> bool:
        """Whether a head that `model` lacks is trained here."""
        return self.trains

    def kept(self, size: Size) -> float:
        """Numbers that a backward pass keeps at most."""
        return max((part.batch_size for part in self.trainings), default=0) * self.reading.max_length * size.width

    @property
    @abstractmethod
    def method(self) -> str:
        """What was done to the float model, as the catalogue's `method`."""

    @property
    def float_method(self) -> str:
        """The `method` of the float entry."""
        return self.method

    @property
    def int8_method(self) -> str:
        """The `method` of the int8 entry."""
        return f"{self.method}-int8"

    def origin(self) -> dict[str, Any]:
        """Where its entries come from, as cards tell it: recipe and data as they were named."""
        data = self.dataset
        titles = {"titles": data.titles, "validation titles": data.validation_titles if self.chooses else None}
        distill = getattr(self, "distill", None)
        teacher = distill.teacher if distill and distill.apply else None
        return {
            "recipe": self.kind,
            "trained from": short_name(self.model),
            "trained on": data_name(data, "train"),
            **{key: ", ".join(patterns) for key, patterns in titles.items() if patterns},
            **({"taught by": short_name(teacher)} if teacher else {}),
        }


class Trained(Kind):
    """What every recipe that trains has and answers alike; `finetune` and `training` are its own."""

    tokenizer: Annotated[Place | None, Mark.OF_MODEL] = Field(
        default=None, description="folder of its tokenizer; null: the checkpoint's"
    )
    if TYPE_CHECKING:
        finetune: Any = None
        training: Training = Training()

    @property
    def reading(self) -> Learning:
        """How questions become windows: as in training."""
        return self.finetune

    @property
    def seed(self) -> int:
        """Of the order of the data."""
        return self.training.seed

    @property
    def trainings(self) -> tuple[Learning, ...]:
        return (self.finetune,)

    def learned(self, counts: Counts) -> float:
        """Products of a forward pass over what it learns from."""
        return counts.passes("train", self.dataset.max_train_examples)

    @model_validator(mode="after")
    def _learns_in_parts(self) -> Self:
        if self.training.gradient_accumulation > 1 and find_task(self.dataset.task).type.reads == "pooled":
            raise ValueError(
                "training.gradient_accumulation would compare texts within a part of their batch alone, and embeddings "
                "are learned by comparing all of it: set it to 1, and batch_size lower if memory is short"
            )
        return self

    def check_windows(self, *trainings: str) -> None:
        """Refuses trainings, by their keys, that would read different windows."""
        if len({(getattr(self, key).max_length, getattr(self, key).stride) for key in trainings}) > 1:
            raise ValueError(
                f"{' and '.join(trainings)} read the same windows: give both the same max_length and stride"
            )


NEURAL_COMPRESSOR = Need(
    "neural_compressor",
    "neural-compressor is not installed: `pip install neural-compressor-pt torchao`, or set "
    "quantize.neural_compressor to false.",
)


def taught(learned: float, distill: Distill, part: Learning) -> Work:
    """What a teacher says of the data that a training learns from: once, or in every pass."""
    passes = (1 if distill.store_logits else part.epochs) if distill.apply else 0.0
    return Work(learned * passes / TORCH)


def applied(**groups: Prune | Distill | Aware) -> str:
    """A `method` by the groups that take part in a training: the words that name them, `fine-tuned` without any."""
    return "-".join(word.replace("_", "-") for word, group in groups.items() if group.apply) or "fine-tuned"


def unfit(recipe: Kind) -> Iterator[str]:
    """Why a recipe cannot take the models that it names, as `Kind.unheard`; what is not at hand is not looked at."""
    yield from _unfit_for_task(recipe)
    yield from _unfit_as(recipe, "model", recipe.model)
    distill = getattr(recipe, "distill", None)
    if distill and distill.apply and distill.teacher:
        yield from _unfit_as(recipe, "distill.teacher", distill.teacher)


def takes(recipe: Kind, model: str) -> bool:
    """Whether a recipe would take another checkpoint as its `model`, as far as `unfit` can tell."""
    other = recipe.model_copy(update={"model": model})
    return next(chain(_unfit_for_task(other), _unfit_as(other, "model", model)), None) is None


def _unfit_for_task(recipe: Kind) -> Iterator[str]:
    about = recipe.dataset.type
    if about.reads == "pooled" and not recipe.takes_vectors:
        yield (
            f"The recipe {recipe.kind} is not for {about.title}: take static_int8, dynamic_int8, distill or "
            "minilm_embeddings, or another task."
        )
    if about.reads == "pooled" and getattr(recipe.quantize, "neural_compressor", False):
        yield f"quantize.neural_compressor is not for {about.title}: set it to false."


def _unfit_as(recipe: Kind, key: str, name: str) -> Iterator[str]:
    """Why a recipe cannot take a checkpoint as its key "model" or "distill.teacher"."""
    config = config_of(name)
    row = encoder_of(config)
    if row and key == "model" and recipe.takes_any_encoder:
        yield from recipe.unheard_of(row)
    elif row:
        yield (
            f"{as_a_whole(row, titles())}, and the recipe {recipe.kind} needs that of its {key}: {short_name(name)} "
            "cannot be taken. Take the recipe static_int8 or dynamic_int8 for it, or another checkpoint."
        )
    if config:
        yield from misfits(name, config, _wants(recipe, key))


def _wants(recipe: Kind, key: str) -> Wants:
    data, task = recipe.dataset, find_task(recipe.dataset.task)
    if key == "model":
        prune = getattr(recipe, "prune", None)
        is_pruned = bool(prune and prune.apply)
        switch = hasattr(getattr(recipe, "finetune", None), "apply")
        return Wants(task, data.labels, not recipe.makes_head, switch, recipe.takes_apart, is_pruned)
    # A teacher of vectors may be any encoder; all others say what the task's own heads say.
    return Wants(task, getattr(recipe, "distill").labels, head=bool(task.type.layers))  # noqa: B009 - not all have it


def reports_to(recipe: Kind) -> str:
    """Where the curves of a recipe's trainings go beside `progress.jsonl`."""
    training = getattr(recipe, "training", None)
    return training.report_to if isinstance(training, Training) else "none"


def missing(recipe: Kind) -> str | None:
    """Why this recipe cannot run: a model that it cannot take, a key that nothing would hear, or a package that is not
    installed.

    Returns:
        A sentence with what to do; None where it can run.
    """
    needs = (*recipe.needs(), *([TRACKIO] if reports_to(recipe) == "trackio" else []))
    lacking = (need.advice for need in needs if find_spec(need.module) is None)
    return next(chain(unfit(recipe), recipe.unheard(), lacking), None)


def training(learned: float, part: Learning, passes: float = BACKWARD) -> Work:
    """A training on data of which a forward pass takes so many products, a step so many of these."""
    return Work(learned * part.epochs * passes / TRAINING, part.max_minutes)
