"""Dropout whose random numbers are cheap on a CPU."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from zoo.autograd import Context
from zoo.tracing import traced

STEPS = 2**16  # a probability is a whole number of these parts


def dropped(x: Tensor, share: float, training: bool) -> Tensor:
    """`x` with a share of its values left out, in training mode, and the others scaled up for it.

    torch draws a double for each value, which on a CPU takes longer than an activation function does. Here four values
    share a 64-bit number, from the same generator.

    Args:
        x: what is left out of. A product in bf16 comes out in float32, in which the scale is exact.
        share: rounded to a multiple of 1 / `STEPS`, and so is the scale.
        training: whether anything is left out.
    """
    if not training or not share:
        return x
    whole = x.dtype is torch.float32 or (x.dtype is torch.bfloat16 and torch.is_autocast_enabled("cpu"))
    out = round(share * STEPS)
    if x.device.type != "cpu" or not whole or out >= STEPS or traced():
        return F.dropout(x, share)
    bits = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None).view(torch.int16)
    stays = bits[: x.numel()].view(x.shape) >= out - STEPS // 2
    return _Dropped.apply(x, stays, STEPS / (STEPS - out))  # type: ignore[return-value]


class _Dropped(torch.autograd.Function):
    """Keeps a byte for each value for the way back, where a product would keep the scaled mask."""

    @staticmethod
    def forward(ctx: Context, x: Tensor, stays: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(stays)
        ctx.scale, ctx.dtype = scale, x.dtype
        return x * stays.float().mul_(scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Context, *given: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (stays,) = ctx.saved_tensors
        return (given[0] * stays.float().mul_(ctx.scale)).to(ctx.dtype), None, None
