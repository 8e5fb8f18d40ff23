"""Attention of a training on a CPU that multiplies bf16: products of matrices in bf16, forwards and back.

There the fused attention of torch 2.13 is slower than its parts: at 16 inputs of 176 tokens and 12 heads of 32 it takes
13 ms forwards and 26 back in float32 (15 and 73 in bf16), these products 9 and 9, on one core of an AMD EPYC.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from zoo.autograd import Context
from zoo.tracing import traced

KEPT = 256  # tokens up to which probabilities are kept for the way back: they grow with the square of them
LONGEST = 512  # tokens


def fits(q: Tensor, bias: Tensor) -> bool:
    """Whether attention is to be computed by `attention`.

    Args:
        q: queries, `[batch, heads, tokens, size]`.
        bias: added to the scores; one that learns needs torch's own operators.
    """
    return (
        not traced()
        and q.requires_grad
        and q.dtype is torch.bfloat16
        and q.device.type == "cpu"
        and q.shape[2] <= LONGEST
        and torch.is_autocast_enabled("cpu")
        and not bias.requires_grad
    )


def attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """What queries read from values, and their probabilities; both have gradients.

    Args:
        q, k, v: bf16 `[batch, heads, tokens, size]`.
        bias: added to the scores, `[batch or 1, heads or 1, queries or 1, tokens]`.
    """
    return _Attention.apply(q, k, v, bias)  # type: ignore[return-value]


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Context, q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        batch, heads, tokens, size = q.shape
        q, k, v = (part.reshape(-1, part.shape[2], size) for part in (q, k, v))
        added = bias.to(q.dtype).expand(batch, heads, -1, -1).reshape(batch * heads, -1, k.shape[1])
        probabilities = _probabilities(q, k, added)
        ctx.kept = tokens <= KEPT
        ctx.save_for_backward(q, k, v, probabilities if ctx.kept else added)
        ctx.set_materialize_grads(False)
        ctx.shape = batch, heads, -1, size
        mixed = torch.bmm(probabilities, v)
        return mixed.view(batch, heads, tokens, size), probabilities.view(batch, heads, tokens, -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Context, *given: Tensor | None) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        q, k, v, rest = ctx.saved_tensors
        of_mixed, of_probabilities = given
        probabilities = rest if ctx.kept else _probabilities(q, k, rest)
        of_v, toward = None, None
        if of_mixed is not None:
            of_mixed = of_mixed.to(q.dtype).reshape(q.shape)
            # Products are taken so that the wide matrix stands on the right: a transposed one would be copied.
            of_v = torch.bmm(of_mixed.transpose(1, 2), probabilities).transpose(1, 2)
            toward = torch.bmm(of_mixed, v.transpose(1, 2))
        if of_probabilities is not None:
            more = of_probabilities.to(q.dtype).reshape(probabilities.shape)
            toward = more if toward is None else toward.add_(more)
        if toward is None:
            return None, None, None, None
        of_scores = torch.ops.aten._softmax_backward_data(toward, probabilities, -1, q.dtype)
        nothing, scale = q.new_empty(()), q.shape[-1] ** -0.5
        of_q = torch.baddbmm(nothing, of_scores, k, beta=0, alpha=scale)
        of_k = torch.baddbmm(nothing, q.transpose(1, 2), of_scores, beta=0, alpha=scale).transpose(1, 2)
        return *(part if part is None else part.view(ctx.shape) for part in (of_q, of_k, of_v)), None


def _probabilities(q: Tensor, k: Tensor, bias: Tensor) -> Tensor:
    scores = torch.baddbmm(bias, q, k.transpose(1, 2), alpha=q.shape[-1] ** -0.5)
    return torch.ops.aten._softmax(scores, -1, False)  # not `softmax`: autocast would have it in float32
