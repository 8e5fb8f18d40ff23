"""The length-adaptive encoder as an ONNX graph, written operator by operator.

One set of initializers serves three dialects. `portable` is what is stored: standard operators, quantize-dequantize
pairs, padded batches, lengths as an input; any runtime can run it. The engines write it anew for the drop layers that
a budget uses: `openvino` leaves the drop operators of idle layers out, `onnxruntime` also takes its fused operators,
among them an attention that does not store its probabilities, where no token has to be scored.

Two rearrangements leave every number as it is and save time: tokens are dropped before the attention's output
projection instead of after it (it works row by row), and the two logits of dropped tokens are restored instead of
their hidden states (the head works row by row).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.errors import UserError, reason_of
from zoo.families import family_of
from zoo.families.rotary import turned, within
from zoo.files import parse_json
from zoo.graph_heads import (
    class_logits,
    every_token,
    gone_states,
    named_outputs,
    real_logits,
    text_vector,
    token_logits,
)
from zoo.graph_scorer import scored
from zoo.graph_spec import fault_of
from zoo.lazily import Lazy
from zoo.onnx_files import OURS, whole
from zoo.operators import Nodes, Weights
from zoo.significance import NAME as SIGNIFICANCE
from zoo.task_types import TASK_TYPES
from zoo.tasks import QUESTIONS

if TYPE_CHECKING:
    import onnx
    from onnx import helper, numpy_helper
else:
    onnx, helper, numpy_helper = Lazy("onnx"), Lazy("onnx.helper"), Lazy("onnx.numpy_helper")

MASK = -1e4
OPSET = 20
META = "budget_zoo"
SAME = "same"  # in what META holds: names of weights that are others under another name
INPUTS = ("input_ids", "attention_mask", "token_type_ids", "lengths")
KEPT = "kept_"  # begins the names of outputs that tell places


@dataclass(frozen=True)
class State:
    """Names of what goes from layer to layer.

    Attributes:
        x: the tokens that are left, `[batch, tokens, hidden]`.
        alive: 1 for real tokens and 0 for others, `[batch, tokens]`; None where inputs are never padded.
        where: their places in the input; None while all are left.
        bias: what is added to scores of attention; None where the next layer makes it.
        restored: logits of every token so far, or what the states of dropped tokens add to a vector; None while all
            are left.
    """

    x: str
    alive: str | None
    where: str | None = None
    bias: str | None = None
    restored: str | None = None


class Graph(Nodes):
    """An encoder's graph: `inputs`, its layers one after the other, and its `head`."""

    def __init__(self, weights: Weights, spec: dict[str, Any], dialect: str, padded: bool):
        super().__init__(weights, dialect, spec["eps"])
        self.spec, self.padded = spec, padded
        self.family = family_of(spec["family"])
        self.task = TASK_TYPES[spec.get("head", QUESTIONS.name)]
        self.reads: str = spec.get("reads", self.task.reads)
        last = self.task.layers[-1] if self.task.layers else "layers.0.output_norm"
        self.width = len(weights[f"{last}.bias"])  # of what comes out
        self.results: dict[str, str] = {}  # outputs of the graph, by their names

    def embed(self) -> str:
        ids, types = "input_ids", "token_type_ids"
        if "words.q" in self.weights:
            rows = self.op("Cast", self.op("Gather", self.weight("words.q"), ids), to=1)
            if "words.zero" in self.weights:
                zeros = self.op("Cast", self.op("Gather", self.weight("words.zero"), ids), to=1)
                rows = self.op("Sub", rows, zeros)
            words = self.op("Mul", rows, self.op("Gather", self.weight("words.scale"), ids))
        else:
            words = self.op("Gather", self.weight("words.w"), ids)
        if self.family.counts_tokens:
            pad = self.const(self.spec["pad"])
            real = self.op("Cast", self.op("Not", self.op("Equal", ids, pad)), to=7)
            count = self.op("CumSum", real, self.const(1))
            position = self.op("Gather", self.weight("positions.w"), self.op("Add", self.op("Mul", count, real), pad))
        elif self.family.rotary:
            return self.normed("norm", words)
        else:
            span = self.op(
                "Range", self.const(0), self.op("Squeeze", self.size(ids, 1), self.const([0])), self.const(1)
            )
            position = self.op("Gather", self.weight("positions.w"), span)
        if "types.w" in self.weights:
            words = self.op("Add", words, self.op("Gather", self.weight("types.w"), types))
        x = self.add_norm("norm", words, position)
        return self.linear("widen", x) if "widen.w" in self.weights else x

    def split_heads(self, x: str, order: Sequence[int]) -> str:
        heads = self.spec["heads"]
        return self.op("Transpose", self.op("Reshape", x, self.const([0, 0, heads, -1])), perm=list(order))

    def attention(
        self, i: int, x: str, bias: str | None, scored: bool, where: str | None = None
    ) -> tuple[str, str | None]:
        """Mixed values `[batch, tokens, hidden]` before the projection, and probabilities (where scored, always)."""
        packed = self.linear(f"layers.{i}.qkv", x)
        q, k, v = self.op("Split", packed, outputs=3, axis=-1, num_outputs=3)
        if self.family.rotary:
            theta, reach = self.spec["turns"][i]
            q, k = turned(self, theta, q, where), turned(self, theta, k, where)
            bias = within(self, reach, bias, x, where) if reach else bias
        if self.ort and not scored:
            extra = ["", "", bias] if bias else []
            mixed = self.op(
                "MultiHeadAttention",
                q,
                k,
                v,
                *extra,
                domain="com.microsoft",
                num_heads=self.spec["heads"],
                scale=1.0,
                mask_filter_value=MASK,
            )
            return mixed, None
        q, v = self.split_heads(q, (0, 2, 1, 3)), self.split_heads(v, (0, 2, 1, 3))
        scores = self.op("MatMul", q, self.split_heads(k, (0, 2, 3, 1)))
        probabilities = self.op("Softmax", self.op("Add", scores, bias) if bias else scores, axis=-1)
        mixed = self.op("Transpose", self.op("MatMul", probabilities, v), perm=[0, 2, 1, 3])
        return self.op("Reshape", mixed, self.const([0, 0, -1])), probabilities

    def inputs(self) -> State:
        """The embedded tokens, before the first layer."""
        return State(self.embed(), self.op("Cast", "attention_mask", to=1) if self.padded else None)

    def layer(self, i: int, state: State, drops: bool) -> State:
        """One layer; where it drops tokens, those that go on and what is restored of the others."""
        x, alive, where, bias, restored = state.x, state.alive, state.where, state.bias, state.restored
        if bias is None:
            bias = self.bias(state)
        first = f"layers.{i}.attention_norm"
        before = self.normed(first, x) if self.family.rotary and f"{first}.weight" in self.weights else x
        learned = f"{SIGNIFICANCE}.{i}.own" in self.weights
        mixed, probabilities = self.attention(i, before, bias, drops and not learned, where)
        skip = x
        if drops:
            if self.task.per_token:
                restored = token_logits(self, restored, every_token(self, self.finish(x)), where, alive)
            lived = alive
            score = scored(self, i, x, mixed, alive) if learned else _received(self, probabilities, alive)
            pick, where, alive = _choose(self, i, x, score, alive, where)
            if self.reads in ("pooled", "mean"):
                restored = gone_states(self, i, restored, self.finish(x), lived, pick, alive)
            bias = None
            rows = self.op("Unsqueeze", pick, self.const([2]))
            mixed, skip = (self.op("GatherND", part, rows, batch_dims=1) for part in (mixed, x))
            if alive is None:
                places = self.op("Identity", where)
            else:  # -1 where a row keeps fewer
                lives = self.op("Cast", alive, to=7)
                places = self.op("Sub", self.op("Mul", self.op("Add", where, self.const(1)), lives), self.const(1))
            self.results[f"{KEPT}{i}"] = places
        x = self.feed(i, self.linear(f"layers.{i}.project", mixed), skip)
        return State(x, alive, where, bias, restored)

    def feed(self, i: int, mixed: str, skip: str) -> str:
        """What a layer makes of the tokens that go on, from what they attended to and what they were before."""
        curve, norms = self.spec.get("curve", "gelu"), (f"layers.{i}.attention_norm", f"layers.{i}.output_norm")
        if self.family.rotary:
            x = self.op("Add", mixed, skip)
            packed = self.linear(f"layers.{i}.expand", self.normed(norms[1], x))
            inner, gate = self.op("Split", packed, outputs=2, axis=-1, num_outputs=2)
            inner = self.op("Mul", self.curve(curve, inner), gate)
            return self.op("Add", self.linear(f"layers.{i}.contract", inner), x)
        x = self.add_norm(norms[0], mixed, skip)
        inner = self.curve(curve, self.linear(f"layers.{i}.expand", x))
        return self.add_norm(norms[1], self.linear(f"layers.{i}.contract", inner), x)

    def finish(self, x: str) -> str:
        """States as heads read them."""
        return self.normed("final_norm", x) if self.family.final_norm else x

    def bias(self, state: State) -> str | None:
        """What is added to the scores of the tokens that are left; None where nothing is."""
        alive = None if state.alive is None else _masked(self, state.alive)
        if "distances.w" in self.weights:
            apart = _apart(self, state.x, state.where)
            return apart if alive is None else self.op("Add", apart, alive)
        if alive is not None and self.ort:  # its fused attention wants the bias for every query
            one = self.const([1])
            return self.op("Expand", alive, self.op("Concat", one, one, self.size(state.x, 1), one, axis=0))
        return alive

    def head(self, state: State) -> None:
        """The logits, which stand before the places that were kept."""
        state = replace(state, x=self.finish(state.x))
        if self.task.per_token:
            fresh = every_token(self, state.x)
            logits = real_logits(self, token_logits(self, state.restored, fresh, state.where, state.alive))
        elif self.reads == "pooled":
            logits = text_vector(self, state)
        elif self.reads == "mean":
            logits = class_logits(self, text_vector(self, state))
        else:
            logits = class_logits(self, self.op("Gather", state.x, self.const(0), axis=1))
        self.results = {**named_outputs(self, logits), **self.results}

    @property
    def taken(self) -> Sequence[str]:
        """Names of the graph's inputs."""
        return INPUTS

    @property
    def columns(self) -> list[Any]:
        """Sizes of each output that is none of places."""
        columns: list[Any] = ["batch", "tokens"] if self.task.per_token else ["batch"]
        return columns + ([self.width] if len(self.task.outputs) == 1 else [])

    def model(self) -> onnx.ModelProto:
        """The graph as a file's content."""
        for name, result in self.results.items():
            self.nodes.append(helper.make_node("Identity", [result], [name]))
        sizes: dict[str, list[Any]] = {"lengths": ["batch", self.spec["layers"]]}
        graph = helper.make_graph(
            self.nodes,
            "length_adaptive",
            [
                helper.make_tensor_value_info(n, onnx.TensorProto.INT64, sizes.get(n, ["batch", "tokens"]))
                for n in self.taken
            ],
            [
                helper.make_tensor_value_info(n, onnx.TensorProto.INT64, ["batch", n])
                if n.startswith(KEPT)
                else helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, self.columns)
                for n in self.results
            ],
            [numpy_helper.from_array(value.copy(order="C"), name) for name, value in self.used.items()],
        )
        domains = [helper.make_opsetid("", OPSET)] + ([helper.make_opsetid("com.microsoft", 1)] if self.ort else [])
        model = helper.make_model(graph, opset_imports=domains, ir_version=10, producer_name="budget-zoo")
        same = {SAME: self.same} if self.same else {}
        helper.set_model_props(model, {META: json.dumps({**self.spec, **same}, sort_keys=True)})
        if not self.ort:
            onnx.checker.check_model(model)
        return model


def build(
    weights: Weights,
    spec: dict[str, Any],
    dialect: str = "portable",
    active: Sequence[int] | None = None,
    padded: bool = True,
) -> onnx.ModelProto:
    """Writes the graph.

    Args:
        weights: initializers by name, as `compress.int8.rounding` makes them.
        spec: `layers, heads, eps, family, pad, drop_layers, keep_first`, `head` ("qa" where absent) and `curve`, the
            activation ("gelu" where absent).
        dialect: "portable", "openvino" or "onnxruntime".
        active: drop layers that get drop operators; None gives them to every drop layer.
        padded: whether inputs may be padded. Without padding there is no mask to add.

    Returns:
        A model with int64 inputs `input_ids, attention_mask, token_type_ids` `[batch, tokens]` and `lengths`
        `[batch, layers]` (tokens that go on after each layer) and the outputs `start_logits, end_logits`
        `[batch, tokens]`, or `logits` `[batch, labels]` of a classifier, and, for each active drop layer i, `kept_i`
        `[batch, longest]`: positions that go on, -1 in rows that keep fewer. Without padding every row must have the
        same lengths.
    """
    g = Graph(weights, spec, dialect, padded)
    state = g.inputs()
    active = sorted(spec["drop_layers"] if active is None else active)
    for i in range(spec["layers"]):
        state = g.layer(i, state, drops=i in active)
    g.head(state)
    return g.model()


def _masked(g: Graph, alive: str) -> str:
    """What is added to scores of dead tokens, `[batch, 1, 1, tokens]`."""
    dead = g.op("Unsqueeze", g.op("Sub", g.const(1, np.float32), alive), g.const([1, 2]))
    return g.op("Mul", dead, g.const(MASK, np.float32))


def _apart(g: Graph, x: str, where: str | None) -> str:
    """What MPNet adds to scores for how far tokens are apart, `[batch or 1, heads, tokens, tokens]`.

    Args:
        where: places of the tokens that are left, `[batch, tokens]`; None: all of those in `x`.
    """
    if where is None:
        where = str(g.op("Range", g.const(0), g.op("Squeeze", g.size(x, 1), g.const([0])), g.const(1)))
        where = str(g.op("Unsqueeze", where, g.const([0])))
    far = g.op("Sub", g.op("Unsqueeze", where, g.const([1])), g.op("Unsqueeze", where, g.const([2])))
    middle = g.const(len(g.weights["distances.w"]) // 2)
    rows = g.op("Gather", g.weight("distances.w"), g.op("Add", far, middle))
    return g.op("Transpose", rows, perm=[0, 3, 1, 2])


def _received(g: Graph, probabilities: str | None, alive: str | None) -> str:
    """Attention that each token receives, `[batch, tokens]`; dead places have -1, below every real token."""
    assert probabilities is not None
    if alive is not None:
        queries = g.op("Unsqueeze", alive, g.const([1, 2]))
    else:
        one = g.op("Concat", g.const([1, 1, 1]), g.size(probabilities, 3), axis=0)
        queries = g.op("Expand", g.const(1, np.float32), one)
    received: str = g.op("ReduceSum", g.op("MatMul", queries, probabilities), g.const([1, 2]), keepdims=0)
    if alive is None:
        return received
    return g.op("Sub", g.op("Mul", g.op("Add", received, g.const(1, np.float32)), alive), g.const(1, np.float32))


def _choose(
    g: Graph, i: int, x: str, received: str, alive: str | None, where: str | None
) -> tuple[str, str, str | None]:
    """Places that go on `[batch, longest]`, their token positions, and which of them are alive.

    Args:
        x: states before the layer.
        received: significance `[batch, tokens]`, lowest at dead places.
    """
    tokens = g.size(x, 1)
    if g.spec["keep_first"]:
        is_first = g.op(
            "Cast",
            g.op("Equal", g.op("Range", g.const(0), g.op("Squeeze", tokens, g.const([0])), g.const(1)), g.const(0)),
            to=1,
        )
        received = g.op("Add", received, g.op("Mul", is_first, g.const(2.0**31, np.float32)))
    goal = g.op("Max", g.op("Gather", "lengths", g.const(i), axis=1), g.const(2))
    limit = tokens if alive is None else g.op("Cast", g.op("ReduceSum", alive, g.const([1]), keepdims=0), to=7)
    goal = g.op("Min", goal, limit)
    longest = g.op("ReduceMax", goal, keepdims=1)
    pick = g.op("TopK", received, g.op("Reshape", longest, g.const([1])), outputs=2, axis=1, largest=1, sorted=1)[1]
    if alive is not None:
        rank = g.op("Range", g.const(0), g.op("Squeeze", longest, g.const([0])), g.const(1))
        alive = g.op("Cast", g.op("Less", rank, g.op("Unsqueeze", goal, g.const([1]))), to=1)
    places: str = pick if where is None else g.op("GatherElements", where, pick, axis=1)
    return pick, places, alive


def read(path: Path) -> tuple[Weights, dict[str, Any]]:
    """Weights and spec of a stored graph.

    Raises:
        UserError: the file is not one that this project wrote.
    """
    try:
        model = whole(path)
        spec = parse_json(next(p.value for p in model.metadata_props if p.key == META), f"{META} in {path}")
        weights = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer if not t.name.startswith("const_")}
        weights |= {name: weights[other] for name, other in spec.pop(SAME, {}).items()}
        reason = fault_of(spec, weights)
    except (OSError, UserError, StopIteration, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} is no length-adaptive model of this project ({reason_of(error)}): make one with `python -m "
            "compress run`."
        ) from error
    if reason:
        raise UserError(f"{path} is broken: {reason}. Restore the file, or make it again.")
    return weights, spec


MODEL_FILE = OURS
