"""What the tests of trainings share: made-up windows, a recipe of Prune Once for All, and a power cut."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from compress.learn.loop import Hook, Schedule, train
from compress.progress import Progress
from compress.recipe.prune_once import PruneOnceRecipe
from compress.tasks.losses import span
from compress.tasks.samples import Sample
from tests.conftest import TinyData
from zoo.features import Window
from zoo.modeling import LengthAdaptiveModel


def windows(count: int = 24) -> list[Sample]:
    chance = np.random.default_rng(0)
    made = []
    for i in range(count):
        ids = chance.integers(5, 50, chance.integers(10, 30)).tolist()
        offsets = [None, *((j, j + 1) for j in range(len(ids) - 1))]
        made.append(Sample(Window(i, ids, [0] * len(ids), offsets), 3, 5))
    return made


PLAN = Schedule(learning_rate=1e-3, epochs=2, batch_size=4, precision="fp32", checkpoint_minutes=0)


def learn(
    model: LengthAdaptiveModel,
    data: Sequence[Sample],
    folder: Path,
    plan: Schedule = PLAN,
    hooks: Sequence[Hook] = (),
    progress: Progress | None = None,
) -> None:
    """Train on questions, in full precision and within a second."""
    train(model, data, span(), plan, folder, progress or Progress(None, "train", bar=False), hooks=hooks)


def prune_once(model: Path, data: TinyData, **changes: Any) -> PruneOnceRecipe:
    """All of its stages on a tiny model, within seconds."""
    short = {"epochs": 2, "batch_size": 8, "learning_rate": 1e-3, "max_length": 128, "stride": 16}
    keys = {
        "model": str(model),
        "dataset": {"train": str(data.train), "validation": str(data.validation), "evaluation": str(data.evaluation)},
        "pretrain": {"text": "examples", "block_tokens": 32, "teacher_weight": 0, "hidden_weight": 1, "steps": 12},
        "prune": {"apply": True, "approach": "magnitude", "pattern": "1x1", "target_sparsity": 0.85},
        "distill": {"apply": True, "teacher": str(model)},
        "lock": {**short, "average": 0.5, "keep_start": 0.25},
        "aware": {**short, "epochs": 1, "calibration_samples": 4},
        "evaluate": {"latency_rounds": 2, "latency_tokens": 150},
        "package": {"name": "tiny-sparse"},
    }
    return PruneOnceRecipe.model_validate({**keys, **changes})


class Stop(Exception):
    """What `Interrupting` raises."""


class Interrupting(Progress):
    """Stops the training after a step, as a power cut would, but where the test says."""

    def __init__(self, path: Path | None, at: int):
        super().__init__(path, "training", bar=False, shown=False)
        self.at = at

    def update(self, step, total, **figures):
        super().update(step, total, **figures)
        if step == self.at:
            raise Stop
