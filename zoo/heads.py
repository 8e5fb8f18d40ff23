"""What a head makes of the encoder's states when tokens were dropped on the way: logits, or one vector.

A dropped token keeps its last state. Where a head reads every token that state is restored, in the cheapest way that
gives the same numbers: a head that works token by token restores its logits, a mean the sum of what is gone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from zoo.checkpoints import reads_of
from zoo.dropout import dropped
from zoo.layers import CURVES
from zoo.pooling import MEAN, Pooling
from zoo.tasks import LOST

if TYPE_CHECKING:
    from zoo.modeling import LengthAdaptiveModel


class Outcome(ABC):
    """The outcome of one forward pass.

    Args:
        model: whose head it is.
        mask: real tokens of the input, `[batch, tokens]` bool.
    """

    def __init__(self, model: LengthAdaptiveModel, mask: Tensor):
        self.model, self.mask = model, mask

    def drop(self, layer: int, x: Tensor, alive: Tensor, where: Tensor, left: Tensor) -> None:  # noqa: B027 - some do
        """Hears that a layer drops tokens.

        Args:
            layer: which.
            x: states before the layer, `[batch, tokens here, hidden]`.
            alive: which of them are real, likewise bool.
            where: their places in the input.
            left: which of them go on.
        """

    @abstractmethod
    def logits(self, x: Tensor, alive: Tensor, where: Tensor) -> Tensor:
        """What the head gives, from the states after the last layer."""


class EveryToken(Outcome):
    """Logits of every token, `[batch, tokens, values]`; padded positions have `LOST`."""

    _restored: Tensor | None = None

    def drop(self, layer: int, x: Tensor, alive: Tensor, where: Tensor, left: Tensor) -> None:
        self._restored = self._written(x, alive, where)

    def logits(self, x: Tensor, alive: Tensor, where: Tensor) -> Tensor:
        return self._written(x, alive, where).masked_fill(~self.mask[..., None], LOST)

    def _written(self, x: Tensor, alive: Tensor, where: Tensor) -> Tensor:
        """The logits of tokens that are alive over those of earlier states."""
        fresh = _decided(self.model, x) if self.model.row.head_norm else self.model.last(x).float()
        if self._restored is None:
            return fresh
        index = where[..., None].expand(-1, -1, fresh.shape[-1])
        # A row that is shorter than its batch-mates carries dead tokens along: their earlier logits stand.
        earlier = self._restored.gather(1, index)
        return self._restored.scatter(1, index, torch.where(alive[..., None], fresh, earlier))


class FirstToken(Outcome):
    """Logits of the input, `[batch, labels]`, from its first token, which is never dropped."""

    def logits(self, x: Tensor, alive: Tensor, where: Tensor) -> Tensor:
        return _decided(self.model, x[:, 0])


def _decided(model: LengthAdaptiveModel, x: Tensor) -> Tensor:
    """What the two matrices of a head make of states."""
    inner = CURVES[model.row.bend](model.dense(x))
    inner = model.head_norm(inner) if model.row.head_norm else inner
    return model.last(dropped(inner, model.dropout, model.training)).float()


class Pooled(Outcome):
    """A vector of the input, `[batch, hidden]`, see `zoo.pooling.Pooling`."""

    def __init__(self, model: LengthAdaptiveModel, mask: Tensor):
        super().__init__(model, mask)
        self.pooling = self._pooling()
        self._gone: Tensor | None = None  # sum, or maximum, of the last states of dropped tokens

    def drop(self, layer: int, x: Tensor, alive: Tensor, where: Tensor, left: Tensor) -> None:
        if self.pooling.over == "left" or self.pooling.mode == "cls":
            return
        gone = self._gathered(x, alive & ~left)
        if self.pooling.over == "mapped":
            gone = self.model.shortcut(layer)(gone, (alive & ~left).sum(1, keepdim=True))
        if self._gone is not None:
            gone = self._gone + gone if self.pooling.mode == "mean" else torch.maximum(self._gone, gone)
        self._gone = gone

    def logits(self, x: Tensor, alive: Tensor, where: Tensor) -> Tensor:
        pooling = self.pooling
        if pooling.mode == "cls":
            vector = x[:, 0].float()
        else:
            vector = self._gathered(x, alive)
            if pooling.mode == "mean":
                count = (alive if pooling.over == "left" else self.mask).sum(1, keepdim=True)
                vector = (vector if self._gone is None else vector + self._gone) / count
            elif self._gone is not None:
                vector = torch.maximum(vector, self._gone)
        return F.normalize(vector, dim=1) if pooling.normalize else vector

    def _gathered(self, x: Tensor, chosen: Tensor) -> Tensor:
        """Sum, or maximum, of some tokens' states, `[batch, hidden]`."""
        if self.pooling.mode == "mean":
            return (x.float() * chosen[..., None]).sum(1)
        return x.float().masked_fill(~chosen[..., None], -torch.inf).amax(1)

    def _pooling(self) -> Pooling:
        return Pooling.of(self.model.config)


class MeanToken(Pooled):
    """Logits of the input, `[batch, labels]`, from the mean of all tokens' last states."""

    def logits(self, x: Tensor, alive: Tensor, where: Tensor) -> Tensor:
        return _decided(self.model, super().logits(x, alive, where))

    def _pooling(self) -> Pooling:
        return MEAN


def outcome(model: LengthAdaptiveModel, mask: Tensor) -> Outcome:
    """What a forward pass of this model gathers."""
    kinds = {"every": EveryToken, "first": FirstToken, "pooled": Pooled, "mean": MeanToken}
    return kinds[reads_of(model.config)](model, mask)
