"""What stands beside a front: read from the catalogue, and compared only where that is fair."""

import json
from dataclasses import replace

import pytest

from ui.explore import rivals
from zoo import library
from zoo.lengths import Front, LengthConfig, Point
from zoo.settings import get_settings

MEASURED = {
    "metric": "SQuAD 1.1", "dataset": "d", "split": "validation", "n": 10, "engine": "onnxruntime", "threads": 2,
    "cpu": "A", "cores": 2, "vnni": False, "amx": False, "avx512": False, "latency_tokens": 384,
}  # fmt: skip
SEARCH = {"architecture": "l1-h32-f64-a4", "predicted latency, ms": 4.0, "measured latency, ms": 4.4}


@pytest.fixture
def searched(entry, front, tmp_path, monkeypatch):
    """Makes and registers results of an architecture search: one layer, and in the end no graph in its file."""
    monkeypatch.setenv("BUDGET_ZOO_HOME", str(tmp_path / "home"))
    get_settings.cache_clear()
    object.__setattr__(entry, "front", replace(front, measured_on=MEASURED))

    def make(name="found", owner="", score=74.0, points=(), method="nas-int8", metric="f1", ms=8.0, **changes):
        folder = tmp_path / "results" / name
        folder.mkdir(parents=True)
        config = {"num_hidden_layers": 1, "hidden_size": 32, "intermediate_size": 64, "model_type": "bert"}
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "model.int8.onnx").write_bytes(b"")
        full = Point(LengthConfig.full(1), 1.0, {metric: score}, ms)
        Front(full, [*points, full], MEASURED | changes).save(folder / "front.json")
        stated = {"title": "T", "task": "qa", "method": method, "metrics": {metric: score}, "weights_dtype": "int8"}
        (folder / "entry.json").write_text(json.dumps({**stated, "provenance": SEARCH}))
        library.register(folder, owner)
        (folder / "model.int8.onnx").write_bytes(b"no graph at all")
        return folder

    yield make
    get_settings.cache_clear()


def test_the_catalogue_tells_what_was_searched_and_no_weights_are_read(entry, searched):
    searched()
    searched("plain", score=77.0, method="static-int8", n=500, dataset="examples")
    plain, found = rivals.find(entry)
    assert (found.name, found.searched, found.point.score, found.point.p50_ms) == ("found", True, 74.0, 8.0)
    assert found.point.macs_ratio == pytest.approx(0.5, abs=0.01) and found.data == found.why == ""
    assert found.facts == "l1-h32-f64-a4, MACs at 384 tokens, latency predicted 4 ms, measured 4.4 ms (-9 %)"
    assert not plain.searched and plain.data == "scored on 500 examples of examples"


def test_a_latency_measured_otherwise_stays_off_the_axis_and_says_why(entry, searched):
    for key, value in {"cpu": "B", "latency_tokens": 128, "threads": 4, "engine": "openvino"}.items():
        searched(key.replace("_", "-"), **{key: value})
    searched("untimed", ms=None)
    said = {rival.name: rival.why for rival in rivals.find(entry)}
    assert said == {
        "cpu": "it was timed on another machine",
        "latency-tokens": "it was timed with 128 tokens, this model with 384",
        "threads": "it was timed with 4 threads, this model with 2",
        "engine": "it was timed with openvino as the engine, this model with onnxruntime",
        "untimed": "it was not timed",
    }
    assert all(rival.point.p50_ms is None for rival in rivals.find(entry))


def test_only_single_points_of_the_same_task_and_metric_that_one_may_see(entry, searched):
    searched("front", points=(Point(LengthConfig((0.5,)), 0.5, {"f1": 70.0}, 4.0),))
    searched("metric", metric="em")
    for name, path, was, now in (("task", "front.json", "1.1", "2.0"), ("broken", "config.json", "hidden", "hid")):
        file = searched(name) / path
        file.write_text(file.read_text().replace(was, now))
    ann = searched("ann", owner="ann")
    assert [rival.name for rival in rivals.find(entry)] == ["ann"]
    assert rivals.find(entry, "ben") == [] and len(rivals.find(entry, "ann")) == 1
    assert rivals.find(replace(entry, folder=ann)) == []
    assert rivals.find(replace(entry, front=None)) == []
