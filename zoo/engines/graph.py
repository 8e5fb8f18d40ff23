"""What the engines of the int8 graph share: one stored file, written anew for what a batch needs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from zoo.engines.base import GRAPH, Batch, EngineClass, EngineOutput, dropping_layers, kept_masks, logits_of
from zoo.graph import build, read
from zoo.operators import Weights


@dataclass(frozen=True)
class Session:
    """A graph that a runtime has loaded: the names of its inputs, and what runs it."""

    inputs: frozenset[str]
    run: Callable[[Batch], list[np.ndarray]]


class GraphEngine(EngineClass):
    """Runs an int8 graph; a session for each set of drop layers in use, made when first needed.

    A session costs about the file's size in memory, and a front uses few sets.

    Args:
        weights, spec: as `zoo.graph.read` gives them.
        threads: of the runtime.
    """

    precision = "int8"
    opens = GRAPH

    def __init__(self, weights: Weights, spec: dict[str, Any], threads: int):
        self.weights, self.spec, self.threads, self.layers = weights, spec, threads, int(spec["layers"])
        self.sessions: dict[tuple[tuple[int, ...], bool], Session] = {}

    @classmethod
    def open(cls, folder: Path, threads: int) -> Self:
        return cls(*read(folder / GRAPH), threads)

    @abstractmethod
    def load(self, graph: bytes) -> Session:
        """A graph in the engine's dialect, loaded by its runtime."""

    def session(self, active: tuple[int, ...], padded: bool) -> Session:
        """What runs batches that lose tokens at the layers `active`."""
        if (active, padded) not in self.sessions:
            graph = build(self.weights, self.spec, self.name, active, padded)
            self.sessions[active, padded] = self.load(graph.SerializeToString())
        return self.sessions[active, padded]

    def run(self, batch: Batch, lengths: np.ndarray) -> EngineOutput:
        mask = batch["attention_mask"]
        active = dropping_layers(lengths, mask.sum(1), self.spec["drop_layers"])
        padded = not mask.all() or bool((lengths != lengths[:1]).any())
        session = self.session(tuple(active), padded)
        inputs = {**batch, "lengths": lengths}
        outputs = session.run({name: inputs[name] for name in inputs if name in session.inputs})
        heads, positions = outputs[: len(outputs) - len(active)], outputs[len(outputs) - len(active) :]
        return EngineOutput(logits_of(heads), kept_masks(mask, dict(zip(active, positions, strict=True)), self.layers))
