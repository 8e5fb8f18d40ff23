"""transformers on a checkpoint of a family that it computes and this program does not, in float32."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from zoo.devices import compute_device
from zoo.engines.base import THEIRS, register
from zoo.engines.torch import TorchEngine


@register
class TransformersEngine(TorchEngine):
    """Runs a checkpoint by transformers' own code, at full length."""

    name, label, package, precision, opens = "transformers", "Transformers", "transformers", "fp32", THEIRS

    @classmethod
    def open(cls, folder: Path, threads: int) -> Self:
        from zoo.pretrained import Pretrained

        return cls(Pretrained.load(folder), threads, compute_device())
