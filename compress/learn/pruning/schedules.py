"""When weights are pruned, and how many by then."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from zoo.errors import UserError

if TYPE_CHECKING:
    from compress.recipe.training_groups import Prune

TIMES = 40  # prunings between start and end by default, as neural-compressor's documentation recommends
END = 0.7  # share of the steps after which the target is reached by default: the rest heals
MOVES = 4  # partial masks between two full ones of a progressive pruning


@dataclass(frozen=True)
class Plan:
    """The steps at which masks change, counted from 0.

    Attributes:
        start, end: first step that prunes, and the one from which on the masks are those of the target.
        decisions: step -> how far along the way to the target the masks are that are drawn then, in (0, 1].
        moves: in how many parts the masks go over to the new ones until the next decision.
    """

    start: int
    end: int
    decisions: dict[int, float]
    moves: int = 1

    def at(self, step: int) -> tuple[float | None, int]:
        """What happens before a step: the way of a decision if one falls due, and how many of the moves are made."""
        past = [decision for decision in self.decisions if decision <= step]
        if not past:
            return None, 0
        later = [decision for decision in self.decisions if decision > step]
        gap = (min(later) if later else self.end) - past[-1]
        moves = self.moves if not gap else 1 + (step - past[-1]) * self.moves // gap
        return self.decisions.get(step), min(moves, self.moves)


def plan_of(settings: Prune, total: int) -> Plan:
    """The plan for a training of `total` steps.

    A ranking by gradients needs one first: a start at step 0 is then raised to 1. A progressive pruning draws the
    masks one interval earlier, so that the last partial one is behind it at `end_step`; with a single pruning
    (`start_step` equal to `end_step`) there is nothing to interpolate, and it prunes at once.

    Raises:
        UserError: the training is too short for start or end.
    """
    first = 1 if needs_gradient(settings.approach) else 0
    start = max(first, settings.start_step)
    if start >= total:
        raise UserError(
            f"Pruning by {settings.approach} would start before step {start} (counted from 0), but the training has "
            f"only {total} steps. Set prune.start_step to less, or train longer."
        )
    end = settings.end_step
    if end is None:
        end = min(total - 1, max(start, round(END * total)))
    elif end >= total:
        raise UserError(
            f"prune.end_step is {end}, but the training has only {total} steps: set it to {total - 1} at most, "
            "or to null for 70 % of the steps, or train longer."
        )
    end = max(start, end)
    every = settings.frequency or max(1, round((end - start) / TIMES))
    times = [*range(start, end, every), end]
    if not is_progressive(settings.approach) or len(times) == 1:
        return Plan(start, end, {step: (i + 1) / len(times) for i, step in enumerate(times)})
    return Plan(start, end, {step: (i + 1) / (len(times) - 1) for i, step in enumerate(times[:-1])}, MOVES)


def reached(schedule: str, target: float, way: float) -> float:
    """The sparsity at a point of the way from 0 (start) to 1 (end).

    exp: the share of weights that are left falls by the same factor each time; linear: sparsity rises evenly;
    cos and cube: slowly at first, as 1 - cos and as the third power.
    """
    if schedule == "exp":
        return 1 - (1 - target) ** way
    if schedule == "cos":
        return target * (1 - math.cos(way * math.pi / 2))
    return target * (way**3 if schedule == "cube" else way)


def criterion_of(approach: str) -> str:
    """`snip_progressive` -> `snip`: by what weights are ranked."""
    return approach.removesuffix("_progressive")


def is_progressive(approach: str) -> bool:
    return approach.endswith("_progressive")


def needs_gradient(approach: str) -> bool:
    return criterion_of(approach) in ("gradient", "snip", "snip_momentum")
