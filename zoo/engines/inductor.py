"""What neural-compressor quantized, as integer products by torch.compile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch._inductor import config, cpp_builder, exc

from zoo import torchvision_fix
from zoo.engines.base import EngineOutput
from zoo.errors import UserError
from zoo.files import read_json

LOST = -1e4  # logit of a padded position


class InductorEngine:
    """Runs a folder that `compress.int8.inc` wrote: rows one by one, unpadded, at full length.

    The first run compiles, which takes half a minute; inputs of other lengths then run without compiling again. Only
    open folders that were made here: torch's export format is not as safe as safetensors and ONNX are, which is why
    no entry of the Hub runs on this engine.

    Raises:
        UserError: neural-compressor or a C++ compiler is absent, or the folder holds nothing of the kind.
    """

    name = "inductor"

    def __init__(self, folder: Path, threads: int):
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
        if not (folder / "qconfig.json").is_file():
            raise UserError(f"{folder} holds no model of neural-compressor: set quantize.neural_compressor and run it.")
        torch.set_num_threads(threads)
        self.layers = read_json(folder / "config.json")["num_hidden_layers"]
        self._compiled: Any = torch.compile(load(str(folder)), dynamic=True)
        self._freezing = config.patch(freezing=True)

    def run(self, batch: dict[str, np.ndarray], lengths: np.ndarray) -> EngineOutput:
        counts = batch["attention_mask"].sum(1)
        if (lengths < counts[:, None]).any():
            raise UserError("What neural-compressor made runs at full length only: choose onnxruntime for budgets.")
        rows = []
        for row, count in enumerate(counts):
            parts = (batch[key][row : row + 1, :count] for key in ("input_ids", "attention_mask", "token_type_ids"))
            with torch.no_grad(), self._freezing:
                rows.append(self._compiled(*(torch.from_numpy(part.copy()) for part in parts))[0].numpy())
        kept = [batch["attention_mask"].astype(bool)] * self.layers
        if rows[0].ndim == 1:  # a classifier's
            return EngineOutput.of([np.stack(rows)], kept)
        logits = np.full((*batch["input_ids"].shape, 2), LOST, np.float32)
        for row, (count, said) in enumerate(zip(counts, rows, strict=True)):
            logits[row, :count] = said
        return EngineOutput.of([logits[..., 0], logits[..., 1]], kept)
