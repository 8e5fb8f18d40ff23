"""The recipe kind `prune_once`: pruned once on plain text, then fine-tuned and quantized with the zeros in place."""

from __future__ import annotations

from typing import ClassVar, Literal

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
    Training,
)
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
from compress.recipe.place import Place
from compress.recipe.stage import Stage
from compress.recipe.training_groups import Aware, Criterion, Distill, Pretrain, Prune
from compress.recipe.work import BACKWARD, TRAINING, Counts, Uncounted, Work
from zoo.lengths import macs

_TEXT = tuple(f"pretrain.{key}" for key in ("text", "text_config", "max_passages", "block_tokens"))


class AwareTraining(Learning, Aware):
    """The second fine-tuning: rounding is simulated, the zeros stay."""

    apply: bool = Field(default=True, description="simulate int8 in a second training; false: none is made")
    learning_rate: LearningRate = 1e-5
    weight_decay: Decay = 0.0


class PruneOnceRecipe(Trained):
    """text -> pretrain -> teacher -> lock -> aware -> quantize -> evaluate -> package (Prune Once for All)."""

    stages: ClassVar = {
        "text": Stage(
            "compress.learn.pretrain_text:run",
            ("model", "tokenizer", *_TEXT),
            only_if="prune.approach != pattern_lock",
            mark="compress.masked_lm:run",
        ),
        "pretrain": Stage(
            "compress.learn.pretrain:run",
            ("model", "tokenizer", "pretrain", "prune", "training"),
            spread=True,
            only_if="prune.approach != pattern_lock",
            mark="compress.methods.pretrain:run",
        ),
        "teacher": Stage(
            "compress.learn.distill:teacher",
            ("model", "tokenizer", *LEARNED, "lock.max_length", "lock.stride", *TAUGHT),
            also=TEACHING,
            mark="compress.methods.distill:teacher",
        ),
        "lock": Stage(
            "compress.learn.prune_once:lock",
            ("dataset", "lock", "distill", "prune.excluded", "training"),
            spread=True,
            checkpoint=True,
            mark="compress.methods.prune_once:lock",
        ),
        "aware": Stage(
            "compress.learn.prune_once:aware",
            ("dataset", "aware", "distill", "quantize.reduce_range", "prune.excluded", "training"),
            spread=True,
            checkpoint=True,
            mark="compress.methods.prune_once:aware",
        ),
        "quantize": int8("dataset", "budgets", "quantize", "criterion", "aware"),
        "evaluate": EVALUATE,
        "package": PACKAGE,
    }
    kind: Literal["prune_once"] = Field(default="prune_once", description="which method")
    model: Place = Field(
        description="checkpoint to start from, dense, or sparse with prune.approach pattern_lock: a folder, a bundled "
        "entry or a Hub id"
    )
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
        if not self.prune.apply:
            raise ValueError(
                "prune.apply is true here: choose magnitude for prune.approach, or pattern_lock for a checkpoint that "
                "is sparse already"
            )
        self.check_windows("lock", "aware")
        return self

    @property
    def pretrains(self) -> bool:
        """Whether zeros are made in pre-training; else the checkpoint has them, and they are locked."""
        return self.prune.approach != "pattern_lock"

    @property
    def finetune(self) -> Learning:
        """How questions become windows, for the stage `teacher` and what it stores."""
        return self.lock

    def work(self, counts: Counts) -> list[Work]:
        learned, report = self.learned(counts), self.reported(counts, 1 + self.budgets.points)
        text, second = self.pretrain, [training(learned, self.aware)] if self.aware.apply else []
        tutor = taught(learned, self.distill, self.lock)
        if not self.pretrains:
            return [tutor, training(learned, self.lock), *second, report]
        if text.steps is None:
            raise Uncounted("how long the text is shows only when it is read")
        passes = BACKWARD + (text.teacher_weight + text.hidden_weight > 0)
        block = macs(counts.shape, text.block_tokens) * text.batch_size * text.steps
        return [tutor, training(learned, self.lock), *second, Work(block * passes / TRAINING), report]

    @property
    def trainings(self) -> tuple[Learning, ...]:
        return self.lock, self.aware

    @property
    def method(self) -> str:
        return applied(pruned=self.prune, distilled=self.distill, quantization_aware=self.aware)
