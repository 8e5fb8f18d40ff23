"""Scores -> which units go."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from compress.learn.pruning.patterns import Units

CLOSE = 1e-9  # what rounding may add to a share
KEPT = 255  # the move at which a weight goes that never goes


def choose(
    units: Sequence[Units],
    scores: Sequence[Tensor],
    share: float,
    everywhere: bool = True,
    least: float = 0.0,
    most: float = 1.0,
) -> list[Tensor]:
    """The units with the lowest scores.

    Args:
        units: what can go.
        scores: of every unit, `[units]`.
        share: of all weights that shall go; it is met to within half a unit, over all layers or in each.
        everywhere: rank over all layers, not in each by itself.
        least, most: share of every layer's units that goes at least and at most; they come before `share`.

    Returns:
        Bool `[units]`, True for those that go.
    """
    pruned = [torch.zeros_like(score, dtype=torch.bool) for score in scores]
    orders = [_candidates(each, score) for each, score in zip(units, scores, strict=True)]
    bounds = [_bounds(each, len(order), least, most) for each, order in zip(units, orders, strict=True)]
    budget = share * sum(each.count * each.weights for each in units)
    rest = []
    for i, each in enumerate(units):
        if each.even:  # what is left over is made up for elsewhere
            count = min(max(math.floor(share * each.count + CLOSE), bounds[i][0]), bounds[i][1])
            pruned[i][orders[i][:count]] = True
            budget -= count * each.weights
        else:
            rest.append(i)
    if not rest:
        return pruned
    if not everywhere:
        share = budget / sum(units[i].count * units[i].weights for i in rest)
        for i in rest:
            count = min(max(math.floor(share * units[i].count + 0.5), bounds[i][0]), bounds[i][1])
            pruned[i][orders[i][:count]] = True
        return pruned
    pools = []
    for i in rest:
        low, high = bounds[i]
        pruned[i][orders[i][:low]] = True
        budget -= low * units[i].weights
        pools.append(orders[i][low:high])
    values = torch.cat([scores[i][pool] for i, pool in zip(rest, pools, strict=True)])
    sizes = torch.cat(
        [torch.full_like(pool, units[i].weights, dtype=torch.float64) for i, pool in zip(rest, pools, strict=True)]
    )
    order = values.argsort(stable=True)
    middle = sizes[order].cumsum(0) - sizes[order] / 2  # a unit goes if more than half of it fits
    chosen = torch.zeros_like(values, dtype=torch.bool)
    chosen[order[middle <= budget + CLOSE]] = True
    for i, pool, flags in zip(rest, pools, chosen.split([len(pool) for pool in pools]), strict=True):
        pruned[i][pool[flags]] = True
    return pruned


def moves_of(before: Tensor, after: Tensor, score: Tensor, moves: int) -> Tensor:
    """In which of the moves from one mask to the next every weight goes: uint8, 0 for gone already, `KEPT` for never.

    Args:
        before, after: bool, True where a weight is pruned.
        score: weights with a low one go first.
        moves: how many there are; each takes an equal part. A weight that comes back is back from the start.
    """
    due = torch.full_like(score, KEPT, dtype=torch.uint8)
    due[after] = 0
    going = after & ~before
    count = int(going.sum())
    rank = torch.empty(count, dtype=torch.int64, device=score.device)
    rank[score[going].argsort(stable=True)] = torch.arange(count, device=score.device)
    due[going] = (1 + rank * moves // max(count, 1)).to(torch.uint8)
    return due


def _candidates(units: Units, score: Tensor) -> Tensor:
    """Places of the units that may go, lowest score first."""
    if units.limit is None:
        return score.argsort(stable=True)
    drop, of = units.limit
    rows = score.reshape(-1, of)
    places = rows.argsort(dim=1, stable=True)[:, :drop] + of * torch.arange(len(rows), device=score.device)[:, None]
    places = places.flatten()
    return places[score[places].argsort(stable=True)]


def _bounds(units: Units, candidates: int, least: float, most: float) -> tuple[int, int]:
    high = min(math.floor(most * units.count + CLOSE), candidates)
    return min(math.ceil(least * units.count - CLOSE), high), high
