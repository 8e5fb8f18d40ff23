"""OpenVINO on the int8 graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np

from zoo.engines.base import Batch, GraphEngine, Properties, Session, read_graph, register
from zoo.errors import UserError
from zoo.latency import multiplies_bf16
from zoo.operators import Weights

# Kept by a compiled graph for shapes seen before. One input at one budget needs 40: with 16 each was made anew at every
# run, 3 of 14 ms. By default it keeps 5,000, and 400 questions of all lengths take 1.7 GB.
KERNELS = 64


@register
class OpenVinoEngine(GraphEngine):
    """Runs the same file as `OnnxEngine` does.

    Args:
        weights, spec, threads: see `GraphEngine`.
        options: OpenVINO's own properties, beside and before those that are set here.

    Raises:
        UserError: OpenVINO is not installed.
    """

    name, label, package = "openvino", "OpenVINO", "openvino"
    dialect = name
    hint = "f32"  # what is computed between the integers

    def __init__(self, weights: Weights, spec: dict[str, Any], threads: int, options: Properties | None = None):
        super().__init__(weights, spec, threads)
        self.core, self.options = runtime().Core(), options or {}

    @classmethod
    def open(cls, folder: Path, threads: int, options: Properties | None = None) -> Self:
        return cls(*read_graph(folder), threads, options)

    @classmethod
    def load_stock(cls, graph: bytes, threads: int) -> Session:
        core = runtime().Core()
        return session_of(core.compile_model(core.read_model(graph, b""), "CPU", properties(threads, cls.hint)))

    def load(self, graph: bytes) -> Session:
        return session_of(
            self.core.compile_model(
                self.core.read_model(graph, b""), "CPU", {**properties(self.threads, self.hint), **self.options}
            )
        )


@register
class OpenVinoBf16Engine(OpenVinoEngine):
    """Computes in bf16 what lies between the integers: attention, norms and GELU."""

    name, label, beside = "openvino-bf16", "OpenVINO (bf16)", OpenVinoEngine.name
    hint = "bf16"

    @classmethod
    def refusal(cls) -> str:
        if multiplies_bf16():
            return ""
        return "This CPU does not multiply bf16 numbers, so OpenVINO would compute in float32: choose openvino."


def runtime(instead: str = "onnxruntime") -> Any:
    """The package.

    Args:
        instead: what else to choose where it is absent.

    Raises:
        UserError: it is not installed.
    """
    try:
        import openvino
    except ImportError as error:
        raise UserError(f"OpenVINO is not installed: `pip install openvino`, or choose {instead}.") from error
    return openvino


def properties(threads: int, hint: str = "f32") -> Properties:
    """How a model is compiled here: for one input at a time.

    Args:
        threads: of the runtime.
        hint: what is computed between the integers, "f32" or "bf16".
    """
    return {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": hint,
        "CPU_RUNTIME_CACHE_CAPACITY": KERNELS,
    }


def session_of(compiled: Any) -> Session:
    """What runs a compiled model."""
    request = compiled.create_infer_request()

    def run(feed: Batch) -> list[np.ndarray]:
        request.infer(feed, share_inputs=True)
        return [request.get_output_tensor(i).data.copy() for i in range(len(request.model_outputs))]

    outputs = tuple(port.get_any_name() for port in request.model_outputs)
    # An input has the names of what only passes it on, too; its node has the graph's own.
    return Session(frozenset(port.get_node().get_friendly_name() for port in request.model_inputs), run, outputs)
