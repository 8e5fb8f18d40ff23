"""What a stored graph of this program says of itself, held against the weights that it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from zoo.families import CURVES, FAMILIES
from zoo.operators import Weights
from zoo.pooling import KEY, SHORTCUTS
from zoo.sizes import MOST
from zoo.task_types import TASK_TYPES
from zoo.tasks import QUESTIONS

PARTS = ("qkv", "project", "expand", "contract")  # products of a layer


def fault_of(spec: Mapping[str, Any], weights: Weights) -> str:
    """What is wrong with a graph's spec, in words; empty where nothing is.

    Args:
        spec: as `zoo.graph.build` takes it.
        weights: by the graph's names.
    """
    layers, heads, drops = spec.get("layers"), spec.get("heads"), spec.get("drop_layers")
    if not _is_count(layers) or not 1 <= layers <= MOST["num_hidden_layers"]:
        return f"it has {str(layers)[:40]} layers"
    if not _is_count(heads) or not 1 <= heads <= MOST["num_attention_heads"]:
        return f"it has {str(heads)[:40]} heads"
    if not isinstance(drops, list) or not all(_is_count(i) and 0 <= i < layers for i in drops):
        return f"it drops tokens in the layers {str(drops)[:40]}, of {layers}"
    if spec.get("family") not in FAMILIES or spec.get("head", QUESTIONS.name) not in TASK_TYPES:
        return f"it is of the family {str(spec.get('family'))[:40]!r} for {str(spec.get('head'))[:40]!r}"
    if spec.get("curve", "gelu") not in CURVES.values() or not _is_count(spec.get("pad")):
        return "its activation or its padding is unknown"
    if not isinstance(spec.get("eps"), int | float) or not 0 <= spec["eps"] < 1 or "keep_first" not in spec:
        return "its norms, or what it keeps, is not said"
    fault = _misfit(layers, heads, weights, 2 if FAMILIES[spec["family"]].rotary else 1)
    return fault or _unmapped(spec, drops, weights)


def _unmapped(spec: Mapping[str, Any], drops: Sequence[int], weights: Weights) -> str:
    """Which layer lacks the shortcut that a vector over mapped states needs; empty where none does."""
    pooling = spec.get(KEY)
    if not isinstance(pooling, dict) or pooling.get("over") != "mapped":
        return ""
    hidden = len(weights[f"layers.0.{PARTS[-1]}.bias"])
    wanted = {"weight": (hidden, hidden), "bias": (hidden,)}
    for name in (f"{SHORTCUTS}.{i}." for i in drops):
        shapes = {part: weights[name + part].shape if name + part in weights else None for part in wanted}
        if shapes != wanted:
            return f"the shortcut of layer {name.split('.')[1]} is missing, or of another shape"
    return ""


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _misfit(layers: int, heads: int, weights: Weights, gated: int) -> str:
    """Which weights do not fit each other; empty where all do. `gated` matrices are side by side in `expand`."""
    words = weights.get("words.q", weights.get("words.w"))
    if words is None or words.ndim != 2:
        return "it has no embeddings of words"
    hidden = None
    for i in range(layers):
        shapes: dict[str, tuple[int, int]] = {}
        for part in PARTS:
            name = f"layers.{i}.{part}"
            matrix, bias = weights.get(f"{name}.q", weights.get(f"{name}.w")), weights.get(f"{name}.bias")
            if matrix is None or bias is None or matrix.ndim != 2 or bias.shape != matrix.shape[1:]:
                return f"{name} is missing, or of another shape than its bias"
            shapes[part] = (matrix.shape[0], matrix.shape[1])
        hidden = hidden or shapes["qkv"][0]
        mixed, inner = shapes["project"][0], shapes["contract"][0]
        wanted = {
            "qkv": (hidden, 3 * mixed),
            "project": (mixed, hidden),
            "expand": (hidden, gated * inner),
            "contract": (inner, hidden),
        }
        if mixed % heads or shapes != wanted:
            return f"the weights of layer {i} do not fit each other: {shapes}"
    return ""
