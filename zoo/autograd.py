"""What torch hands to a function whose way back is written by hand."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class Context(Protocol):
    """Lives from the way forwards to the way back.

    Attributes:
        saved_tensors: those of `save_for_backward`, on the way back.
        shape, dtype, scale: of what was given, where the way back asks for them.
        kept: whether a result is among the saved tensors.
    """

    saved_tensors: tuple[Tensor, ...]
    shape: tuple[int, ...]
    dtype: torch.dtype
    scale: float
    kept: bool

    def save_for_backward(self, *tensors: Tensor) -> None: ...
    def set_materialize_grads(self, value: bool) -> None: ...
