"""What a recipe's stages come to in arithmetic: the units in which every kind of recipe tells it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from zoo.lengths import Shape

# Shares of a plain float32 matrix product's speed that forward passes in torch, in int8 and training come to, and
# what a forward and backward pass costs in forward passes. Rough: within a factor of two on the machines tried.
TORCH, INT8, TRAINING, BACKWARD = 0.5, 0.75, 0.4, 3
SIMULATED = 2  # passes that one costs in which every tensor is rounded; rougher still


class Uncounted(Exception):
    """Data or text whose size shows only when they are read."""


class Work(NamedTuple):
    """Products of a stage, at the speed of a matrix product, and the minutes after which it ends in any case."""

    products: float
    minutes: float | None = None


class Counts(Protocol):
    """A recipe's model and data in numbers."""

    @property
    def shape(self) -> Shape:
        """Of the model."""
        ...

    def passes(self, part: str, limit: int | None = None) -> float:
        """Products of a forward pass over a part of the data, or over so many examples of it.

        Raises:
            Uncounted: the data are not on this machine.
        """
        ...


@dataclass(frozen=True)
class Size:
    """A model in numbers of a training's memory; `width` numbers of a token are what a backward pass keeps."""

    layers: int
    heads: int
    width: float
