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
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.errors import UserError
from zoo.tasks import QUESTIONS, TASK_TYPES

if TYPE_CHECKING:
    import onnx

MASK = -1e4
LOST = -1e4
OPSET = 20
META = "budget_zoo"
INPUTS = ("input_ids", "attention_mask", "token_type_ids", "lengths")
Weights = dict[str, np.ndarray]


class Graph:
    """Collects nodes; every method returns the name of its result."""

    def __init__(self, weights: Weights, spec: dict[str, Any], dialect: str, padded: bool):
        self.weights, self.spec, self.padded = weights, spec, padded
        self.ort = dialect == "onnxruntime"
        self.head = TASK_TYPES[spec.get("head", QUESTIONS.name)]
        self.width = len(weights[f"{self.head.layers[-1]}.bias"])  # of the logits
        self.nodes: list[Any] = []
        self.used: dict[str, np.ndarray] = {}
        self.serial = 0

    def op(self, kind: str, *inputs: str, outputs: int = 1, domain: str = "", **attributes: Any) -> Any:
        from onnx import helper

        self.serial += 1
        names = [f"{kind}_{self.serial}" + (f"_{i}" if outputs > 1 else "") for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, names, f"{kind}_{self.serial}", domain=domain, **attributes))
        return names if outputs > 1 else names[0]

    def const(self, value: Any, dtype: Any = np.int64) -> str:
        array = np.asarray(value, dtype)
        name = f"const_{array.dtype}_{'x'.join(map(str, array.shape))}_{array.tobytes().hex()}"
        self.used[name] = array
        return name

    def weight(self, name: str) -> str:
        self.used[name] = self.weights[name]
        return name

    def linear(self, name: str, x: str, bias: bool = True) -> str:
        """`x @ w + b`, with integer products where the weights are integers."""
        if f"{name}.w" in self.weights:
            y = self.op("MatMul", x, self.weight(f"{name}.w"))
            return self.op("Add", y, self.weight(f"{name}.bias")) if bias else y
        if f"{name}.x_factor" in self.weights:
            x = self.op("Mul", x, self.weight(f"{name}.x_factor"))
        w, scale = self.weight(f"{name}.q"), self.weight(f"{name}.scale")
        static = f"{name}.x_scale" in self.weights
        if static:
            x_scale, x_zero = self.weight(f"{name}.x_scale"), self.weight(f"{name}.x_zero")
            integers = self.op("QuantizeLinear", x, x_scale, x_zero)
        else:
            integers, x_scale, x_zero = self.op("DynamicQuantizeLinear", x, outputs=3)
        if self.ort:
            args = [
                integers,
                w,
                x_scale,
                scale,
                x_zero,
                self.const(np.zeros(self.weights[f"{name}.scale"].shape), np.int8),
            ]
            return self.op(
                "MatMulIntegerToFloat", *args, *([self.weight(f"{name}.bias")] if bias else []), domain="com.microsoft"
            )
        if static:
            left = self.op("DequantizeLinear", integers, x_scale, x_zero)
            right = self.op("DequantizeLinear", w, scale, axis=1)
            y = self.op("MatMul", left, right)
        else:
            whole = self.op("Cast", self.op("MatMulInteger", integers, w, x_zero), to=1)
            y = self.op("Mul", whole, self.op("Mul", scale, x_scale))
        return self.op("Add", y, self.weight(f"{name}.bias")) if bias else y

    def add_norm(self, name: str, x: str, y: str) -> str:
        weight, bias, eps = self.weight(f"{name}.weight"), self.weight(f"{name}.bias"), self.spec["eps"]
        if self.ort:
            return self.op("SkipLayerNormalization", x, y, weight, bias, domain="com.microsoft", epsilon=eps)
        return self.op("LayerNormalization", self.op("Add", x, y), weight, bias, axis=-1, epsilon=eps)

    def gelu(self, x: str) -> str:
        return self.op("Gelu", x, domain="com.microsoft") if self.ort else self.op("Gelu", x)

    def size(self, x: str, axis: int) -> str:
        return self.op("Shape", x, start=axis, end=axis + 1)

    def embed(self) -> str:
        ids, types = "input_ids", "token_type_ids"
        if "words.q" in self.weights:
            rows = self.op("Cast", self.op("Gather", self.weight("words.q"), ids), to=1)
            words = self.op("Mul", rows, self.op("Gather", self.weight("words.scale"), ids))
        else:
            words = self.op("Gather", self.weight("words.w"), ids)
        if self.spec["family"] == "roberta":
            pad = self.const(self.spec["pad"])
            real = self.op("Cast", self.op("Not", self.op("Equal", ids, pad)), to=7)
            count = self.op("CumSum", real, self.const(1))
            position = self.op("Gather", self.weight("positions.w"), self.op("Add", self.op("Mul", count, real), pad))
        else:
            span = self.op(
                "Range", self.const(0), self.op("Squeeze", self.size(ids, 1), self.const([0])), self.const(1)
            )
            position = self.op("Gather", self.weight("positions.w"), span)
        if "types.w" in self.weights:
            words = self.op("Add", words, self.op("Gather", self.weight("types.w"), types))
        return self.add_norm("norm", words, position)

    def split_heads(self, x: str, order: Sequence[int]) -> str:
        heads = self.spec["heads"]
        return self.op("Transpose", self.op("Reshape", x, self.const([0, 0, heads, -1])), perm=list(order))

    def attention(self, i: int, x: str, bias: str | None, scored: bool) -> tuple[str, str | None]:
        """Mixed values `[batch, tokens, hidden]` before the output projection, and probabilities where scored."""
        packed = self.linear(f"layers.{i}.qkv", x)
        q, k, v = self.op("Split", packed, outputs=3, axis=-1, num_outputs=3)
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
        spec: `layers, heads, eps, family, pad, drop_layers, keep_first` and `head` ("qa" where absent).
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
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    g = Graph(weights, spec, dialect, padded)
    active = sorted(spec["drop_layers"] if active is None else active)
    x = g.embed()
    alive = g.op("Cast", "attention_mask", to=1) if padded else None  # 1 alive, 0 dead
    where = bias = restored = None
    outputs: list[str] = []
    for i in range(spec["layers"]):
        if bias is None and "distances.w" in weights:
            bias = _apart(g, x, where)
            if alive is not None:
                bias = g.op("Add", bias, _masked(g, alive))
        elif alive is not None and bias is None:
            bias = _masked(g, alive)
            if g.ort:  # its fused attention wants the bias for every query
                query = g.op("Concat", g.const([1]), g.const([1]), g.size(x, 1), g.const([1]), axis=0)
                bias = g.op("Expand", bias, query)
        dropping = i in active
        mixed, probabilities = g.attention(i, x, bias, dropping)
        skip = x
        if dropping:
            assert probabilities is not None
            if g.head.per_token:
                restored = _restore(g, restored, g.linear(g.head.layers[-1], x), where, alive)
            pick, where, alive = _choose(g, i, probabilities, alive, where)
            bias = None
            rows = g.op("Unsqueeze", pick, g.const([2]))
            mixed, skip = (g.op("GatherND", part, rows, batch_dims=1) for part in (mixed, x))
            if alive is not None:
                gone = g.op("Cast", alive, to=7)
                outputs.append(g.op("Sub", g.op("Mul", g.op("Add", where, g.const(1)), gone), g.const(1)))
            else:
                outputs.append(g.op("Identity", where))
        x = g.add_norm(f"layers.{i}.attention_norm", g.linear(f"layers.{i}.project", mixed), skip)
        inner = g.gelu(g.linear(f"layers.{i}.expand", x))
        x = g.add_norm(f"layers.{i}.output_norm", g.linear(f"layers.{i}.contract", inner), x)
    if g.head.per_token:
        logits = _real(g, _restore(g, restored, g.linear(g.head.layers[-1], x), where, alive))
    else:
        logits = _classify(g, x)
    said = _outputs(g, logits)
    answers: list[Any] = ["batch", "tokens"] if g.head.per_token else ["batch"]
    answers += [g.width] if len(said) == 1 else []
    said |= {f"kept_{i}": places for i, places in zip(active, outputs, strict=True)}
    for name, result in said.items():
        g.nodes.append(helper.make_node("Identity", [result], [name]))
    sizes: dict[str, list[Any]] = {"lengths": ["batch", spec["layers"]]}
    graph = helper.make_graph(
        g.nodes,
        "length_adaptive",
        [helper.make_tensor_value_info(n, TensorProto.INT64, sizes.get(n, ["batch", "tokens"])) for n in INPUTS],
        [
            helper.make_tensor_value_info(n, TensorProto.FLOAT, answers)
            if "logits" in n
            else helper.make_tensor_value_info(n, TensorProto.INT64, ["batch", n])
            for n in said
        ],
        [numpy_helper.from_array(value.copy(order="C"), name) for name, value in g.used.items()],
    )
    domains = [helper.make_opsetid("", OPSET)] + ([helper.make_opsetid("com.microsoft", 1)] if g.ort else [])
    model = helper.make_model(graph, opset_imports=domains, ir_version=10, producer_name="budget-zoo")
    helper.set_model_props(model, {META: json.dumps(spec, sort_keys=True)})
    if not g.ort:
        onnx.checker.check_model(model)
    return model


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


def _classify(g: Graph, x: str) -> str:
    """The logits `[batch, labels]`, from the first token, which is at place 0 after every drop."""
    first = g.linear("dense", g.op("Gather", x, g.const(0), axis=1))
    return g.linear("classifier", g.op("Relu" if g.spec["family"] == "distilbert" else "Tanh", first))


def _real(g: Graph, logits: str) -> str:
    """The logits of every token, those of padding lost."""
    if not g.padded:
        return logits
    real = g.op("Unsqueeze", g.op("Cast", "attention_mask", to=9), g.const([2]))
    return g.op("Where", real, logits, g.const(LOST, np.float32))


def _outputs(g: Graph, logits: str) -> dict[str, str]:
    """Results by the names of the outputs that they go to."""
    count = len(g.head.outputs)
    if count == 1:
        return {g.head.outputs[0]: logits}
    parts = g.op("Split", logits, outputs=count, axis=-1, num_outputs=count)
    return {name: g.op("Squeeze", part, g.const([2])) for name, part in zip(g.head.outputs, parts, strict=True)}


def _restore(g: Graph, restored: str | None, fresh: str, where: str | None, alive: str | None) -> str:
    """The logits `[batch, tokens, values]` with those of the tokens that are left written over the earlier ones."""
    if restored is None or where is None:
        return fresh
    column = g.op("Unsqueeze", where, g.const([2]))
    index = g.op("Concat", *([column] * g.width), axis=2)
    if alive is not None:  # dead rows ride along with longer batch-mates: their earlier logits stand
        keep = g.op("Cast", g.op("Unsqueeze", alive, g.const([2])), to=9)
        fresh = g.op("Where", keep, fresh, g.op("GatherElements", restored, index, axis=1))
    return g.op("ScatterElements", restored, index, fresh, axis=1)


def _choose(g: Graph, i: int, probabilities: str, alive: str | None, where: str | None) -> tuple[str, str, str | None]:
    """Places that go on `[batch, longest]`, their token positions, and which of them are alive."""
    tokens = g.size(probabilities, 3)
    if alive is not None:
        queries = g.op("Unsqueeze", alive, g.const([1, 2]))
    else:
        one = g.op("Concat", g.const([1, 1, 1]), tokens, axis=0)
        queries = g.op("Expand", g.const(1, np.float32), one)
    received = g.op("ReduceSum", g.op("MatMul", queries, probabilities), g.const([1, 2]), keepdims=0)
    if alive is not None:  # dead places score -1, below every real token
        received = g.op(
            "Sub", g.op("Mul", g.op("Add", received, g.const(1, np.float32)), alive), g.const(1, np.float32)
        )
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
    import onnx
    from onnx import numpy_helper

    try:
        model = onnx.load(str(path), load_external_data=False)
        spec = json.loads(next(p.value for p in model.metadata_props if p.key == META))
    except Exception as error:  # noqa: BLE001 - protobuf raises its own family
        raise UserError(
            f"{path} is no length-adaptive model of this project: make one with `python -m compress run`."
        ) from error
    weights = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer if not t.name.startswith("const_")}
    return weights, spec


MODEL_FILE = "model.int8.onnx"
