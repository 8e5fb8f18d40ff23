"""The kind `quantize`: a checkpoint as it is in eight-bit integers."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from compress.recipe.groups import Budgets, Evaluate, Group, PackageInt8, Quantize, Questions, Reading
from compress.recipe.training_groups import Criterion


class QuantizeRecipe(Group):
    """quantize -> evaluate -> package: a checkpoint as it is in eight-bit integers, without training."""

    trains: ClassVar[bool] = False
    kind: Literal["quantize"] = Field(default="quantize", description="which method")
    model: str = Field(description="checkpoint to quantize: a folder, a bundled entry or a Hub id")
    dataset: Questions = Questions()
    reading: Reading = Reading()
    budgets: Budgets = Budgets()
    quantize: Quantize = Quantize()
    criterion: Criterion = Criterion()
    evaluate: Evaluate = Evaluate()
    package: PackageInt8 = PackageInt8()
    seed: int = Field(default=0, ge=0, description="the same seed draws the same examples")
