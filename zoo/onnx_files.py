"""ONNX files as they lie in a folder: which one is the model, the data that it keeps beside itself, and all of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from math import prod
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from zoo.errors import UserError
from zoo.lazily import Lazy

if TYPE_CHECKING:
    import onnx
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper
else:
    onnx, numpy_helper = Lazy("onnx"), Lazy("onnx.numpy_helper")

OURS = "model.int8.onnx"  # what this program writes; stock graphs have other names
FOLDER = "onnx"
# As optimum and the Hub's conversions name them, the one to take first.
EXPORTED = "onnx/model_quantized.onnx"  # what this program writes of an encoder that transformers computes
PLACES = (EXPORTED, "model_quantized.onnx", "onnx/model.onnx", "model.onnx")
MOST_NUMBERS = 2**40  # of a tensor, so that their bytes can be counted
SIZES = {1: 4, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 12: 4, 13: 8, 14: 8, 15: 16, 16: 2} | {
    kind: 1 for kind in range(17, 21)
}  # bytes of a number, by onnx's numbers of types: of texts and of what is smaller than a byte none
FLOATS = (1, 10, 11, 16)  # float, half, double and bfloat16
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
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(str(path), load_external_data=False)
    except DecodeError as error:
        raise UserError(f"{path} is no ONNX file, or it is cut short. Download or export it again.") from error
    for tensor in every_tensor(model):
        if not _is_whole(tensor):
            raise UserError(
                f"{tensor.name[:80] or 'A tensor'} in {path} has the shape {tuple(tensor.dims)[:8]}, which is not what "
                "it holds. Download or export the file again."
            )
    return model


def data_files(path: Path) -> list[str]:
    """Names of the files beside a graph that hold its data.

    Raises:
        UserError: one lies outside of the graph's folder.
    """
    locations = set[str]()
    for tensor in every_tensor(skeleton(path)):
        if location := _location(tensor):
            place = PurePosixPath(location)
            if place.is_absolute() or ".." in place.parts or "\\" in location or ":" in location:
                raise UserError(f"{path.name} wants data from outside of its folder ({location}), so it is refused.")
            locations.add(location)
    return sorted(locations)


def whole(path: Path) -> ModelProto:
    """A graph with all of its data inside.

    Raises:
        UserError: it is no ONNX file, or data lie outside of its folder or are cut short.
    """
    data_files(path)  # refuses what is outside
    model = skeleton(path)
    for tensor in every_tensor(model):
        if location := _location(tensor):
            try:
                start, length = _extent(tensor)
                with (path.parent / location).open("rb") as file:
                    file.seek(start)
                    data = file.read(length)
            except OSError as error:
                raise UserError(f"{path} lacks {location}, which holds its data. Put the file beside it.") from error
            if len(data) < length or len(data) != _bytes_of(tensor):
                raise UserError(f"{location} beside {path} is cut short. Download or export it again.")
            tensor.raw_data = data
            del tensor.external_data[:]
            tensor.ClearField("data_location")
        if not _is_finite(tensor):
            raise UserError(
                f"{tensor.name[:80] or 'A tensor'} in {path} holds values that are no finite numbers: the training or "
                "the rounding went wrong. Take another model."
            )
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
    paths = {stock} if stock and "/" in stock else set[str]()
    for graph in graphs:
        within = graph.rpartition("/")[0]
        paths |= {f"{within}/{data}" if within else data for data in data_files(folder / graph)}
    return sorted(paths)


def _location(tensor: TensorProto) -> str:
    return next((entry.value for entry in tensor.external_data if entry.key == "location"), "")


def _extent(tensor: TensorProto) -> tuple[int, int]:
    """Where a tensor's data begin in the file that holds them, and how many bytes they are."""
    facts = {entry.key: entry.value for entry in tensor.external_data}
    try:
        start, length = int(facts.get("offset", 0)), int(facts.get("length", -1))
    except ValueError:
        start, length = -1, -1
    if start < 0:
        raise UserError(f"{tensor.name[:80]} does not say where its data are. Download or export the graph again.")
    return start, length if length >= 0 else _bytes_of(tensor) or 0


def _bytes_of(tensor: TensorProto) -> int | None:
    """Bytes that a tensor's numbers take by its shape; None of a type whose numbers have no bytes of their own."""
    size = SIZES.get(tensor.data_type)
    return None if size is None else prod(tensor.dims) * size


def _is_whole(tensor: TensorProto) -> bool:
    """Whether a tensor has as many numbers as its shape says; of data in another file that is seen when it is read."""
    if not tensor.data_type:
        return not tensor.dims
    if any(size < 0 for size in tensor.dims) or prod(tensor.dims) > MOST_NUMBERS:
        return False
    if _location(tensor):
        return True
    size = _bytes_of(tensor)
    if tensor.HasField("raw_data") and size is not None:
        return len(tensor.raw_data) == size
    held = sum(map(len, (tensor.float_data, tensor.int32_data, tensor.int64_data, tensor.double_data,
                         tensor.uint64_data, tensor.string_data)))  # fmt: skip
    return size is None or held >= prod(tensor.dims)


def _is_finite(tensor: TensorProto) -> bool:
    """Whether a tensor of floats holds numbers; a single infinite one may be a mask."""
    if tensor.data_type not in FLOATS:
        return True
    values = numpy_helper.to_array(tensor)
    return bool(np.isfinite(values).all()) if values.size > 1 else not bool(np.isnan(values).any())


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
