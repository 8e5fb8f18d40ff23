"""What a dropped token would have become: a linear guess of its last layer's state, made where it is dropped.

A vector that is a mean over all tokens is far off where some stand in it with early states, which live in another
space than the last layer's. A matrix brings these there (linear shortcuts: Yom Din et al., arXiv 2303.09435). A mean
is linear, too: the states of all tokens that a layer drops are summed first, and the matrix multiplies one vector.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Shortcut(nn.Module):
    """Brings states of one layer to the last layer's; at first it leaves them as they are.

    It is no `nn.Linear`: it stays in float32 whatever the products of the encoder become.

    Args:
        hidden: width of states.

    Attributes:
        weight: `[hidden, hidden]`, which multiplies from the right.
        bias: `[hidden]`.
    """

    def __init__(self, hidden: int):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.eye(hidden)), nn.Parameter(torch.zeros(hidden))

    def forward(self, total: Tensor, count: Tensor) -> Tensor:
        """The sum of what states become, in float32.

        Args:
            total: sum of states, `[batch, hidden]`.
            count: of how many, `[batch, 1]`.
        """
        with torch.autocast(total.device.type, enabled=False):
            return total.float() @ self.weight + count * self.bias

    @torch.no_grad()
    def off(self, states: Tensor, last: Tensor, alive: Tensor) -> Tensor:
        """How badly each token is mapped: its share of the squared errors of an input, `[batch, tokens]`.

        Args:
            states: where tokens would be dropped, `[batch, tokens, hidden]`.
            last: the last layer's of the same tokens.
            alive: which of them are real, `[batch, tokens]` bool.
        """
        error = (self(states, states.new_ones(1)) - last.float()).square().sum(2) * alive
        return error / error.sum(1, keepdim=True).clamp_min(1e-9)


class Fit:
    """Shortcuts by least squares, from states that come in parts.

    Args:
        layers: from which to the last.
        hidden: width of states.
    """

    def __init__(self, layers: Sequence[int], hidden: int):
        shape = (hidden + 1, 2 * hidden + 1)
        self._sums = {layer: torch.zeros(shape, dtype=torch.float64) for layer in layers}

    def add(self, states: Sequence[Tensor], mask: Tensor) -> None:
        """Takes more states into account.

        Args:
            states: before each layer and after the last, `[batch, tokens, hidden]`.
            mask: which tokens are real, `[batch, tokens]` bool.
        """
        last = states[-1][mask].double().cpu()
        for layer, total in self._sums.items():
            here = states[layer][mask].double().cpu()
            known = torch.cat([here, here.new_ones(len(here), 1)], 1)
            total += known.T @ torch.cat([known, last], 1)

    @torch.no_grad()
    def solve(self, layer: int, into: Shortcut, ridge: float = 1e-4) -> None:
        """Sets a shortcut; `ridge` is a share of the mean square of what it multiplies."""
        total = self._sums[layer]
        square, mixed = total[:, : len(total)], total[:, len(total) :]
        found = torch.linalg.solve(square + ridge * square.diagonal().mean() * torch.eye(len(square)), mixed)
        into.weight.copy_(found[:-1])
        into.bias.copy_(found[-1])
