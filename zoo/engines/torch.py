"""PyTorch in float32, or in mixed precision where the CPU multiplies bf16."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from zoo.engines.base import BF16, EngineOutput
from zoo.modeling import LengthAdaptiveModel


class TorchEngine:
    """Runs a checkpoint folder.

    In mixed precision the linear layers and the products of attention are of bf16 numbers; norms and softmax stay in
    float32, and so do the logits that come out.
    """

    name = "torch"

    def __init__(self, folder: Path, threads: int, mixed: bool = False):
        self._hold(LengthAdaptiveModel.load(folder), threads, mixed)

    def _hold(self, model: Any, threads: int, mixed: bool = False) -> None:
        """Takes a model that is in memory."""
        torch.set_num_threads(threads)
        self.model, self.layers, self.mixed = model.eval(), model.shape.layers, mixed
        if mixed:
            self.name = BF16
            for part in self.model.modules():
                if isinstance(part, torch.nn.Linear):
                    part.to(torch.bfloat16)  # once, where autocast would do it at every run

    def run(self, batch: dict[str, np.ndarray], lengths: np.ndarray) -> EngineOutput:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=self.mixed):
            out = self.model(
                **{key: torch.from_numpy(value) for key, value in batch.items()}, lengths=torch.from_numpy(lengths)
            )
        logits = out.logits.float().numpy()
        heads = self.model.head.split(logits)
        return EngineOutput.of(heads, [kept.numpy() for kept in out.kept])
