"""The kind `length_adaptive`: QuaLA-MiniLM's LengthDrop, search and int8."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from compress.recipe.groups import (
    Average,
    Dataset,
    Evaluate,
    Finetune,
    LengthDrop,
    Package,
    Quantize,
    Search,
    Trained,
    Training,
)
from compress.recipe.training_groups import Distill


class LengthAdaptiveRecipe(Trained):
    """teacher -> finetune -> length_drop -> average -> search -> quantize -> evaluate -> package.

    QuaLA-MiniLM, arXiv 2210.17114.
    """

    kind: Literal["length_adaptive"] = Field(default="length_adaptive", description="which method")
    dataset: Dataset
    finetune: Finetune = Finetune()
    length_drop: LengthDrop = LengthDrop()
    distill: Distill = Distill()
    average: Average = Average()
    search: Search = Search()
    quantize: Quantize = Quantize()
    evaluate: Evaluate = Evaluate()
    package: Package = Package()
    training: Training = Training()

    @model_validator(mode="after")
    def _parts_fit(self) -> LengthAdaptiveRecipe:
        if self.distill.apply and self.distill.store_logits:
            self.check_windows("finetune", "length_drop")
        if self.dataset.has_texts and (self.finetune.significance_weight or self.length_drop.significance_weight):
            raise ValueError("significance_weight guides attention to answers, which texts have not: set both to 0")
        return self
