"""Groups of keys of the recipes that train while they compress: pruning, distillation, quantization-aware training."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

from compress.recipe.groups import Decay, Group, LearningRate, MaxNorm, Share, Weight
from compress.recipe.place import Mark, Place

Approach = Literal[
    "magnitude",
    "magnitude_progressive",
    "gradient",
    "gradient_progressive",
    "snip",
    "snip_progressive",
    "snip_momentum",
    "snip_momentum_progressive",
    "pattern_lock",
]
PRUNING_TYPES: tuple[str, ...] = get_args(Approach)
LAYERS = "what is seen inside: the last layer, or every layer beside the teacher's at the same depth"


class Prune(Group):
    """Weights of linear layers set to zero while training goes on."""

    apply: bool = Field(default=False, description="prune")
    approach: Approach = Field(
        default="snip_momentum",
        description="by what weights are ranked; pattern_lock keeps the zeros that the checkpoint has",
    )
    target_sparsity: float = Field(
        default=0.5, ge=0, le=0.99, description="share of the pruned weights that are zero in the end"
    )
    pattern: str = Field(
        default="4x1",
        pattern=r"^(\d+x\d+|\d+:\d+|channelx1|1xchannel)$",
        description="what goes together: 1x1 single weights, 4x1 blocks of four outputs and one input, 2:4 two of "
        "every four inputs, channelx1 or 1xchannel whole channels between expand and contract, which can be removed",
    )
    heads: bool = Field(default=False, description="with a pattern of channels: prune whole attention heads as well")
    scope: Literal["global", "local"] = Field(
        default="global", description="rank over all layers, or in each by itself"
    )
    schedule: Literal["exp", "cos", "cube", "linear"] = Field(
        default="exp", description="how sparsity rises from start_step to end_step"
    )
    start_step: int = Field(default=0, ge=0, description="first step at which weights are pruned")
    end_step: int | None = Field(
        default=None,
        ge=0,
        description="step at which the target is reached; equal to start_step: at once; null: after 70 % of the steps",
    )
    frequency: int | None = Field(
        default=None, ge=1, description="steps between two prunings; null: a fortieth of those between start and end"
    )
    min_sparsity_per_op: Share = Field(default=0.0, description="every layer loses at least this share")
    max_sparsity_per_op: Share = Field(default=0.98, description="no layer loses more than this share")
    excluded: list[str] = Field(
        default_factory=list, description="glob patterns of layers to leave alone, for example layers.0.*"
    )

    @model_validator(mode="after")
    def _steps_fit(self) -> Prune:
        if self.end_step is not None and self.end_step < self.start_step:
            raise ValueError("end_step comes before start_step: make it as large at least")
        if self.min_sparsity_per_op > self.max_sparsity_per_op:
            raise ValueError("min_sparsity_per_op is more than max_sparsity_per_op")
        return self

    @model_validator(mode="after")
    def _pattern_fits(self) -> Prune:
        if self.approach == "pattern_lock":
            return self  # neither pattern nor target says anything there
        if ":" in self.pattern:
            drop, of = map(int, self.pattern.split(":"))
            if not 0 < drop < of:
                raise ValueError("pattern N:M drops N of every M weights, N more than 0 and less than M")
            if abs(self.target_sparsity - drop / of) > 0.005:
                raise ValueError(
                    f"pattern {self.pattern} makes {drop} of {of} weights zero, no more and no less: "
                    f"set target_sparsity to {round(drop / of, 4)}"
                )
        elif any(not side.strip("0") for side in self.pattern.split("x")):
            raise ValueError("pattern has a side of 0: write for example 4x1")
        if self.heads and "channel" not in self.pattern:
            raise ValueError("heads are pruned with pattern channelx1 or 1xchannel: choose one, or set heads to false")
        if not self.min_sparsity_per_op <= self.target_sparsity <= self.max_sparsity_per_op:
            raise ValueError("target_sparsity lies outside of min_sparsity_per_op to max_sparsity_per_op: widen these")
        return self


class Distill(Group):
    """What a student learns from a teacher beside the labels."""

    apply: bool = Field(default=False, description="distil")
    teacher: Place | None = Field(default=None, description="a folder, a bundled entry or a Hub id; null: `model`")
    labels: Annotated[list[str] | None, Mark.OF_MODEL] = Field(
        default=None,
        description="what the teacher's outputs are called, in their order, where its config.json does not say; null: "
        "as it says, else as labelled examples show",
    )
    store_logits: bool = Field(
        default=True, description="run the teacher once over the data and keep its logits, instead of at every step"
    )
    temperature: float = Field(default=2.0, gt=0, le=100, description="both distributions are softened by it")
    teacher_weight: Weight = Field(default=1.0, description="weight of the teacher's part of the loss")
    label_weight: Weight = Field(default=0.0, description="weight of the labels' part of the loss")
    hidden_weight: Weight = Field(
        default=0.0, description="weight of the distance of hidden states; needs the teacher in the loop"
    )
    attention_weight: Weight = Field(
        default=0.0, description="weight of the distance of attention; needs the teacher in the loop"
    )
    layers: Literal["last", "all"] = Field(default="last", description=LAYERS)

    @model_validator(mode="after")
    def _weights_fit(self) -> Distill:
        if self.apply and not self.teacher_weight + self.hidden_weight + self.attention_weight:
            raise ValueError("teacher_weight, hidden_weight and attention_weight are all 0: nothing would be distilled")
        if self.apply and self.store_logits and (self.hidden_weight or self.attention_weight):
            raise ValueError("store_logits keeps logits only: set it to false to distil hidden states or attention")
        return self


class Aware(Group):
    """Quantization-aware training: rounding is simulated while weights and ranges are learned."""

    apply: bool = Field(default=False, description="simulate int8 in training")
    start_step: int = Field(default=0, ge=0, description="step from which on rounding is simulated")
    calibration_samples: int = Field(
        default=64, ge=1, le=100_000, description="training windows that the first ranges are taken from"
    )
    freeze_step: int | None = Field(
        default=None, ge=0, description="step from which on ranges stay; null: after 80 % of the steps"
    )
    smoothing: Share = Field(default=0.75, description="as in quantize.smoothing, settled before training")

    @model_validator(mode="after")
    def _steps_fit(self) -> Aware:
        if self.freeze_step is not None and self.freeze_step < self.start_step:
            raise ValueError("freeze_step comes before start_step: make it as large at least")
        return self


class Criterion(Group):
    """How much of its score quantization may cost, and what is done where it costs more."""

    apply: bool = Field(default=False, description="return operators to float until the criterion holds")
    relative: bool = Field(default=True, description="the loss is a share of the float score, else points of 100")
    tolerable_loss: float = Field(default=0.01, ge=0, le=100, description="share or points that may be lost")
    max_trials: int = Field(default=10, ge=1, le=1000, description="quantized models that are scored at most")
    max_questions: int = Field(default=200, ge=1, le=100_000, description="questions or texts that each is scored on")

    @model_validator(mode="after")
    def _loss_fits(self) -> Criterion:
        if self.relative and self.tolerable_loss > 1:
            raise ValueError("tolerable_loss is a share of the float score where relative is true: write 0.01 for 1 %")
        return self


class Pretrain(Group):
    """Masked language modelling while weights are pruned, and what is learned from the dense model meanwhile."""

    text: Place = Field(
        description="a .txt file or a folder of them, one passage a line; a Hub id (`owner/name` or "
        "`owner/name:split`) with a column `text`; or `examples`, the bundled passages"
    )
    text_config: str | None = Field(default=None, description="configuration of a Hub id that has several")
    max_passages: int | None = Field(default=None, ge=1, description="read so many passages from the start; null: all")
    block_tokens: int = Field(default=128, ge=16, le=512, description="tokens of a training input")
    teacher: Place | None = Field(
        default=None, description="the dense model: a folder, a bundled entry or a Hub id; null: `model`"
    )
    label_weight: Weight = Field(default=0.5, description="weight of the masked words' own loss")
    teacher_weight: Weight = Field(
        default=0.5, description="weight of the teacher's words at the same places; it needs a head for masked words"
    )
    hidden_weight: Weight = Field(default=0.0, description="weight of the distance to the teacher's hidden states")
    layers: Literal["last", "all"] = Field(default="last", description=LAYERS)
    temperature: float = Field(default=2.0, gt=0, le=100, description="both distributions of words are softened by it")
    learning_rate: LearningRate = 5e-5
    epochs: float = Field(default=1, gt=0, le=1000, description="passes over the text; fractions are allowed")
    steps: int | None = Field(default=None, ge=1, description="train for so many steps instead of epochs")
    batch_size: int = Field(default=32, ge=1, le=4096, description="blocks a step, over all processes together")
    warmup_ratio: Share = Field(default=0.01, description="share of the steps in which the learning rate rises")
    weight_decay: Decay = 0.01
    dropout: float = Field(default=0.0, ge=0, lt=1, description="dropout in training; on a CPU it costs half the speed")
    max_grad_norm: MaxNorm = 1.0

    @model_validator(mode="after")
    def _weights_fit(self) -> Pretrain:
        if not self.label_weight + self.teacher_weight + self.hidden_weight:
            raise ValueError("label_weight, teacher_weight and hidden_weight are all 0: nothing would be learned")
        return self


class Average(Group):
    """A mean of weights: further checkpoints of the same origin join the trained one (model soup, arXiv 2203.05482)."""

    checkpoints: Annotated[list[Place], Mark.OF_MODEL] = Field(
        default_factory=list, description="folders, bundled entries or Hub ids of checkpoints to average with"
    )
    shares: Annotated[list[float], Mark.OF_MODEL] = Field(
        default_factory=list, description="share of each in the mean, the trained one has the rest; empty: all the same"
    )

    @model_validator(mode="after")
    def _shares_fit(self) -> Average:
        if self.shares and len(self.shares) != len(self.checkpoints):
            raise ValueError("shares, where given, has one number for each of checkpoints")
        if any(share <= 0 for share in self.shares) or sum(self.shares) > 1:
            raise ValueError("shares are more than 0 and together not more than 1")
        return self
