"""The integer graph in torch: a float model with the graph's weights and its rounding of inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from zoo.checkpoints import head_size
from zoo.modeling import LengthAdaptiveModel
from zoo.operators import Weights, dequantized
from zoo.weights import linears


def simulate(model: LengthAdaptiveModel, weights: Weights) -> LengthAdaptiveModel:
    """The model with all of the graph's weights and its rounding of inputs: what the graph computes, in torch.

    A published checkpoint in half precision will not do: eight-bit rounding makes its last digits matter.
    """
    return _twin(model, weights)[0]


def dequantize(model: LengthAdaptiveModel, weights: Weights) -> LengthAdaptiveModel:
    """The model with all of the graph's weights, none of what enters them rounded."""
    twin, handles = _twin(model, weights)
    for handle in handles:
        handle.remove()
    return twin


def _twin(model: LengthAdaptiveModel, weights: Weights) -> tuple[LengthAdaptiveModel, list[RemovableHandle]]:
    twin = model.untied().eval()
    products = linears(twin)
    whole = {module for modules in products.values() for module in modules}
    with torch.no_grad():
        for name, module in twin.named_modules():
            if isinstance(module, nn.LayerNorm):
                module.weight.copy_(torch.tensor(weights[f"{name}.weight"]))
                module.bias.copy_(torch.tensor(weights[f"{name}.bias"]))
            elif isinstance(module, nn.Linear) and module not in whole:
                module.weight.copy_(torch.tensor(weights[f"{name}.w"]).T)
                module.bias.copy_(torch.tensor(weights[f"{name}.bias"]))
            elif isinstance(module, nn.Embedding) and f"{name}.w" in weights and name != "distances":
                rows = torch.tensor(weights[f"{name}.w"])  # the graph leaves first positions out that tokens never have
                module.weight[len(module.weight) - len(rows) :].copy_(rows)
        if model.row.token_types and "types.w" not in weights:  # a table of one row lies in the positions
            twin.types.weight.zero_()
        if "words.q" in weights:
            twin.words.weight.copy_(torch.from_numpy(dequantized(weights, "words")))
    return twin, place(twin, weights, products)


def place(model: LengthAdaptiveModel, weights: Weights, names: Iterable[str]) -> list[RemovableHandle]:
    """Gives the model's products the graph's weights and biases and, where those are integers, its rounding of inputs.

    Returns:
        Handles of the hooks that round; `remove()` ends the rounding, the weights stay.
    """
    handles: list[RemovableHandle] = []
    products = linears(model)
    scale = head_size(model.config) ** -0.5
    for name in names:
        modules, integers = products[name], f"{name}.q" in weights
        w = dequantized(weights, name) if integers else weights[f"{name}.w"]
        if f"{name}.x_factor" in weights:
            w = w * weights[f"{name}.x_factor"][:, None]
        parts, biases = torch.tensor(w).chunk(len(modules), 1), torch.tensor(weights[f"{name}.bias"])
        for turn, (module, part, bias) in enumerate(zip(modules, parts, biases.chunk(len(modules)), strict=True)):
            folded = scale if len(modules) == 3 and turn == 0 else 1.0
            with torch.no_grad():
                module.weight.copy_(part.T / folded)
                module.bias.copy_(bias / folded)
            if integers:
                handles.append(module.register_forward_pre_hook(_rounding(weights, name)))
    return handles


def _rounding(weights: Weights, name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], tuple[Tensor]]:
    factor = torch.tensor(weights.get(f"{name}.x_factor", np.ones(1, np.float32)))

    def hook(_module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor]:
        x = args[0] * factor
        if f"{name}.x_scale" in weights:
            scale, zero = float(weights[f"{name}.x_scale"]), int(weights[f"{name}.x_zero"])
        else:
            low, high = min(float(x.min()), 0.0), max(float(x.max()), 0.0)
            scale = (high - low) / 255
            zero = round(-low / scale)
        return (((x / scale).round() + zero).clamp(0, 255).sub(zero) * scale / factor,)

    return hook
