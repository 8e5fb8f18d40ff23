"""An exported graph in eight bits: the encoders that transformers computes and this program does not.

What becomes integers, and how it is rounded, is as in `compress.int8.graph`: products with stored weights and the word
embeddings. They are written into the graph as quantize-dequantize pairs (static) or integer products (dynamic).
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from onnx import TensorProto, helper, numpy_helper

from compress.int8.export import export
from compress.int8.graph import ReadWindows
from compress.int8.ranges import Range, grid, over, seen, shared_by
from compress.int8.rounding import WORDS, integer_weights, matching, round_columns
from compress.int8.sensitivity import WINDOWS, Report, divergence
from compress.recipe.groups import Quantize
from zoo.checkpoints import compared_as
from zoo.engines.base import Session, logits_of
from zoo.engines.onnx import load
from zoo.errors import UserError
from zoo.features import Tokenizer, Window, pad
from zoo.files import atomic, write_json
from zoo.onnx_files import EXPORTED
from zoo.operators import Nodes, Weights
from zoo.pretrained import Pretrained
from zoo.settings import get_settings
from zoo.stored import KEY

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

ROOT = re.compile(r"^(model\.)?inner\.")  # where the encoder is in what is exported
FRESH = 1_000_000  # number of the first new node, so that no name is taken


@dataclass(frozen=True)
class Product:
    """A product with stored weights.

    Attributes:
        name: of its module, and a number behind it where the module is used on several inputs.
        module: of the encoder.
        node: of the graph.
        weight: what it is multiplied by, a constant of the graph.
        bias: the vector that is added to it in the node behind it.
        output: where the result goes, with the bias.
    """

    name: str
    module: str
    node: NodeProto
    weight: str
    bias: str
    output: str

    @property
    def is_convolution(self) -> bool:
        return self.node.op_type == "Conv"


class Exported:
    """A checkpoint of transformers, exported and calibrated.

    Args:
        model: the checkpoint.
        tokenizer: its tokenizer.
        settings: how it is quantized.
        read: reads what to calibrate on, and what sensitivities are measured on.

    Raises:
        UserError: it cannot be exported, or a pattern of `keep_float` fits no product.
    """

    def __init__(self, model: Pretrained, tokenizer: Tokenizer, settings: Quantize, read: ReadWindows):
        self.config, self.head, self.tokenizer = model.config, model.head, tokenizer
        self.settings, self.read = settings, read
        self.graph = export(model)
        self.arrays = {part.name: part for part in self.graph.graph.initializer}
        self.makers = {n.output[0]: n for n in self.graph.graph.node if n.op_type in ("Identity", "Transpose")}
        has_head = model.inner.base_model is not model.inner
        prefix = f"{model.inner.base_model_prefix}." * has_head  # a head stays in float
        static = settings.approach == "static"
        self.products = [
            one
            for one in self._products()
            if one.module.startswith(prefix) and (static or not one.is_convolution)  # no runtime has fast ones of these
        ]
        if not self.products:
            raise UserError(
                "The products of this encoder are convolutions, and no runtime has a fast one for ranges found in a "
                "run: take the recipe static_int8."
            )
        self.rows = self._word_rows(int(model.config["vocab_size"]))
        matching(self.names, settings.keep_float or ())
        self.windows: list[Window] = list(read(tokenizer)) if static else []
        self.ranges = self._calibrated() if static else None

    @cached_property
    def names(self) -> list[str]:
        """All that can be quantized, by module: the word embeddings (`WORDS`) and the products."""
        return [*([WORDS] if self.rows else []), *dict.fromkeys(one.module for one in self.products)]

    def floats(self) -> Sequence[str]:
        return matching(self.names, self.settings.keep_float or ())

    def store(self, out: Path, keep_float: Sequence[str] = ()) -> dict[str, Any]:
        """Quantizes into `out` (graph, config and tokenizer); see `compress.int8.graph.store_graph`."""
        floats = matching(self.names, [*(self.settings.keep_float or ()), *keep_float])
        if set(self.names) <= {*floats, WORDS}:
            raise UserError("quantize.keep_float leaves every product in float: quantize some of them.")
        (out / EXPORTED).parent.mkdir(parents=True, exist_ok=True)
        with atomic(out / EXPORTED) as draft:
            graph = self.quantized(floats)
            helper.set_model_props(graph, {KEY: json.dumps({"names": self.names, "floats": list(floats)})})
            draft.write_bytes(graph.SerializeToString())
        write_json(out / "config.json", self.config)
        self.tokenizer.save_pretrained(str(out))
        return {
            "bytes": (out / EXPORTED).stat().st_size,
            "approach": self.settings.approach,
            "weight_bits": self.bits,
            "calibration_windows": len(self.windows),
            "kept_float": floats,
        }

    @property
    def bits(self) -> int:
        """Of the weights of products; "auto" takes those that no CPU overflows with."""
        return 7 if self.settings.reduce_range is not False else 8

    def sensitivities(self) -> Report:
        """Each product quantized alone, against the float graph."""
        windows = (self.windows or list(self.read(self.tokenizer)))[:WINDOWS]
        exact = self._answers(self.graph, windows)

        def far(floats: Sequence[str]) -> float:
            return divergence(self._answers(self.quantized(floats), windows), exact, compared_as(self.config))

        divergences = {name: far([other for other in self.names if other != name]) for name in self.names}
        weights = {one.module: one.weight for one in self.products} | (
            {WORDS: self.rows[0].input[0]} if self.rows else {}
        )
        sizes = {name: self._array(weight).size for name, weight in weights.items()}
        return Report.of(divergences, sizes, far([]), len(windows), self.settings.approach)

    def quantized(self, floats: Sequence[str]) -> ModelProto:
        """The graph with all but these in integers."""
        chosen = {one.node.output[0]: one for one in self.products if one.module not in floats}
        rounded = self._rounded([one for one in chosen.values() if not one.is_convolution], WORDS not in floats)
        rows = {node.output[0] for node in self.rows} if WORDS not in floats else set[str]()
        made = Nodes(rounded, "portable", 0.0)
        made.serial = FRESH
        nodes, replaced = list[Any](), {one.output for one in chosen.values() if one.bias}
        for node in self.graph.graph.node:
            before, output = len(made.nodes), node.output[0] if node.output else ""
            if output in rows:
                ids = node.input[1]
                whole = made.op("Cast", made.op("Gather", made.weight("words.q"), ids), to=TensorProto.FLOAT)
                made.op("Mul", whole, made.op("Gather", made.weight("words.scale"), ids))
            elif output in chosen and chosen[output].is_convolution:
                self._convolution(made, chosen[output])
            elif output in chosen:
                one = chosen[output]
                made.linear(one.name, node.input[0], bool(one.bias) or self.ranges is not None)
                output = one.output
            elif output not in replaced:
                nodes.append(node)
            if len(made.nodes) > before:
                made.nodes[-1].output[0] = output
                nodes += made.nodes[before:]
        return self._assembled(nodes, made.used)

    def _assembled(self, nodes: Sequence[NodeProto], added: Mapping[str, np.ndarray]) -> ModelProto:
        """The graph of these nodes, with the initializers that they read; equal ones are stored once."""
        first: dict[bytes, str] = {}
        names = {name: first.setdefault(_digest(array), name) for name, array in added.items()}
        needed, copies = {part.name for part in self.graph.graph.output}, list[Any]()
        for node in reversed(nodes):
            if needed.isdisjoint(node.output):
                continue  # what made a weight that is in integers now
            copy = helper.make_node("Identity", [""], [""])
            copy.CopyFrom(node)
            copy.input[:] = [names.get(name, name) for name in node.input]
            needed.update(_read_by(copy))
            copies.append(copy)
        copies.reverse()
        graph = self.graph.graph
        new = [numpy_helper.from_array(array, name) for name, array in added.items() if names[name] == name]
        parts = [part for part in graph.initializer if part.name in needed] + new
        whole = helper.make_graph(copies, graph.name, graph.input, graph.output, parts)
        return helper.make_model(
            whole,
            opset_imports=self.graph.opset_import,
            ir_version=self.graph.ir_version,
            functions=self.graph.functions,
        )

    def _rounded(self, products: Sequence[Product], words: bool) -> Weights:
        """Integers and scales by the names that `Nodes.linear` reads."""
        weights: Weights = {}
        for one in products:
            weights[f"{one.name}.w"] = matrix = self._array(one.weight)
            weights[f"{one.name}.bias"] = self._array(one.bias) if one.bias else np.zeros(matrix.shape[1], np.float32)
        names, smoothing = [one.name for one in products], self.settings.smoothing
        weights = integer_weights(weights, names, self.ranges, self.bits == 7, smoothing, words=False)
        if words and self.rows:
            weights |= integer_weights({"words.w": self._array(self.rows[0].input[0])}, [], None, True)
        return weights

    def _convolution(self, made: Nodes, one: Product) -> None:
        """A convolution between quantize-dequantize pairs, its weights with a scale a channel that comes out."""
        assert self.ranges is not None
        weights = self._array(one.weight)
        columns, scale = round_columns(weights.reshape(len(weights), -1).T, self.bits)
        step, zero = grid(self.ranges[one.name].low, self.ranges[one.name].high)
        made.weights |= {f"{one.name}.q": columns.T.reshape(weights.shape).copy(), f"{one.name}.scale": scale}
        made.weights |= {
            f"{one.name}.x_scale": np.array(step, np.float32),
            f"{one.name}.x_zero": np.array(zero, np.uint8),
        }
        x_scale, x_zero = made.weight(f"{one.name}.x_scale"), made.weight(f"{one.name}.x_zero")
        left = made.op(
            "DequantizeLinear", made.op("QuantizeLinear", one.node.input[0], x_scale, x_zero), x_scale, x_zero
        )
        right = made.op("DequantizeLinear", made.weight(f"{one.name}.q"), made.weight(f"{one.name}.scale"), axis=0)
        facts = {part.name: helper.get_attribute_value(part) for part in one.node.attribute}
        made.op("Conv", left, right, *one.node.input[2:], **facts)

    def _products(self) -> Iterator[Product]:
        """The products of the graph with weights of its own, in its order."""
        consumers: dict[str, list[NodeProto]] = {}
        for node in self.graph.graph.node:
            for name in node.input:
                consumers.setdefault(name, []).append(node)
        modules: dict[bytes, str] = {}  # by what their weights are: a module that is used twice has two names, or one
        uses: dict[str, int] = {}
        for node in self.graph.graph.node:
            weight = self._constant(node.input[1]) if node.op_type in ("MatMul", "Conv") else None
            if weight is None or (node.op_type, weight.ndim) not in {("MatMul", 2), ("Conv", 3)}:
                continue
            module, mark = _module(node), _digest(weight)
            if mark not in modules and module in modules.values():
                module = f"{module}.{len(modules)}"
            module = modules.setdefault(mark, module)
            uses[module] = uses.get(module, 0) + 1
            name = module if uses[module] == 1 else f"{module}#{uses[module]}"
            bias, output = "", node.output[0]
            behind = consumers.get(output, [])
            if node.op_type == "MatMul" and [each.op_type for each in behind] == ["Add"]:
                other = next((name for name in behind[0].input if name != output), "")
                vector = self._constant(other)
                if vector is not None and vector.ndim == 1:
                    bias, output = other, behind[0].output[0]
            yield Product(name, module, node, node.input[1], bias, output)

    def _word_rows(self, vocabulary: int) -> list[NodeProto]:
        """The nodes that read the word embeddings."""
        nodes = [
            node
            for node in self.graph.graph.node
            if node.op_type == "Gather"
            and node.input[0] in self.arrays
            and len(self.arrays[node.input[0]].dims) == 2
            and self.arrays[node.input[0]].dims[0] == vocabulary
            and not any(part.name == "axis" and part.i for part in node.attribute)
        ]
        return [node for node in nodes if node.input[0] == nodes[0].input[0]]

    def _constant(self, name: str) -> np.ndarray | None:
        """The float numbers of a name that does not depend on the input: stored, or a stored matrix turned."""
        maker = self.makers.get(name)
        if maker is not None:
            inner = self._constant(maker.input[0])
            return inner if inner is None or maker.op_type == "Identity" else _turned(inner, maker)
        part = self.arrays.get(name)
        return numpy_helper.to_array(part) if part is not None and part.data_type == TensorProto.FLOAT else None

    def _array(self, name: str) -> np.ndarray:
        array = self._constant(name)
        assert array is not None
        return array

    def _calibrated(self) -> dict[str, Range]:
        """Ranges of what enters each product, over all windows."""
        method, percentile = self.settings.calibration_method, self.settings.percentile
        percentile = 100.0 if method == "minmax" else percentile
        inputs = list(dict.fromkeys(one.node.input[0] for one in self.products))
        watched = type(self.graph)()
        watched.CopyFrom(self.graph)
        outputs = {part.name for part in watched.graph.output}
        extra = [name for name in inputs if name not in outputs]
        watched.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in extra)
        session = load(watched.SerializeToString(), get_settings().threads)
        ranges: dict[str, list[Range]] = {one.name: [] for one in self.products}
        for window in self.windows:
            values = dict(zip(session.outputs, session.run(_feed(session, window)), strict=True))
            for one in self.products:
                x = torch.from_numpy(values[one.node.input[0]])
                ranges[one.name].append(seen(x.movedim(1, -1) if one.is_convolution else x, percentile))
        settled = {name: over(rows, percentile) for name, rows in ranges.items()}
        peers: dict[str, list[Range]] = {}
        for one in self.products:
            peers.setdefault(one.module, []).append(settled[one.name])
        # The weights of a module that is used on several inputs are stored once, so these are smoothed alike.
        return {one.name: settled[one.name]._replace(shared=shared_by(peers[one.module])) for one in self.products}

    def _answers(self, graph: ModelProto, windows: Sequence[Window]) -> list[torch.Tensor]:
        """Logits of every window, by itself."""
        session, count = load(graph.SerializeToString(), get_settings().threads), len(self.head.outputs)
        return [torch.from_numpy(logits_of(session.run(_feed(session, window))[:count])) for window in windows]


def _feed(session: Session, window: Window) -> dict[str, np.ndarray]:
    return {name: values for name, values in pad([window]).items() if name in session.inputs}


def _module(node: NodeProto) -> str:
    """The module of the encoder that a node computes, as each exporter writes it down."""
    scopes = next((part.value for part in node.metadata_props if part.key.endswith("name_scopes")), "")
    if scopes:
        return ROOT.sub("", str(ast.literal_eval(scopes)[-2]))
    return ROOT.sub("", node.name.strip("/").rpartition("/")[0].replace("/", "."))


def _read_by(node: NodeProto) -> Iterator[str]:
    """What a node reads, the graphs within it too."""
    yield from node.input
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            yield from (part.name for part in graph.output)
            for inner in graph.node:
                yield from _read_by(inner)


def _turned(array: np.ndarray, transpose: NodeProto) -> np.ndarray:
    order = next((list(part.ints) for part in transpose.attribute if part.name == "perm"), None)
    return np.ascontiguousarray(array.transpose(order))


def _digest(array: np.ndarray) -> bytes:
    return hashlib.sha256(f"{array.dtype}{array.shape}".encode() + array.tobytes()).digest()
