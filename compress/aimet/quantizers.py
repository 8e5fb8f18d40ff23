"""AIMET's quantizers, put where a simulation wants them."""

from __future__ import annotations

import copy
import json
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compress.aimet.backend import load, quiet
from compress.aimet.simulable import FACTOR, MASKS, Simulable
from compress.learn.aware import round_rows
from zoo.errors import UserError
from zoo.layers import MASK
from zoo.modeling import LengthAdaptiveModel
from zoo.scorer import Scorer
from zoo.shortcut import Shortcut
from zoo.weights import linears

if TYPE_CHECKING:
    from compress.aimet.simulation import Settings

SCHEMES = {  # our names of AIMET's ways to take ranges
    "min_max": "min_max",
    "percentile": "post_training_percentile",
    "sqnr": "post_training_tf_enhanced",
}
PLACES = ("input_quantizers", "output_quantizers")


def simulate(model: LengthAdaptiveModel, settings: Settings) -> Any:
    """AIMET's simulation of a model (`aimet_torch.quantsim.QuantizationSimModel`), without ranges yet.

    Args:
        model: whose modules it takes over.
        settings: see `compress.aimet.simulation.Settings`.

    Raises:
        UserError: AIMET cannot follow the model, or is missing.
    """
    library = load()
    for kind in (Scorer, Shortcut):  # in float, and only where tokens are dropped
        library.nn.QuantizationMixin.ignore(kind)
    whole = settings.scope == "full"
    net = Simulable(model, whole, MASKS[settings.mask] if whole else MASK).eval()
    ids = torch.full((2, 8), 1 + net.pad)
    try:
        with quiet(), tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "config.json"
            path.write_text(json.dumps(rules(settings.per_channel)), encoding="utf-8")
            sim = library.quantsim.QuantizationSimModel(
                net,
                dummy_input=(ids, torch.ones_like(ids), torch.zeros_like(ids)),
                quant_scheme=library.common.defs.QuantScheme[SCHEMES[settings.ranges]],
                default_output_bw=8,
                default_param_bw=8,
                config_file=str(path),
                in_place=True,
            )
    except (RuntimeError, ValueError, KeyError) as error:
        raise UserError(f"AIMET cannot simulate this model: {str(error).strip().splitlines()[0]}") from error
    if settings.ranges == "percentile":
        sim.set_percentile_value(settings.percentile)
    (_round_everything if whole else _round_products)(sim.model, settings)
    return sim


def rules(per_channel: bool) -> dict[str, Any]:
    """AIMET's configuration: everything is rounded, weights symmetrically, biases not."""
    rowwise = {"per_channel_quantization": "True"}
    return {
        "defaults": {
            "ops": {"is_output_quantized": "True"},
            "params": {"is_quantized": "True", "is_symmetric": "True"},
            "strict_symmetric": "False",
            "per_channel_quantization": "False",
        },
        "params": {"bias": {"is_quantized": "False"}},
        "op_type": {"Gemm": rowwise, "MatMul": rowwise} if per_channel else {},
        "supergroups": [],
        "model_input": {"is_input_quantized": "True"},
        "model_output": {},
    }


def _round_everything(net: Any, settings: Settings) -> None:
    """Scope full: what AIMET put, less what would round a tensor a second time, and the weights' bits."""
    for layer in net.layers:
        # AIMET loses sight of the module that made a tensor where functions reshape or scale it.
        for module in (layer.scores, layer.masked, layer.mix):
            _clear(module, "input_quantizers")
    for module in _quantized(net, nn.Linear):
        module.param_quantizers["weight"].bitwidth = settings.weight_bits
    # AIMET would round the whole table in every step, of which a batch needs a hundredth.
    net.words.forward = partial(_look_up, net.words)


def _look_up(words: Any, ids: Tensor) -> Tensor:
    """Rows of the table, rounded as AIMET rounds the table; what comes out is on a grid of 256 values then."""
    return words.param_quantizers["weight"](F.embedding(ids, words.weight, words.padding_idx))


def _round_products(net: Any, settings: Settings) -> None:
    """Scope deploy: the weights and the shared input of every product; word embeddings as the int8 graph has them.

    With smoothing every product has factors for its input's columns, ones until `Simulated.calibrate` settles them.
    """
    products: dict[str, list[Any]] = {k: v for k, v in linears(net).items() if k not in settings.keep_float}
    rounded = {module for modules in products.values() for module in modules}
    for modules in products.values():
        shared = copy.deepcopy(modules[0].output_quantizers[0])  # query, key and value read one tensor, in one range
        for module in modules:
            module.param_quantizers["weight"].bitwidth = settings.weight_bits
            module.input_quantizers[0] = shared
            _clear(module, "output_quantizers")
            if settings.smoothing:
                module.register_buffer(FACTOR, torch.ones(module.in_features))
                module.register_forward_pre_hook(_smooth)
    for module in _quantized(net):
        if module not in rounded:
            for place in PLACES:
                _clear(module, place)
            for name in list(module.param_quantizers):
                module.param_quantizers[name] = None
    net.words.register_forward_hook(lambda _module, _args, rows: round_rows(rows.as_subclass(torch.Tensor), 8))


def _smooth(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return args[0] * getattr(module, FACTOR), *args[1:]


def _quantized(net: nn.Module, kind: type = nn.Module) -> list[Any]:
    quantized = load().nn.BaseQuantizationMixin
    return [module for module in net.modules() if isinstance(module, quantized) and isinstance(module, kind)]


def _clear(module: nn.Module, place: str) -> None:
    setattr(module, place, nn.ModuleList([None] * len(getattr(module, place))))  # type: ignore[list-item]
