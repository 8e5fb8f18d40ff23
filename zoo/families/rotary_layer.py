"""A layer of ModernBERT in torch: norms before attention and feed-forward, rotary positions, a gated feed-forward."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from zoo.checkpoints import curve_of, head_size
from zoo.dropout import dropped
from zoo.families.rotary import MASK, turns_of
from zoo.layers import CURVES, Attended, Layer


class RotaryLayer(Layer):
    """Takes the place of `Layer`; the first one of a model has no norm before its attention.

    Args:
        config: of the checkpoint, by BERT's names of the sizes.
        index: number of the layer.
    """

    def __init__(self, config: dict[str, Any], index: int):
        super(Layer, self).__init__()
        hidden, inner, eps = config["hidden_size"], config["intermediate_size"], config["layer_norm_eps"]
        self.heads, self.size, self.turn = config["num_attention_heads"], head_size(config), turns_of(config)[index]
        mixed, biased, widely = self.heads * self.size, config["attention_bias"], config["mlp_bias"]
        self.query, self.key, self.value = (nn.Linear(hidden, mixed, biased) for _ in range(3))
        self.project = nn.Linear(mixed, hidden, biased)
        first, second = (nn.LayerNorm(hidden, eps, bias=config["norm_bias"]) for _ in range(2))
        self.attention_norm = first if index else nn.Identity()  # type: ignore[assignment]
        self.expand, self.gate = nn.Linear(hidden, inner, widely), nn.Linear(hidden, inner, widely)
        self.contract = nn.Linear(inner, hidden, widely)
        self.output_norm = second
        self.outgoing = nn.Identity()
        self.curve = CURVES[curve_of(config)]

    @property
    def result(self) -> nn.Module:
        return self.outgoing

    def attend(
        self,
        x: Tensor,
        bias: Tensor,
        dropout: float,
        scored: bool,
        unheeded: float = 0.0,
        where: Tensor | None = None,
    ) -> Attended:
        if where is None:
            where = torch.arange(x.shape[1], device=x.device)[None]
        q, k, v = self.split(self.attention_norm(x))
        speeds = 1.0 / self.turn.theta ** (torch.arange(0, self.size, 2, device=x.device).float() / self.size)
        angles = where[:, None, :, None].float() * speeds
        cos, sin = angles.cos().to(q.dtype), angles.sin().to(q.dtype)
        if self.turn.reach:
            far = (where[:, None, :, None] - where[:, None, None, :]).abs() > self.turn.reach
            bias = bias + far.to(bias.dtype) * MASK
        mixed, probabilities = self.mix(_turned(q, cos, sin), _turned(k, cos, sin), v, bias, scored, unheeded)
        x = x + dropped(self.project(mixed), dropout, self.training)
        return Attended(x, mixed, probabilities)

    def feed(self, x: Tensor, dropout: float) -> Tensor:
        inside = self.output_norm(x)
        inner = self.contract(self.curve(self.expand(inside)) * self.gate(inside))
        return self.outgoing(x + dropped(inner, dropout, self.training))


def _turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.chunk(2, -1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)
