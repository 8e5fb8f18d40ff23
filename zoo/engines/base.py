"""What every engine is and declares of itself, what a run gives, and what the engines of the int8 graph share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

import numpy as np

from zoo.checkpoints import normalized, read_config
from zoo.errors import UserError, told
from zoo.graph import MODEL_FILE, build, read
from zoo.lazily import Lazy
from zoo.operators import Weights
from zoo.significance import NAME as SIGNIFICANCE
from zoo.tensors import INTEGERS as INTEGERS

if TYPE_CHECKING:
    import torch
else:
    torch = Lazy("torch")

GRAPH, TENSORS = MODEL_FILE, "model.safetensors"  # the forms of weights that an entry may hold, beside `INTEGERS`
THEIRS = "model.safetensors of transformers"  # the same file, of a family that transformers computes
# Of one graph in memory, each for a set of drop layers. At the lengths of a sentence, where what is left of it is
# rounded, the points of a bundled front have seven, full length among them; a rare one goes again.
SESSIONS = 8
Batch = dict[str, np.ndarray]
Properties = dict[str, Any]  # of a runtime, by its own names


@dataclass
class EngineOutput:
    """What an engine computes for one batch.

    Attributes:
        logits: as `zoo.modeling.Output.logits`, float32: `[batch, tokens, 2]` (start, end) for question answering,
            `[batch, labels]` for classification.
        kept: for every layer the tokens alive after it, bool `[batch, tokens]`.
    """

    logits: np.ndarray
    kept: list[np.ndarray] = field(default_factory=list)

    @property
    def start(self) -> np.ndarray:
        """Of question answering the logits of an answer's first token, `[batch, tokens]`."""
        return self.logits[..., 0]

    @property
    def end(self) -> np.ndarray:
        """Of question answering the logits of an answer's last token, `[batch, tokens]`."""
        return self.logits[..., 1]


class Engine(Protocol):
    """A loaded model."""

    name: str
    layers: int

    def run(self, batch: Batch, lengths: np.ndarray) -> EngineOutput:
        """Runs one batch: int64 arrays `input_ids`, `attention_mask`, `token_type_ids` `[batch, tokens]` and `lengths`
        `[batch, layers]`, the tokens that go on after each layer."""
        ...


class EngineClass(ABC):
    """An engine of the program: what its file declares, and how it is opened. `register` makes it one.

    The file of an engine is imported by the page, so it imports its package when a model is opened.

    Attributes:
        name: what commands, recipes and links call it.
        label: what the page calls it.
        package: the package that has to be installed, by the name that Python imports.
        precision: "int8", "fp32" or "bf16".
        opens: the file of weights that it runs: `GRAPH`, `TENSORS`, `THEIRS`, `INTEGERS`, or another that no entry
            holds.
        beside: the engine of the same weights that every machine has, where this one needs more of the machine.
        device: what it computes on, as torch calls it.
    """

    name: str
    label: str
    package: str
    precision: str
    opens: str
    beside: str = ""
    device: str = "cpu"
    layers: int

    @classmethod
    @abstractmethod
    def open(cls, folder: Path, threads: int) -> Self:
        """The model of a folder, loaded.

        Raises:
            UserError: its package is absent, or the folder holds nothing for it.
        """

    @classmethod
    def refusal(cls) -> str:
        """Why this machine does not run it, as a sentence; empty where it does."""
        return ""

    def to_cpu(self) -> None:  # noqa: B027 - most have nothing to do
        """Runs on the CPU from now on, as graphs do anyway."""

    @abstractmethod
    def run(self, batch: Batch, lengths: np.ndarray) -> EngineOutput:
        """See `Engine.run`."""


REGISTRY: dict[str, type[EngineClass]] = {}
C = TypeVar("C", bound=EngineClass)


def register(engine: type[C]) -> type[C]:
    """Makes a class an engine of the program."""
    REGISTRY[engine.name] = engine
    return engine


@contextmanager
def torch_threads(count: int) -> Generator[None]:
    """torch computes in so many threads inside, and in as many as before afterwards: its count is the process's."""
    before = torch.get_num_threads()
    if before != count:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        if before != count:
            torch.set_num_threads(before)


def kept_masks(mask: np.ndarray, positions: dict[int, np.ndarray], layers: int) -> list[np.ndarray]:
    """Per layer which tokens are alive, from the positions that each drop gave (`[batch, longest]`, -1 for none)."""
    alive, masks = mask.astype(bool), list[np.ndarray]()
    for i in range(layers):
        if i in positions:
            alive = np.zeros_like(alive)
            for row, places in enumerate(positions[i]):
                alive[row, places[places >= 0]] = True
        masks.append(alive)
    return masks


def dropping_layers(lengths: np.ndarray, counts: np.ndarray, drop_layers: list[int]) -> list[int]:
    """The drop layers at which some row really loses tokens (`counts`: real tokens, `[batch]`)."""
    active, before = list[int](), counts
    for i in drop_layers:
        goal = np.minimum(np.maximum(lengths[:, i], 2), before)
        if (goal < before).any():
            active.append(i)
        before = goal
    return active


def logits_of(outputs: list[np.ndarray]) -> np.ndarray:
    """The logits from a graph's outputs: start and end side by side, or a classifier's alone."""
    return outputs[0] if len(outputs) == 1 else np.stack(outputs, -1)


@dataclass(frozen=True)
class Session:
    """A graph that a runtime has loaded: the names of its inputs, and what runs it."""

    inputs: frozenset[str]
    run: Callable[[Batch], list[np.ndarray]]
    outputs: tuple[str, ...] = ()


def read_graph(folder: Path) -> tuple[Weights, dict[str, Any]]:
    """Weights and spec of the graph in a folder, which has the layers that its `config.json` states.

    Raises:
        UserError: it is none of this program's, or of another model.
    """
    weights, spec = read(folder / GRAPH)
    config = normalized(read_config(folder)) if (folder / "config.json").is_file() else {}
    stated = config.get("num_hidden_layers", spec["layers"])
    if stated != spec["layers"]:
        raise UserError(
            f"{folder / GRAPH} has {spec['layers']} layers, by config.json there are {stated}. They do not belong "
            "together: restore the files that were saved together."
        )
    return weights, spec


class GraphEngine(EngineClass):
    """Runs an int8 graph; a session for each set of drop layers in use, made when first needed.

    A session costs about the file's size in memory, and a tenth of a second. A front uses few sets; whoever asks for
    configurations of all kinds has those made last. Batches, of which each may lose tokens elsewhere, share one for all
    layers from the first such one on, where scorers rank: one that drops nothing takes 1 to 8 % more there.

    Args:
        weights, spec: as `zoo.graph.read` gives them.
        threads: of the runtime.

    Attributes:
        dialect: the engine whose operators the graph is made of, see `zoo.graph.build`.
    """

    precision = "int8"
    opens = GRAPH
    dialect: str

    def __init__(self, weights: Weights, spec: dict[str, Any], threads: int):
        self.weights, self.spec, self.threads, self.layers = weights, spec, threads, int(spec["layers"])
        self.sessions: dict[tuple[tuple[int, ...], bool], Session] = {}
        self.has_scorers = any(name.startswith(f"{SIGNIFICANCE}.") for name in weights)

    @classmethod
    def open(cls, folder: Path, threads: int) -> Self:
        return cls(*read_graph(folder), threads)

    @classmethod
    @abstractmethod
    def load_stock(cls, graph: bytes, threads: int) -> Session:
        """A graph of another program, loaded by the runtime."""

    @abstractmethod
    def load(self, graph: bytes) -> Session:
        """A graph in the engine's dialect, loaded by its runtime."""

    def session(self, active: tuple[int, ...], padded: bool) -> Session:
        """What runs batches that lose tokens at the layers `active`."""
        session = self.sessions.pop((active, padded), None)
        if session is None:
            with told(f"The graph does not run on {self.label}"):
                graph = build(self.weights, self.spec, self.dialect, active, padded)
                session = self.load(graph.SerializeToString())
        self.sessions[active, padded] = session  # behind all that were used before
        if len(self.sessions) > SESSIONS:
            del self.sessions[next(iter(self.sessions))]
        return session

    def run(self, batch: Batch, lengths: np.ndarray) -> EngineOutput:
        mask = batch["attention_mask"]
        active = dropping_layers(lengths, mask.sum(1), self.spec["drop_layers"])
        padded = not mask.all() or bool((lengths != lengths[:1]).any())
        if active and len(mask) > 1 and self.has_scorers:
            active = [layer for layer in self.spec["drop_layers"] if layer >= active[0]]
        session = self.session(tuple(active), padded)
        inputs = {**batch, "lengths": lengths}
        with told(f"The graph does not run on {self.label}"):
            outputs = session.run({name: inputs[name] for name in inputs if name in session.inputs})
        heads, positions = outputs[: len(outputs) - len(active)], outputs[len(outputs) - len(active) :]
        return EngineOutput(logits_of(heads), kept_masks(mask, dict(zip(active, positions, strict=True)), self.layers))
