"""A layer of the encoder in torch: attention, then feed-forward."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.attention import attention, fits
from zoo.checkpoints import curve_of, head_size
from zoo.dropout import dropped
from zoo.families import Family
from zoo.recompute import Recomputable

MASK = -1e4  # exp(MASK) is exactly 0 in float32, and unlike the smallest float it survives a later quantization
Curve = Callable[[Tensor], Tensor]
CURVES: Mapping[str, Curve] = {  # activations, by the values of `zoo.families.CURVES`
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "relu": F.relu,
    "silu": F.silu,
    "tanh": torch.tanh,
}


class Attended(NamedTuple):
    """What the first half of a layer gives.

    Attributes:
        x: states, `[batch, tokens, hidden]`.
        mixed: what attention mixed, before its projection, `[batch, tokens, heads * size]`.
        probabilities: of attention, `[batch, heads, queries, keys]`, where they were asked for.
    """

    x: Tensor
    mixed: Tensor
    probabilities: Tensor | None


class Layer(Recomputable):
    """A layer of the encoder, in two parts: between them tokens may be dropped.

    Args:
        config: of the checkpoint, by BERT's names of the sizes.
        index: number of the layer.

    Attributes:
        swift: whether `zoo.attention` may compute its attention in training.
    """

    swift: bool = True

    def __init__(self, config: dict[str, Any], index: int = 0):
        super().__init__()
        hidden, inner, eps = config["hidden_size"], config["intermediate_size"], config.get("layer_norm_eps", 1e-12)
        self.heads, self.size = config["num_attention_heads"], head_size(config)
        mixed = self.heads * self.size
        self.query, self.key, self.value = (nn.Linear(hidden, mixed) for _ in range(3))
        self.project = nn.Linear(mixed, hidden)
        self.attention_norm = nn.LayerNorm(hidden, eps=eps)
        self.expand, self.contract = nn.Linear(hidden, inner), nn.Linear(inner, hidden)
        self.output_norm = nn.LayerNorm(hidden, eps=eps)
        self.curve = CURVES[curve_of(config)]

    @property
    def result(self) -> nn.Module:
        """The module whose output is the layer's."""
        return self.output_norm

    def attend(
        self,
        x: Tensor,
        bias: Tensor,
        dropout: float,
        scored: bool,
        unheeded: float = 0.0,
        where: Tensor | None = None,
    ) -> Attended:
        """Self-attention with residual.

        Args:
            x: hidden states.
            bias: added to the scores.
            dropout: of what comes out, in training mode.
            scored: whether probabilities are asked for; they come without dropout.
            unheeded: dropout of the probabilities, in training mode.
            where: places that the tokens had in the input, `[batch or 1, tokens]`; None: all are there, in their order.
        """
        mixed, probabilities = self.mix(*self.split(x), bias, scored, unheeded)
        x = self.attention_norm(x + dropped(self.project(mixed), dropout, self.training))
        return Attended(x, mixed, probabilities)

    def split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, `[batch, heads, tokens, size]` each."""
        batch, tokens, _ = x.shape
        parts = (part(x).view(batch, tokens, self.heads, self.size) for part in (self.query, self.key, self.value))
        q, k, v = (part.transpose(1, 2) for part in parts)
        return q, k, v

    def mix(
        self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor, scored: bool, unheeded: float
    ) -> tuple[Tensor, Tensor | None]:
        """What attention mixes for the queries, all heads side by side; the probabilities where they are asked for."""
        unheeded = unheeded if self.training else 0.0
        batch, _, tokens, _ = q.shape
        if self.swift and not unheeded and fits(q, bias):
            mixed, probabilities = attention(q, k, v, bias)
            probabilities = probabilities if scored else None
        elif scored:  # a fused attention does not give its probabilities away
            scores = q @ k.transpose(2, 3) * self.size**-0.5 + bias
            probabilities = scores.softmax(-1)
            mixed = F.dropout(probabilities, unheeded) @ v
        else:
            probabilities = None
            if q.requires_grad and q.dtype is torch.bfloat16 and q.device.type == "cpu":
                # Backwards, torch 2.13 takes twice as long in bf16 as in float32 here (16 inputs of 170 tokens).
                with torch.autocast("cpu", enabled=False):
                    mixed = F.scaled_dot_product_attention(q.float(), k.float(), v.float(), bias.float(), unheeded).to(
                        q.dtype
                    )
            else:
                mixed = F.scaled_dot_product_attention(q, k, v, bias, unheeded)
        return mixed.transpose(1, 2).reshape(batch, tokens, self.heads * self.size), probabilities

    def feed(self, x: Tensor, dropout: float) -> Tensor:
        return self.output_norm(x + dropped(self.contract(self.curve(self.expand(x))), dropout, self.training))


def unpacked(weights: Mapping[str, Tensor], row: Family) -> dict[str, Tensor]:
    """Weights in which those that a family's checkpoints have as one are taken apart."""
    whole: dict[str, Tensor] = {}
    for key, value in weights.items():
        layer, _, rest = key.removeprefix("layers.").partition(".")
        name, _, kind = rest.rpartition(".")
        parts = row.packs.get(name)
        if parts is None:
            whole[key] = value
        else:
            whole |= {f"layers.{layer}.{p}.{kind}": v for p, v in zip(parts, value.chunk(len(parts)), strict=True)}
    return whole


def packed(weights: Mapping[str, Tensor], row: Family) -> dict[str, Tensor]:
    """The reverse of `unpacked`."""
    whole, places = dict(weights), {part: pack for pack, parts in row.packs.items() for part in parts}
    for key in weights:
        at, _, kind = key.rpartition(".")
        stem, _, name = at.rpartition(".")
        if name in places and key in whole:
            pack = places[name]
            whole[f"{stem}.{pack}.{kind}"] = torch.cat([whole.pop(f"{stem}.{p}.{kind}") for p in row.packs[pack]])
    return whole


def share(source: nn.Module, other: nn.Module) -> None:
    """Gives a module the very weights of another one that is built alike."""
    parts = dict(source.named_modules())
    for name, module in other.named_modules():
        for kind, weight in parts[name].named_parameters(recurse=False):
            setattr(module, kind, weight)


def distance_buckets(distance: Tensor, buckets: int, farthest: int = 128) -> Tensor:
    """The number of what MPNet learned for a distance, as in T5 (Raffel et al., arXiv 1910.10683).

    Each direction has half of the buckets: near distances one each, farther ones on a logarithmic scale, and all from
    `farthest` on the last.

    Args:
        distance: place of the key less that of the query.
    """
    each = buckets // 2
    exact = each // 2
    far = distance.abs().float().clamp_min(1) / exact
    steps = far.log() / math.log(farthest / exact) * (each - exact)
    apart = torch.where(distance.abs() < exact, distance.abs(), (exact + steps.long()).clamp_max(each - 1))
    return apart + (distance > 0).long() * each
