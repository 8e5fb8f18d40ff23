"""In which order, and beside whom, windows are learned from."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

POOL = 100  # batches that are sorted by length together


def batches(
    lengths: Sequence[int], size: int, seed: int, epoch: int, groups: Sequence[Sequence[int]] = ()
) -> list[list[int]]:
    """Indices of one epoch in batches of like length, in random order; the same for the same seed and epoch.

    Shuffled, cut into pools of `POOL` batches, sorted by length within a pool: padding falls from half of the tokens to
    5 %, with what `WIDTH` adds, and every batch is still a random draw of its length.

    Args:
        lengths: of all windows.
        size: of a batch.
        seed, epoch: draw the order.
        groups: windows that come together, by index, each once; none where every window comes by itself.
    """
    chance = random.Random(f"{seed}/{epoch}")
    units = [list(group) for group in groups] or [[i] for i in range(len(lengths))]
    chance.shuffle(units)
    order, per_pool = list[int](), max(1, POOL * size * len(units) // max(1, len(lengths)))
    for at in range(0, len(units), per_pool):
        for unit in sorted(units[at : at + per_pool], key=lambda unit: max(lengths[i] for i in unit)):
            order += unit
    epoch_batches = [order[i : i + size] for i in range(0, len(order), size)]
    chance.shuffle(epoch_batches)
    return epoch_batches


def steps_of(samples: int, epochs: float, batch_size: int) -> int:
    """Steps that `train` plans for."""
    return max(1, math.ceil(math.ceil(samples / batch_size) * epochs))
