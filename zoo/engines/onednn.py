"""What neural-compressor quantized, as integer products of oneDNN in torch."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Self

import numpy as np

from zoo.engines.base import INTEGERS, Batch, Engine, EngineClass, EngineOutput, register
from zoo.errors import UserError


@register
class OneDnnEngine(EngineClass):
    """Runs the integers of neural-compressor as they were calibrated, with nothing to compile.

    Args:
        inner: runs a model from `zoo.integers.open_integers` on torch.
    """

    name, label, package, precision, opens = "onednn", "PyTorch oneDNN", "torch", "int8", INTEGERS

    def __init__(self, inner: Engine):
        self.inner, self.layers = inner, inner.layers

    @classmethod
    def open(cls, folder: Path, threads: int) -> Self:
        """See the base class.

        Raises:
            UserError: the folder holds nothing of the kind, or this machine has no such products.
        """
        from zoo.engines.torch import TorchEngine
        from zoo.integers import open_integers

        if refusal := cls.refusal():
            raise UserError(refusal)
        if not (folder / INTEGERS).is_file():
            raise UserError(f"{folder} holds no {INTEGERS}: set quantize.neural_compressor to true and run the recipe.")
        return cls(TorchEngine(open_integers(folder / INTEGERS), threads))

    @classmethod
    def refusal(cls) -> str:
        if platform.machine().lower() in ("x86_64", "amd64"):
            return ""
        return "torch multiplies these integers on x86-64 alone: take the entry beside it, which runs on onnxruntime."

    def run(self, batch: Batch, lengths: np.ndarray) -> EngineOutput:
        return self.inner.run(batch, lengths)
