"""What runs a model: one file an engine, which declares its name, label, package and precision, and opens it.

A file of this folder that registers a class adds an engine: nothing else has to be told of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from pkgutil import iter_modules
from typing import TYPE_CHECKING

from zoo.checkpoints import read_config
from zoo.encoders import encoder_of
from zoo.engines.base import GRAPH, INTEGERS, REGISTRY, TENSORS, THEIRS, Engine, EngineClass, GraphEngine
from zoo.engines.stock import StockGraph, read_bytes
from zoo.errors import UserError, told
from zoo.settings import get_settings

if TYPE_CHECKING:
    from zoo.catalog import Entry

DEFAULT_ENGINE = "onnxruntime"


def discover() -> None:
    """Imports every file of this folder, which registers its engines."""
    for module in iter_modules(__path__):
        import_module(f"{__name__}.{module.name}")


discover()


def names(*weights: str) -> list[str]:
    """The engines that open one of these files of weights; those of every entry where none is given."""
    weights = weights or (GRAPH, INTEGERS, TENSORS, THEIRS)
    return [name for name, engine in REGISTRY.items() if engine.opens in weights]


def engine_class(name: str) -> type[EngineClass]:
    """What an engine declares of itself.

    Raises:
        UserError: there is no such engine.
    """
    if name not in REGISTRY:
        raise UserError(f"There is no engine {name!r}: choose one of {', '.join(names())}.")
    return REGISTRY[name]


def is_installed(name: str) -> bool:
    """Whether an engine's package is."""
    return find_spec(engine_class(name).package) is not None


def runs_int8(entry: Entry) -> bool:
    """Whether the entry's weights are integers: a graph's, or neural-compressor's."""
    opened = {REGISTRY[name].opens for name in entry.engines}
    return INTEGERS in opened or (GRAPH in opened and (entry.front is not None or "int8" in entry.weights_dtype))


def runs_graph(entry: Entry) -> bool:
    """Whether the entry is an ONNX graph, this program's or another one's."""
    return any(REGISTRY[name].opens == GRAPH for name in entry.engines)


def full_precision(folder: Path) -> str:
    """The engine that runs the float32 weights in a folder."""
    weights = float_weights(read_config(folder))
    return next(name for name, engine in REGISTRY.items() if (engine.precision, engine.opens) == ("fp32", weights))


def float_weights(config: Mapping[str, object]) -> str:
    """What stands for a checkpoint's float weights in `EngineClass.opens`, by its `config.json`."""
    return THEIRS if encoder_of(config) else TENSORS


def running(*weights: str) -> list[str]:
    """The engines that any machine runs an entry with these files of weights on."""
    return [name for name in names(*weights) if not REGISTRY[name].beside] if weights else []


def engines_here(entry: Entry) -> list[str]:
    """What `open_engine` takes for the entry on this machine: its engines, and those that need more of the machine."""
    more = [name for name, engine in REGISTRY.items() if engine.beside in entry.engines and not engine.refusal()]
    return [*entry.engines, *more]


def open_engine(name: str, entry: Entry, threads: int | None = None) -> Engine:
    """Loads `entry` on an engine.

    Args:
        name: one of `names()`; an engine of float weights runs an int8 entry's full-precision sibling.
        entry: of the catalog.
        threads: defaults to the settings.

    Raises:
        UserError: unknown engine, or the entry has nothing that it can run.
    """
    engine = engine_class(name)
    if name not in names():
        raise UserError(f"There is no engine {name!r}: choose one of {', '.join(names())}.")
    if refusal := engine.refusal():
        raise UserError(refusal)
    able = engines_here(entry)
    if name not in able:
        raise UserError(f"{entry.name} cannot run on {name}: it runs on {', '.join(able) or 'nothing here'}.")
    folder = entry.float_folder if engine.opens in (TENSORS, THEIRS) else entry.folder
    with told(f"{entry.name} cannot be opened on {name}"):
        return _open(engine, folder, threads or get_settings().threads)


def open_graph(folder: Path, threads: int, engine: str = DEFAULT_ENGINE) -> Engine:
    """The int8 model in `folder`, loaded.

    The engines "onednn" and, at full length only, "inductor" run what neural-compressor quantized, others the graph.
    """
    return _open(engine_class(engine), folder, threads)


def open_float(folder: Path, threads: int, on_cpu: bool = False) -> Engine:
    """The float checkpoint in `folder`, of whatever family.

    Args:
        folder: a checkpoint's.
        threads: of the engine.
        on_cpu: where graphs run, so that latencies compare; else on a GPU where there is one.
    """
    engine = _open(engine_class(full_precision(folder)), folder, threads)
    if on_cpu and isinstance(engine, EngineClass):
        engine.to_cpu()
    return engine


def _open(engine: type[EngineClass], folder: Path, threads: int) -> Engine:
    """A folder on an engine: this program's own weights, or a graph that another one exported."""
    if issubclass(engine, GraphEngine) and not (folder / GRAPH).is_file():
        return StockGraph(engine.name, engine.load_stock(read_bytes(folder), threads), folder)
    return engine.open(folder, threads)
