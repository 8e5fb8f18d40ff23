"""onnxruntime on the int8 graph, written anew for what a batch needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from zoo.engines.base import EngineOutput, idle_layers, kept_masks
from zoo.graph import Weights, build, read


class OnnxEngine:
    """One stored file; a session for each set of drop layers in use, made when first needed.

    A session costs about the file's size in memory, and a front uses few sets.
    """

    name = "onnxruntime"

    def __init__(self, path: Path, threads: int):
        self._hold(*read(path), threads)

    def _hold(self, weights: Weights, spec: dict[str, Any], threads: int) -> None:
        """Takes a graph that is in memory."""
        self.weights, self.spec, self.threads, self.layers = weights, spec, threads, spec["layers"]
        self.sessions: dict[tuple, Any] = {}

    def session(self, active: tuple[int, ...], padded: bool) -> Any:
        if (active, padded) not in self.sessions:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = self.threads
            options.inter_op_num_threads = 1
            options.log_severity_level = 3
            # Threads that spin on after a run would slow down whatever is run next, other sessions among it.
            options.add_session_config_entry("session.force_spinning_stop", "1")
            model = build(self.weights, self.spec, "onnxruntime", active, padded)
            self.sessions[active, padded] = onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        return self.sessions[active, padded]

    def run(self, batch: dict[str, np.ndarray], lengths: np.ndarray) -> EngineOutput:
        mask = batch["attention_mask"]
        active = idle_layers(lengths, mask.sum(1), self.spec["drop_layers"])
        padded = not mask.all() or bool((lengths != lengths[:1]).any())
        session = self.session(tuple(active), padded)
        wanted = {i.name for i in session.get_inputs()}
        feed = {key: value for key, value in {**batch, "lengths": lengths}.items() if key in wanted}
        found = session.run(None, feed)
        heads, kept = found[: len(found) - len(active)], found[len(found) - len(active) :]
        return EngineOutput.of(heads, kept_masks(mask, dict(zip(active, kept, strict=True)), self.layers))
