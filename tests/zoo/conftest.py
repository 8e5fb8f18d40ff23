"""A Hub on this machine, and a tiny int8 model to publish."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.zoo.catalog_kit import CONFIG, make_front, write_tensors
from zoo import catalog, engines
from zoo.engines import openvino as openvino_engine
from zoo.engines import torch as torch_engine
from zoo.files import write_json, write_text
from zoo.lengths import Front, LengthConfig, Point
from zoo.weights import float_weights, linears, spec_of, write

METRICS = {"f1": 80.0, "em": 70.0, "dataset": "rajpurkar/squad", "split": "validation", "n": 100, "cpu": "Chip"}


@pytest.fixture
def multiplies(monkeypatch) -> Callable[[bool], None]:
    """Makes the CPU one that multiplies bf16, or not: torch multiplies them anywhere, if slowly."""
    return lambda able: _multiply(monkeypatch, able)


def _multiply(patch: pytest.MonkeyPatch, able: bool) -> None:
    for engine in (torch_engine, openvino_engine):
        patch.setattr(engine, "multiplies_bf16", lambda: able)


@pytest.fixture(scope="module", params=engines.names(engines.GRAPH, engines.TENSORS))
def any_engine(request) -> Iterator[str]:
    """Each engine in turn, on a CPU that has them all."""
    with pytest.MonkeyPatch.context() as patch:
        _multiply(patch, True)
        yield request.param


@pytest.fixture
def waits(monkeypatch) -> list[float]:
    """Nobody waits; what would have been waited is noted."""
    noted: list[float] = []
    monkeypatch.setattr(time, "sleep", noted.append)
    return noted


@pytest.fixture(scope="session")
def made_int8(tiny_model, tmp_path_factory) -> Path:
    """The folder of a tiny int8 entry in a run's `package`, with its recipe at the top."""
    from compress.int8.rounding import integer_weights
    from zoo.modeling import LengthAdaptiveModel

    root = tmp_path_factory.mktemp("run")
    folder = root / "package" / "tiny-int8"
    shutil.copytree(tiny_model, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    model = LengthAdaptiveModel.load(tiny_model)
    weights = integer_weights(float_weights(model), linears(model), None, reduce_range=True)
    write(weights, spec_of(model), folder)
    half = Point(LengthConfig((0.7, 0.5)), 0.6, {"f1": 79, "em": 69}, 5.0)
    stamp = {"engine": "onnxruntime", "cpu": "Chip"}
    Front(Point(LengthConfig.full(2), 1.0, {"f1": 80, "em": 70}, 9.0), [half], stamp).save(folder / "front.json")
    facts = {"title": "Tiny, int8", "task": "qa", "license": "apache-2.0", "base_model": "org/base"}
    provenance = {"seed": 7, "trained on": "train.json", "titles": ["squad/*", "tydi/*"]}
    facts |= {"method": "length-adaptive-int8", "weights_dtype": "int8", "parameters": 12_345, "metrics": METRICS}
    write_json(folder / "entry.json", {**facts, "provenance": provenance})
    write_text(root / "recipe.yaml", f"kind: length_adaptive\nmodel: {root}/secret-place/model\nseed: 7\n")
    return folder


@pytest.fixture
def int8(made_int8, tmp_path) -> Path:
    """A copy of the entry's folder that a test may change."""
    shutil.copytree(made_int8.parents[1], tmp_path / "run")
    return tmp_path / "run" / "package" / "tiny-int8"


@pytest.fixture
def light(tmp_path, monkeypatch) -> Path:
    """An entry that loads no framework: the files are real, what they compute and the picture are stood in for."""
    import numpy as np
    from onnx import helper, save

    from zoo import card_files, verification

    folder = tmp_path / "light" / "tiny-int8"
    write_json(folder / "config.json", {"model_type": "bert", "architectures": ["BertForQuestionAnswering"]})
    write_text(folder / "tokenizer.json", "{}\n")
    save(helper.make_model(helper.make_graph([], "empty", [], [])), str(folder / "model.int8.onnx"))
    half = Point(LengthConfig((0.7, 0.5)), 0.6, {"f1": 79, "em": 69}, 5.0)
    Front(Point(LengthConfig.full(2), 1.0, {"f1": 80, "em": 70}, 9.0), [half]).save(folder / "front.json")
    facts = {"title": "Tiny, int8", "task": "qa", "license": "apache-2.0", "base_model": "org/base", "parameters": 9}
    write_json(folder / "entry.json", {**facts, "method": "length-adaptive-int8", "metrics": METRICS})
    monkeypatch.setattr(verification, "logits", lambda folder: {"model.int8.onnx": np.zeros(3)})
    monkeypatch.setattr(card_files, "picture", lambda front: b"\x89PNG a picture")
    return folder


@pytest.fixture
def models(tmp_path, monkeypatch):
    """A zoo of two: `plain` in full precision and `small` in int8."""
    for name, stated in {
        "plain": {"title": "Plain", "metrics": {"f1": 82.0}, "license": "mit", "base_model": "org/base"},
        "small": {"title": "Small", "method": "length_drop", "metrics": {"f1": 81.0}, "full_precision": "plain"},
    }.items():
        folder = tmp_path / "models" / name
        write_json(folder / "config.json", CONFIG)
        write_json(folder / "entry.json", {"name": name, **stated})
    write_tensors(tmp_path / "models" / "plain" / "model.safetensors")
    small = tmp_path / "models" / "small"
    (small / "model.int8.onnx").write_bytes(b"graph")
    make_front().save(small / "front.json")
    write_text(small / "README.md", "# Small")
    monkeypatch.setattr(catalog, "MODELS", tmp_path / "models")
    return tmp_path / "models"
