"""The recipe kind `nas`: an encoder of just the right sizes, cut out of a supernet, within a latency limit in int8."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from compress.recipe.groups import Budgets, Dataset, Evaluate, Learning, Package, Quantize, Training
from compress.recipe.kind import PACKAGE, RAY, Need, Trained, engine, int8, training
from compress.recipe.nas_groups import (
    ArchSearch,
    GenerateData,
    LatencyPredictor,
    LatencyTable,
    SearchSpace,
    Supernet,
    Tune,
)
from compress.recipe.place import Place
from compress.recipe.stage import Stage
from compress.recipe.training_groups import Criterion
from compress.recipe.work import BACKWARD, INT8, TORCH, TRAINING, Counts, Uncounted, Work
from zoo.lengths import macs

_TIMED = tuple(f"quantize.{key}" for key in ("approach", "keep_float", "smoothing"))  # what decides the operators
_SUPERNET = tuple(f"supernet.{key}" for key in ("checkpoint", "apply", "order", "order_blocks"))


class NasRecipe(Trained):
    """supernet -> tune -> latency_table -> search -> finetune -> quantize -> evaluate -> package (Bigger&Faster)."""

    takes_apart: ClassVar[bool] = True
    stages: ClassVar = {
        "generate_data": Stage(
            "compress.learn.shards:run",
            ("model", "tokenizer", "generate_data", *_SUPERNET[:3]),
            mark="compress.shards:run",
        ),
        "order": Stage("compress.nas.ordering:run", ("model", "tokenizer", "space", "training", *_SUPERNET)),
        "supernet": Stage(
            "compress.nas.supernet_train:run", ("model", "tokenizer", "space", "supernet", "training"), spread=True
        ),
        "tune": Stage(
            "compress.nas.supernet_tune:run", ("space", "dataset", "tune", "training", "search.scoring"), spread=True
        ),
        "latency_table": Stage(
            "compress.nas.latency_table:run",
            ("space", "latency_table", "dataset.task", *_TIMED),
        ),
        "predictor": Stage("compress.nas.predictor:run", ("predictor",)),
        "search": Stage("compress.nas.search:run", ("dataset", "space", "search", "quantize", "finetune", "training")),
        "finetune": Stage("compress.nas.finish:finetune", ("dataset", "finetune", "training"), checkpoint=True),
        "quantize": int8("dataset", "quantize", "criterion"),
        "evaluate": Stage("compress.nas.finish:evaluate", ("dataset", "evaluate")),
        "package": PACKAGE,
    }
    kind: Literal["nas"] = Field(default="nas", description="which method")
    model: Place = Field(description="checkpoint that the supernet starts from: a folder, a bundled entry or a Hub id")
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

    def needs(self) -> Iterator[Need]:
        yield from super().needs()
        measured = () if self.latency_table.table else self.latency_table.modes
        if any(mode.startswith("openvino") for mode in (self.search.mode, *measured)):
            yield engine("openvino")
        if self.latency_table.workers > 1:
            yield RAY

    def work(self, counts: Counts) -> list[Work]:
        """A stage that is told in minutes alone has endless products."""
        table, search, supernet, endless = self.latency_table, self.search, self.supernet, float("inf")
        learned, report = self.learned(counts), self.reported(counts, search.limit_share, search.limit_share)
        searched = counts.passes("validation", search.max_examples)
        work: list[Work] = []
        if supernet.apply and not supernet.checkpoint:
            if supernet.steps is None and supernet.max_minutes is None:
                raise Uncounted("how long the text is shows only when it is read")
            tokens = self.generate_data.block_tokens
            block = macs(counts.shape, tokens) * supernet.batch_size * (supernet.steps or endless)
            passes = BACKWARD * (2 + supernet.random_networks) + 1
            work.append(Work(block * passes / TRAINING, supernet.max_minutes))
        if search.scoring == "inside":
            work.append(training(learned, self.tune, BACKWARD * (2 + self.tune.random_networks)))
        if not table.table:
            minutes = table.rows * len(table.modes) * (table.seconds + 0.2) / 60 / table.workers
            work.append(Work(endless, minutes))
        one = training(learned, self.finetune, BACKWARD * search.limit_share)
        tried = search.population + search.generations * search.children
        if search.scoring == "finetune":
            work.append(Work(tried * one.products, one.minutes and one.minutes * tried))
        scored = INT8 if search.approach == "ptq" else TORCH
        return [*work, Work(searched * tried * search.limit_share / scored), one, report]

    @property
    def trainings(self) -> tuple[Learning, ...]:
        return self.finetune, self.tune

    @property
    def method(self) -> str:
        return "nas"
