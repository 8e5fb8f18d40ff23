"""The encoder as AIMET can quantize it: every sum, product, softmax and activation is a module of its own.

AIMET rounds what modules take and give, and sees nothing of functions between them. Parameters have the names that
`zoo.modeling.LengthAdaptiveModel` gives them, so weights go from the one to the other and back. Nothing is dropped:
the simulation runs at full length.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compress.aimet.backend import load
from zoo.checkpoints import curve_of, is_widened, pad_of
from zoo.layers import MASK, Layer
from zoo.modeling import LengthAdaptiveModel, segments
from zoo.recompute import Recomputable

MODULES: Mapping[str, Callable[[], nn.Module]] = {  # activations, by the values of `zoo.families.CURVES`
    "gelu": nn.GELU,
    "gelu_tanh": partial(nn.GELU, approximate="tanh"),
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}


class SimulableLayer(Recomputable):
    """A layer of the encoder.

    Args:
        layer: whose modules are taken over.
        curve: its activation.
        whole: attention is taken apart into modules; else it stays one function, which is faster and is not rounded.
    """

    query: nn.Module
    key: nn.Module
    value: nn.Module
    project: nn.Module
    attention_norm: nn.Module
    expand: nn.Module
    contract: nn.Module
    output_norm: nn.Module

    def __init__(self, layer: Layer, curve: str, whole: bool):
        super().__init__()
        self.heads, self.size, self.whole = layer.heads, layer.size, whole
        for name, module in layer.named_children():
            self.add_module(name, module)
        ops = load()._base.nn.modules.custom
        if whole:
            self.scores, self.masked, self.softmax, self.mix = ops.MatMul(), ops.Add(), nn.Softmax(-1), ops.MatMul()
        self.attention_sum, self.gelu, self.output_sum = ops.Add(), MODULES[curve](), ops.Add()

    @property
    def result(self) -> nn.Module:
        """Whose output is the layer's, see `zoo.layers.Layer.result`."""
        return self.output_norm

    def forward(self, x: Tensor, bias: Tensor, dropout: float) -> Tensor:
        return self.run(self._forward, x, bias, dropout)

    def _forward(self, x: Tensor, bias: Tensor, dropout: float) -> Tensor:
        batch, tokens = x.shape[0], x.shape[1]
        q, k, v = (
            part(x).view(batch, tokens, self.heads, self.size).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        if self.whole:
            scores = self.masked(self.scores(q * self.size**-0.5, k.transpose(2, 3)), bias)
            mixed = self.mix(self.softmax(scores), v)
        else:
            mixed = F.scaled_dot_product_attention(q, k, v, bias)
        mixed = self.project(mixed.transpose(1, 2).reshape(batch, tokens, self.heads * self.size))
        x = self.attention_norm(self.attention_sum(x, _dropped(mixed, dropout, self.training)))
        inner = self.contract(self.gelu(self.expand(x)))
        return self.output_norm(self.output_sum(x, _dropped(inner, dropout, self.training)))


class Simulable(nn.Module):
    """A model with its head, at full length.

    Args:
        model: whose modules are taken over; it should not be used afterwards.
        whole: as in `SimulableLayer`.
        mask: what is added to the scores of padded tokens.
    """

    words: nn.Module
    positions: nn.Module
    types: nn.Embedding
    norm: nn.Module
    widen: nn.Module
    qa_outputs: nn.Module
    dense: nn.Module
    classifier: nn.Module

    def __init__(self, model: LengthAdaptiveModel, whole: bool, mask: float = MASK):
        super().__init__()
        self.row, self.head, self.pad = model.row, model.head, pad_of(model.config)
        self.dropout, self.mask = model.dropout, mask
        self.is_widened = is_widened(model.config)
        for name, module in model.named_children():
            if name != "layers":
                self.add_module(name, module)
        curve = curve_of(model.config)
        self.layers = nn.ModuleList(SimulableLayer(layer, curve, whole) for layer in model.blocks)
        add = load()._base.nn.modules.custom.Add
        if self.row.token_types:
            self.type_sum = add()
        self.position_sum = add()
        if not self.head.per_token:
            self.bend = MODULES[self.row.bend]()

    @property
    def blocks(self) -> list[nn.Module]:
        """The layers, see `zoo.weights.linears`."""
        return list(self.layers)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        """Logits `[batch, tokens, 2]`, or `[batch, labels]` of a classifier, from int64 `[batch, tokens]`."""
        if self.row.counts_tokens:
            real = input_ids.ne(self.pad).long()
            position = real.cumsum(1) * real + self.pad
        else:
            position = torch.arange(input_ids.shape[1], device=input_ids.device)[None]
        x = self.words(input_ids)
        if self.row.token_types:
            x = self.type_sum(x, self.types(segments(self.types, input_ids, token_type_ids)))
        x = _dropped(self.norm(self.position_sum(x, self.positions(position))), self.dropout, self.training)
        x = self.widen(x) if self.is_widened else x
        bias = (1.0 - attention_mask[:, None, None, :].to(x.dtype)) * self.mask
        for layer in self.layers:
            x = layer(x, bias, self.dropout)
        last = getattr(self, self.head.layers[-1])
        if self.head.per_token:
            return last(x)
        return last(_dropped(self.bend(self.dense(x[:, 0])), self.dropout, self.training))


def _dropped(x: Tensor, dropout: float, training: bool) -> Tensor:
    return F.dropout(x, dropout, training) if dropout and training else x


FACTOR = "x_factor"  # of a linear layer: what the columns of its input are multiplied with before they are rounded

MASKS = {"-6": -6.0, "clamp": MASK, "as_is": MASK}
