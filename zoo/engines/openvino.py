"""OpenVINO on the same int8 file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from zoo.engines.base import EngineOutput, idle_layers, kept_masks
from zoo.errors import UserError
from zoo.graph import Weights, build, read


class OpenVinoEngine:
    """As `OnnxEngine`: a compiled model for each set of drop layers in use.

    Args:
        options: OpenVINO's own properties, beside and before those that are set here.
    """

    name = "openvino"

    def __init__(self, path: Path, threads: int, options: dict[str, Any] | None = None):
        self._hold(*read(path), threads, options)

    def _hold(
        self, weights: Weights, spec: dict[str, Any], threads: int, options: dict[str, Any] | None = None
    ) -> None:
        """Takes a graph that is in memory."""
        try:
            import openvino
        except ImportError as error:
            raise UserError("OpenVINO is not installed: `pip install openvino`, or choose onnxruntime.") from error
        self.core, self.options = openvino.Core(), options or {}
        self.weights, self.spec, self.threads, self.layers = weights, spec, threads, spec["layers"]
        self.compiled: dict[tuple, Any] = {}

    def request(self, active: tuple[int, ...], padded: bool) -> Any:
        if (active, padded) not in self.compiled:
            model = build(self.weights, self.spec, "openvino", active, padded)
            compiled = self.core.compile_model(
                self.core.read_model(model.SerializeToString(), b""),
                "CPU",
                {
                    "INFERENCE_NUM_THREADS": self.threads,
                    "NUM_STREAMS": 1,
                    "PERFORMANCE_HINT": "LATENCY",
                    "INFERENCE_PRECISION_HINT": "f32",
                    **self.options,
                },
            )
            self.compiled[active, padded] = compiled.create_infer_request()
        return self.compiled[active, padded]

    def run(self, batch: dict[str, np.ndarray], lengths: np.ndarray) -> EngineOutput:
        mask = batch["attention_mask"]
        active = idle_layers(lengths, mask.sum(1), self.spec["drop_layers"])
        padded = not mask.all() or bool((lengths != lengths[:1]).any())
        request = self.request(tuple(active), padded)
        wanted = {port.get_any_name() for port in request.model_inputs}
        feed = {key: value for key, value in {**batch, "lengths": lengths}.items() if key in wanted}
        request.infer(feed, share_inputs=True)
        found = [request.get_output_tensor(i).data.copy() for i in range(len(request.model_outputs))]
        heads, kept = found[: len(found) - len(active)], found[len(found) - len(active) :]
        return EngineOutput.of(heads, kept_masks(mask, dict(zip(active, kept, strict=True)), self.layers))
