"""Linear layers in integers on oneDNN: what neural-compressor quantized, run by torch without compiling."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from zoo.checkpoints import read_config
from zoo.errors import UserError, told
from zoo.modeling import LengthAdaptiveModel
from zoo.sizes import check_held
from zoo.tensors import header

PARTS = ("weight", "scale", "zero", "x_scale", "x_zero")  # of a layer, behind its name
LEAST = 1.1920928955078125e-07  # scale of an input that hardly varies, as torch chooses it


class IntegerLinear(nn.Module):
    """A linear layer whose inputs are rounded to unsigned and whose weights are signed integers of eight bits.

    Args:
        parts: `weight` int8 `[out, in]` and `scale` `[out]`, where there are some `zero` `[out]`, and `x_scale` and
            `x_zero` of inputs; without these the range of every input is its own.
        bias: in float.
        real: multiply integers; else the same in float, for comparison.
    """

    def __init__(self, parts: Mapping[str, Tensor], bias: Tensor | None, real: bool):
        super().__init__()
        weight, self.scale, self.bias, self.real = parts["weight"], parts["scale"].float(), bias, real
        self.zero = parts["zero"].long() if "zero" in parts else torch.zeros(len(weight), dtype=torch.long)
        self.outputs, self.inputs = len(weight), None
        if "x_scale" in parts:
            self.inputs = float(parts["x_scale"]), int(parts["x_zero"])
        if real:
            self.weight: Tensor = torch.ops.onednn.qlinear_prepack(weight, None)
        else:
            self.weight = (weight.float() - self.zero[:, None]) * self.scale[:, None]

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        scale, zero = self.inputs or _range(rows)
        whole = ((rows * (1 / scale)).round() + zero).clamp(0, 255)
        if not self.real:
            return nn.functional.linear((whole - zero) * scale, self.weight, self.bias).reshape(*x.shape[:-1], -1)
        out = torch.ops.onednn.qlinear_pointwise(
            whole.byte(),
            scale,
            zero,
            self.weight,
            self.scale,
            self.zero,
            self.bias,
            1.0,
            0,
            torch.float32,
            "none",
            [],
            "",
        )
        return out.reshape(*x.shape[:-1], self.outputs)


def _range(rows: Tensor) -> tuple[float, int]:
    low, high = min(float(rows.min()), 0.0), max(float(rows.max()), 0.0)
    scale = max((high - low) / 255, LEAST)
    return scale, min(max(-round(low / scale), 0), 255)


def open_integers(path: Path, real: bool = True) -> LengthAdaptiveModel:
    """The model of a file that `compress.int8.inc` wrote, beside its `config.json`.

    Args:
        path: of the file.
        real: see `IntegerLinear`.

    Raises:
        UserError: the file does not hold such a model.
    """
    config, stored = read_config(path.parent), header(path)
    check_held(config, sum(prod(one.shape) for one in stored), str(path))
    with told(f"{path} cannot be read"):
        state, model = load_file(path), LengthAdaptiveModel(config).untied()
    if bad := next((name for name, v in state.items() if v.is_floating_point() and not v.isfinite().all()), None):
        raise UserError(f"{bad} in {path} holds values that are no finite numbers. Run the stage quantize again.")
    rounded = [name.removesuffix(".weight") for name, value in state.items() if value.dtype is torch.int8]
    try:
        for name in rounded:
            own = {part: state.pop(f"{name}.{part}") for part in PARTS if f"{name}.{part}" in state}
            bias = state.pop(f"{name}.bias") if f"{name}.bias" in state else None
            model.set_submodule(name, IntegerLinear(own, bias, real))
        model.load_state_dict({name: value.float() for name, value in state.items()})
    except (AttributeError, KeyError, RuntimeError) as error:
        raise UserError(
            f"{path} does not fit its config.json: {error}. Run the recipe's stage quantize again."
        ) from error
    return model.eval()
