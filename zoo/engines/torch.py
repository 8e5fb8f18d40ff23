"""PyTorch in float32."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from zoo.engines import EngineOutput


class TorchEngine:
    """Runs a checkpoint folder."""

    name = "torch"

    def __init__(self, folder: Path, threads: int):
        import torch

        from zoo.modeling import LengthAdaptiveModel

        torch.set_num_threads(threads)
        self.model = LengthAdaptiveModel.load(folder)
        self.layers = self.model.shape.layers

    def run(self, batch: dict[str, np.ndarray], lengths: np.ndarray) -> EngineOutput:
        import torch

        with torch.inference_mode():
            out = self.model(
                **{key: torch.from_numpy(value) for key, value in batch.items()}, lengths=torch.from_numpy(lengths)
            )
        logits = out.logits.numpy()
        heads = [logits] if self.model.head == "classification" else [logits[..., 0], logits[..., 1]]
        return EngineOutput.of(heads, [kept.numpy() for kept in out.kept])
