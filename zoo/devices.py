"""Which device computes what torch runs: a CUDA GPU where there is one, unless the settings say otherwise."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.errors import UserError
from zoo.lazily import Lazy
from zoo.settings import get_settings

if TYPE_CHECKING:
    import torch

    from zoo.engines.base import Engine
else:
    torch = Lazy("torch")

CPU, CUDA = "cpu", "cuda"
# One of these is there where a driver is: torch need not be loaded to see that there is none.
DRIVERS = tuple(Path("/dev", name) for name in ("nvidiactl", "nvhost-gpu", "dxg", "kfd"))


def compute_device() -> str:
    """`CUDA` where torch finds a GPU and `BUDGET_ZOO_DEVICE` does not say cpu, else `CPU`.

    Raises:
        UserError: the settings ask for a GPU, and torch finds none.
    """
    wish = get_settings().device
    if wish == CPU or (wish == "auto" and sys.platform == "linux" and not any(path.exists() for path in DRIVERS)):
        return CPU
    if wish == CUDA and not torch.cuda.is_available():
        raise UserError(
            "BUDGET_ZOO_DEVICE is cuda, and torch finds no GPU: install its CUDA build and a driver, or set it to auto."
        )
    return CUDA if torch.cuda.is_available() else CPU


def gpu_name(device: str) -> str:
    """What a device is called where it is a GPU, empty for the CPU, which the stamp of a figure names anyway."""
    if device.partition(":")[0] != CUDA:
        return ""
    return torch.cuda.get_device_name(device)


def gpu_of(engine: Engine) -> str:
    """The GPU that an engine runs on, empty for the CPU."""
    return gpu_name(getattr(engine, "device", CPU))
