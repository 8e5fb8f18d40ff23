"""onnxruntime on the int8 graph."""

from __future__ import annotations

from typing import Any

import numpy as np

from zoo.engines.base import Batch, GraphEngine, Session, register


@register
class OnnxEngine(GraphEngine):
    """Runs the graph with onnxruntime's own fused operators."""

    name, label, package = "onnxruntime", "ONNX Runtime", "onnxruntime"
    dialect = name

    def load(self, graph: bytes) -> Session:
        return load(graph, self.threads)

    @classmethod
    def load_stock(cls, graph: bytes, threads: int) -> Session:
        return load(graph, threads)


def load(graph: bytes, threads: int, optimized: bool = True) -> Session:
    """Any ONNX graph in onnxruntime.

    Args:
        graph: the file's bytes.
        threads: of the runtime.
        optimized: by its own operators; else as it is written, quantize-dequantize pairs in float.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if not optimized:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    # Threads that spin on after a run would slow down whatever is run next, other sessions among it.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session: Any = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    def run(feed: Batch) -> list[np.ndarray]:
        return session.run(None, feed)

    outputs = tuple(part.name for part in session.get_outputs())
    return Session(frozenset(part.name for part in session.get_inputs()), run, outputs)
