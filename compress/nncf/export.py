"""What NNCF has quantized as a file that runs: the house's int8 graph where it can say the same, else NNCF's own ONNX.

The house's graph multiplies real integers on every engine and is the faster one by far; it says the same as long as
inputs and weights of linear layers are rounded together, eight-bit inputs by one range a product. Weights are rounded
symmetrically, or asymmetrically with a zero point an output. Everything else goes the way that NNCF has for it: its
quantizers become torch's, and torch's older exporter writes quantize-dequantize pairs (its newer one cannot trace
them).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from compress.nncf.load import load_nncf, quiet
from compress.nncf.model import HOOKS, operations
from compress.nncf.store import SimulatedEngine
from zoo.checkpoints import head_size
from zoo.engines import onnx, openvino
from zoo.engines.base import Batch, Engine, EngineOutput, Session, logits_of
from zoo.errors import UserError
from zoo.files import atomic
from zoo.graph import build as build_graph
from zoo.modeling import LengthAdaptiveModel
from zoo.operators import Weights
from zoo.weights import float_weights, linears, spec_of

PLAIN = "model.nncf.onnx"  # what NNCF's way of exporting leaves
AGREE = 0.25  # mean distance of logits from the simulation's allowed, as a share of the float model's distance
EDGE = 0.005  # and beside that, of the logits' spread: an input on the edge of two integers rounds either way
OPSET = 17


class Unfit(Exception):
    """Why the house's graph cannot say what a model computes."""


def graph_weights(model: LengthAdaptiveModel, batch: dict[str, Tensor]) -> Weights:
    """The integers and ranges of a quantized model, as `zoo.graph` takes them.

    Args:
        model: of `nncf_model.quantized`, with placement `products`.
        batch: any input.

    Raises:
        Unfit: the graph has no place for something that the model rounds.
    """
    hooks = dict(getattr(model, HOOKS).named_hooks(remove_duplicate=False))
    hooked = {name: _hooks_of(hooks, node) for name, node in operations(_bare(model), batch).items()}
    known = {name for name, parts in hooked.items() if parts != (None, None, None)}
    if sum(at.startswith("pre_hooks.") for at in hooks) != len(hooks):
        raise Unfit("it rounds what comes out of operations")
    weights = float_weights(model)
    scale = head_size(model.config) ** -0.5
    for product, modules in linears(model).items():
        layer = product.rpartition(".")[0]
        names = [f"{layer}.{part}" for part in ("query", "key", "value")] if len(modules) == 3 else [product]
        parts = [hooked[name] for name in names]
        known -= set(names)
        if all(part == (None, None, None) for part in parts):
            continue
        factor, entering, _ = parts[0]
        if any(
            part[1] is None or part[2] is None or part[1] is not entering or part[0] is not factor for part in parts
        ):
            raise Unfit(f"{product}: not everything of it is rounded together")
        weights |= _product(product, modules, factor, entering, [part[2] for part in parts], scale)
        del weights[f"{product}.w"]
    if "words" in known:
        integers, step, zero = _integers(hooked["words"][2], model.words.weight)
        weights |= {"words.q": integers, "words.scale": step[:, None]}
        if zero.any():
            weights["words.zero"] = zero[:, None]
        del weights["words.w"]
        known.discard("words")
    if known:
        raise Unfit(f"it rounds {', '.join(sorted(known))}")
    return weights


def _product(
    product: str, modules: Sequence[nn.Linear], factor: Any, entering: Any, weights: Sequence[Any], scale: float
) -> Weights:
    """One product's integers, scales and the range of its input."""
    if entering.num_bits != 8:
        raise Unfit(f"{product}: inputs take {entering.num_bits} bits")
    parts = [_integers(quantizer, module.weight) for quantizer, module in zip(weights, modules, strict=True)]
    steps = [step * (scale if len(modules) == 3 and turn == 0 else 1) for turn, (_, step, _) in enumerate(parts)]
    made = {
        f"{product}.q": np.concatenate([integers.T for integers, _, _ in parts], 1),
        f"{product}.scale": np.concatenate(steps).astype(np.float32),
    }
    zeros = np.concatenate([zero for _, _, zero in parts])
    if zeros.any():
        made[f"{product}.zero"] = zeros
    if factor is not None:
        made[f"{product}.x_factor"] = factor.scale.detach().flatten().numpy().astype(np.float32)
    low, high = (float(value.detach()) for value in entering.get_input_low_input_high())
    levels = entering.level_high - entering.level_low
    step = np.float32((high - low) / levels)
    made[f"{product}.x_scale"] = np.array(step, np.float32)
    made[f"{product}.x_zero"] = np.array(int(np.clip(round(-low / float(step)), 0, 255)), np.uint8)
    return made


def _integers(quantizer: Any, weight: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The integers of a weight `[out, in]`, and the scale and the zero point of each output.

    Integers of asymmetric weights are moved down by half of their levels, into int8: of seven bits, two products
    with an unsigned input still add up within 16 bits, as CPUs without VNNI do it.
    """
    rows, weight = weight.shape[0], weight.detach()
    with torch.no_grad():
        if type(quantizer).__name__ == "SymmetricQuantizer":
            step = (quantizer.scale.abs() / quantizer.level_high).expand(rows, 1)
            zero, lowest, highest = torch.zeros(rows, 1), quantizer.level_low, quantizer.level_high
        else:
            low, high = quantizer.get_input_low_input_high()
            levels = quantizer.level_high - quantizer.level_low
            middle = (levels + 1) // 2
            step = ((high - low) / levels).expand(rows, 1)
            zero = (-low * levels / (high - low)).round().expand(rows, 1) - middle
            lowest, highest = -middle, levels - middle
        whole = ((quantizer.quantize(weight) / step).round() + zero).clamp(lowest, highest)
    scales, zeros = (part.flatten().numpy() for part in (step, zero))
    return whole.to(torch.int8).numpy().copy(), scales.astype(np.float32).copy(), zeros.astype(np.int8)


def _hooks_of(hooks: dict[str, Any], node: str) -> tuple[Any, Any, Any]:
    """Smoothing and rounding of what enters an operation, and rounding of its weights; None for what it lacks."""
    at = f"pre_hooks.{node.replace('.', ':')}__"
    entering = [hook for name, hook in hooks.items() if name.startswith(f"{at}0.")]
    weights = [hook for name, hook in hooks.items() if name.startswith(f"{at}1.")]
    factor = next((hook for hook in entering if type(hook).__name__ == "SQMultiply"), None)
    rounds = [hook for hook in entering if hook is not factor]
    return factor, (rounds or [None])[0], (weights or [None])[0]


def _bare(model: LengthAdaptiveModel) -> LengthAdaptiveModel:
    bare = LengthAdaptiveModel(model.config)
    bare.load_state_dict({key: value for key, value in model.state_dict().items() if not key.startswith(HOOKS)})
    return bare.eval()


def export_onnx(model: LengthAdaptiveModel, path: Path, batches: Sequence[dict[str, Tensor]]) -> dict[str, Any]:
    """Writes a quantized model as ONNX that any runtime multiplies as real integers; sizes of inputs may vary.

    It is compared with the simulation on onnxruntime before it is moved to its place.

    Args:
        batches: of one window each, to compare on.

    Returns:
        `graph` (`house` or `nncf`), `bytes`, `distance` (see AGREE) and, for NNCF's, `why` it is not the house's.

    Raises:
        UserError: the file says something else than the simulation, or NNCF cannot export the model.
    """
    facts: dict[str, Any] = {"graph": "house"}
    with atomic(path) as draft:
        try:
            weights = graph_weights(model, batches[0])
            graph = build_graph(weights, spec_of(model), active=())  # at full length no lengths are read
            graph.graph.input.remove(next(part for part in graph.graph.input if part.name == "lengths"))
            draft.write_bytes(graph.SerializeToString())
        except Unfit as reason:
            facts = {"graph": "nncf", "why": str(reason)}
            _export_stripped(model, draft, batches[0])
        facts["distance"] = compare(model, PlainOnnx(draft, 1, model.shape.layers), batches)
    return {**facts, "bytes": path.stat().st_size}


class Exported(nn.Module):
    """A model with tensors going out, by the names of the house's graph."""

    def __init__(self, model: LengthAdaptiveModel):
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Any:
        logits = self.model(input_ids, attention_mask, token_type_ids).logits
        outputs = self.model.head.split(logits)
        return tuple(outputs) if len(outputs) > 1 else logits


def _export_stripped(model: LengthAdaptiveModel, path: Path, batch: dict[str, Tensor]) -> None:
    nncf = load_nncf()
    names = ("input_ids", "attention_mask", "token_type_ids")
    sizes = {0: "batch", 1: "tokens"}
    outputs = list(model.head.outputs)
    axes = {**dict.fromkeys(names, sizes), **dict.fromkeys(outputs, sizes if model.head.per_token else {0: "batch"})}
    with quiet(), torch.no_grad():
        try:
            apart = copy.deepcopy(model)
            storage = getattr(apart, HOOKS)
            for name, hook in list(storage.named_hooks(remove_duplicate=False)):
                if hasattr(hook, "num_bits"):  # strip sees shared quantizers once only
                    storage.set_submodule(name, copy.deepcopy(hook))
            plain = nncf.strip(apart, do_copy=False, strip_format=nncf.StripFormat.NATIVE, example_input=dict(batch))
            torch.onnx.export(
                Exported(plain).eval(),
                tuple(batch[name] for name in names),
                str(path),
                input_names=list(names),
                output_names=outputs,
                dynamic_axes=axes,
                opset_version=OPSET,
                dynamo=False,
            )
        except (nncf.InternalError, RuntimeError, torch.onnx.errors.OnnxExporterError) as error:
            raise UserError(f"NNCF cannot export this model: {error} It can be simulated only.") from error


def compare(model: LengthAdaptiveModel, engine: Engine, batches: Sequence[dict[str, Tensor]]) -> float:
    """Mean distance of an engine's logits from the simulation's, as a share of the float model's distance from it.

    Raises:
        UserError: it is more than AGREE.
    """
    quantizers = [hook for _, hook in getattr(model, HOOKS).named_hooks() if hasattr(hook, "disable_quantization")]
    simulated, real, exact = [], [], []
    for batch in batches:
        logits = _said(model, batch)
        real.append(np.abs(_run(engine, batch) - logits).ravel())
        simulated.append(logits.ravel())
        for quantizer in quantizers:
            quantizer.enabled.fill_(0)
        try:
            exact.append(np.abs(_said(model, batch) - logits).ravel())
        finally:
            for quantizer in quantizers:
                quantizer.enabled.fill_(1)
    far, allowed, spread = (np.concatenate(part) for part in (real, exact, simulated))
    share = float(far.mean() / max(float(allowed.mean()), 1e-8))
    if not far.mean() <= AGREE * allowed.mean() + EDGE * spread.std():
        raise UserError(
            f"The exported model says something else than the simulation: its logits are off by {share:.0%} of what "
            "rounding changes. On a CPU without VNNI eight-bit weights overflow: set nncf.overflow_fix to enable."
        )
    return share


def _said(model: LengthAdaptiveModel, batch: dict[str, Tensor]) -> np.ndarray:
    return _run(SimulatedEngine(model, torch.get_num_threads()), batch)


def _run(engine: Engine, batch: dict[str, Tensor]) -> np.ndarray:
    inputs = {key: value.numpy() for key, value in batch.items()}
    counts = inputs["attention_mask"].sum(1)
    lengths = np.repeat(counts[:, None], engine.layers, 1)
    return engine.run(inputs, lengths).logits


class PlainEngine:
    """A graph without drop layers, loaded by a runtime."""

    name: str

    def __init__(self, session: Session, layers: int):
        self.session, self.layers = session, layers

    def run(self, batch: Batch, lengths: np.ndarray) -> EngineOutput:
        outputs = self.session.run({key: value for key, value in batch.items() if key in self.session.inputs})
        return EngineOutput(logits_of(outputs), [batch["attention_mask"].astype(bool)] * self.layers)


class PlainOnnx(PlainEngine):
    """Any ONNX file of an encoder at full length, on onnxruntime; see `zoo.engines.base.Engine`."""

    name = "onnxruntime"

    def __init__(self, path: Path | bytes, threads: int, layers: int):
        super().__init__(onnx.load(path if isinstance(path, bytes) else path.read_bytes(), threads), layers)


class PlainOpenVino(PlainEngine):
    """The same on OpenVINO, for its own files and for models in memory, too."""

    name = "openvino"

    def __init__(self, path: Path | Any, threads: int, layers: int):
        package = openvino.runtime()
        core = package.Core()
        model = core.read_model(str(path)) if isinstance(path, Path) else path
        if not isinstance(model, package.CompiledModel):
            model = core.compile_model(model, "CPU", openvino.properties(threads))
        super().__init__(openvino.session_of(model), layers)
