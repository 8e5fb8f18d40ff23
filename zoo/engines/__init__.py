"""What runs a model: one file an engine, one Protocol."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from zoo.engines.base import BF16, Engine
from zoo.errors import UserError
from zoo.graph import MODEL_FILE
from zoo.latency import multiplies_bf16
from zoo.settings import get_settings

if TYPE_CHECKING:
    from zoo.catalog import Entry

ENGINES = ("torch", "onnxruntime", "openvino", BF16)


def engines_here(entry: Entry) -> list[str]:
    """What `open_engine` takes for the entry on this machine: its engines, and bf16 where the CPU multiplies it."""
    return [*entry.engines, *([BF16] if "torch" in entry.engines and multiplies_bf16() else [])]


def open_engine(name: str, entry: Entry, threads: int | None = None) -> Engine:
    """Loads `entry` on an engine.

    Args:
        name: "torch" (float32; an int8 entry's full-precision sibling), "torch-bf16" (the same in mixed precision, on
            CPUs that multiply bf16), "onnxruntime" or "openvino".
        threads: defaults to the settings.

    Raises:
        UserError: unknown engine, or the entry has nothing that it can run.
    """
    if name not in ENGINES:
        raise UserError(f"There is no engine {name!r}: choose one of {', '.join(ENGINES)}.")
    if name == BF16 and not multiplies_bf16():
        raise UserError("This CPU does not multiply bf16 numbers, so nothing would be gained: choose torch.")
    able = engines_here(entry)
    if name not in able:
        raise UserError(f"{entry.name} cannot run on {name}: it runs on {', '.join(able) or 'nothing here'}.")
    threads = threads or get_settings().threads
    if name in ("torch", BF16):
        from zoo.engines.torch import TorchEngine

        return TorchEngine(entry.float_folder, threads, mixed=name == BF16)
    path = entry.folder / "model.int8.onnx"
    if name == "onnxruntime":
        from zoo.engines.onnx import OnnxEngine

        return OnnxEngine(path, threads)
    from zoo.engines.openvino import OpenVinoEngine

    return OpenVinoEngine(path, threads)


def open_graph(folder: Path, threads: int, engine: str = "onnxruntime") -> Engine:
    """The int8 model in `folder`, loaded.

    The engine "inductor" runs what `quantize_inc` wrote, at full length only; the others run the graph.
    """
    from zoo.engines.onnx import OnnxEngine
    from zoo.engines.openvino import OpenVinoEngine

    if engine == "inductor":
        from zoo.engines.inductor import InductorEngine

        return InductorEngine(folder, threads)
    return (OpenVinoEngine if engine == "openvino" else OnnxEngine)(folder / MODEL_FILE, threads)
