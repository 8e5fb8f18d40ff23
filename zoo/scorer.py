"""Which tokens matter: a learned guess of what the last layers will look at, made where tokens are dropped.

The attention that a token receives in an early layer says little of what the last layers will need of it. What they
will need can be read off the token itself, once it is known what is asked: a scorer learns to rank tokens as the last
layers' attention in a pass over all of them does (ranking distillation for pruning tokens: Guskin et al., arXiv
2306.14393; learned skimming: Guan et al., arXiv 2205.07324). No layer has to give its attention's probabilities away
for it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Scorer(nn.Module):
    """Scores the tokens of one layer: a matrix-vector product, whose vector depends on what is asked.

    What is asked are means of all tokens' states and of what their attention mixed, weighted by a softmax of `asks`
    times the state; they scale one half of the vector.

    Args:
        hidden: width of states.
        mixed: width of what attention mixes, before its projection.

    Attributes:
        asks: `[hidden]`.
        own, own_asked: `[hidden]`, for a token's state before the layer.
        met, met_asked: `[mixed]`, for what its attention mixed.
    """

    def __init__(self, hidden: int, mixed: int):
        super().__init__()
        self.asks, self.own, self.own_asked = (nn.Parameter(torch.zeros(hidden)) for _ in range(3))
        self.met, self.met_asked = (nn.Parameter(torch.zeros(mixed)) for _ in range(2))

    def forward(self, x: Tensor, mixed: Tensor, alive: Tensor) -> Tensor:
        """Scores in float32, `[batch, tokens]`; a token with a higher one goes on first.

        Args:
            x: states before the layer, `[batch, tokens, hidden]`.
            mixed: what their attention mixed, `[batch, tokens, mixed]`.
            alive: which of them are real, `[batch, tokens]` bool.
        """
        with torch.autocast(x.device.type, enabled=False):  # scores that are close must not become equal
            x, mixed = x.float(), mixed.float()
            share = (x @ self.asks).masked_fill(~alive, -torch.inf).softmax(1)[:, None]
            own = self.own + (share @ x) * self.own_asked
            met = self.met + (share @ mixed) * self.met_asked
            return (x @ own.transpose(1, 2) + mixed @ met.transpose(1, 2))[..., 0]
