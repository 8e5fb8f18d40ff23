"""The recipe kind `nas`: an encoder of just the right sizes, cut out of a supernet, within a latency limit in int8."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from compress.recipe.groups import Budgets, Dataset, Evaluate, Learning, Package, Quantize, Trained, Training
from compress.recipe.nas_groups import GenerateData, SearchSpace, Supernet, Tune
from compress.recipe.nas_search_groups import ArchSearch, LatencyPredictor, LatencyTable
from compress.recipe.training_groups import Criterion


class NasRecipe(Trained):
    """supernet -> tune -> latency_table -> search -> finetune -> quantize -> evaluate -> package (Bigger&Faster)."""

    kind: Literal["nas"] = Field(default="nas", description="which method")
    model: str = Field(description="checkpoint that the supernet starts from: a folder, a bundled entry or a Hub id")
    dataset: Dataset
    space: SearchSpace = SearchSpace()
    generate_data: GenerateData = GenerateData()
    supernet: Supernet = Supernet()
    tune: Tune = Tune()
    latency_table: LatencyTable = LatencyTable()
    predictor: LatencyPredictor = LatencyPredictor()
    search: ArchSearch = ArchSearch()
    finetune: Learning = Learning()
    quantize: Quantize = Quantize()
    criterion: Criterion = Criterion()
    evaluate: Evaluate = Evaluate()
    package: Package = Package()
    training: Training = Training()

    @model_validator(mode="after")
    def _modes_fit(self) -> NasRecipe:
        if self.latency_table.table is None and self.search.mode not in self.latency_table.modes:
            raise ValueError(
                f"search.mode is {self.search.mode}, which latency_table.modes does not measure: add it there"
            )
        return self

    @property
    def budgets(self) -> Budgets:
        """No tokens are dropped: full length is all there is to report on."""
        return Budgets(points=0)
