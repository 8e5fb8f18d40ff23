"""The encoder's graph as other programs expect one: at full length, with the usual inputs and outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from zoo.graph import INPUTS, Graph, State
from zoo.operators import Weights

if TYPE_CHECKING:
    import onnx

STATES = "last_hidden_state"  # what they pool into a vector themselves


class StandardGraph(Graph):
    """The graph without lengths, on the same integers; of an encoder without a head the states of its tokens."""

    def __init__(self, weights: Weights, spec: dict[str, Any]):
        super().__init__(weights, spec, "portable", padded=True)

    @property
    def taken(self) -> Sequence[str]:
        """Those of the usual inputs that a node reads: not every family has token types."""
        read = {name for node in self.nodes for name in node.input}
        return [name for name in INPUTS if name in read]

    @property
    def columns(self) -> list[Any]:
        return ["batch", "tokens", self.width] if STATES in self.results else super().columns

    def head(self, state: State) -> None:
        if self.task.reads == "pooled":
            self.results = {STATES: self.finish(state.x)}
        else:
            super().head(state)

    def model(self) -> onnx.ModelProto:
        model = super().model()
        del model.metadata_props[:]  # by which this program knows its own
        return model


def build_standard(weights: Weights, spec: dict[str, Any]) -> onnx.ModelProto:
    """Writes the graph at full length.

    Args:
        weights, spec: as `zoo.graph.read` gives them.

    Returns:
        A model with the int64 inputs `input_ids`, `attention_mask` and, where the family has them, `token_type_ids`
        `[batch, tokens]`, and the outputs of `zoo.graph.build` without places; for embeddings `last_hidden_state`
        `[batch, tokens, hidden]`.
    """
    graph = StandardGraph(weights, spec)
    state = graph.inputs()
    for i in range(spec["layers"]):
        state = graph.layer(i, state, drops=False)
    graph.head(state)
    return graph.model()
