"""The kind `train`: pruning, distillation and simulated int8 in one training."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from compress.recipe.groups import Budgets, Dataset, Evaluate, Learning, Package, Quantize, Trained, Training
from compress.recipe.training_groups import Aware, Criterion, Distill, Prune


class TrainRecipe(Trained):
    """teacher -> train -> quantize -> evaluate -> package: fine-tuning with pruning, distillation, simulated int8."""

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
