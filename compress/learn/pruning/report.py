"""What went: shares of zeros, and what a file of zeros weighs when it is compressed."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.learn.pruning.patterns import shapes_of
from zoo.checkpoints import read_config
from zoo.encoders import encoder_of
from zoo.graph import read
from zoo.modeling import LengthAdaptiveModel

if TYPE_CHECKING:
    from torch import Tensor

CHUNK = 2**20
LEAST = 0.01  # share of zeros from which on a checkpoint counts as pruned: training leaves a weight at 0 by chance


def sparsity_of(model: LengthAdaptiveModel, masks: Mapping[str, Tensor] | None = None) -> dict[str, Any]:
    """Counts zeros.

    Args:
        model: the pruned model.
        masks: of a pruner, by operator, True where a weight is kept; None: all linear layers of the encoder count as
            pruned.

    Returns:
        `operators`, the share of zeros of the pruned operators' weights; `per_operator`, of each; `model`, of all
        parameters, embeddings and head included; `weights` and `parameters`, how many these are. With masks also
        `locked`, the share that they prune, and `awake`, how many weights are not zero although they should be.
    """
    names = list(masks) if masks is not None else list(shapes_of(model))
    weights = {name: model.get_parameter(f"{name}.weight").detach() for name in names}
    zeros = {name: _zeros(weight) for name, weight in weights.items()}
    count = sum(weight.numel() for weight in weights.values())
    everything = list(model.parameters())
    parameters = sum(p.numel() for p in everything)
    shares = {
        "operators": sum(zeros.values()) / max(count, 1),
        "per_operator": {name: zeros[name] / weights[name].numel() for name in names},
        "model": sum(_zeros(p.detach()) for p in everything) / parameters,
        "weights": count,
        "parameters": parameters,
    }
    if masks is not None:
        shares["locked"] = sum(_zeros(mask) for mask in masks.values()) / max(count, 1)
        shares["awake"] = sum(
            int(weights[name].masked_select(~mask.to(weights[name].device)).count_nonzero())
            for name, mask in masks.items()
        )
    return shares


def zeros_left(checkpoint: Path) -> dict[str, float]:
    """What pruning has left in a checkpoint as zeros, where it was not cut out.

    Returns:
        `operators` and `model` as in `sparsity_of`; empty where nothing is pruned, or nothing of it is left.
    """
    if encoder_of(read_config(checkpoint)):
        return {}  # transformers' own: which of its weights are the encoder's products is not known here
    shares = sparsity_of(LengthAdaptiveModel.load(checkpoint))
    return {key: round(shares[key], 4) for key in ("operators", "model")} if shares["operators"] >= LEAST else {}


def zeros_stored(zeros: Mapping[str, float], weights: Path) -> dict[str, float]:
    """What zeros are worth in an entry's weights file.

    Args:
        zeros: of its float checkpoint, from `zeros_left`.
        weights: a safetensors file of the same model, or an int8 graph.

    Returns:
        `zeros`, with the file's size, `bytes`, and its `compressed_bytes`; empty where a graph has fewer zeros than the
        checkpoint: training with simulated rounding has moved them.
    """
    if weights.suffix == ".onnx":
        graph = read(weights)[0]
        stored = [
            w - graph.get(f"{name[:-2]}.zero", 0)
            for name, w in graph.items()
            if name.startswith("layers.") and name.endswith((".q", ".w"))
        ]
        if sum(int((w == 0).sum()) for w in stored) < (zeros["operators"] - LEAST) * sum(w.size for w in stored):
            return {}
    return {**zeros, "bytes": weights.stat().st_size, "compressed_bytes": compressed_bytes(weights)}


def compressed_bytes(path: str | Path) -> int:
    """The size that a file has when zlib compresses it at level 6, in bytes: what zeros save in storage."""
    packer, size = zlib.compressobj(6), 0
    with Path(path).open("rb") as file:
        while part := file.read(CHUNK):
            size += len(packer.compress(part))
    return size + len(packer.flush())


def _zeros(values: Tensor) -> int:
    return values.numel() - int(values.count_nonzero())
