"""What neural-compressor quantized, as integer products by torch.compile."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from zoo import torchvision_fix
from zoo.checkpoints import read_config
from zoo.engines.base import Batch, EngineClass, EngineOutput, register, torch_threads
from zoo.errors import UserError
from zoo.lazily import Lazy
from zoo.tasks import LOST

if TYPE_CHECKING:
    import torch
    from torch._inductor import config, cpp_builder, exc
else:
    torch = Lazy("torch")
    config, cpp_builder, exc = (Lazy(f"torch._inductor.{name}") for name in ("config", "cpp_builder", "exc"))


@register
class InductorEngine(EngineClass):
    """Runs a folder that `compress.int8.inc` wrote: rows one by one, unpadded, at full length.

    The first run compiles, which takes half a minute; inputs of other lengths then run without compiling again. Only
    open folders that were made here: torch's export format is not as safe as safetensors and ONNX are, which is why
    no entry of the Hub runs on this engine.

    Args:
        program: what neural-compressor exported.
        layers: of its encoder.
        threads: of torch, while it compiles and runs.
    """

    name, label, package, precision = "inductor", "PyTorch Inductor", "neural_compressor", "int8"
    opens = "qconfig.json"

    def __init__(self, program: Any, layers: int, threads: int):
        self.layers, self.threads = layers, threads
        self._compiled: Any = torch.compile(program, dynamic=True)
        self._freezing = config.patch(freezing=True)

    @classmethod
    def open(cls, folder: Path, threads: int) -> Self:
        """See the base class.

        Raises:
            UserError: neural-compressor or a C++ compiler is absent, or the folder holds nothing of the kind.
        """
        torchvision_fix.mend()
        try:
            from neural_compressor.torch.quantization import load
        except ImportError as error:
            raise UserError(
                "neural-compressor is not installed: `pip install neural-compressor-pt torchao`, or choose onnxruntime."
            ) from error
        try:
            cpp_builder.get_cpp_compiler()
        except exc.InvalidCxxCompiler as error:
            raise UserError("torch.compile needs a C++ compiler: install g++, or choose onnxruntime.") from error
        if not (folder / cls.opens).is_file():
            raise UserError(f"{folder} holds no model of neural-compressor: set quantize.neural_compressor and run it.")
        return cls(load(str(folder)), read_config(folder)["num_hidden_layers"], threads)

    def run(self, batch: Batch, lengths: np.ndarray) -> EngineOutput:
        counts = batch["attention_mask"].sum(1)
        if (lengths < counts[:, None]).any():
            raise UserError("What neural-compressor made runs at full length only: choose onnxruntime for budgets.")
        rows = list[np.ndarray]()
        with torch_threads(self.threads), torch.no_grad(), self._freezing:
            for row, count in enumerate(counts):
                parts = (batch[key][row : row + 1, :count] for key in ("input_ids", "attention_mask", "token_type_ids"))
                rows.append(self._compiled(*(torch.from_numpy(part.copy()) for part in parts))[0].numpy())
        kept = [batch["attention_mask"].astype(bool)] * self.layers
        if rows[0].ndim == 1:  # a classifier's
            return EngineOutput(np.stack(rows), kept)
        logits = np.full((*batch["input_ids"].shape, 2), LOST, np.float32)
        for row, (count, scores) in enumerate(zip(counts, rows, strict=True)):
            logits[row, :count] = scores
        return EngineOutput(logits, kept)
