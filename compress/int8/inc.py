"""Intel Neural Compressor's own quantizers: PT2E, static and dynamic, for torch.compile to run.

What neural-compressor 3.10 can do for these models: a checkpoint is exported by torch.export, its linear layers get
observers of inputs (unsigned eight bits a tensor; extremes, as a moving average over the windows) and of weights
(symmetric, a column), and out comes a graph of quantize-dequantize pairs, which torch.compile turns into integer
products (`zoo.engines.inductor`). Its integers and ranges are also written by themselves (`integers_of`), which oneDNN
multiplies without compiling and without running foreign code: that becomes an entry (`zoo.engines.onednn`).

What it cannot: there is no ONNX out of it, and on disk weights are float, rounded when the graph is compiled. It has no
option for weights of seven bits, without which products overflow on CPUs without VNNI: the observers are told here.
Its aware training (`torch/algorithms/qat`) rounds to the microscaling formats MXFP8 and MXFP4 and needs auto-round;
there is none for eight-bit integers, which is why `compress.learn.aware` exists. Pruning, distillation and the
accuracy-driven tuning of its 2.x releases are gone or want a function of one's own, see `compress.int8.criterion`.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from compress.int8.graph import LoadModel, ReadWindows
from compress.int8.rounding import matching, operators
from compress.recipe.groups import Quantize
from compress.recipe.kind import NEURAL_COMPRESSOR
from zoo import torchvision_fix
from zoo.checkpoints import most_tokens
from zoo.engines.base import INTEGERS
from zoo.engines.onednn import OneDnnEngine
from zoo.errors import UserError
from zoo.features import load_tokenizer, pad
from zoo.files import write_json
from zoo.integers import open_integers
from zoo.modeling import LengthAdaptiveModel
from zoo.task_types import TASK_TYPES
from zoo.weights import linears

FOLDER = "neural_compressor"  # within a stage's
COMPARED, ALLOWED = 4, 0.05  # windows, and the median distance of their logits as a share of the spread
HEADS = {name for kind in TASK_TYPES.values() for name in kind.layers}


class Plain(nn.Module):
    """The model at full length, tensors in and logits out: what torch.export takes."""

    def __init__(self, model: LengthAdaptiveModel):
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        return self.model(input_ids, attention_mask, token_type_ids).logits


def build(
    checkpoint: Path,
    out: Path,
    settings: Quantize,
    read: ReadWindows,
    load: LoadModel = LengthAdaptiveModel.load,
) -> dict[str, Any]:
    """Quantizes `checkpoint` by neural-compressor as `settings` say, into the folder `out`.

    Args:
        checkpoint: its folder.
        out: replaced when all is done.
        settings: how.
        read: reads what to calibrate on; called where something is.
        load: loads the model.

    Returns:
        Approach, bits of the weights, calibration windows, layers left in float, bytes of the integers on disk, and the
        median `distance` of their logits on oneDNN from those of neural-compressor's graph, as a share of their spread.

    Raises:
        UserError: neural-compressor is not installed, a pattern of `keep_float` fits nothing, or oneDNN says something
            else than its graph.
    """
    quantization, export = backend()
    model, tokenizer = load(checkpoint).untied(), load_tokenizer(checkpoint)  # each layer has integers of its own
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
    save_file(integers_of(quantized, model), draft_file(draft), metadata={"format": "pt"})
    write_json(draft / "config.json", model.config)
    tokenizer.save_pretrained(str(draft))
    distance = compare(quantized, draft, inputs[:COMPARED] or [example])
    quantized.save(example, str(draft))
    shutil.rmtree(out, ignore_errors=True)
    draft.rename(out)
    return {
        "approach": settings.approach,
        "weight_bits": 7 if reduce_range else 8,
        "calibration_windows": len(windows),
        "kept_float": floats,
        "bytes": (out / INTEGERS).stat().st_size,
        "distance": distance,
    }


def draft_file(folder: Path) -> Path:
    """Where the integers go in a folder, which is made."""
    folder.mkdir(parents=True)
    return folder / INTEGERS


def integers_of(program: Any, model: LengthAdaptiveModel) -> dict[str, Tensor]:
    """What `zoo.integers.open_integers` reads: the integers and ranges of neural-compressor's graph, the rest in float,
    of it the tables of embeddings in half precision.

    Args:
        program: what `convert` returned.
        model: the float model that was quantized.
    """
    state = {
        name: value.half() if isinstance(model.get_submodule(name.rpartition(".")[0]), nn.Embedding) else value
        for name, value in model.state_dict().items()
    }
    for node in program.graph.nodes:
        if str(node.target) != "aten.linear.default" or "dequantize" not in str(node.args[1].target):
            continue
        entering, (weight, scale, zero, _, low, high, _) = node.args[0], node.args[1].args[0].args
        name = weight.target.removeprefix("model.").removesuffix(".weight")
        scale, zero = (attrgetter(part.target)(program).detach() for part in (scale, zero))
        whole = (state[f"{name}.weight"] / scale[:, None]).round() + zero[:, None]
        state |= {f"{name}.weight": whole.clamp(low, high).to(torch.int8), f"{name}.scale": scale.float()}
        if zero.any():
            state[f"{name}.zero"] = zero.int()
        if "quantize_per_tensor.tensor" not in str(entering.target):  # else its range is found in every run
            state |= {
                f"{name}.x_scale": torch.tensor(entering.args[1]),
                f"{name}.x_zero": torch.tensor(entering.args[2]),
            }
    return {name: value.detach().contiguous() for name, value in state.items()}


def compare(program: Any, folder: Path, inputs: Sequence[Sequence[Tensor]]) -> float:
    """Median distance of the logits on oneDNN from those of neural-compressor's graph, as a share of their spread.

    Raises:
        UserError: it is more than an input on the edge of two integers explains.
    """
    engine = open_integers(folder / INTEGERS, real=not OneDnnEngine.refusal())
    with torch.no_grad():
        said = [program(*one).flatten() for one in inputs]
        own = [engine(*one).logits.flatten() for one in inputs]
    expected, got = torch.cat(said), torch.cat(own)
    share = float((got - expected).abs().median() / expected.std().clamp_min(1e-6))
    if not share <= ALLOWED:
        raise UserError(
            f"oneDNN says something else than what neural-compressor made: its logits are off by {share:.1%} of their "
            "spread. Set quantize.neural_compressor to false, or quantize.reduce_range to true on a CPU without VNNI."
        )
    return share


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
