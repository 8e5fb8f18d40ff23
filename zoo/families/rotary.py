"""Attention by rotary positions, some of it within a window: what ModernBERT's layers compute beside BERT's.

Queries and keys are turned by angles that grow with a token's position (Su et al., arXiv 2104.09864), at its own speed
in each pair of columns. A layer either attends to all tokens or to those at most half a window of positions away. Both
go by the positions that tokens had in the input, whichever were dropped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from zoo.errors import UserError

if TYPE_CHECKING:
    from zoo.graph import Graph

MASK = -1e4
EVERY, LOCAL, THETAS = 3, 128, {"full_attention": 160_000.0, "sliding_attention": 10_000.0}
OLDER = {"full_attention": "global_rope_theta", "sliding_attention": "local_rope_theta"}


@dataclass(frozen=True)
class Turn:
    """How a layer attends.

    Attributes:
        theta: the base of the angles' speeds.
        reach: positions that it attends to in each direction; 0 for all.
    """

    theta: float
    reach: int = 0

    def angles(self, positions: int, size: int) -> npt.NDArray[np.float32]:
        """Angles `[positions, size / 2]` in heads of that size."""
        speeds = 1.0 / self.theta ** (np.arange(0, size, 2, dtype=np.float32) / np.float32(size))
        return np.arange(positions, dtype=np.float32)[:, None] * speeds.astype(np.float32)


def turns_of(config: Mapping[str, Any]) -> list[Turn]:
    """How each layer attends, by a `config.json` as transformers writes it today, or as it did before version 5.

    Raises:
        UserError: positions are scaled in a way that is not computed here.
    """
    layers, every = int(config["num_hidden_layers"]), int(config.get("global_attn_every_n_layers") or EVERY)
    kinds = config.get("layer_types") or [list(THETAS)[bool(i % every)] for i in range(layers)]
    stated: Mapping[str, Any] = config.get("rope_parameters") or {}
    scaled = [config.get("rope_scaling") or {}, *(stated.get(kind) or {} for kind in THETAS)]
    for one in scaled:
        if (kind := one.get("rope_type") or one.get("type") or "default") != "default":
            raise UserError(f"Rotary positions are scaled ({kind}), which is not computed here: take another model.")
    if set(kinds) - set(THETAS) or len(kinds) != layers:
        raise UserError(f"layer_types in config.json are {kinds}, not {layers} of {', '.join(THETAS)}. Restore it.")
    thetas = {
        kind: float((stated.get(kind) or {}).get("rope_theta") or config.get(OLDER[kind]) or theta)
        for kind, theta in THETAS.items()
    }
    reach = int(config.get("local_attention") or LOCAL) // 2
    return [Turn(thetas[kind], reach if kind == "sliding_attention" else 0) for kind in kinds]


def table_of(theta: float) -> str:
    """The name of the angles' cosines and sines among a graph's weights."""
    return f"turn.{theta:g}"


def turned(g: Graph, theta: float, x: str, where: str | None) -> str:
    """Queries or keys `[batch, tokens, hidden]`, turned.

    Args:
        where: places of the tokens that are left, `[batch, tokens]`; None: all of them.
    """
    cos, sin = g.weight(f"{table_of(theta)}.cos"), g.weight(f"{table_of(theta)}.sin")
    if g.ort:
        return g.op("RotaryEmbedding", x, where or g.const([0]), cos, sin, domain="com.microsoft", interleaved=0)
    places = where or places_of(g, x)
    cos, sin = (g.op("Unsqueeze", g.op("Gather", table, places), g.const([2])) for table in (cos, sin))
    first, second = g.op(
        "Split", g.op("Reshape", x, g.const([0, 0, g.spec["heads"], -1])), outputs=2, axis=-1, num_outputs=2
    )
    one = g.op("Sub", g.op("Mul", first, cos), g.op("Mul", second, sin))
    two = g.op("Add", g.op("Mul", second, cos), g.op("Mul", first, sin))
    return g.op("Reshape", g.op("Concat", one, two, axis=-1), g.const([0, 0, -1]))


def within(g: Graph, reach: int, bias: str | None, x: str, where: str | None) -> str:
    """What is added to scores where tokens more than `reach` positions away are not attended to.

    Args:
        bias: what is added in any case.
        x: the tokens that are left.
        where: their places; None: all of them.
    """
    places = where or places_of(g, x)
    far = g.op("Abs", g.op("Sub", g.op("Unsqueeze", places, g.const([1])), g.op("Unsqueeze", places, g.const([2]))))
    beyond = g.op("Cast", g.op("Greater", far, g.const(reach)), to=1)
    window = g.op("Unsqueeze", g.op("Mul", beyond, g.const(MASK, np.float32)), g.const([1]))
    return window if bias is None else g.op("Add", window, bias)


def places_of(g: Graph, x: str) -> str:
    """Places `[1, tokens]` where no token was dropped."""
    span = g.op("Range", g.const(0), g.op("Squeeze", g.size(x, 1), g.const([0])), g.const(1))
    return g.op("Unsqueeze", span, g.const([0]))
