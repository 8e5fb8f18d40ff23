"""The weights that `zoo.graph` writes: taken from a float model, named as the graph names them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnx
import torch

from zoo.checkpoints import curve_of, first_position, head_layers, head_size, most_tokens, pad_of, reads_of
from zoo.families.rotary import Turn, table_of, turns_of
from zoo.families.rotary_layer import RotaryLayer
from zoo.files import atomic
from zoo.graph import MODEL_FILE
from zoo.graph import build as build_graph
from zoo.layers import distance_buckets
from zoo.modeling import LengthAdaptiveModel
from zoo.operators import Weights
from zoo.pooling import KEY, MEAN, SHORTCUTS
from zoo.significance import NAME as SIGNIFICANCE


def spec_of(model: LengthAdaptiveModel) -> dict[str, Any]:
    """What `zoo.graph` needs to know beside the weights."""
    config = model.config
    return {
        "layers": model.shape.layers,
        "hidden": model.shape.hidden,
        "intermediate": model.shape.intermediate,
        "heads": config["num_attention_heads"],
        "eps": config.get("layer_norm_eps", 1e-12),
        "family": model.family,
        "head": model.head.name,
        "pad": pad_of(config),
        "curve": curve_of(config),
        "drop_layers": list(model.drop_layers),
        "keep_first": bool(model.keep_first),
        **({KEY: model.config[KEY]} if model.head.reads == "pooled" and KEY in model.config else {}),
        **({KEY: MEAN.to_dict(), "reads": "mean"} if reads_of(config) == "mean" else {}),
        **({"turns": [astuple(turn) for turn in turns_of(config)]} if model.row.rotary else {}),
    }


def float_weights(model: LengthAdaptiveModel) -> Weights:
    """The checkpoint under the graph's names: query, key, value in one matrix, 1/sqrt(head size) in the query."""
    state = {key: value.detach().float().numpy() for key, value in model.state_dict().items()}
    for key in [key for key in state if key.endswith(".weight")]:  # a graph has a bias of zeros where there is none
        state.setdefault(f"{key.removesuffix('weight')}bias", np.zeros(len(state[key]), np.float32))
    scale = head_size(model.config) ** -0.5
    tables = [name for name in ("words", "positions", "types") if f"{name}.weight" in state]
    weights: Weights = {f"{name}.w": state[f"{name}.weight"] for name in tables}
    if model.row.rotary:
        for theta in {turn.theta: turn for turn in turns_of(model.config)}:
            angles = Turn(theta).angles(most_tokens(model.config), head_size(model.config))
            weights |= {f"{table_of(theta)}.cos": np.cos(angles), f"{table_of(theta)}.sin": np.sin(angles)}
    elif not model.row.counts_tokens:  # positions from the first that tokens have
        weights["positions.w"] = weights["positions.w"][first_position(model.config) :]
    if model.row.token_types and model.types.num_embeddings == 1:  # all tokens have the one: no input of the graph
        weights["positions.w"] = weights["positions.w"] + weights.pop("types.w")
    if model.row.distances:  # a row for every distance
        most = most_tokens(model.config)
        buckets = distance_buckets(torch.arange(1 - most, most), model.distances.num_embeddings)
        weights["distances.w"] = state["distances.weight"][buckets.numpy()]
    for name in ("norm", "final_norm", "head_norm"):
        weights |= {f"{name}.{k}": state[f"{name}.{k}"] for k in ("weight", "bias") if f"{name}.{k}" in state}
    for name in (*(["widen"] if "widen.weight" in state else []), *head_layers(model.row, model.head)):
        weights |= {f"{name}.w": state[f"{name}.weight"].T.copy(), f"{name}.bias": state[f"{name}.bias"]}
    weights |= {name: value for name, value in state.items() if name.startswith((f"{SIGNIFICANCE}.", f"{SHORTCUTS}."))}
    for i in range(model.shape.layers):
        at, source = f"layers.{i}.", f"layers.{model.sources[i]}."
        if source != at:  # the very same arrays, which a file then holds once
            weights |= {at + key.removeprefix(source): w for key, w in weights.items() if key.startswith(source)}
            continue
        weights[f"{at}qkv.w"] = np.concatenate(
            [state[f"{at}query.weight"].T * scale, state[f"{at}key.weight"].T, state[f"{at}value.weight"].T], 1
        )
        weights[f"{at}qkv.bias"] = np.concatenate(
            [state[f"{at}query.bias"] * scale, state[f"{at}key.bias"], state[f"{at}value.bias"]]
        )
        for name in ("project", "expand", "contract"):
            weights[f"{at}{name}.w"] = state[f"{at}{name}.weight"].T.copy()
            weights[f"{at}{name}.bias"] = state[f"{at}{name}.bias"]
        if f"{at}gate.weight" in state:  # one product with what it gates
            weights[f"{at}expand.w"] = np.concatenate([weights[f"{at}expand.w"], state[f"{at}gate.weight"].T], 1)
            weights[f"{at}expand.bias"] = np.concatenate([weights[f"{at}expand.bias"], state[f"{at}gate.bias"]])
        for name in ("attention_norm", "output_norm"):
            norm = {f"{at}{name}.{k}": state.get(f"{at}{name}.{k}") for k in ("weight", "bias")}
            weights |= {key: value for key, value in norm.items() if value is not None}
    return weights


class Stacked(Protocol):
    """A model, or a simulation of one, whose layers have the names of the encoder's."""

    @property
    def blocks(self) -> Sequence[torch.nn.Module]:
        """The layers."""
        ...


def linears(model: Stacked) -> dict[str, list[torch.nn.Linear]]:
    """Quantized products by their graph name, with the modules that they stand for."""
    layers: dict[str, list[torch.nn.Linear]] = {}
    for i, layer in enumerate(model.blocks):
        layers[f"layers.{i}.qkv"] = [getattr(layer, name) for name in ("query", "key", "value")]
        for name in ("project", "expand", "contract"):
            layers[f"layers.{i}.{name}"] = [getattr(layer, name)]
        if isinstance(layer, RotaryLayer):
            layers[f"layers.{i}.expand"].append(layer.gate)
    return layers


def write(weights: Weights, spec: dict[str, Any], folder: Path) -> Path:
    """Stores the portable graph; returns its path."""
    with atomic(folder / MODEL_FILE) as draft:
        onnx.save(build_graph(weights, spec), str(draft))
    return folder / MODEL_FILE
