"""The kind `train`: pruning, distillation and simulated int8 in one training."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from compress.recipe.groups import Budgets, Dataset, Evaluate, Learning, Package, Quantize, Training
from compress.recipe.kind import (
    EVALUATE,
    LEARNED,
    PACKAGE,
    TAUGHT,
    TEACHING,
    Trained,
    applied,
    int8,
    taught,
    training,
)
from compress.recipe.stage import Stage
from compress.recipe.training_groups import Aware, Criterion, Distill, Prune
from compress.recipe.work import Counts, Work


class TrainRecipe(Trained):
    """teacher -> train -> quantize -> evaluate -> package: fine-tuning with pruning, distillation, simulated int8."""

    takes_vectors: ClassVar[bool] = True
    stages: ClassVar = {
        "teacher": Stage(
            "compress.learn.train:teacher",
            ("model", "tokenizer", *LEARNED, "finetune.max_length", "finetune.stride", *TAUGHT),
            also=TEACHING,
            mark="compress.methods.distill:teacher",
        ),
        "train": Stage(
            "compress.learn.train:run",
            (
                *("model", "tokenizer", "dataset", "finetune", "prune", "distill", "aware"),
                *("quantize.reduce_range", "training"),
            ),
            spread=True,
            checkpoint=True,
            mark="compress.methods.train:run",
        ),
        "quantize": int8("dataset", "budgets", "quantize", "criterion", "aware"),
        "evaluate": EVALUATE,
        "package": PACKAGE,
    }
    kind: Literal["train"] = Field(default="train", description="which method")
    dataset: Dataset
    finetune: Learning = Learning()
    prune: Prune = Prune()
    distill: Distill = Distill()
    aware: Aware = Aware()
    budgets: Budgets = Budgets(points=0)
    quantize: Quantize = Quantize()
    criterion: Criterion = Criterion()
    evaluate: Evaluate = Evaluate()
    package: Package = Package()
    training: Training = Training()

    def work(self, counts: Counts) -> list[Work]:
        learned, report = self.learned(counts), self.reported(counts, 1 + self.budgets.points)
        return [taught(learned, self.distill, self.finetune), training(learned, self.finetune), report]

    @property
    def method(self) -> str:
        return applied(pruned=self.prune, distilled=self.distill, quantization_aware=self.aware)
