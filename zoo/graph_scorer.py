"""What a graph's scorers compute, operator by operator: as `zoo.scorer` does in torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from zoo.significance import NAME, VECTORS

if TYPE_CHECKING:
    from zoo.graph import Graph

DEAD = -1e30  # score of dead places, below every real token's
UNHEARD = -1e4  # its exponential counts for nothing


def scored(g: Graph, layer: int, x: str, mixed: str, alive: str | None) -> str:
    """Scores `[batch, tokens]` of a layer's tokens, lowest at dead places.

    Args:
        x: states before the layer, `[batch, tokens, hidden]`.
        mixed: what their attention mixed, before its projection.
        alive: 1 for real tokens and 0 for others, `[batch, tokens]`; None: all are real.
    """
    asks, own, met, own_asked, met_asked = (g.weight(f"{NAME}.{layer}.{name}") for name in VECTORS)
    last = g.const([2])
    # Chosen, not added: OpenVINO 2026.4 moves what is added to dead places into sums in which real scores are lost.
    real = None if alive is None else g.op("Cast", alive, to=9)
    heard = g.op("MatMul", x, g.op("Unsqueeze", asks, g.const([1])))
    if real is not None:
        heard = g.op("Where", g.op("Unsqueeze", real, last), heard, g.const(UNHEARD, np.float32))
    share = g.op("Transpose", g.op("Softmax", heard, axis=1), perm=[0, 2, 1])
    parts = []
    for states, plain, asked in ((x, own, own_asked), (mixed, met, met_asked)):
        vector = g.op("Add", g.op("Mul", g.op("MatMul", share, states), asked), plain)
        parts.append(g.op("MatMul", states, g.op("Transpose", vector, perm=[0, 2, 1])))
    score = g.op("Squeeze", g.op("Add", *parts), last)
    return score if real is None else g.op("Where", real, score, g.const(DEAD, np.float32))
