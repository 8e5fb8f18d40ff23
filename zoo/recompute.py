"""Gradient checkpointing: what a part of a layer computes is not kept for the way back, but computed again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from zoo.errors import UserError

R = TypeVar("R")


class Recomputable(nn.Module):
    """A layer that can be computed again.

    Attributes:
        recompute: whether it is, in training.
    """

    recompute: bool = False

    def run(self, call: Callable[..., R], *args: Any) -> R:
        """What a part of the layer gives."""
        if not (self.recompute and self.training and torch.is_grad_enabled()):
            return call(*args)
        return cast(R, checkpoint(call, *args, use_reentrant=False))


def set_recompute(model: nn.Module) -> None:
    """Has the layers of a model computed again on the way back.

    Raises:
        UserError: it has none that can be.
    """
    layers = [module for module in model.modules() if isinstance(module, Recomputable)]
    if not layers:
        raise UserError(
            "The layers of this model cannot be computed again: set training.gradient_checkpointing to false."
        )
    for layer in layers:
        layer.recompute = True
