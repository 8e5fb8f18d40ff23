"""The latency table: what is timed is what the zoo runs; rows survive; foreign rows are refused."""

from __future__ import annotations

import json
from contextlib import nullcontext
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest

from compress.nas import latency_table
from compress.nas.latency_table import machines, measure_table, plan, strays
from compress.nas.space import Space
from compress.nas.table import Row, Table, refuse_foreign, stamp
from compress.nas.timed import MODES, Setup, made_up, ready, spec_of, whole_run
from tests.compress.nas.nas_kit import SETUP, SPACE, Silent, milliseconds, settings, table
from zoo.errors import UserError
from zoo.files import Archive


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_runs_a_made_up_encoder(mode):
    with ready(SPACE.arch(2, 32, 48), mode, SETUP) as call:
        said = call().logits
    assert said.shape == (1, 12, 2) and np.isfinite(said).all() and said.std() > 0.01


@pytest.mark.parametrize(
    ("family", "approach", "keep"), [("roberta", "dynamic", ()), ("distilbert", "static", ("*.qkv",))]
)
def test_families_classifiers_and_floats_are_timed_too(family, approach, keep):
    setup = Setup(12, 3, 1, family, "classification", approach, keep)
    with ready(SPACE.arch(1, 32, 48), "onnxruntime_int8", setup) as call:
        assert call().logits.shape == (3, 2)


def test_what_is_timed_has_the_operators_of_the_real_thing(tiny_model):
    from compress.int8.ranges import Range
    from compress.int8.rounding import integer_weights
    from compress.nas.space import Arch
    from zoo.graph import build
    from zoo.modeling import LengthAdaptiveModel
    from zoo.weights import float_weights, linears
    from zoo.weights import spec_of as real_spec

    model = LengthAdaptiveModel.load(tiny_model)
    arch, ones = Arch.from_config(model.config), np.ones(0)
    ranges = {
        name: Range(-1.0, 1.0, np.zeros(parts[0].in_features), ones, ones) for name, parts in linears(model).items()
    }
    real = integer_weights(float_weights(model), linears(model), ranges, True)
    made = made_up(arch, SETUP, integers=True)
    assert set(made) == set(real)
    for name, value in real.items():
        assert made[name].dtype == value.dtype, name
        assert made[name].shape[1:] == value.shape[1:] and (
            name.startswith(("words", "pos")) or made[name].shape == value.shape
        )
    for integers in (True, False):
        own = made_up(arch, SETUP, integers)
        there = real if integers else float_weights(model)
        graphs = [
            build(w, s, "onnxruntime", (), False) for w, s in ((own, spec_of(arch, SETUP)), (there, real_spec(model)))
        ]
        kinds = [[node.op_type for node in graph.graph.node] for graph in graphs]
        assert kinds[0] == kinds[1]


def test_a_killed_table_loses_one_row_and_goes_on(tmp_path, monkeypatch):
    asked, whole = [], settings(modes=["onnxruntime_int8", "onnxruntime_fp32"])

    def slow(arch, mode, _setup, _settings):
        asked.append((mode, arch))
        if len(asked) == 11:
            raise KeyboardInterrupt
        return {"p50_ms": milliseconds(arch), "p90_ms": 1.0, "noise": 0.01, "n": 3}

    monkeypatch.setattr(latency_table, "time_row", slow)
    archive = Archive(tmp_path / "rows.jsonl")
    with pytest.raises(KeyboardInterrupt):
        measure_table(SPACE, SETUP, whole, archive, Silent())
    first, told = asked[:10], Silent()
    with (tmp_path / "rows.jsonl").open("a") as file:
        file.write('{"key": "half a li')
    made = measure_table(SPACE, SETUP, whole, Archive(tmp_path / "rows.jsonl"), told)
    assert len(made.rows) == 48 and not set(first) & set(asked[11:]) and len(asked) == 11 + 38
    assert told.lines[0]["step"] == 11 and told.lines[-1] == {**told.lines[-1], "step": 48, "total": 48}
    assert [row.p50_ms for row in made.of("onnxruntime_fp32")] == [
        milliseconds(r.arch) for r in made.of("onnxruntime_fp32")
    ]
    made.save(tmp_path / "table.json")
    assert Table.load(tmp_path) == made and Table.load(tmp_path / "table.json").modes == whole.modes


def test_rows_are_really_measured(tmp_path):
    made = measure_table(SPACE, SETUP, settings(rows=20), Archive(tmp_path / "rows.jsonl"), Silent())
    assert len(made.rows) == 20 and all(0 < row.p50_ms < 1000 and row.n >= 3 for row in made.rows)
    assert made.setup["tokens"] == 12 and made.machine == stamp() and made.facts["encoders"] == 20


def test_a_plan_has_the_corners_and_nothing_twice():
    archs = plan(SPACE, 30, 3)
    assert len(archs) == len(set(archs)) == 30 and archs == plan(SPACE, 30, 3) != plan(SPACE, 30, 4)
    assert {SPACE.largest, SPACE.smallest, SPACE.arch(1, 48, 96)} <= set(archs[:8])
    assert len(plan(SPACE, 10_000, 0)) == len(SPACE)


def test_a_row_that_something_else_disturbed_is_measured_again(tmp_path, monkeypatch):
    turns = {}

    def disturbed(arch, mode, _setup, _settings):
        turns[arch] = turns.get(arch, 0) + 1
        slow = 1.8 if arch == SPACE.arch(2, 32, 48) and turns[arch] == 1 else 1.0
        noise = 1 + 0.01 * np.sin(sum(arch.features()))
        return {"p50_ms": milliseconds(arch) * slow * noise, "p90_ms": 1.0, "noise": 0.01, "n": 3}

    monkeypatch.setattr(latency_table, "time_row", disturbed)
    made = measure_table(SPACE, SETUP, settings(rows=1000), Archive(tmp_path / "rows.jsonl"), Silent())
    row = next(row for row in made.rows if row.arch == SPACE.arch(2, 32, 48))
    assert turns[row.arch] == 2 and row.p50_ms < 1.05 * milliseconds(row.arch)
    assert sum(turns.values()) - len(SPACE) == made.facts["measured_again"] < len(SPACE) / 10


def test_slow_minutes_are_measured_again_until_they_are_gone(tmp_path, monkeypatch):
    chance, calls = np.random.default_rng(0), []

    def shared(arch, mode, _setup, _settings):
        calls.append((mode, arch))
        slow = 1.4 if len(calls) // 7 % 5 == 0 else 1.0  # a neighbour comes and goes: a fifth of the time
        return {"p50_ms": milliseconds(arch) * slow * chance.normal(1, 0.02), "p90_ms": 1.0, "noise": 0.01, "n": 3}

    monkeypatch.setattr(latency_table, "time_row", shared)
    wide, off = Space.spanned((1, 6), (16, 96), (16, 192), 8, 8), {}
    for turns in (0, 4):
        calls.clear()
        archive = Archive(tmp_path / f"{turns}.jsonl")
        made = measure_table(wide, SETUP, settings(rows=300, turns=turns), archive, Silent())
        off[turns] = np.array([row.p50_ms / milliseconds(row.arch) - 1 for row in made.rows])
        assert len(calls) == 300 + made.facts["measured_again"]
    assert 0.15 < (off[0] > 0.2).mean() < 0.25 and (off[4] > 0.2).mean() < 0.01
    assert made.facts["measured_again"] < 150


@pytest.mark.parametrize("noise", [0.01, 0.4])
def test_a_table_of_a_busy_machine_says_so(tmp_path, monkeypatch, noise):
    def timed(arch, _mode, _setup, _settings):
        return {"p50_ms": milliseconds(arch), "p90_ms": 1.0, "noise": noise, "n": 3}

    monkeypatch.setattr(latency_table, "time_row", timed)
    told = Silent()
    measure_table(SPACE, SETUP, settings(rows=30), Archive(tmp_path / "rows.jsonl"), told)
    assert ["40 % apart" in text for text in told.notes] == [True] * (noise > 0.15)


def test_even_rows_are_left_alone():
    assert strays(table(noise=0.001).rows[:10]) == []
    assert len(strays(table(noise=0.02).rows)) <= len(SPACE) // 20


def test_a_calm_turn_is_kept(monkeypatch):
    from zoo.latency import Timing

    turns = iter([[1.0, 5.0, 9.0], [4.0, 4.1, 4.2], [1.0, 1.0, 9.0]])
    monkeypatch.setattr(latency_table, "measure", lambda *_a, **_k: {"": Timing.from_samples(next(turns))})
    found = latency_table.time_call(lambda: None, settings(retries=2, noise=0.1))
    assert found["p50_ms"] == 4.1 and next(turns) == [1, 1, 9]


def test_a_result_is_timed_several_times_and_the_fastest_counts(monkeypatch):
    turns = iter([8.0, 5.0, 4.0, 9.0])
    monkeypatch.setattr(latency_table, "time_call", lambda *_: {"p50_ms": next(turns)})
    assert latency_table.time_again(lambda: None, settings(turns=2)) == {"p50_ms": 4.0} and next(turns) == 9.0


def test_another_machine_s_rows_are_refused(tmp_path):
    other = {**stamp(), "cpu": "Another One"}
    with pytest.raises(UserError, match=r"X is from another machine \(cpu: Another One there"):
        refuse_foreign(other, "X")
    (tmp_path / "rows.jsonl").write_text(json.dumps({"key": "machine", **other}) + "\n")
    with pytest.raises(UserError, match="another machine.*measure them here"):
        measure_table(SPACE, SETUP, settings(), Archive(tmp_path / "rows.jsonl"), Silent())
    foreign = Table(table().rows, other, table().setup, SPACE)
    with pytest.raises(UserError, match="The latency table is from another machine"):
        foreign.check(SETUP, SPACE)


def test_a_table_of_something_else_is_refused(tmp_path):
    made = table()
    made.check(SETUP, SPACE)
    with pytest.raises(UserError, match="tokens 12 instead of 64"):
        made.check(Setup(tokens=64, threads=1), SPACE)
    wider = type(SPACE).spanned((1, 3), (16, 64), (16, 96), 8, 8)
    with pytest.raises(UserError, match="from 16 to 48 in hidden, the search space from 16 to 64"):
        made.check(SETUP, wider)
    with pytest.raises(UserError, match="nothing of torch_fp32: it has onnxruntime_int8"):
        made.of("torch_fp32")
    (tmp_path / "table.json").write_text('{"rows": 3}')
    with pytest.raises(UserError, match="no latency table"):
        Table.load(tmp_path)
    with pytest.raises(UserError, match="There is no mode"), ready(SPACE.largest, "abacus", SETUP):
        pass
    with pytest.raises(UserError, match="512 tokens at most"), ready(SPACE.largest, "torch_fp32", Setup(tokens=600)):
        pass


def test_a_held_engine_is_the_stored_one(tiny_model, tmp_path):
    from zoo.engines.onnx import OnnxEngine
    from zoo.modeling import LengthAdaptiveModel
    from zoo.weights import float_weights, write
    from zoo.weights import spec_of as real_spec

    model = LengthAdaptiveModel.load(tiny_model)
    weights, spec = float_weights(model), real_spec(model)
    stored, held = OnnxEngine.open(write(weights, spec, tmp_path).parent, 1), OnnxEngine(weights, spec, 1)
    np.testing.assert_array_equal(whole_run(held, SETUP, 100)().logits, whole_run(stored, SETUP, 100)().logits)


def test_rows_keep_their_columns(tmp_path):
    made = table()
    made.save(tmp_path / "table.json")
    data = json.loads((tmp_path / "table.json").read_text())
    assert data["columns"][0] == "arch" and len(data["columns"]) == len(data["rows"][0]) == 6
    assert Row(made.rows[0].arch, *data["rows"][0][1:]) == made.rows[0]


class FakeRay:
    """Ray's words, in this process; its machine is another one."""

    def remote(self, **_options):
        return lambda kind: SimpleNamespace(remote=lambda *args: SimpleNamespace(stamp=self._later(kind(*args).stamp)))

    def get(self, found):
        return found

    def _later(self, call):
        return SimpleNamespace(remote=lambda: {**call(), "cpu": "Another One"})


def test_a_cluster_of_other_machines_is_refused(monkeypatch):
    monkeypatch.setattr(latency_table, "cluster", lambda *_args: nullcontext(FakeRay()))
    with (
        pytest.raises(UserError, match="A machine of the Ray cluster is from another machine"),
        machines(SETUP, settings(workers=2)),
    ):
        pass
    with machines(SETUP, settings()) as alone:
        assert alone is None


@pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed: pip install ray[default]")
def test_a_cluster_measures_rows_in_their_order(tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    some = settings(rows=20, workers=2)
    with machines(SETUP, some) as work:
        assert work is not None
        made = measure_table(SPACE, SETUP, some, Archive(tmp_path / "rows.jsonl"), Silent(), work)
    assert [row.arch for row in made.rows] == plan(SPACE, 20, 0) and all(row.p50_ms > 0 for row in made.rows)
    assert made.machine == stamp()
