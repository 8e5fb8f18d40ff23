"""What recipes of the kind `nas` say: the supernet and its space, how long encoders take, the search."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from compress.recipe.groups import Decay, Epochs, Group, Learning, LearningRate, MaxNorm, Share, Weight
from compress.recipe.place import Mark, Place

Mode = Literal["onnxruntime_int8", "openvino_int8", "torch_dynamic_int8", "onnxruntime_fp32", "torch_fp32"]


class SearchSpace(Group):
    """The encoders to choose from: the smallest and the largest of every size."""

    layers: list[int] = Field(default=[2, 6], description="fewest and most layers")
    hidden: list[int] = Field(
        default=[128, 384], description="smallest and largest width, multiples of the checkpoint's head size"
    )
    intermediate: list[int] = Field(default=[256, 1536], description="smallest and largest feed-forward width")
    step: int = Field(default=64, ge=1, le=4096, description="between feed-forward widths")

    @field_validator("layers", "hidden", "intermediate")
    @classmethod
    def _bounds(cls, value: list[int]) -> list[int]:
        if len(value) != 2 or not 0 < value[0] <= value[1]:
            raise ValueError("two numbers from 1 on, the smaller first")
        return value


class GenerateData(Group):
    """Text for the supernet in blocks of tokens, several processes at a time."""

    text: Place = Field(
        default="examples",
        description="a .txt file or a folder of them, one passage a line; a Hub id (`owner/name` or "
        "`owner/name:split`) with a column `text`, BookCorpus for example; or `examples`, the bundled passages",
    )
    text_config: str | None = Field(default=None, description="configuration of a Hub id that has several")
    max_passages: int | None = Field(default=None, ge=1, description="read so many passages from the start; null: all")
    block_tokens: int = Field(default=128, ge=16, le=512, description="tokens of a training input")
    shard_megabytes: float = Field(
        default=4.0, gt=0, le=1024, description="millions of characters that are read for a file of blocks"
    )
    workers: Annotated[int, Mark.IDLE] = Field(
        default=1, ge=1, le=256, description="processes that turn text into tokens"
    )


class Supernet(Group):
    """Training of one network whose leading slices are all encoders of the space (AutoTinyBERT, arXiv 2107.13686)."""

    apply: bool = Field(
        default=True, description="train it on text; false: the starting checkpoint's slices are taken as they are"
    )
    checkpoint: Place | None = Field(
        default=None, description="folder of a supernet that was trained before, to take instead; null: none"
    )
    order: bool = Field(
        default=True,
        description="put what matters most first (columns of hidden states, heads, channels), so that slices keep it",
    )
    order_blocks: int = Field(default=64, ge=1, le=10_000, description="blocks of text to find out what matters")
    teacher: Place | None = Field(
        default=None, description="whom to learn from: a folder, a bundled entry or a Hub id; null: `model`"
    )
    label_weight: Weight = Field(default=0.0, description="weight of the masked words' own loss")
    teacher_weight: Weight = Field(
        default=0.0, description="weight of the teacher's masked words; it needs a head for them"
    )
    hidden_weight: Weight = Field(default=1.0, description="weight of the distance to the teacher's last hidden states")
    relation_weight: Weight = Field(
        default=1.0,
        description="weight of the last layer's relations of queries, keys and values (MiniLMv2), at any width",
    )
    relation_heads: int = Field(default=12, ge=1, le=128, description="parts at most in which relations are compared")
    temperature: float = Field(default=2.0, gt=0, le=100, description="both distributions of words are softened by it")
    random_networks: int = Field(
        default=1, ge=0, le=16, description="random sub-networks a step, beside the largest and the smallest"
    )
    learning_rate: LearningRate = 1e-4
    epochs: float = Field(default=1, gt=0, le=1000, description="passes over the text; fractions are allowed")
    steps: int | None = Field(default=None, ge=1, description="train for so many steps instead of epochs")
    batch_size: int = Field(default=32, ge=1, le=4096, description="blocks a step, over all processes together")
    warmup_ratio: Share = Field(default=0.05, description="share of the steps in which the learning rate rises")
    weight_decay: Decay = 0.01
    dropout: float = Field(default=0.0, ge=0, lt=1, description="dropout in training; on a CPU it costs half the speed")
    max_grad_norm: MaxNorm = 1.0
    max_minutes: float | None = Field(
        default=None, gt=0, description="end, annealed, after so many minutes; null: no limit"
    )

    @model_validator(mode="after")
    def _weights_fit(self) -> Supernet:
        if not self.label_weight + self.teacher_weight + self.hidden_weight + self.relation_weight:
            raise ValueError("label_weight, teacher_weight, hidden_weight and relation_weight are all 0")
        return self


class Tune(Learning):
    """The supernet tuned on the task, once, so that candidates can be scored inside it without training."""

    epochs: Epochs = 3
    random_networks: int = Field(
        default=2, ge=0, le=16, description="random sub-networks a step, beside the largest and the smallest"
    )
    label_weight: Weight = Field(default=0.5, description="weight of the data's own labels for all but the largest")
    teacher_weight: Weight = Field(default=0.5, description="weight of what the largest network says for all others")
    temperature: float = Field(default=1.0, gt=0, le=100, description="what both say is softened by it")

    @model_validator(mode="after")
    def _weights_fit(self) -> Tune:
        if not self.label_weight + self.teacher_weight:
            raise ValueError("label_weight and teacher_weight are both 0: nothing would be learned")
        return self


class LatencyTable(Group):
    """How long encoders of the space take on this machine, measured with made-up weights."""

    table: Place | None = Field(
        default=None, description="a table made on this machine before (its file); null: one is measured"
    )
    modes: list[Mode] = Field(
        default=["onnxruntime_int8"],
        min_length=1,
        description="engines and number formats to measure; torch_dynamic_int8 is what the paper measured",
    )
    rows: int = Field(default=1000, ge=20, le=1_000_000, description="encoders that are measured in each mode, at most")
    tokens: int = Field(default=128, ge=2, le=512, description="tokens of the input")
    batch: int = Field(default=1, ge=1, le=1024, description="inputs at once")
    threads: int | None = Field(default=None, ge=1, description="threads of the engine; null: BUDGET_ZOO_THREADS")
    rounds: int = Field(default=20, ge=3, le=10_000, description="calls of which the median is taken")
    warmup: int = Field(default=3, ge=1, le=1000, description="calls before, not counted")
    seconds: float = Field(default=0.6, gt=0, le=3600, description="time for a row: a slow encoder gets fewer calls")
    noise: float = Field(
        default=0.15,
        gt=0,
        description="a row is measured again where its quartiles lie further apart than this share of the median",
    )
    retries: int = Field(default=2, ge=0, le=100, description="so often at most")
    turns: int = Field(
        default=4,
        ge=0,
        le=100,
        description="in the end rows that are far slower than others of like sizes are measured again, so often at "
        "most, and the fastest counts: other programs only ever slow down",
    )
    seed: int = Field(default=0, ge=0, description="the same seed measures the same encoders in the same order")
    workers: Annotated[int, Mark.IDLE] = Field(
        default=1, ge=1, le=1024, description="machines of a Ray cluster that measure, all alike; 1: this one alone"
    )


class LatencyPredictor(Group):
    """What tells the latency of any encoder of the space, learned from the table; never falls as a size rises."""

    basis: Literal["auto", "physics", "hinges", "steps"] = Field(
        default="auto",
        description="what latency is a sum of: multiplications and memory alone, bent where caches end, or with jumps "
        "too; auto: what predicts rows best that it has not seen",
    )
    held_out: float = Field(default=0.1, gt=0, le=0.5, description="share of the table that the error is told on")
    seed: int = Field(default=0, ge=0, description="which rows those are")


class ArchSearch(Group):
    """Two stages: encoders within the latency limit by the predictor, then evolution by their score on the task."""

    limit_ms: float | None = Field(
        default=None, gt=0, description="latency limit in milliseconds; null: limit_share says it"
    )
    limit_share: float = Field(
        default=0.5, gt=0, le=1, description="latency limit as a share of what the largest encoder of the space takes"
    )
    band: list[float] = Field(
        default=[0.85, 1.0], description="candidates take between these shares of the limit, by the predictor"
    )
    mode: Mode = Field(default="onnxruntime_int8", description="whose latency is limited; a mode of the table")
    approach: Literal["ptq", "fp"] = Field(
        default="ptq", description="score candidates quantized to int8 (ptq), or in float (fp)"
    )
    scoring: Literal["inside", "finetune"] = Field(
        default="inside",
        description="score candidates with the tuned supernet's weights (minutes), or fine-tune each, as in the paper",
    )
    strategy: Literal["evolution", "random"] = Field(default="evolution", description="how candidates are picked")
    population: int = Field(default=25, ge=2, le=10_000, description="candidates of the first generation, at random")
    generations: int = Field(default=3, ge=0, le=10_000, description="generations after the first")
    children: int = Field(default=25, ge=1, le=10_000, description="new candidates a generation")
    parents: int = Field(default=25, ge=1, le=10_000, description="the best so far, of which children are made")
    mutation_prob: Share = Field(
        default=0.25, description="probability that a child has another depth; twice that for widths"
    )
    fresh: Share = Field(default=0.5, description="share of the children that are drawn at random instead")
    max_examples: int | None = Field(
        default=1000, ge=1, description="score on so many examples, drawn at random; null: all"
    )
    calibration_samples: int = Field(
        default=16, ge=1, le=100_000, description="for ptq: training windows that each candidate is calibrated on"
    )
    verify: int = Field(default=3, ge=1, le=100, description="measure the latency of so many of the best")
    seed: int = Field(default=0, ge=0, description="the same seed finds the same encoder")

    @model_validator(mode="after")
    def _band_fits(self) -> ArchSearch:
        if len(self.band) != 2 or not 0 <= self.band[0] < self.band[1] <= 1:
            raise ValueError("band has two shares of the limit, the smaller first, none above 1")
        return self
