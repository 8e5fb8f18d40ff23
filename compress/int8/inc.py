"""Intel Neural Compressor's own quantizers: PT2E, static and dynamic, for torch.compile to run.

What neural-compressor 3.10 can do for these models: a checkpoint is exported by torch.export, its linear layers get
observers of inputs (unsigned eight bits a tensor; extremes, as a moving average over the windows) and of weights
(symmetric, a column), and out comes a graph of quantize-dequantize pairs, which torch.compile turns into integer
products (`zoo.engines.inductor`).

What it cannot: there is no ONNX out of it, and on disk weights are float, rounded when the graph is compiled. It has no
option for weights of seven bits, without which products overflow on CPUs without VNNI: the observers are told here.
Its aware training (`torch/algorithms/qat`) rounds to the microscaling formats MXFP8 and MXFP4 and needs auto-round;
there is none for eight-bit integers, which is why `compress.learn.aware` exists. Pruning, distillation and the
accuracy-driven tuning of its 2.x releases are gone or want a function of one's own, see `compress.int8.criterion`.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from compress.int8.graph import ReadWindows
from compress.int8.rounding import matching, operators
from compress.recipe.groups import Quantize
from compress.recipe.kind import NEURAL_COMPRESSOR
from zoo import torchvision_fix
from zoo.checkpoints import most_tokens
from zoo.errors import UserError
from zoo.features import load_tokenizer, pad
from zoo.files import write_json
from zoo.modeling import LengthAdaptiveModel
from zoo.tasks import TASK_TYPES
from zoo.weights import linears

FOLDER = "neural_compressor"  # within a stage's
HEADS = {name for kind in TASK_TYPES.values() for name in kind.layers}


class Plain(nn.Module):
    """The model at full length, tensors in and logits out: what torch.export takes."""

    def __init__(self, model: LengthAdaptiveModel):
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        return self.model(input_ids, attention_mask, token_type_ids).logits


def build(checkpoint: Path, out: Path, settings: Quantize, read: ReadWindows) -> dict[str, Any]:
    """Quantizes `checkpoint` by neural-compressor as `settings` say, into the folder `out`.

    Args:
        checkpoint: its folder.
        out: replaced when all is done.
        settings: how.
        read: reads what to calibrate on; called where something is.

    Returns:
        Approach, bits of the weights, calibration windows, layers left in float, and bytes on disk.

    Raises:
        UserError: neural-compressor is not installed, or a pattern of `keep_float` fits nothing.
    """
    quantization, export = backend()
    model, tokenizer = LengthAdaptiveModel.load(checkpoint), load_tokenizer(checkpoint)
    windows = read(tokenizer) if settings.approach == "static" else []
    floats = float_layers(model, settings.keep_float or ())
    reduce_range = settings.reduce_range is not False
    example = _example(model)
    tokens = torch.export.Dim("tokens", min=2, max=most_tokens(model.config))
    graph = export(Plain(model), example, dynamic_shapes=({1: tokens},) * 3)
    prepared = quantization.prepare(graph, _config(quantization, settings.approach, floats), example_inputs=example)
    if reduce_range:
        for part in prepared.modules():
            if getattr(part, "dtype", None) == torch.int8:
                part.quant_min, part.quant_max = -63, 63
    inputs = [tuple(torch.from_numpy(value) for value in pad([window]).values()) for window in windows]
    with torch.no_grad():
        for one in inputs or [example]:  # weights are observed in a run, even where inputs are not
            prepared(*one)
    quantized = quantization.convert(prepared)
    draft = out.with_name(f"{out.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    quantized.save(example, str(draft))
    write_json(draft / "config.json", model.config)
    tokenizer.save_pretrained(str(draft))
    shutil.rmtree(out, ignore_errors=True)
    draft.rename(out)
    return {
        "approach": settings.approach,
        "weight_bits": 7 if reduce_range else 8,
        "calibration_windows": len(windows),
        "kept_float": floats,
        "bytes": sum(path.stat().st_size for path in out.glob("quantized_weight*")),
    }


def float_layers(model: LengthAdaptiveModel, patterns: Iterable[str]) -> list[str]:
    """Names of the linear layers to leave alone: the head, and those of products that the patterns name."""
    names = matching(operators(model), patterns)
    floats = {module for name, modules in linears(model).items() if name in names for module in modules}
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and (module in floats or name in HEADS)
    ]


def _config(quantization: Any, approach: str, floats: Iterable[str]) -> Any:
    if approach == "static":
        kind, settings = quantization.StaticQuantConfig, {}
    else:
        kind, settings = quantization.DynamicQuantConfig, {"w_granularity": "per_channel"}
    config = kind(**settings)
    for name in floats:
        config.set_local(f"model.{name}", kind(w_dtype="fp32", act_dtype="fp32"))
    return config


def _example(model: LengthAdaptiveModel, tokens: int = 32) -> tuple[Tensor, Tensor, Tensor]:
    ids = torch.arange(tokens)[None] % model.config["vocab_size"]
    return ids, torch.ones_like(ids), torch.zeros_like(ids)


def backend() -> tuple[Any, Any]:
    """neural-compressor's module `quantization`, and its function `export`.

    Raises:
        UserError: it is not installed.
    """
    torchvision_fix.mend()
    try:
        from neural_compressor.torch import quantization
        from neural_compressor.torch.export import export
    except ImportError as error:
        raise UserError(NEURAL_COMPRESSOR.advice) from error
    logging.getLogger("neural_compressor").setLevel(logging.WARNING)
    return quantization, export
