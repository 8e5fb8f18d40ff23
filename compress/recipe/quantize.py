"""The kind `quantize`: a checkpoint as it is in eight-bit integers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Literal

from pydantic import Field

from compress.data.names import data_name, short_name
from compress.recipe.groups import Budgets, Evaluate, PackageInt8, Quantize, Questions, Reading
from compress.recipe.kind import Kind, int8
from compress.recipe.place import Place
from compress.recipe.stage import Stage
from compress.recipe.training_groups import Criterion
from compress.recipe.work import TORCH, Counts, Work
from zoo.encoders import Encoder, as_a_whole
from zoo.families import titles


class QuantizeRecipe(Kind):
    """quantize -> evaluate -> package: a checkpoint as it is in eight-bit integers, without training."""

    trains: ClassVar[bool] = False
    takes_any_encoder: ClassVar[bool] = True
    takes_vectors: ClassVar[bool] = True
    stages: ClassVar = {
        "quantize": int8(
            *("model", "dataset.train", "dataset.skip", "dataset.titles", "reading", "budgets"),
            *("quantize", "criterion", "seed"),
            also=(
                *((f"dataset.{key}", "") for key in ("columns", "label_values", "version_2")),
                *((f"dataset.{key}", "criterion.apply") for key in ("evaluation", "evaluation_titles")),
            ),
        ),
        "evaluate": Stage(
            "compress.results.evaluate:run",
            ("dataset", "reading", "evaluate", "seed"),
            mark="compress.methods.evaluate:run",
        ),
        "package": Stage(
            "compress.results.quantized:package",
            ("package", "evaluate"),
            packs=True,
            mark="compress.methods.quantize:package",
        ),
    }
    kind: Literal["quantize"] = Field(default="quantize", description="which method")
    model: Place = Field(description="checkpoint to quantize: a folder, a bundled entry or a Hub id")
    dataset: Questions = Questions()
    reading: Reading = Reading()
    budgets: Budgets = Budgets()
    quantize: Quantize = Quantize()
    criterion: Criterion = Criterion()
    evaluate: Evaluate = Evaluate()
    package: PackageInt8 = PackageInt8()
    seed: int = Field(default=0, ge=0, description="the same seed draws the same examples")

    def unheard_of(self, encoder: Encoder) -> Iterator[str]:
        why = as_a_whole(encoder, titles())
        if self.evaluate.engine in encoder.not_on:
            yield (
                f"evaluate.engine is {self.evaluate.engine}, which computes the graph of {encoder.title} wrongly: "
                "choose onnxruntime."
            )
        if self.quantize.neural_compressor:
            yield (
                f"quantize.neural_compressor is not heard for {encoder.title}, which is quantized as an ONNX graph "
                "alone: set it to false."
            )
        if self.evaluate.length_config:
            yield f"evaluate.length_config is not heard: {why}. Set it to null."
        if self.budgets.points and self.budgets != Budgets():
            yield f"budgets is not heard: {why}. Leave it out."

    def work(self, counts: Counts) -> list[Work]:
        static = self.quantize.approach == "static"
        calibrated = counts.passes("train", self.quantize.calibration_samples) if static else 0.0
        return [Work(2 * calibrated / TORCH), self.reported(counts, 1 + self.budgets.points)]

    @property
    def method(self) -> str:
        return self.quantize.approach

    @property
    def float_method(self) -> str:
        return "none"

    def origin(self) -> dict[str, Any]:
        return {
            "recipe": self.kind,
            "quantized from": short_name(self.model),
            "quantization": self.quantize.approach,
            **({"calibrated on": data_name(self.dataset, "train")} if self.quantize.approach == "static" else {}),
        }
