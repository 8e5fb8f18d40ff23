"""Hostile folders of models: a good one with one thing changed, by what is changed."""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from zoo import catalog
from zoo.asking import open_entry
from zoo.engines import DEFAULT_ENGINE
from zoo.graph import META
from zoo.tokenizer_files import FILE

Change = Callable[[Path], None]
LONG = "1" + "0" * 4000


def config(**changes: Any) -> Change:
    """Other values in `config.json`."""
    return lambda folder: rewrite(folder / "config.json", lambda stated: stated.update(changes))


def rewrite(path: Path, change: Callable[[Any], None]) -> None:
    """Changes what a JSON file holds."""
    stated = json.loads(path.read_text())
    change(stated)
    path.write_text(json.dumps(stated))


def text(name: str, content: str) -> Change:
    """A file of another content."""
    return lambda folder: void((folder / name).write_text(content))


def void(_: object) -> None:
    """Nothing: for changes that are expressions."""


def tokenizer(**changes: Any) -> Change:
    """Other parts of `tokenizer.json`; of a part that is a dictionary its own values."""

    def change(stated: Any) -> None:
        for key, value in changes.items():
            own = isinstance(value, dict) and isinstance(stated.get(key), dict) and "type" not in value
            stated[key] = {**stated[key], **value} if own else value

    return lambda folder: rewrite(folder / FILE, change)


def front(change: Callable[[Any], Any]) -> Change:
    """Another `front.json`: what the change gives, or what it left."""

    def write(folder: Path) -> None:
        stated = json.loads((folder / "front.json").read_text())
        made = change(stated)
        (folder / "front.json").write_text(json.dumps(stated if made is None else made))

    return write


def header(change: Callable[[dict[str, Any]], None], claim: int | None = None) -> Change:
    """Another header of the weights, and another length that is said of it."""

    def write(folder: Path) -> None:
        raw = (folder / "model.safetensors").read_bytes()
        (length,) = struct.unpack("<Q", raw[:8])
        stated = json.loads(raw[8 : 8 + length])
        change(stated)
        made = json.dumps(stated).encode()
        size = struct.pack("<Q", len(made) if claim is None else claim)
        (folder / "model.safetensors").write_bytes(size + made + raw[8 + length :])

    return write


def _first(stated: dict[str, Any]) -> dict[str, Any]:
    return next(one for name, one in stated.items() if name != "__metadata__")


def _overlaid(stated: dict[str, Any]) -> None:
    for name, one in stated.items():
        one.update(_first(stated) if name != "__metadata__" else {})


def weights(value: float) -> Change:
    """The first number of each tensor is another one."""

    def write(folder: Path) -> None:
        raw = bytearray((folder / "model.safetensors").read_bytes())
        (length,) = struct.unpack("<Q", raw[:8])
        for name, one in json.loads(raw[8 : 8 + length]).items():
            if name != "__metadata__":
                at = 8 + length + one["data_offsets"][0]
                raw[at : at + 4] = struct.pack("<f", value)
        (folder / "model.safetensors").write_bytes(raw)

    return write


def graph(change: Callable[[onnx.ModelProto], None], name: str = "model.int8.onnx") -> Change:
    """Another graph."""

    def write(folder: Path) -> None:
        model = onnx.load(str(folder / name))
        change(model)
        (folder / name).write_bytes(model.SerializeToString())

    return write


def spec(**changes: Any) -> Change:
    """Other values in what a graph says of itself."""

    def change(model: onnx.ModelProto) -> None:
        place = next(part for part in model.metadata_props if part.key == META)
        place.value = json.dumps({**json.loads(place.value), **changes})

    return graph(change)


def _tensor(ending: str, change: Callable[[np.ndarray], np.ndarray]) -> Change:
    """Another value of the first initializer whose name ends so."""

    def write(model: onnx.ModelProto) -> None:
        one = next(part for part in model.graph.initializer if part.name.endswith(ending))
        one.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(one)), one.name))

    return graph(write)


def _dims(*sizes: int) -> Callable[[onnx.ModelProto], None]:
    def write(model: onnx.ModelProto) -> None:
        del model.graph.initializer[0].dims[:]
        model.graph.initializer[0].dims.extend(sizes)

    return write


def _nested(model: onnx.ModelProto) -> None:
    body = helper.make_graph([], "b", [], [])
    for _ in range(30):  # each takes three of the hundred levels that are parsed
        body = helper.make_graph([helper.make_node("If", ["c"], ["y"], then_branch=body)], "b", [], [])
    model.graph.node.extend(body.node)


def stock(folder: Path, vocabulary: int) -> None:
    """A graph as another program exports one: logits of a table of words."""
    table = np.random.default_rng(0).normal(size=(vocabulary, 2)).astype(np.float32)
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["both"]),
        helper.make_node("Split", ["both"], ["start", "end"], axis=2, num_outputs=2),
        helper.make_node("Squeeze", ["start", "last"], ["start_logits"]),
        helper.make_node("Squeeze", ["end", "last"], ["end_logits"]),
    ]
    made = helper.make_graph(
        nodes,
        "stock",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["b", "t"])],
        [helper.make_tensor_value_info(f"{n}_logits", TensorProto.FLOAT, ["b", "t"]) for n in ("start", "end")],
        [numpy_helper.from_array(table, "table"), numpy_helper.from_array(np.array([2]), "last")],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    (folder / "model.onnx").write_bytes(model.SerializeToString())


def _endless(model: onnx.ModelProto) -> None:
    """A loop of 2^60 rounds before the answer."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Add", ["x", "one"], ["more"])],
        "body",
        [helper.make_tensor_value_info(n, k, []) for n, k in (("i", 7), ("go", 9), ("x", 1))],
        [helper.make_tensor_value_info(n, k, []) for n, k in (("on", 9), ("more", 1))],
        [numpy_helper.from_array(np.array(1, np.float32), "one")],
    )
    rounds, start = (
        numpy_helper.from_array(np.array(value), name) for value, name in ((2**60, "rounds"), (np.float32(0), "zero"))
    )
    model.graph.initializer.extend([rounds, start])
    nodes = [
        helper.make_node("Loop", ["rounds", "", "zero"], ["sum"], body=body),
        helper.make_node("Add", ["table", "sum"], ["tables"]),
    ]
    kept = list(model.graph.node)
    kept[0].input[0] = "tables"
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *kept])


def _memory(model: onnx.ModelProto) -> None:
    """A terabyte of zeros is added to the answer."""
    model.graph.initializer.append(numpy_helper.from_array(np.array([2**38], np.int64), "many"))
    nodes = [
        helper.make_node("ConstantOfShape", ["many"], ["zeros"]),
        helper.make_node("ReduceMax", ["zeros"], ["zero"], keepdims=0),
        helper.make_node("Add", ["table", "zero"], ["tables"]),
    ]
    kept = list(model.graph.node)
    kept[0].input[0] = "tables"
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *kept])


def _replace(pattern: dict[str, str], content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": pattern, "content": content}


def _many_words(folder: Path) -> None:
    words = ",".join(f'"w{i:x}":{i}' for i in range(300_000))
    (folder / FILE).write_text('{"model":{"type":"WordPiece","vocab":{' + words + "}}}")


def _big(name: str, size: int) -> Change:
    def write(folder: Path) -> None:
        with (folder / name).open("ab") as file:
            file.truncate(size)

    return write


def _claim(size: int) -> Change:
    """A file that is nothing but the length of its header, and holes."""

    def write(folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(struct.pack("<Q", size))
        os.truncate(folder / "model.safetensors", min(size, 99 * 1024**2) + 8)

    return write


def _points(stated: Any) -> None:
    stated["points"] *= 20_000


def _set(key: str, value: Any) -> Callable[[Any], None]:
    return lambda stated: stated["points"][0].update({key: value})


FLOAT: dict[str, Change] = {
    "a billion layers": config(num_hidden_layers=10**9),
    "thirty million layers": config(num_hidden_layers=30_000_000),
    "five hundred layers of two": config(num_hidden_layers=500, intermediate_size=200_000),
    "minus five layers": config(num_hidden_layers=-5),
    "six layers in words": config(num_hidden_layers="six"),
    "layers of 4,000 digits": lambda folder: void(
        (folder / "config.json").write_text(
            (folder / "config.json").read_text().replace('"num_hidden_layers": 2', f'"num_hidden_layers": {LONG}')
        )
    ),
    "a million columns": config(hidden_size=10**6),
    "columns that weights cannot hold": config(hidden_size=60_000),
    "a billion words": config(vocab_size=10**9),
    "four million words": config(vocab_size=4_000_000),
    "a billion positions": config(max_position_embeddings=10**9),
    "a million positions": config(max_position_embeddings=10**6),
    "no heads": config(num_attention_heads=0),
    "seven heads": config(num_attention_heads=7),
    "a hundred million labels": config(num_labels=10**8, architectures=["BertForSequenceClassification"]),
    "200,000 brackets": text("config.json", "[" * 200_000),
    "a list for a configuration": text("config.json", "[]"),
    "norms in words": config(layer_norm_eps="small"),
    "an entry 100,000 deep": text("entry.json", '{"a":' * 100_000 + "1" + "}" * 100_000),
    "a fork of Python in the configuration": config(auto_map={"AutoModel": "evil.Model"}),
    "a configuration of a gigabyte": _big("config.json", 2**30),
    "a header of 2^60 bytes": _claim(2**60),
    "99 MB of header": _claim(99 * 1024**2),
    "a shape of 700,001 ones": header(lambda s: _first(s).update(shape=[1] * 700_001)),
    "sizes of 2^62": header(lambda s: _first(s).update(shape=[2**62, 4])),
    "a header 500,000 deep": lambda folder: void(
        (folder / "model.safetensors").write_bytes(struct.pack("<Q", 10**6) + b"[" * 10**6)
    ),
    "an unknown type": header(lambda s: _first(s).update(dtype="Q4_K")),
    "tensors one over another": header(_overlaid),
    "a weight that is no number": weights(float("nan")),
    "an infinite weight": weights(float("inf")),
    "a normalizer that makes a thousand of one, four times": tokenizer(
        normalizer={"type": "Sequence", "normalizers": [_replace({"String": "e"}, "e" * 1000)] * 4}
    ),
    "a pattern of nothing that is replaced": tokenizer(normalizer=_replace({"Regex": ""}, "e" * 100_000)),
    "300,000 words": _many_words,
    "ids of a billion": tokenizer(model={"vocab": {"[UNK]": 10**9, "a": 1}}),
    "no tokenizer in its file": text(FILE, "{}"),
    "a tokenizer 100,000 deep": text(FILE, "[" * 100_000),
    "a pattern that backtracks": tokenizer(normalizer=_replace({"Regex": "(x+x+)+y"}, "z")),
    "words of any length": tokenizer(model={"max_input_chars_per_word": 10**9}),
    "a hundred thousand tokens around a text": tokenizer(
        post_processor={
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}] * 100_000,
            "pair": [],
            "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]}},
        }
    ),
    "ids around a text that the model lacks": tokenizer(
        post_processor={"type": "BertProcessing", "sep": ["[SEP]", 10**8], "cls": ["[CLS]", 10**8]}
    ),
}
INTEGER: dict[str, Change] = {
    "a graph that is none": text("model.int8.onnx", "\u00ff no graph"),
    "a graph of absurd dimensions": graph(_dims(2**40, 2**40)),
    "a graph of negative dimensions": graph(_dims(-1, 4)),
    "a drop layer that is not there": spec(drop_layers=[99]),
    "a billion layers in a graph": spec(layers=10**9),
    "no heads in a graph": spec(heads=0),
    "a family that is none": spec(family="gremlin"),
    "a weight of another shape": _tensor("layers.0.project.q", lambda v: v[:, :-1]),
    "no number for a scale": _tensor("layers.0.qkv.scale", lambda v: np.full_like(v, np.nan)),
    "an infinite scale": _tensor("layers.1.qkv.scale", lambda v: np.full_like(v, np.inf)),
    "20,000 times the points": front(_points),
    "a latency that is no number": front(_set("p50_ms", float("nan"))),
    "infinite compute": front(_set("macs_ratio", float("inf"))),
    "a score in words": front(_set("metrics", {"f1": "high"})),
    "latency in words": front(_set("p50_ms", "fast")),
    "a list for a front": front(lambda _stated: [1, 2, 3]),
    "100,000 fractions": front(_set("fractions", [0.5] * 100_000)),
    "points of three layers among two": front(_set("fractions", [0.5] * 3)),
    "a front 100,000 deep": text("front.json", "[" * 100_000),
    "itself for its full precision": lambda folder: rewrite(
        folder / "entry.json", lambda stated: stated.update(full_precision=str(folder))
    ),
}
STOCK: dict[str, Change] = {
    "a graph nested thirty deep": graph(_nested, "model.onnx"),
    "a stock graph of absurd dimensions": graph(_dims(2**30, 2**30), "model.onnx"),
    "a stock graph without numbers": graph(
        lambda m: m.graph.initializer[0].CopyFrom(
            numpy_helper.from_array(np.full_like(numpy_helper.to_array(m.graph.initializer[0]), np.nan), "table")
        ),
        "model.onnx",
    ),
    "data outside of the folder": graph(
        lambda m: m.graph.initializer.append(
            TensorProto(
                name="t",
                data_type=TensorProto.FLOAT,
                dims=[1],
                data_location=TensorProto.EXTERNAL,
                external_data=[onnx.StringStringEntryProto(key="location", value="../../secret")],
            )
        ),
        "model.onnx",
    ),
}
PROGRAMS: dict[str, Change] = {  # which a graph may be: only running them tells
    "a loop without an end": graph(_endless, "model.onnx"),
    "a terabyte of zeros": graph(_memory, "model.onnx"),
}


def make_stock(folder: Path, tiny_model: Path) -> Path:
    """A folder with a stock graph alone, and the tiny model's tokenizer."""
    shutil.copytree(tiny_model, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    stock(folder, json.loads((folder / "config.json").read_text())["vocab_size"])
    return folder


def open_and_ask(folder: Path) -> None:
    """All that the page does with a model: it is found, opened and asked."""
    entry = catalog.find(str(folder))
    engine = DEFAULT_ENGINE if DEFAULT_ENGINE in entry.engines else "torch"
    opened = open_entry(entry, engine, threads=1)
    opened.ask("who was there?", "the queen was there. " * 40 + "x" * 60, None)
    if engine != "torch" and entry.full_precision:
        assert catalog.full_precision(entry)
