"""AIMET's simulation in an entry: its weights as the integers that they are rounded to, or those of the int8 graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from compress.aimet.integers import rounded
from compress.aimet.simulable import FACTOR
from compress.aimet.simulation import SETTINGS, Settings, Simulated, open_simulated, stored_settings
from compress.int8.simulation import dequantize
from zoo.checkpoints import read_config
from zoo.files import atomic, read_json
from zoo.graph import MODEL_FILE, read
from zoo.modeling import LengthAdaptiveModel
from zoo.operators import Weights
from zoo.weights import linears


def pack(learned: Path, path: Path) -> Path:
    """Writes what `Simulated.restore` takes, each rounded weight as its integers: a quarter of the bytes, and every
    pass over it computes the same.

    Args:
        learned: what `Simulated.save` wrote.
        path: the file to write; returned.
    """
    model = open_simulated(learned)
    state = {name: value.detach().cpu().contiguous() for name, value in model.held().items()}
    for name, module in model.net.named_modules():
        quantizers: Any = getattr(module, "param_quantizers", {})
        if "weight" in quantizers and quantizers["weight"] is not None:
            state[f"{name}.weight"] = torch.from_numpy(rounded(module)[0])
    with atomic(path) as draft:
        save_file(state, draft, metadata={"format": "pt"})
    return path


def settings_of(folder: Path) -> Settings:
    """How an int8 entry that AIMET's scope deploy ended in was simulated: as it says, or else as its graph tells."""
    if (folder / SETTINGS).is_file():
        return stored_settings(folder)
    weights, _ = read(folder / MODEL_FILE)
    products = {name.rpartition(".")[0] for name in weights if name.startswith("layers.") and name.endswith(".bias")}
    floats = sorted(name for name in products if f"{name}.w" in weights)
    largest = max(int(np.abs(weights[f"{name}.q"].astype(int)).max()) for name in products if f"{name}.q" in weights)
    smoothed = any(name.endswith(f".{FACTOR}") for name in weights)
    bits = 7 if largest <= 64 else 8
    return Settings("deploy", bits, per_channel=True, smoothing=float(smoothed), keep_float=tuple(floats))


def facts_of(folder: Path) -> dict[str, Any]:
    """The same for people and programs, without what a graph alone does not tell."""
    if (folder / SETTINGS).is_file():
        return {**read_json(folder / SETTINGS), "of": "int8 graph"}
    settings = settings_of(folder)
    return {key: getattr(settings, key) for key in ("scope", "weight_bits", "keep_float")} | {"of": "int8 graph"}


def of_graph(folder: Path) -> Simulated:
    """AIMET's simulation of an int8 entry: the graph's integers and ranges are those that were learned.

    Raises:
        UserError: aimet-torch is missing or broken.
    """
    weights, _ = read(folder / MODEL_FILE)
    plain = dequantize(LengthAdaptiveModel(read_config(folder)), weights)
    model = Simulated(plain, settings_of(folder))
    with torch.no_grad():
        for name, modules in linears(model).items():
            if f"{name}.q" in weights:
                _settle(weights, name, modules, model.shape.hidden // plain.blocks[0].heads)
    return model.eval()


def _settle(weights: Weights, name: str, modules: list[Any], head_size: int) -> None:
    """Gives a product's quantizers the graph's ranges, and its modules the graph's factors of inputs."""
    step, zero = float(weights[f"{name}.x_scale"]), int(weights[f"{name}.x_zero"])
    modules[0].input_quantizers[0].set_range(
        *(torch.tensor(step * (level - zero), dtype=torch.float32) for level in (0, 255))
    )
    scales = torch.from_numpy(weights[f"{name}.scale"].astype(np.float32)).chunk(len(modules))
    for turn, (module, scale) in enumerate(zip(modules, scales, strict=True)):
        if FACTOR in dict(module.named_buffers()):
            given = weights[f"{name}.{FACTOR}"] if f"{name}.{FACTOR}" in weights else np.ones(module.in_features)
            factor = torch.from_numpy(given.astype(np.float32))
            module.x_factor.copy_(factor)
            module.weight.div_(factor)
        own: Tensor = scale / head_size**-0.5 if len(modules) == 3 and turn == 0 else scale
        quantizer = module.param_quantizers["weight"]
        shape = tuple(quantizer.shape)
        own = (own if np.prod(shape) > 1 else own[:1]).reshape(shape)
        quantizer.set_range(quantizer.qmin * own, quantizer.qmax * own)
