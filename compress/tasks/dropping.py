"""How many tokens each layer keeps in training: bounds, the smallest lengths, random ones, LayerDrop."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from compress.recipe.length_groups import LengthDrop
from zoo.modeling import LengthAdaptiveModel
from zoo.significance import KEY, LEARNED


def ratios(bound: float | Sequence[float], drop_layers: Sequence[int], layers: int) -> list[float]:
    """The largest share that each layer may drop: `bound` at every drop layer (or one bound for each), 0 elsewhere."""
    each = [bound] * len(drop_layers) if isinstance(bound, int | float) else list(bound)
    if len(each) != len(drop_layers):
        raise ValueError(f"{len(each)} bounds for {len(drop_layers)} drop layers")
    shares = dict(zip(drop_layers, each, strict=True))
    return [shares.get(i, 0.0) for i in range(layers)]


def smallest(count: Tensor, bounds: Sequence[float]) -> Tensor:
    """The lower gene: every layer drops as much as it may. `count` `[batch]` real tokens -> `[batch, layers]`."""
    return _chain(count, [1 - b for b in bounds])


def sampled(count: Tensor, bounds: Sequence[float], chance: random.Random) -> Tensor:
    """Random lengths: every layer keeps a uniform share of at least 1 - bound. `[batch]` -> `[batch, layers]`."""
    return _chain(count, [1 - b * chance.random() for b in bounds])


def _chain(count: Tensor, keep: Sequence[float]) -> Tensor:
    rows, now = [], count.float()
    for share in keep:
        now = torch.ceil(now * share - 1e-4).clamp_min(2)
        rows.append(torch.minimum(now, count))
    return torch.stack(rows, 1).long()


def surviving_layers(layers: int, probability: float, chance: random.Random) -> list[bool] | None:
    """LayerDrop: which layers run. Each is skipped with `probability`, but never all of them; None runs all."""
    if not probability:
        return None
    keep = [chance.random() >= probability for _ in range(layers)]
    if not any(keep):
        keep[chance.randrange(layers)] = True
    return keep


def bounds_of(settings: LengthDrop, model: LengthAdaptiveModel) -> list[float]:
    """The largest share that each layer of `model` may drop, by a `length_drop` group."""
    return ratios(settings.length_drop_ratio_bound, model.drop_layers, model.shape.layers)


def dropping(settings: LengthDrop) -> dict[str, Any]:
    """What a `length_drop` group sets in a checkpoint's configuration; None takes a key out of it."""
    layers = {} if settings.drop_layers is None else {"length_drop_layers": list(settings.drop_layers)}
    return {**layers, KEY: LEARNED if settings.significance == LEARNED else None}
