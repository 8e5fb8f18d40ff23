"""The numbers that a training computes in, by what the device multiplies in hardware."""

from __future__ import annotations

import torch

from zoo.devices import CPU
from zoo.errors import UserError
from zoo.latency import multiplies_bf16

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def best_precision(wish: str = "auto", device: str = CPU) -> str:
    """ "bf16" where the device multiplies it in hardware, else "fp32", on a GPU "fp16"; another wish is granted.

    Raises:
        UserError: fp16 is asked of a CPU.
    """
    if wish == "fp16" and device == CPU:
        raise UserError("fp16 is for GPUs, and this training computes on a CPU: set training.precision to auto.")
    if wish != "auto":
        return wish
    if device != CPU:
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    native = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return "bf16" if native and multiplies_bf16() else "fp32"


def computing(wish: str, device: str) -> torch.autocast:
    """In which a model computes as `best_precision` says, on "cpu" or "cuda"."""
    precision = best_precision(wish, device)
    return torch.autocast(device, DTYPES.get(precision, torch.bfloat16), enabled=precision in DTYPES)
