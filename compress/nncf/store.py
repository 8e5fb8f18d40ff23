"""Quantized models of NNCF on disk, without pickles, and as an engine that simulates what they round."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from compress.int8.simulation import simulate
from compress.nncf.load import load_nncf, quiet
from zoo.checkpoints import read_config
from zoo.engines.torch import TorchEngine
from zoo.errors import UserError, told
from zoo.files import atomic, read_json, write_json
from zoo.graph import MODEL_FILE, read
from zoo.modeling import LengthAdaptiveModel
from zoo.tensors import header

FACTS, TENSORS = "nncf.json", "nncf.safetensors"
MODULES = ("SymmetricQuantizer", "AsymmetricQuantizer", "SQMultiply")  # what a stored model may be made of


def save_model(model: LengthAdaptiveModel, folder: Path, placement: str) -> None:
    """Stores a quantized model: `config.json`, `nncf.json` and `nncf.safetensors`, its ranges among them."""
    nncf = load_nncf()
    with atomic(folder / TENSORS) as draft:
        save_file({key: value.detach().cpu().clone().contiguous() for key, value in model.state_dict().items()}, draft)
    write_json(folder / "config.json", model.config)
    stored = json.loads(json.dumps(nncf.torch.get_config(model)))
    write_json(folder / FACTS, {"placement": placement, "config": stored})


def load_model(folder: Path, dropout: float = 0.0) -> tuple[Any, str]:
    """Opens what `save_model` stored; returns the model and its placement.

    Raises:
        UserError: the folder holds no such model.
    """
    nncf = load_nncf()
    if not (folder / FACTS).is_file():
        raise UserError(f"{folder} holds no model that NNCF has quantized. Name the folder of a run of kind nncf.")
    try:
        header(folder / TENSORS)
        facts = read_json(folder / FACTS)
        model = LengthAdaptiveModel(read_config(folder), dropout)
        if any(part["module_cls_name"] not in MODULES for part in facts["config"]["compression_state"]):
            raise ValueError("it holds modules that do not belong there")
        with quiet():
            model = nncf.torch.load_from_config(model, facts["config"])
        with told(f"{folder / TENSORS} cannot be read", "Run its stage again."):
            model.load_state_dict(load_file(folder / TENSORS))
    except (KeyError, TypeError, ValueError, RuntimeError, OSError, nncf.InternalError) as error:
        raise UserError(f"The quantized model in {folder} cannot be read: {error}. Run its stage again.") from error
    return model.eval(), facts["placement"]


class SimulatedEngine(TorchEngine):
    """Runs a quantized model with its rounding simulated in float."""

    name = "nncf"


def open_simulated(folder: Path | str, threads: int) -> SimulatedEngine:
    """The simulation of what a run of kind `nncf` made, or of an entry that was packaged of one.

    Args:
        folder: of the run, of its stage `nncf`, or of an entry, whose int8 graph then is simulated.

    Raises:
        UserError: there is nothing of the kind.
    """
    folder = Path(folder)
    for place in (folder / "nncf", folder):
        if (place / FACTS).is_file():
            return SimulatedEngine(load_model(place)[0], threads)
    if (folder / MODEL_FILE).is_file():
        weights, _ = read(folder / MODEL_FILE)
        model = LengthAdaptiveModel(read_config(folder))
        return SimulatedEngine(simulate(model, {name: value.copy() for name, value in weights.items()}), threads)
    raise UserError(f"{folder} holds nothing that NNCF has quantized. Name the folder of a run of kind nncf.")
