"""Weights that will be read need not be drawn first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn
from torch.overrides import TorchFunctionMode


class Undrawn(TorchFunctionMode):
    """Within it, in this thread, new weights are not drawn at random: they will be read, and drawing takes as long."""

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        if func in (nn.init.kaiming_uniform_, nn.init.normal_, nn.init.uniform_):
            return args[0] if args else given["tensor"]
        return func(*args, **given)
