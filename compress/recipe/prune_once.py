"""The recipe kind `prune_once`: pruned once on plain text, then fine-tuned and quantized with the zeros in place."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from compress.recipe.groups import (
    Budgets,
    Dataset,
    Decay,
    Evaluate,
    Learning,
    LearningRate,
    Package,
    Quantize,
    Trained,
    Training,
)
from compress.recipe.training_groups import Aware, Criterion, Distill, Pretrain, Prune


class AwareTraining(Learning, Aware):
    """The second fine-tuning: rounding is simulated, the zeros stay."""

    apply: bool = Field(default=True, description="simulate int8 in a second training; false: none is made")
    learning_rate: LearningRate = 1e-5
    weight_decay: Decay = 0.0


class PruneOnceRecipe(Trained):
    """text -> pretrain -> teacher -> lock -> aware -> quantize -> evaluate -> package (Prune Once for All)."""

    kind: Literal["prune_once"] = Field(default="prune_once", description="which method")
    model: str = Field(description="dense checkpoint to start from: a folder, a bundled entry or a Hub id")
    dataset: Dataset
    pretrain: Pretrain
    prune: Prune = Prune(apply=True, approach="magnitude", pattern="1x1", target_sparsity=0.85)
    distill: Distill = Distill(apply=True)
    lock: Learning = Learning(learning_rate=1.5e-4, epochs=8, batch_size=12, warmup_ratio=0.05)
    aware: AwareTraining = AwareTraining()
    budgets: Budgets = Budgets(points=0)
    quantize: Quantize = Quantize()
    criterion: Criterion = Criterion()
    evaluate: Evaluate = Evaluate()
    package: Package = Package()
    training: Training = Training()

    @model_validator(mode="after")
    def _stages_fit(self) -> PruneOnceRecipe:
        if not self.prune.apply or self.prune.approach == "pattern_lock":
            raise ValueError("prune.apply is true here, and prune.approach one that makes zeros, such as magnitude")
        self.check_windows("lock", "aware")
        return self

    @property
    def finetune(self) -> Learning:
        """How questions become windows, for the stage `teacher` and what it stores."""
        return self.lock
