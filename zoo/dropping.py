"""Which tokens go on behind a drop layer."""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Of a training's batches, or a multiple, in tokens: for each width oneDNN makes 25 kernels, 10 MB, and keeps 1,024.
WIDTH = 16


def attention_received(probabilities: Tensor, alive: Tensor) -> Tensor:
    """Significance `[batch, tokens]`: attention received, summed over heads and over real queries."""
    queries = alive[:, None, None, :].to(probabilities.dtype)
    return (queries @ probabilities).sum((1, 2))


def choose(received: Tensor, alive: Tensor, goal: Tensor, keep_first: bool, width: int = 1) -> tuple[Tensor, Tensor]:
    """The most significant tokens of every example.

    Args:
        received: significance, `[batch, tokens]`.
        alive: real tokens that were not dropped before, `[batch, tokens]` bool.
        goal: how many go on, `[batch]`, never more than are alive.
        keep_first: the token at place 0 always goes on.
        width: so many places come, or a multiple, if there are.

    Returns:
        Places `[batch, longest goal or more]`, most significant first, and which of them are alive: an example with a
        smaller goal fills up with dead places, so ties among padded positions cannot matter.
    """
    score = received.masked_fill(~alive, -torch.inf)
    if keep_first:
        score = torch.cat([torch.full_like(score[:, :1], float(2**31)), score[:, 1:]], 1)
    count = min(math.ceil(int(goal.max()) / width) * width, score.shape[1])
    pick = score.topk(count, dim=1).indices
    lives = torch.arange(pick.shape[1], device=pick.device)[None] < goal[:, None]
    return pick, lives
