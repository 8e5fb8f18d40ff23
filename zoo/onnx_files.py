"""ONNX files as they lie in a folder: which one is the model, the data that it keeps beside itself, and all of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from math import prod
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from zoo.errors import UserError

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto

OURS = "model.int8.onnx"  # what this program writes; stock graphs have other names
FOLDER = "onnx"
# As optimum and the Hub's conversions name them, the one to take first.
EXPORTED = "onnx/model_quantized.onnx"  # what this program writes of an encoder that transformers computes
PLACES = (EXPORTED, "model_quantized.onnx", "onnx/model.onnx", "model.onnx")
ROUNDED = {"DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "QLinearMatMul", "QAttention"}


def stock_graph(names: Collection[str]) -> str | None:
    """The graph to open among a folder's files (`model.onnx`, `onnx/model.onnx`), None where there is none."""
    for place in PLACES:
        if place in names:
            return place
    graphs = [name for name in names if name.endswith(".onnx") and name != OURS and name.count("/") <= 1]
    return graphs[0] if len(graphs) == 1 and graphs[0].rpartition("/")[0] in ("", FOLDER) else None


def names_in(folder: Path) -> list[str]:
    """Files of a folder and of `onnx` in it, as paths from the folder."""
    places = [(folder, ""), (folder / FOLDER, f"{FOLDER}/")]
    return [f"{before}{path.name}" for place, before in places if place.is_dir() for path in place.iterdir()
            if not path.is_dir()]  # fmt: skip


def skeleton(path: Path) -> ModelProto:
    """A graph without the data that lie in other files.

    Raises:
        UserError: it is no ONNX file.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        return onnx.load(str(path), load_external_data=False)
    except DecodeError as error:
        raise UserError(f"{path} is no ONNX file, or it is cut short. Download or export it again.") from error


def data_files(path: Path) -> list[str]:
    """Names of the files beside a graph that hold its data.

    Raises:
        UserError: one lies outside of the graph's folder.
    """
    found = set[str]()
    for tensor in every_tensor(skeleton(path)):
        if location := _location(tensor):
            place = PurePosixPath(location)
            if place.is_absolute() or ".." in place.parts or "\\" in location or ":" in location:
                raise UserError(f"{path.name} wants data from outside of its folder ({location}), so it is refused.")
            found.add(location)
    return sorted(found)


def whole(path: Path) -> ModelProto:
    """A graph with all of its data inside.

    Raises:
        UserError: it is no ONNX file, or data lie outside of its folder or are cut short.
    """
    data_files(path)  # refuses what is outside
    model = skeleton(path)
    for tensor in every_tensor(model):
        if location := _location(tensor):
            facts = {entry.key: entry.value for entry in tensor.external_data}
            start, length = int(facts.get("offset", 0)), int(facts["length"]) if "length" in facts else -1
            try:
                with (path.parent / location).open("rb") as file:
                    file.seek(start)
                    data = file.read(length)
            except OSError as error:
                raise UserError(f"{path} lacks {location}, which holds its data. Put the file beside it.") from error
            if length >= 0 and len(data) < length:
                raise UserError(f"{location} beside {path} is cut short. Download or export it again.")
            tensor.raw_data = data
            del tensor.external_data[:]
            tensor.ClearField("data_location")
    return model


def facts_of(path: Path) -> tuple[int, bool, int]:
    """Numbers in a graph's weights, whether they are rounded to integers, and bytes of its files."""
    model = skeleton(path)
    count = sum(prod(tensor.dims) for tensor in model.graph.initializer)
    rounded = any(node.op_type in ROUNDED for node in model.graph.node)
    return count, rounded, sum((path.parent / name).stat().st_size for name in (path.name, *data_files(path)))


def attached(folder: Path) -> list[str]:
    """Files that belong to the graphs of a folder without lying at its root, or with a name that tells nothing."""
    names = names_in(folder)
    stock = None if OURS in names else stock_graph(names)
    graphs = {name for name in names if name.endswith(".onnx") and "/" not in name} | ({stock} if stock else set())
    found = {stock} if stock and "/" in stock else set[str]()
    for graph in graphs:
        within = graph.rpartition("/")[0]
        found |= {f"{within}/{data}" if within else data for data in data_files(folder / graph)}
    return sorted(found)


def _location(tensor: TensorProto) -> str:
    return next((entry.value for entry in tensor.external_data if entry.key == "location"), "")


def every_tensor(model: ModelProto) -> Iterator[TensorProto]:
    """All tensors of a model, wherever they stand."""
    yield from _tensors(model.graph)
    for function in model.functions:
        yield from _of_nodes(function.node)
    for training in model.training_info:
        yield from (*_tensors(training.initialization), *_tensors(training.algorithm))


def _tensors(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _of_nodes(graph.node)


def _of_nodes(nodes: Iterable[NodeProto]) -> Iterator[TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
            for inner in (attribute.g, *attribute.graphs):
                yield from _tensors(inner)
