"""A small space, settings that measure it in seconds, and times that are made up."""

from __future__ import annotations

import numpy as np

from compress.nas.space import Arch, Space
from compress.nas.table import Row, Table, setup_json, stamp
from compress.nas.timed import Setup
from compress.progress import Progress
from compress.recipe.nas_groups import LatencyTable

SPACE = Space.spanned((1, 3), (16, 48), (16, 96), 8, 8)
SETUP = Setup(tokens=12, threads=1)


class Silent(Progress):
    """A progress that remembers what it was told."""

    def __init__(self):
        super().__init__(None, "test", shown=False)
        self.lines, self.notes = [], []

    def update(self, step, total, **figures):
        self.lines.append({"step": step, "total": total, **figures})

    def note(self, message):
        self.notes.append(message)


def settings(**changes) -> LatencyTable:
    return LatencyTable.model_validate({"rows": 24, "rounds": 3, "warmup": 1, "seconds": 0.05, "retries": 0, **changes})


def milliseconds(arch: Arch) -> float:
    """What an encoder would take if only sizes decided, with a jump where the feed-forward gets wide."""
    inner = 1.3 if arch.intermediate > 56 else 1.0
    per_layer = 0.02 + 4e-5 * (4 * arch.hidden**2 + 2 * inner * arch.hidden * arch.intermediate)
    return 0.1 + 0.001 * arch.hidden + arch.layers * per_layer


def table(space: Space = SPACE, mode: str = "onnxruntime_int8", noise: float = 0.02, seed: int = 0) -> Table:
    """A table of all of the space's encoders, as if measured here."""
    chance = np.random.default_rng(seed)
    rows = [Row(a, mode, milliseconds(a) * float(np.exp(chance.normal(0, noise))), 0.0, noise, 9) for a in space]
    return Table(rows, stamp(), setup_json(SETUP), space)
