"""PyTorch in float32, or in mixed precision where the device multiplies bf16."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from zoo.devices import CPU, compute_device
from zoo.engines.base import TENSORS, Batch, EngineClass, EngineOutput, register, torch_threads
from zoo.latency import multiplies_bf16
from zoo.lazily import Lazy

if TYPE_CHECKING:
    import torch
else:
    torch = Lazy("torch")


@register
class TorchEngine(EngineClass):
    """Runs a checkpoint in float32.

    Args:
        model: a `LengthAdaptiveModel`, or a module that is called as one is and has its `shape`.
        threads: of torch, while it runs.
        device: what it runs on; the model is moved there.
    """

    name, label, package, precision, opens = "torch", "PyTorch", "torch", "fp32", TENSORS

    def __init__(self, model: Any, threads: int, device: str = CPU):
        self.model, self.threads, self.layers, self.device = model.eval(), threads, model.shape.layers, device
        if device != CPU:
            self.model.to(device)

    @classmethod
    def open(cls, folder: Path, threads: int) -> Self:
        from zoo.modeling import LengthAdaptiveModel

        return cls(LengthAdaptiveModel.load(folder), threads, compute_device())

    def to_cpu(self) -> None:
        self.model.to(CPU)
        self.device = CPU

    def run(self, batch: Batch, lengths: np.ndarray) -> EngineOutput:
        with torch_threads(self.threads), torch.inference_mode():
            inputs = {key: torch.from_numpy(value).to(self.device) for key, value in batch.items()}
            out = self.model(**inputs, lengths=torch.from_numpy(lengths).to(self.device))
        return EngineOutput(out.logits.float().cpu().numpy(), [kept.cpu().numpy() for kept in out.kept])


@register
class Bf16Engine(TorchEngine):
    """Runs a checkpoint in mixed precision.

    The linear layers and the products of attention are of bf16 numbers; norms and softmax stay in float32, and so do
    the logits that come out. It takes the place of Intel's extension for PyTorch (IPEX), which has ended.
    """

    name, precision, beside = "torch-bf16", "bf16", TorchEngine.name

    def __init__(self, model: Any, threads: int, device: str = CPU):
        super().__init__(model, threads, device)
        for part in self.model.modules():
            if isinstance(part, torch.nn.Linear):
                part.to(torch.bfloat16)  # once, where autocast would do it at every run

    @classmethod
    def refusal(cls) -> str:
        if multiplies_bf16() or compute_device() != CPU:
            return ""
        return "This CPU does not multiply bf16 numbers, so nothing would be gained: choose torch."

    def run(self, batch: Batch, lengths: np.ndarray) -> EngineOutput:
        with torch.autocast(self.device, torch.bfloat16):
            return super().run(batch, lengths)
