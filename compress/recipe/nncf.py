"""The recipe kind `nncf`: quantization by NNCF, after training or in it, from its own JSON configuration."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from compress.recipe.groups import (
    Dataset,
    Evaluate,
    Group,
    Learning,
    LearningRanges,
    Package,
    Quantize,
    Training,
)
from compress.recipe.kind import LEARNED, TAUGHT, TEACHING, Need, Simulation, Trained, engine, training
from compress.recipe.nncf_config import Plan, parse_config, read_text
from compress.recipe.place import Place
from compress.recipe.stage import Stage
from compress.recipe.training_groups import Distill
from compress.recipe.work import BACKWARD, SIMULATED, TORCH, Counts, Work
from zoo.errors import UserError
from zoo.tasks import find_task

NNCF = Need("nncf", "NNCF is not installed: `pip install nncf`, or choose another recipe.")
HERE = Path(__file__).parent / "shipped"  # where the configurations that ship lie


class NncfDataset(Dataset):
    """What is learned from, and what is reported on, which may be another task with the same labels."""

    evaluation_task: str | None = Field(
        default=None, description="task to report on where it is another one with the same labels: xnli_zh for mnli"
    )

    @model_validator(mode="after")
    def _labels_are_the_same(self) -> NncfDataset:
        if self.evaluation_task is None:
            return self
        try:
            learned, reported = find_task(self.task), find_task(self.evaluation_task)
        except UserError as error:
            raise ValueError(str(error)) from error
        self.evaluation_task = reported.name
        same = learned.type is reported.type and learned.type.has_labels and learned.labels == reported.labels
        if not same:
            raise ValueError(
                f"evaluation_task {reported.name} has other labels than {learned.name}: report on what was learned"
            )
        return self


class BeforeNncf(Learning):
    """Fine-tuning in float before anything is rounded."""

    apply: bool = Field(default=False, description="fine-tune first; false: `model` has learned the task already")


class Tune(LearningRanges):
    """Quantization-aware fine-tuning: weights and ranges are learned while rounding is simulated."""

    apply: bool = Field(default=True, description="learn with simulated rounding; false: quantize after training only")


class Rounding(Group):
    """How NNCF quantizes; what `nncf_config` states comes before it."""

    placement: Literal["products", "graph"] = Field(
        default="products",
        description="what is rounded: inputs and weights of the linear layers and the word embeddings, which becomes "
        "the int8 graph that the explorer runs; or all that NNCF would round, exported by NNCF, attention only without "
        "overflow_fix",
    )
    backend: Literal["torch", "onnx", "openvino"] = Field(
        default="torch", description="what NNCF quantizes; onnx and openvino models cannot be trained further"
    )
    preset: Literal["auto", "mixed", "performance"] = Field(
        default="auto",
        description="performance: symmetric inputs; mixed: asymmetric ones; auto: mixed for a transformer",
    )
    model_type: Literal["transformer", "none"] = Field(
        default="transformer", description="what NNCF knows the model as; transformer smooths outlying columns"
    )
    target_device: Literal["ANY", "CPU", "GPU", "NPU"] = Field(
        default="ANY", description="device whose integer products decide what is rounded"
    )
    subset_size: int = Field(
        default=300, ge=1, le=100_000, description="training windows that first ranges are taken from, one at a time"
    )
    estimator: Literal["auto", "min_max", "mean_min_max", "mean_percentile", "percentile", "histogram"] = Field(
        default="auto", description="from what was seen to a range of inputs; auto: NNCF's own choice"
    )
    smooth_quant_alpha: float = Field(
        default=0.95, ge=-1, le=1, description="strength of SmoothQuant from 0 to 1; a negative number: none"
    )
    bias_correction: Literal["fast", "full", "none"] = Field(
        default="fast", description="of what rounding adds on average; full needs backend onnx or openvino"
    )
    overflow_fix: Literal["auto", "enable", "first_layer_only", "disable"] = Field(
        default="auto",
        description="7-bit weights, right on CPUs without VNNI too; auto: enable, so that one file serves all",
    )

    @model_validator(mode="after")
    def _backend_fits(self) -> Rounding:
        if self.backend == "torch" and self.bias_correction == "full":
            raise ValueError("bias_correction full needs backend onnx or openvino: choose one, or fast")
        if self.backend == "torch" and self.overflow_fix == "first_layer_only":
            raise ValueError("overflow_fix first_layer_only is for convolutions: choose enable or disable")
        return self


class Control(Group):
    """Accuracy control: operators go back to float until no more than max_drop is lost."""

    apply: bool = Field(default=False, description="control accuracy; needs backend onnx or openvino")
    max_drop: float = Field(
        default=1.0, ge=0, le=100, description="how much may be lost: points of 100, or a share where relative"
    )
    drop_type: Literal["absolute", "relative"] = Field(default="absolute", description="how max_drop counts")
    max_questions: int = Field(
        default=200, ge=1, le=100_000, description="validation questions or texts that each model is scored on"
    )
    max_restored: int = Field(default=1000, ge=1, le=1000, description="operators that go back to float at most")

    @model_validator(mode="after")
    def _drop_fits(self) -> Control:
        if self.drop_type == "relative" and self.max_drop > 1:
            raise ValueError("max_drop is a share of the float score where drop_type is relative: write 0.01 for 1 %")
        return self


class NncfRecipe(Trained):
    """finetune -> teacher -> nncf -> quantize -> evaluate -> package (quantization by NNCF, 2002.08679)."""

    stages: ClassVar = {
        "finetune": Stage(
            "compress.nncf.stages:finetune",
            ("model", "tokenizer", "dataset", "finetune", "training"),
            spread=True,
            checkpoint=True,
            mark="compress.methods.quantize_nncf:finetune",
        ),
        "teacher": Stage(
            "compress.nncf.stages:teacher",
            (*LEARNED, "finetune.max_length", "finetune.stride", *TAUGHT),
            also=TEACHING,
            mark="compress.methods.quantize_nncf:teacher",
        ),
        "nncf": Stage(
            "compress.nncf.stages:run",
            ("dataset", "nncf_config", "nncf", "tune", "distill", "control", "training"),
            spread=True,
            also=tuple(
                (f"dataset.{split}{part}", "control.apply")
                for split in ("validation", "evaluation")  # what is reported on is not what is controlled by
                for part in ("", "_titles")
            ),
            mark="compress.methods.quantize_nncf:run",
        ),
        "quantize": Stage("compress.nncf.stages:quantize", (), mark="compress.methods.quantize_nncf:quantize"),
        "evaluate": Stage(
            "compress.nncf.stages:run_evaluate",
            ("dataset", "evaluate"),
            mark="compress.methods.quantize_nncf:run_evaluate",
        ),
        "package": Stage(
            "compress.nncf.stages:run_package",
            ("package", "evaluate"),
            packs=True,
            mark="compress.methods.quantize_nncf:run_package",
        ),
    }
    takes_apart: ClassVar[bool] = True
    simulation: ClassVar = Simulation("NNCF", "nncf", "compress.nncf.lookup")
    kind: Literal["nncf"] = Field(default="nncf", description="which method")
    nncf_config: Place | None = Field(
        default=None, description="NNCF's JSON configuration: a file's name or what it holds; null: none"
    )
    dataset: NncfDataset
    finetune: BeforeNncf = BeforeNncf()
    nncf: Rounding = Rounding()
    tune: Tune = Tune()
    distill: Distill = Distill()
    control: Control = Control()
    evaluate: Evaluate = Evaluate()
    package: Package = Package()
    training: Training = Training()

    @field_validator("nncf_config")
    @classmethod
    def _config_can_be_carried_over(cls, value: str | None) -> str | None:
        """The configuration itself instead of its name, so that a run's recipe is whole wherever it is sent."""
        if value is None or not value.strip():
            return None
        try:
            text = value if value.lstrip().startswith(("{", "[")) else read_text(value, HERE)
            parse_config(text)
        except UserError as error:
            raise ValueError(str(error)) from error
        return text

    @model_validator(mode="after")
    def _parts_fit(self) -> NncfRecipe:
        trained = self.nncf.backend == "torch"
        if not trained and self.tune.apply:
            raise ValueError(f"a model of nncf.backend {self.nncf.backend} cannot be trained: set tune.apply to false")
        if self.control.apply and trained:
            raise ValueError("control needs nncf.backend onnx or openvino: choose one")
        if self.distill.apply and not self.tune.apply:
            raise ValueError("distill takes part in tune: set tune.apply to true, or distill.apply to false")
        if self.training.gradient_checkpointing and self.tune.apply:
            raise ValueError(
                "training.gradient_checkpointing is not for tune: NNCF simulates rounding on the way forward alone, so "
                "that layers computed again would differ. Raise training.gradient_accumulation instead"
            )
        self.check_windows("finetune", "tune")
        length = self._plan().max_length
        if length not in (None, self.tune.max_length):
            raise ValueError(
                f"nncf_config has inputs of {length} tokens in input_info, and tune.max_length is "
                f"{self.tune.max_length}: give finetune, tune and input_info the same"
            )
        if self._plan().overflow_fix == "first_layer_only" and trained:
            raise ValueError("overflow_fix first_layer_only of nncf_config is for convolutions: write enable")
        return self

    def _plan(self) -> Plan:
        return parse_config(self.nncf_config) if self.nncf_config else Plan()

    @property
    def quantize(self) -> Quantize:
        """What cards say of the integers."""
        return Quantize(approach="static", reduce_range=self.nncf.overflow_fix != "disable")

    def unheard(self) -> Iterator[str]:
        yield from super().unheard()
        plan = self._plan()
        for key, stated in {
            "preset": plan.preset,
            "target_device": plan.device,
            "subset_size": plan.samples or plan.steps,
            "estimator": plan.estimator,
            "overflow_fix": plan.overflow_fix,
        }.items():
            default = Rounding.model_fields[key].default
            if stated is not None and getattr(self.nncf, key) != default:
                yield (
                    f"nncf.{key} is not heard where nncf_config says it, which comes first ({stated}): set it to "
                    f"{default}, or take it out of the configuration."
                )

    def needs(self) -> Iterator[Need]:
        yield from super().needs()
        yield NNCF
        if self.nncf.backend == "openvino":
            yield engine("openvino")

    def work(self, counts: Counts) -> list[Work]:
        learned, report = self.learned(counts), self.reported(counts, 2, 1 + SIMULATED)
        calibrated = counts.passes("train", self.nncf.subset_size)
        taught = learned / TORCH if self.distill.apply else 0.0
        return [
            *([training(learned, self.finetune)] if self.finetune.apply else []),
            *([training(learned, self.tune, BACKWARD * SIMULATED)] if self.tune.apply else []),
            Work(2 * SIMULATED * calibrated / TORCH + taught),
            report,
        ]

    @property
    def makes_head(self) -> bool:
        return self.finetune.apply

    @property
    def trainings(self) -> tuple[Learning, ...]:
        return self.finetune, self.tune

    @property
    def method(self) -> str:
        return "nncf"

    @property
    def float_method(self) -> str:
        """NNCF leaves that model as it was fine-tuned, or as it was taken."""
        return "fine-tuned" if self.finetune.apply else "none"
