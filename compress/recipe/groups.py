"""What recipes are made of: groups of keys, each with its bounds and its meaning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from compress.data.names import HELD_OUT, OWN
from compress.recipe.place import Mark, Place
from zoo import engines
from zoo.errors import UserError
from zoo.task_types import TaskType
from zoo.tasks import find_task

if TYPE_CHECKING:
    GraphEngine = str
else:
    GraphEngine = Literal[*engines.names(engines.GRAPH)]  # those that run the int8 model

Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0, le=1000)]  # of a part of the loss
LearningRate = Annotated[float, Field(gt=0, le=1, description="highest learning rate of AdamW")]
Epochs = Annotated[float, Field(gt=0, le=1000, description="passes over the data; fractions are allowed")]
Decay = Annotated[float, Field(ge=0, le=1, description="weight decay of matrices")]
MaxNorm = Annotated[float, Field(gt=0, description="gradients longer than this are cut to it")]


class Group(BaseModel):
    """A part of a recipe: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())


# Keys of the data that decide what is learned from them.
LEARNED = ("columns", "label_values", "max_train_examples", "skip", "titles", "train", "version_2")


class Tasked(Group):
    """Fields that `Dataset` and `Questions` share."""

    task: str = Field(
        default="squad",
        description="squad, or what texts are classified or scored for: cola, sst2, mrpc, stsb, qqp, mnli, qnli, rte, "
        "or xnli_ and a language; labels, several, score and tokens for labels of one's own; embeddings, search and "
        "ranking; their data are JSON lines, CSV or TSV, a folder of them, a Hub id, or `hub`",
    )
    skip: bool = Field(
        default=False,
        description="lines of the data that are wrong are left out and counted; false: the first stops it",
    )
    version_2: bool = Field(default=False, description="some questions have no answer, as in SQuAD 2.0")
    labels: Annotated[list[str] | None, Mark.OF_MODEL] = Field(
        default=None,
        description="what the outputs of `model` are called, in their order, where its config.json does not say: "
        "contradiction, entailment, neutral; null: as it says, else as labelled examples show",
    )
    columns: dict[str, str] = Field(
        default_factory=dict[str, str],
        description="what your data call a column, by its name here, where it is not guessed: {text: review}, or "
        "{tokens: words, ner_tags: tags}, {query: frage, passages: texts, relevant: right}; by number where columns "
        "have no names: {ner_tags: '4'}; empty where there is none: {second: ''}",
    )
    label_values: dict[str, str] = Field(
        default_factory=dict[str, str],
        description="what your data have for a label, by the label's name: {positive: '1'}",
    )

    @field_validator("task")
    @classmethod
    def _task_is_known(cls, name: str) -> str:
        try:
            return find_task(name).name
        except UserError as error:
            raise ValueError(str(error)) from error

    @field_validator("train", "validation", "evaluation", mode="before", check_fields=False)
    @classmethod
    def _nothing_is_the_hub(cls, source: object) -> object:
        return OWN if source is None else source

    @model_validator(mode="after")
    def _texts_have_no_titles(self) -> Tasked:
        parts = [part for part in ("train", "validation", "evaluation") if part in type(self).model_fields]
        titles = {part: getattr(self, part) for part in parts}
        if self.type.has_articles:
            if HELD_OUT in titles.values():
                raise ValueError(f"{HELD_OUT} is for texts: for {self.type.noun} name a file or a data set")
            if self.labels:
                raise ValueError(f"labels are those of a classifier: leave them out for {self.task}")
            return self
        for part in parts:
            if titles[part] == "examples":  # the bundled questions, which are the default
                setattr(self, part, OWN)
        if find_task(self.task).is_open and OWN in (getattr(self, part) for part in parts):
            raise ValueError(f"{self.task} has no data of its own: name yours in dataset.{', dataset.'.join(parts)}")
        if HELD_OUT in (titles["train"], titles["evaluation"]):
            raise ValueError(f"{HELD_OUT} texts are for dataset.validation alone")
        for key in ("titles", "validation_titles", "evaluation_titles", "version_2"):
            if getattr(self, key, None):
                raise ValueError(f"{key} is for questions: leave it out for {self.task}")
        labels = self.labels
        if labels and not find_task(self.task).is_open and find_task(self.task).order_of(labels) is None:
            wanted = ", ".join(find_task(self.task).labels) or "none, since it gives a score"
            raise ValueError(f"labels of {self.task} are {wanted}: write each of them once")
        return self

    @property
    def type(self) -> TaskType:
        """What the task has in common with others."""
        return find_task(self.task).type

    def learned_from(self) -> dict[str, Any]:
        """The keys that decide what is learned, with the values that are not as by default.

        Of texts, those to choose by and to report on are kept out of training, so that they decide, too.
        """
        data = self.model_dump(mode="json", exclude_defaults=True)
        return data if "task" in data else {key: value for key, value in data.items() if key in LEARNED}


class Dataset(Tasked):
    """Files (SQuAD JSON, JSON Lines, CSV, TSV), Hub ids (`owner/name/config:split`), `hub`, or `examples`."""

    train: Place = Field(description="questions or texts to learn from and to calibrate with")
    validation: Place = Field(
        description="what the search scores configurations on; `held-out`: a twentieth of the texts to train on"
    )
    evaluation: Place = Field(description="questions or texts to report on; never used for training or for choosing")
    titles: list[str] | None = Field(
        default=None, description="glob patterns of article titles to train on; null takes all"
    )
    validation_titles: list[str] | None = Field(default=None, description="globs of article titles to search on")
    evaluation_titles: list[str] | None = Field(default=None, description="globs of article titles to report on")
    max_train_examples: int | None = Field(
        default=None, ge=1, description="train on so many questions or texts, drawn at random"
    )


class Questions(Tasked):
    """Files, Hub ids, `hub` or `examples`, as for a recipe that trains; here nothing is learned from them."""

    train: Place = Field(
        default="examples", description="questions or texts to calibrate with; nothing is learned from them"
    )
    evaluation: Place = Field(default="examples", description="questions or texts to report on")
    titles: list[str] | None = Field(
        default=None, description="glob patterns of article titles to calibrate with; null takes all"
    )
    evaluation_titles: list[str] | None = Field(default=None, description="globs of article titles to report on")


class Reading(Group):
    """How questions and passages become windows."""

    max_length: int = Field(default=384, ge=128, le=512, description="tokens of a window at most")
    stride: int = Field(default=128, ge=0, le=384, description="tokens that neighbouring windows share")


class Budgets(Group):
    """Length configurations to report beside full length, where the checkpoint was trained to drop tokens."""

    points: int = Field(default=4, ge=0, le=100, description="so many, evenly spaced; 0: full length alone")
    drop: float = Field(
        default=0.3, gt=0, lt=1, description="share of its tokens that each drop layer drops in the cheapest"
    )


class Learning(Group):
    """What every training has."""

    learning_rate: LearningRate = 3e-5
    epochs: Epochs = 2
    batch_size: int = Field(default=8, ge=1, le=4096, description="windows a step, over all processes together")
    warmup_ratio: Share = Field(default=0.1, description="share of the steps in which the learning rate rises")
    weight_decay: Decay = 0.01
    dropout: float = Field(default=0.0, ge=0, lt=1, description="dropout of hidden states in training")
    word_dropout: Share = Field(
        default=0.0, description="share of the words that are hidden behind the mask token in training"
    )
    max_grad_norm: MaxNorm = 1.0
    max_length: int = Field(default=384, ge=128, le=512, description="tokens of a window at most")
    stride: int = Field(default=128, ge=0, le=384, description="tokens that neighbouring windows share")
    max_minutes: float | None = Field(default=None, gt=0, description="end, annealed, after so many minutes")
    average: float = Field(
        default=0.0, ge=0, lt=1, description="decay of a moving average of the weights to end with; 0: the last ones"
    )
    keep_start: Share = Field(default=0.0, description="share of the weights that training started from in the result")


class LearningRanges(Learning):
    """A training that learns the ranges of what is rounded, too."""

    range_step: float | None = Field(
        default=None,
        gt=0,
        le=0.1,
        description="share of its width by which a range's end moves in a step at most, so that short trainings learn "
        "ranges, too; null: by learning_rate itself, as published",
    )


class Quantize(Group):
    """Eight-bit integers."""

    approach: Literal["static", "dynamic"] = Field(
        default="static", description="input ranges calibrated or found in a run"
    )
    calibration_samples: int = Field(
        default=128, ge=1, le=100_000, description="training questions or texts to calibrate on"
    )
    calibration_method: Literal["minmax", "percentile"] = Field(
        default="minmax", description="from what was seen to a range"
    )
    percentile: float = Field(default=99.99, gt=50, le=100, description="for percentile: what lies within the range")
    smoothing: Share = Field(
        default=0.75, description="for static: how far outlying columns of the inputs are divided down; 0: not at all"
    )
    reduce_range: Literal["auto"] | bool = Field(
        default="auto",
        description="7-bit weights, right on CPUs without VNNI too; auto: yes, so that one file serves all",
    )
    keep_float: list[str] | None = Field(
        default=None,
        description="glob patterns of products to leave in float, layers.5.contract or words for example; null: none",
    )
    neural_compressor: bool = Field(
        default=False,
        description="quantize with neural-compressor too, beside the ONNX file: an entry of its own on engine onednn",
    )


class Evaluate(Group):
    """The report."""

    length_config: str | None = Field(
        default=None,
        description='one more configuration, as in the papers: "(315, 251, 242, 159, 142, 33)" tokens of 384 (of 128 '
        "for texts)",
    )
    engine: GraphEngine = Field(default=engines.DEFAULT_ENGINE, description="what runs the int8 model")
    max_questions: int | None = Field(
        default=None, ge=1, description="report on so many questions or texts only, drawn at random"
    )
    null_threshold: float | None = Field(
        default=None,
        allow_inf_nan=False,
        description="“no answer” wins where its score is above the best span's by more than this, in logits, in the "
        "report and in what is packaged: the larger, the more rarely; null: as `model` has it, 0 where it says nothing",
    )
    latency_rounds: int = Field(
        default=30, ge=0, le=10_000, description="rounds in which latency is measured; 0: not at all"
    )
    latency_tokens: int = Field(
        default=384, ge=2, le=512, description="length of the input that latency is measured on"
    )
    threads: int | None = Field(default=None, ge=1, description="threads of the engine; null: BUDGET_ZOO_THREADS")
    dataset_name: str | None = Field(
        default=None, description="what the card calls the data; null: the name of the source"
    )
    dataset_split: str | None = Field(default=None, description="split of it that was reported on")


class Package(Group):
    """The two entries of the zoo that come out: full precision, and length-adaptive int8."""

    name: str = Field(
        default="model",
        pattern=r"^[a-z0-9][a-z0-9._-]{0,60}$",
        description="name of the first; the other's ends in -length-adaptive-int8",
    )
    title: str = Field(
        default="A length-adaptive model", min_length=1, max_length=120, description="title of the cards"
    )
    license: str = Field(default="apache-2.0", min_length=1, description="license, as the Hub names it")
    base_model: Annotated[str | None, Mark.OF_MODEL] = Field(
        default=None, description="what the cards say it was made from; null: `model`"
    )
    layouts: bool = Field(
        default=False,
        description="add what optimum, transformers.js and sentence-transformers open, as `zoo publish --layouts` does",
    )


class PackageInt8(Package):
    """The entry of the zoo that comes out."""

    name: str = Field(default="model-int8", pattern=r"^[a-z0-9][a-z0-9._-]{0,60}$", description="name of the entry")
    title: str = Field(default="An int8 model", min_length=1, max_length=120, description="title of the card")
    license: str | None = Field(  # pyright: ignore[reportIncompatibleVariableOverride] - wider: may be null
        default=None, min_length=1, description="license, as the Hub names it; null: that of `model`"
    )


class Training(Group):
    """What all trainings of the recipe share."""

    seed: int = Field(default=0, ge=0, description="the same seed gives the same data order")
    checkpoint_minutes: Annotated[float, Mark.IDLE] = Field(default=3, gt=0, description="minutes between checkpoints")
    report_to: Annotated[Literal["none", "trackio"], Mark.IDLE] = Field(default="none", description="where curves go")
    precision: Literal["auto", "bf16", "fp16", "fp32"] = Field(
        default="auto",
        description="auto: bf16 where the device multiplies it, else fp32, on a GPU fp16 with scaling; bf16 is "
        "PyTorch's own, in place of IPEX, which ended",
    )
    gradient_accumulation: int = Field(
        default=1, ge=1, le=4096, description="parts that a step's windows are learned from in: the same in less memory"
    )
    gradient_checkpointing: bool = Field(
        default=False, description="compute layers anew on the way back: less memory, a third more time"
    )
    freeze_embeddings: bool = Field(default=False, description="leave the embeddings as they are")
    freeze_layers: int = Field(default=0, ge=0, description="so many first layers stay as they are, and the embeddings")
