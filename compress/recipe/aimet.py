"""The recipe kind `aimet_w8a8`: a fine-tuned model learns to be rounded as AIMET simulates it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from compress.recipe import heard
from compress.recipe.groups import (
    Dataset,
    Decay,
    Epochs,
    Evaluate,
    Group,
    Learning,
    LearningRanges,
    Package,
    Share,
    Training,
)
from compress.recipe.kind import Need, Simulation, Trained, training
from compress.recipe.place import Place
from compress.recipe.stage import Stage
from compress.recipe.training_groups import Distill
from compress.recipe.work import BACKWARD, SIMULATED, TORCH, Counts, Size, Work

# What a backward pass keeps of a rounded layer's tensors, in those of a float layer, and how many times it keeps the
# scores of all heads where those are rounded, too. Measured with a MiniLM-L6 at 128 and 384 tokens.
ROUNDED, SCORES = 3.5, 7
INSTALL = "Install it: `pip install aimet-torch`, or choose a recipe that needs no AIMET: aware_int8 learns ranges too."
AIMET = Need("aimet_torch", f"aimet-torch is not installed. {INSTALL}")


class FirstTraining(Learning):
    """Fine-tuning in float, before anything is rounded."""

    apply: bool = Field(default=True, description="fine-tune `model` first; false: it is fine-tuned for the task")


class Rounded(Group):
    """What AIMET rounds, and how."""

    scope: Literal["full", "deploy"] = Field(
        default="full",
        description="full: every activation, layer norm and GELU among them (a simulation, no runtime does it); "
        "deploy: inputs and weights of the linear layers, which the int8 model then really computes",
    )
    weight_bits: Literal[8, 4] = Field(
        default=8, description="symmetric; of linear layers, embeddings have 8 in any case; 4 is a simulation only"
    )
    per_channel: bool = Field(default=False, description="one range a row of each linear layer's weights, else one")
    ranges: Literal["min_max", "percentile", "sqnr"] = Field(
        default="min_max",
        description="where learning starts: the extremes that were seen, a percentile of them, or the range with the "
        "best ratio of signal to rounding noise (AIMET's tf_enhanced)",
    )
    percentile: float = Field(default=99.99, gt=50, le=100, description="for percentile: what lies within the range")
    mask: Literal["-6", "clamp", "as_is"] = Field(
        default="-6",
        description="for full: what hides padding in attention. -6 is added to its scores, as published; clamp: 6 "
        "below the lowest score seen, where the range ends; as_is: -10000, which the range has to hold",
    )
    calibration_samples: int = Field(
        default=64, ge=1, le=100_000, description="training windows that the first ranges are taken from"
    )

    smoothing: Share = Field(
        default=0.0,
        description="for deploy: how far outlying columns of inputs are divided down before they are rounded, the "
        "weights taking up for it; 0: not at all, as published; 0.5 halved the noise of a MiniLM",
    )

    @field_validator("mask", mode="before")
    @classmethod
    def _number_is_meant(cls, mask: object) -> object:
        return str(mask) if isinstance(mask, int) else mask

    @property
    def settings(self) -> dict[str, object]:
        """These keys alone, without those of a training."""
        return {key: getattr(self, key) for key in Rounded.model_fields}


class AimetTraining(LearningRanges, Rounded):
    """Quantization-aware training with learned ranges (range learning)."""

    learn: bool = Field(default=True, description="train; false: the first ranges and the weights stay as they are")
    learning_rate: float = Field(default=5e-5, gt=0, le=1, description="highest learning rate of weights and ranges")
    epochs: Epochs = 6
    weight_decay: Decay = 0.0


class FromFloat(Distill):
    """What it learns from the float model, or another teacher, beside the labels: needs far fewer steps."""

    teacher: Place | None = Field(
        default=None, description="a folder, a bundled entry or a Hub id; null: the float model that is rounded"
    )
    store_logits: Literal[False] = Field(  # pyright: ignore[reportIncompatibleVariableOverride] - narrower: always false
        default=False, description="the teacher is asked at every step"
    )


class Integers(Group):
    """The int8 model, for scope deploy."""

    reduce_range: Literal["auto"] | bool = Field(
        default="auto",
        description="7-bit weights, in the simulation too, right on CPUs without VNNI; auto: yes, so that one file "
        "serves all; scope full has 8 bits in any case",
    )
    keep_float: list[str] = Field(
        default_factory=list, description="glob patterns of products to leave in float, layers.5.contract for example"
    )
    aimet_onnx: bool = Field(
        default=False, description="write AIMET's own ONNX export too, if it says the same as the simulation"
    )

    @property
    def approach(self) -> str:
        """As in the other kinds' group `quantize`: ranges are settled before the model runs."""
        return "static"


class AimetRecipe(Trained):
    """finetune -> aimet -> quantize -> evaluate -> package: W8A8 with ranges learned by AIMET (arXiv 2109.12948)."""

    stages: ClassVar = {
        "finetune": Stage(
            "compress.aimet.stages:finetune",
            ("model", "tokenizer", "dataset", "finetune", "training"),
            spread=True,
            checkpoint=True,
            mark="compress.methods.quantize_aimet:finetune",
        ),
        "aimet": Stage(
            "compress.aimet.stages:aimet",
            ("dataset", "aimet", "quantize.reduce_range", "quantize.keep_float", "training"),
            spread=True,
            also=(("distill", "distill.apply"),),
            mark="compress.methods.quantize_aimet:aimet",
        ),
        "quantize": Stage(
            "compress.aimet.stages:quantize", ("quantize",), mark="compress.methods.quantize_aimet:quantize"
        ),
        "evaluate": Stage(
            "compress.aimet.stages:evaluate", ("dataset", "evaluate"), mark="compress.methods.quantize_aimet:evaluate"
        ),
        "package": Stage(
            "compress.aimet.stages:package",
            ("package", "evaluate"),
            packs=True,
            mark="compress.methods.quantize_aimet:package",
        ),
    }
    takes_apart: ClassVar[bool] = True
    simulation: ClassVar = Simulation("AIMET", "aimet", "compress.aimet.lookup")
    kind: Literal["aimet_w8a8"] = Field(default="aimet_w8a8", description="which method")
    dataset: Dataset
    finetune: FirstTraining = FirstTraining()
    aimet: AimetTraining = AimetTraining()
    distill: FromFloat = FromFloat()
    quantize: Integers = Integers()
    evaluate: Evaluate = Evaluate()
    package: Package = Package()
    training: Training = Training()

    @model_validator(mode="after")
    def _scope_fits(self) -> AimetRecipe:
        if self.aimet.scope == "deploy" and self.aimet.weight_bits == 4:
            raise ValueError(
                "aimet.weight_bits 4 is a simulation only, no runtime here multiplies 4-bit weights by 8-bit inputs: "
                "set aimet.scope to full, or weight_bits to 8"
            )
        if self.aimet.scope == "full" and self.quantize.aimet_onnx:
            raise ValueError(
                "quantize.aimet_onnx is for aimet.scope deploy: of scope full AIMET's export says something else than "
                "its simulation"
            )
        if self.aimet.scope == "full" and self.aimet.smoothing:
            raise ValueError("aimet.smoothing is for aimet.scope deploy: scope full is as published, set it to 0")
        if self.aimet.scope == "full" and self.quantize.keep_float:
            raise ValueError("quantize.keep_float is for aimet.scope deploy: scope full rounds everything")
        if self.distill.apply and not self.aimet.learn:
            raise ValueError("distill.apply teaches in training: set aimet.learn to true, or distill.apply to false")
        self.check_windows("finetune", "aimet")
        return self

    @property
    def weight_bits(self) -> int:
        """Bits of the linear layers' weights that are simulated."""
        narrow = self.aimet.scope == "deploy" and self.quantize.reduce_range is not False
        return 7 if narrow else self.aimet.weight_bits

    @property
    def chooses(self) -> bool:
        return False

    def unheard(self) -> Iterator[str]:
        yield from super().unheard()
        said = heard.said_of(self)
        if self.dataset.validation_titles and "dataset.validation_titles" in said:
            yield f"dataset.validation_titles is not heard by {self.kind}, which chooses nothing: set it to null."
        alone = "dataset.validation" in said and not said & {"dataset.train", "dataset.evaluation"}
        if alone and self.dataset.type.has_articles:  # texts of it are kept out of training
            yield f"dataset.validation is not heard by {self.kind}, which chooses nothing: leave it out."

    def needs(self) -> Iterator[Need]:
        yield from super().needs()
        yield AIMET

    def work(self, counts: Counts) -> list[Work]:
        learned, report = self.learned(counts), self.reported(counts, 1, 1 + SIMULATED)
        first, second = training(learned, self.finetune), training(learned, self.aimet, BACKWARD * SIMULATED)
        if self.distill.apply:
            second = second._replace(products=second.products + learned * self.aimet.epochs / TORCH)
        return [*([first] if self.finetune.apply else []), *([second] if self.aimet.learn else []), report]

    @property
    def makes_head(self) -> bool:
        return self.finetune.apply

    @property
    def trainings(self) -> tuple[Learning, ...]:
        return self.finetune, self.aimet

    def kept(self, size: Size) -> float:
        part = self.aimet
        if not part.learn:
            return super().kept(size)
        scores = SCORES * size.layers * size.heads * part.max_length if part.scope == "full" else 0
        return max(super().kept(size), part.batch_size * part.max_length * (ROUNDED * size.width + scores))

    @property
    def method(self) -> str:
        return "aimet"

    @property
    def float_method(self) -> str:
        """AIMET leaves that model as it was fine-tuned, or as it was taken."""
        return "fine-tuned" if self.finetune.apply else "none"
