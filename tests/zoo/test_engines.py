"""Engines: the registry, a new one in a class, and threads that are an engine's own."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from ui import links, text
from zoo import catalog, engines
from zoo.engines.base import REGISTRY, TENSORS, EngineClass, EngineOutput
from zoo.engines.torch import TorchEngine
from zoo.features import Window
from zoo.lengths import LengthConfig
from zoo.modeling import LengthAdaptiveModel
from zoo.opened import run_one

BATCH = {
    "input_ids": np.array([[2, 5, 6, 3]]),
    "attention_mask": np.ones((1, 4), np.int64),
    "token_type_ids": np.zeros((1, 4), np.int64),
}


def test_every_engine_declares_itself(tiny_model):
    assert engines.names() == [
        "onednn",
        "onnxruntime",
        "openvino",
        "openvino-bf16",
        "torch",
        "torch-bf16",
        "transformers",
    ]
    assert engines.names(engines.GRAPH) == ["onnxruntime", "openvino", "openvino-bf16"]
    assert [engines.engine_class(name).precision for name in engines.names()] == [
        "int8",
        "int8",
        "int8",
        "int8",
        "fp32",
        "bf16",
        "fp32",
    ]
    assert engines.full_precision(tiny_model) == "torch"
    assert engines.engine_class("inductor").opens == "qconfig.json"


def test_the_registry_loads_no_runtime():
    code = (
        "import sys, zoo.engines; print([n for n in ('torch', 'onnxruntime', 'openvino', 'onnx') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_engine_is_added_by_one_class(monkeypatch, tiny_model):
    class Toy(EngineClass):
        """Says that the answer is the first token."""

        name, label, package, precision, opens = "toy", "Toy", "json", "fp32", TENSORS

        def __init__(self, layers: int):
            self.layers = layers

        @classmethod
        def open(cls, folder, threads):
            return cls(LengthAdaptiveModel.load(folder).shape.layers)

        def run(self, batch, lengths):
            logits = np.zeros((*batch["input_ids"].shape, 2), np.float32)
            logits[:, 0] = 1
            return EngineOutput(logits, [batch["attention_mask"].astype(bool)] * self.layers)

    monkeypatch.setitem(REGISTRY, "toy", Toy)  # as `register` does, and gone afterwards
    entry = catalog.find(str(tiny_model))
    assert entry.engines == ["torch", "toy"] and text.engine_labels()["toy"] == "Toy · fp32"
    assert links.read({"engine": "toy"}).engine == "toy" and engines.is_installed("toy")
    engine = engines.open_engine("toy", entry)
    out = run_one(engine, Window(0, [2, 5, 3], [0, 0, 0], [None, None, None]), LengthConfig.full(engine.layers))
    assert out.start.tolist() == [[1, 0, 0]] and out.end.argmax() == 0 and len(out.kept) == engine.layers


def test_a_file_in_the_folder_is_an_engine(monkeypatch, tmp_path):
    (tmp_path / "echo.py").write_text(
        "from zoo.engines.base import TENSORS, register\nfrom zoo.engines.torch import TorchEngine\n\n\n"
        "@register\nclass Echo(TorchEngine):\n    name, label, opens = 'echo', 'Echo', TENSORS\n"
    )
    monkeypatch.setattr(engines, "__path__", [*engines.__path__, str(tmp_path)])
    try:
        engines.discover()
        assert engines.names(TENSORS)[-1] == "echo" and engines.engine_class("echo").label == "Echo"
    finally:
        REGISTRY.pop("echo", None)
        sys.modules.pop("zoo.engines.echo", None)


def test_threads_are_an_engine_s_own(tiny_model):
    """Two engines that are open side by side compute in threads of their own, and leave the process as it was."""
    counts: dict[int, list[int]] = {1: [], 2: []}
    before, opened = torch.get_num_threads(), {}
    torch.set_num_threads(3)
    try:
        for threads, seen in counts.items():
            opened[threads] = TorchEngine.open(tiny_model, threads)
            opened[threads].model.register_forward_pre_hook(lambda *_, seen=seen: seen.append(torch.get_num_threads()))
        assert torch.get_num_threads() == 3
        lengths = np.full((1, opened[1].layers), 4)
        for threads in (1, 2, 1):
            opened[threads].run(BATCH, lengths)
            assert torch.get_num_threads() == 3
        assert counts == {1: [1, 1], 2: [2]}
    finally:
        torch.set_num_threads(before)


def test_the_process_keeps_its_threads_where_a_run_fails(tiny_model):
    engine, before = TorchEngine.open(tiny_model, 1), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(TypeError):
            engine.run({}, np.zeros((1, 1)))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_float_model_that_is_timed_beside_graphs_runs_where_they_run(tiny_model, monkeypatch):
    """There is no GPU here: what opens says that it was one."""

    def on_gpu(_engine, folder, threads):
        engine = TorchEngine(LengthAdaptiveModel.load(folder), threads)
        engine.device = "cuda"
        return engine

    monkeypatch.setattr(TorchEngine, "open", classmethod(on_gpu))
    assert [getattr(engines.open_float(tiny_model, 1, on_cpu), "device", "") for on_cpu in (False, True)] == [
        "cuda",
        "cpu",
    ]
