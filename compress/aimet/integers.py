"""What AIMET's scope `deploy` learned, in the integers of the int8 graph: the same numbers that were simulated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from compress.aimet.simulable import FACTOR
from compress.aimet.simulation import Simulated
from compress.int8.rounding import integer_weights
from zoo.checkpoints import head_size
from zoo.errors import UserError
from zoo.features import Tokenizer
from zoo.files import write_json
from zoo.operators import Weights
from zoo.weights import float_weights, linears, spec_of, write


def integers_of(model: Simulated) -> Weights:
    """Weights of `zoo.graph`: integers and scales as AIMET rounds them, inputs in the ranges that were learned.

    Nothing is calibrated and no bias corrected: training has seen the rounding already.

    Raises:
        UserError: the simulation has scope full, which no runtime computes in integers.
    """
    if model.settings.scope != "deploy":
        raise UserError(
            "AIMET's scope full is a simulation only: it rounds between operators that every runtime computes in "
            "float. Set aimet.scope to deploy for a model in real integers."
        )
    plain = model.plain()
    weights = integer_weights(float_weights(plain), [], None, reduce_range=True)  # the word embeddings alone
    for name, modules in linears(model).items():
        if name in model.settings.keep_float:
            continue
        parts = [rounded(module) for module in modules]
        if len(parts) == 3:  # the graph has 1/sqrt(head size) in the query
            integers, scale = parts[0]
            parts[0] = integers, scale * np.float32(head_size(model.config) ** -0.5)
        weights.pop(f"{name}.w")
        weights[f"{name}.q"] = np.concatenate([integers.T for integers, _ in parts], 1)
        weights[f"{name}.scale"] = np.concatenate([scale for _, scale in parts])
        first: Any = modules[0]
        entering = first.input_quantizers[0]
        factor: Any = getattr(first, FACTOR, None)
        if factor is not None and (factor != 1).any():
            weights[f"{name}.{FACTOR}"] = factor.numpy().astype(np.float32)
        weights[f"{name}.x_scale"] = np.array(entering.get_scale().item(), np.float32)
        weights[f"{name}.x_zero"] = np.array(round(-entering.get_offset().item()), np.uint8)
    return weights


def write_graph(model: Simulated, tokenizer: Tokenizer, out: Path) -> dict[str, Any]:
    """The int8 model (graph, config and tokenizer) in `out`.

    Returns:
        What was decided: bytes, approach, bits of the weights, products left in float.

    Raises:
        UserError: see `integers_of`.
    """
    path = write(integers_of(model), spec_of(model.plain()), out)
    write_json(out / "config.json", model.config)
    tokenizer.save_pretrained(str(out))
    return {
        "bytes": path.stat().st_size,
        "approach": "static",
        "weight_bits": model.settings.weight_bits,
        "kept_float": list(model.settings.keep_float),
    }


def rounded(module: Any) -> tuple[np.ndarray, np.ndarray]:
    """Integers int8 and scales `[rows]` float32 of a module's weight, such as a linear layer's `[out, in]`."""
    held = module.param_quantizers["weight"]
    weight, scale = module.weight.detach().float(), held.get_scale().detach().float()
    integers = (weight / scale).round().clamp(held.qmin, held.qmax).numpy().astype(np.int8)
    return integers, np.broadcast_to(scale.numpy().reshape(-1), weight.shape[:1]).astype(np.float32).copy()
