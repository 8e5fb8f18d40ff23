"""AIMET's own ONNX file of a simulation, with QuantizeLinear and DequantizeLinear; kept only if it tells the truth."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch

from compress.aimet.backend import load, quiet
from compress.aimet.simulation import INPUTS, Simulated
from zoo.catalog import examples
from zoo.checkpoints import most_tokens
from zoo.errors import UserError
from zoo.features import Tokenizer, make_texts, pad

FILE = "model.aimet.qdq.onnx"
OPSET = 17
ALLOWED = 0.05  # mean distance of logits from the simulation's, as a share of their spread


def export(model: Simulated, tokenizer: Tokenizer, out: Path) -> dict[str, Any]:
    """Writes `FILE` and runs it on onnxruntime beside the simulation.

    Args:
        model: of scope deploy; of scope full, what runtimes make of AIMET's file is far off.
        tokenizer: the model's, for the bundled questions that both are compared on.
        out: a folder.

    Returns:
        `file`, its `bytes`, and the mean `distance` of the logits as a share of their spread. A file that is off by
        more than is allowed is not kept, and `file` says so.

    Raises:
        UserError: AIMET or torch cannot write it.
    """
    batch = examples_for(model.config, tokenizer)
    net = _exportable(model)
    out.mkdir(parents=True, exist_ok=True)
    unfinished, path = out / f"{FILE}.tmp", out / FILE
    axes = {name: {0: "batch", 1: "tokens"} for name in INPUTS}
    try:
        with quiet(), torch.no_grad():
            load().onnx.export(
                net,
                tuple(batch.values()),
                str(unfinished),
                dynamo=False,
                opset_version=OPSET,
                prequantize_constants=True,
                export_int32_bias=False,
                input_names=list(INPUTS),
                output_names=["logits"],
                dynamic_axes={**axes, "logits": {0: "batch", **({1: "tokens"} if model.head.per_token else {})}},
            )
    except (RuntimeError, ValueError, TypeError, KeyError) as error:
        unfinished.unlink(missing_ok=True)
        first = (str(error).strip() or repr(error)).splitlines()[0]
        raise UserError(f"AIMET could not write its ONNX file ({first}): set quantize.aimet_onnx to false.") from error
    off = _distance(model, unfinished, batch)
    if not off <= ALLOWED:
        unfinished.unlink()
        verdict = f"not kept: on onnxruntime its logits are off the simulation's by {off:.0%} of their spread"
        return {"file": verdict, "distance": off}
    unfinished.replace(path)
    return {"file": path.name, "bytes": path.stat().st_size, "distance": off}


def _exportable(model: Simulated) -> Any:
    """The same numbers without what the exporter knows not: hooks that round, and seven-bit weights."""
    net: Any = copy.deepcopy(model.net)
    with torch.no_grad():
        net.words.weight.copy_(net.words(torch.arange(net.words.num_embeddings)).as_subclass(torch.Tensor))
        linears: list[Any] = [module for module in net.modules() if isinstance(module, torch.nn.Linear)]
        for module in linears:
            quantizer = module.param_quantizers["weight"]
            if quantizer is not None and quantizer.bitwidth == 7:
                scale = quantizer.get_scale()
                module.weight.copy_(quantizer(module.weight).as_subclass(torch.Tensor))
                quantizer.bitwidth = 8
                quantizer.set_range(-128 * scale, 127 * scale)
    net.words._forward_hooks.clear()
    return net


def examples_for(config: dict[str, Any], tokenizer: Tokenizer) -> dict[str, torch.Tensor]:
    """A batch of bundled questions, each beside its passage, that a model of this configuration has positions for."""
    texts = examples()[:4]
    longest = most_tokens(config, 128)
    windows = make_texts(tokenizer, [e["question"] for e in texts], [e["context"] for e in texts], longest)
    batch = pad(windows, tokenizer.pad_token_id)
    return {name: torch.from_numpy(batch[name]) for name in INPUTS}


def _distance(model: Simulated, path: Path, batch: dict[str, torch.Tensor]) -> float:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    inputs = {port.name for port in session.get_inputs()}
    got: Any = session.run(None, {name: value.numpy() for name, value in batch.items() if name in inputs})[0]
    with torch.no_grad():
        expected = model(**batch).logits.numpy()
    real = batch["attention_mask"].bool().numpy() if model.head.per_token else slice(None)
    return float(np.abs(got[real] - expected[real]).mean() / max(float(expected[real].std()), 1e-6))
