"""What one would use instead: transformers on torch, and its export quantized by onnxruntime's own tools."""

from __future__ import annotations

import logging
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import onnxruntime
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.transformers import optimizer

from zoo import torchvision_fix
from zoo.files import read_json, sha256

torchvision_fix.mend()
from transformers import AutoModelForQuestionAnswering, BertConfig, BertForQuestionAnswering  # noqa: E402 - it imports torchvision

log = logging.getLogger(__name__)

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
Batch = dict[str, np.ndarray]
Runner = Callable[[Batch], Callable[[], object]]


def bert_base(threads: int) -> Runner:
    """A BERT-base with random weights in float32: its time does not depend on them."""
    model = BertForQuestionAnswering._from_config(BertConfig(), attn_implementation="sdpa")  # pyright: ignore[reportPrivateUsage]
    return _on_torch(model, threads)


def pretrained(folder: Path, threads: int) -> Runner:
    """A checkpoint by transformers in float32."""
    return _on_torch(_load(folder, "sdpa"), threads)


def compiled(folder: Path, threads: int) -> Runner:
    """A checkpoint by transformers in bf16, compiled by torch for each length; `prepare` compiles."""
    model = _load(folder, "sdpa").to(torch.bfloat16)
    prepare = _on_torch(cast(torch.nn.Module, torch.compile(model, dynamic=False)), threads)

    def prepare_and_compile(batch: Batch) -> Callable[[], object]:
        run = prepare(batch)
        run()
        return run

    return prepare_and_compile


def integer_products(folder: Path, threads: int) -> Runner:
    """No model, but a bound for every one: the products of the checkpoint's layers alone, integers in and out.

    oneDNN multiplies bytes of the input by 8-bit weights, four times a layer: queries, keys and values at once, the
    output of attention, and the two of the feed-forward. Numbers are random, since they do not matter to the time.
    """
    config = read_json(folder / "config.json")
    hidden, inner, layers = (config[key] for key in ("hidden_size", "intermediate_size", "num_hidden_layers"))
    torch.set_num_threads(threads)
    generator = torch.Generator().manual_seed(0)
    shapes = [(hidden, 3 * hidden), (hidden, hidden), (hidden, inner), (inner, hidden)]

    def numbers(low: int, high: int, shape: tuple[int, int], dtype: torch.dtype) -> torch.Tensor:
        return torch.randint(low, high, shape, dtype=dtype, generator=generator)

    weights = [
        [
            torch.ops.onednn.qlinear_prepack(numbers(-127, 128, (outputs, inputs), torch.int8), None)
            for inputs, outputs in shapes
        ]
        for _ in range(layers)
    ]

    def prepare(batch: Batch) -> Callable[[], object]:
        rows = batch["input_ids"].size
        inputs = {width: numbers(0, 256, (rows, width), torch.uint8) for width in (hidden, inner)}
        ones = {width: torch.ones(width) for _, width in shapes}
        zeros = {width: torch.zeros(width, dtype=torch.long) for _, width in shapes}

        def run() -> object:
            out = None
            for layer in weights:
                for (width, wide), weight in zip(shapes, layer, strict=True):
                    out = torch.ops.onednn.qlinear_pointwise(
                        inputs[width],
                        0.01,
                        128,
                        weight,
                        ones[wide],
                        zeros[wide],
                        None,
                        1000.0,
                        128,
                        torch.uint8,
                        "none",
                        [],
                        "",
                    )
            return out

        return run

    return prepare


def onnxruntime_int8(folder: Path, cache: Path, threads: int, reduce_range: bool) -> Runner:
    """The checkpoint exported, fused by onnxruntime's transformer optimizer and dynamically quantized."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.force_spinning_stop", "1")  # as ours, so that neither slows the other
    path = _made(_dynamic, folder, cache, reduce_range)
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    inputs = [port.name for port in session.get_inputs()]

    def prepare(batch: Batch) -> Callable[[], object]:
        # The optimizer's embedding operator takes 32-bit ids.
        kinds = {port.name: np.int32 if "int32" in port.type else np.int64 for port in session.get_inputs()}
        feed = {name: batch[name].astype(kinds[name]) for name in inputs}
        return lambda: session.run(None, feed)

    return prepare


def openvino_int8(
    folder: Path, cache: Path, threads: int, reduce_range: bool, samples: list[Batch], hint: str = "f32"
) -> Runner:
    """The checkpoint exported and statically quantized (calibrated on `samples`), run by OpenVINO.

    `hint` is what it computes in between the integers: "f32" or "bf16".
    """
    import openvino

    core = openvino.Core()
    path = _made(_static, folder, cache, reduce_range, samples)
    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": hint,
    }
    request = core.compile_model(core.read_model(path), "CPU", settings).create_infer_request()
    inputs = [port.get_any_name() for port in request.model_inputs]

    def prepare(batch: Batch) -> Callable[[], object]:
        feed = {name: batch[name] for name in inputs}
        return lambda: request.infer(feed, share_inputs=True, share_outputs=True)

    return prepare


def _on_torch(model: torch.nn.Module, threads: int) -> Runner:
    torch.set_num_threads(threads)
    model.eval()

    def prepare(batch: Batch) -> Callable[[], object]:
        feed = {name: torch.from_numpy(batch[name]) for name in INPUTS}

        def run() -> object:
            with torch.inference_mode():
                return model(**feed)

        return run

    return prepare


def _load(folder: Path, attention: str) -> Any:
    return AutoModelForQuestionAnswering.from_pretrained(
        str(folder), dtype=torch.float32, attn_implementation=attention, local_files_only=True, use_safetensors=True
    ).eval()


def _made(make: Callable[..., None], folder: Path, cache: Path, *arguments: Any) -> Path:
    """The file that `make` writes, kept from run to run for the same weights."""
    reduce_range = arguments[0]
    path = cache / sha256(folder / "model.safetensors")[:16] / f"{make.__name__[1:]}{'-7bit' * reduce_range}.onnx"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as draft:
            made = Path(draft) / "made.onnx"
            make(folder, made, *arguments)
            os.replace(made, path)
        log.info("made %s", path.name)
    return path


def _export(folder: Path, path: Path) -> None:
    class Logits(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            # Only eager attention is recognized by the optimizer.
            self.model = _load(folder, "eager")

        def forward(
            self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor
        ) -> tuple[Any, Any]:
            out = self.model(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)
            return out.start_logits, out.end_logits

    outputs = ["start_logits", "end_logits"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracing exporter is deprecated, and the only one whose graph is fused
        torch.onnx.export(
            Logits().eval(),
            tuple(torch.ones(1, 16, dtype=torch.int64) for _ in INPUTS),
            str(path),
            input_names=list(INPUTS),
            output_names=outputs,
            dynamic_axes={name: {0: "batch", 1: "tokens"} for name in (*INPUTS, *outputs)},
            opset_version=17,
            dynamo=False,
        )


def _dynamic(folder: Path, path: Path, reduce_range: bool) -> None:
    plain, fused = path.with_name("plain.onnx"), path.with_name("fused.onnx")
    _export(folder, plain)
    config = read_json(folder / "config.json")
    optimizer.optimize_model(
        str(plain),
        model_type="bert",
        num_heads=config["num_attention_heads"],
        hidden_size=config["hidden_size"],
        opt_level=0,
    ).save_model_to_file(str(fused))
    quantize_dynamic(
        str(fused),
        str(path),
        weight_type=QuantType.QInt8,
        per_channel=True,
        reduce_range=reduce_range,
        extra_options={"MatMulConstBOnly": True, "DefaultTensorType": 1},
    )


def _static(folder: Path, path: Path, reduce_range: bool, samples: list[Batch]) -> None:
    class Samples(CalibrationDataReader):
        def __init__(self) -> None:
            self.left: Iterator[Batch] = iter(samples)

        def get_next(self) -> Batch | None:  # type: ignore[override]
            return next(self.left, None)

    plain, shaped = path.with_name("plain.onnx"), path.with_name("shaped.onnx")
    _export(folder, plain)
    quant_pre_process(str(plain), str(shaped), skip_symbolic_shape=True)
    graph = onnx.load(str(shaped)).graph
    stored = {tensor.name for tensor in graph.initializer}
    chosen = [
        node.name
        for node in graph.node
        if (node.op_type == "MatMul" and node.input[1] in stored)
        or (node.op_type == "Gather" and node.input[0] in stored)
    ]
    quantize_static(
        str(shaped),
        str(path),
        Samples(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        reduce_range=reduce_range,
        weight_type=QuantType.QInt8,
        activation_type=QuantType.QUInt8,
        nodes_to_quantize=chosen,
        op_types_to_quantize=["MatMul", "Gather"],
        # Attention's own products and every sum stay in float: quantizing them costs accuracy and saves nothing.
        extra_options={"OpTypesToExcludeOutputQuantization": ["MatMul", "Gather"]},
    )
