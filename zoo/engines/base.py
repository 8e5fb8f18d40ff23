"""What every engine is: the protocol, what a run gives, and which drop layers a batch uses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

BF16 = "torch-bf16"  # torch in mixed precision


@dataclass
class EngineOutput:
    """Logits of one batch.

    Attributes:
        start, end: float32 `[batch, tokens]`; empty for a classifier.
        kept: for every layer the tokens alive after it, bool `[batch, tokens]`.
        logits: float32 `[batch, labels]` of a classifier; empty for question answering.
    """

    start: np.ndarray
    end: np.ndarray
    kept: list[np.ndarray] = field(default_factory=list)
    logits: np.ndarray = field(default_factory=lambda: np.empty((0, 0), np.float32))

    @classmethod
    def of(cls, heads: Sequence[np.ndarray], kept: list[np.ndarray]) -> EngineOutput:
        """From what a model says: start and end logits, or a classifier's alone."""
        if len(heads) == 1:
            return cls(np.empty((0, 0), np.float32), np.empty((0, 0), np.float32), kept, heads[0])
        return cls(heads[0], heads[1], kept)

    @property
    def said(self) -> np.ndarray:
        """As `zoo.modeling.Output.logits`: `[batch, tokens, 2]`, or `[batch, labels]` of a classifier."""
        return self.logits if self.logits.size else np.stack([self.start, self.end], -1)


class Engine(Protocol):
    """A loaded model."""

    name: str
    layers: int

    def run(self, batch: dict[str, np.ndarray], lengths: np.ndarray) -> EngineOutput:
        """Runs one batch: int64 arrays `input_ids`, `attention_mask`, `token_type_ids` `[batch, tokens]` and `lengths`
        `[batch, layers]`, the tokens that go on after each layer."""
        ...


def kept_masks(mask: np.ndarray, kept: dict[int, np.ndarray], layers: int) -> list[np.ndarray]:
    """Per layer which tokens are alive, from the positions that each drop gave (`[batch, longest]`, -1 for none)."""
    now, found = mask.astype(bool), []
    for i in range(layers):
        if i in kept:
            now = np.zeros_like(now)
            for row, places in enumerate(kept[i]):
                now[row, places[places >= 0]] = True
        found.append(now)
    return found


def idle_layers(lengths: np.ndarray, counts: np.ndarray, drop_layers: list[int]) -> list[int]:
    """The drop layers at which some row really loses tokens (`counts`: real tokens, `[batch]`)."""
    active, before = [], counts
    for i in drop_layers:
        goal = np.minimum(np.maximum(lengths[:, i], 2), before)
        if (goal < before).any():
            active.append(i)
        before = goal
    return active
