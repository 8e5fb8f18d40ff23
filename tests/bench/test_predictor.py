"""Latency predictors beside each other, and the two ways to a table."""

from __future__ import annotations

import json

import pytest

from bench import predictor
from bench.__main__ import main
from bench.predictor import compare, make_table, pace, share_that_falls
from tests.compress.nas.nas_kit import SPACE, milliseconds, table


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    """The network learns as it does, with fewer weights."""
    monkeypatch.setattr(predictor, "WIDTH", 64)


def test_all_predictors_are_tested_on_the_same_rows():
    rows = compare(table(), steps=20)
    names = [row.predictor for row in rows]
    assert names[0].startswith("auto (") and names[1:] == ["physics", "hinges", "steps", "network of 4 layers"]
    assert len({row.n for row in rows}) == 1 and all(row.mape > 0 for row in rows)
    ours, network = rows[0], rows[-1]
    assert ours.falls == 0.0 and ours.mape < 4 and network.weights == 4 * 64 + 64 + 3 * (64 * 64 + 64) + 64 + 1
    assert "| onnxruntime_int8 | network of 4 layers |" in predictor.table(rows)


def test_predictions_that_fall_are_counted():
    even = [milliseconds(arch) for arch in SPACE]
    assert share_that_falls(SPACE, even) == 0.0
    assert share_that_falls(SPACE, [-ms for ms in even]) == 100.0


def test_a_row_of_each_way_is_made_and_timed():
    # Which is faster is for `bench predictor` on a quiet machine: here, that both really make their rows.
    found = pace(SPACE, 1, 12)
    assert found.encoders == 1 and found.direct > 0 and found.exported > 0 and found.apart >= 0


def test_the_pace_is_rows_a_minute_of_each_way(monkeypatch):
    clock = [100.0]

    def takes(seconds, milliseconds):
        def row(*_):
            clock[0] += seconds
            return {"p50_ms": milliseconds}

        return row

    monkeypatch.setattr(predictor.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(predictor, "time_row", takes(0.5, 2.0))
    monkeypatch.setattr(predictor, "_exported_row", takes(2.0, 3.0))
    found = pace(SPACE, 2, 12)
    assert (found.encoders, found.direct, found.exported, found.ratio, found.apart) == (2, 120.0, 30.0, 4.0, 50.0)


def test_the_command_measures_a_table_once(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(predictor, "MINILM", SPACE)
    monkeypatch.setattr(predictor, "make_table", lambda *args: make_table(*args, space=SPACE))
    command = ["predictor", "--rows", "20", "--tokens", "12", "--steps", "2", "--folder", str(tmp_path / "t")]
    assert main([*command, "--json", str(tmp_path / "rows.json")]) == 0
    rows = (tmp_path / "t" / "rows.jsonl").read_text()
    assert main(command) == 0 and (tmp_path / "t" / "rows.jsonl").read_text() == rows
    assert len(json.loads((tmp_path / "rows.json").read_text())["rows"]) == 5
    assert main(["predictor", "--table", str(tmp_path / "t" / "table.json"), "--steps", "2"]) == 0
    capsys.readouterr()
    assert main(["predictor", "--table", str(tmp_path / "t" / "table.json"), "--modes", "torch_fp32"]) == 2
    assert "holds nothing of torch_fp32: it has onnxruntime_int8" in capsys.readouterr().err
    data = json.loads((tmp_path / "t" / "table.json").read_text())
    (tmp_path / "other.json").write_text(json.dumps({**data, "machine": {**data["machine"], "cpu": "X"}}))
    assert main(["predictor", "--table", str(tmp_path / "other.json")]) == 2
    assert "from another machine" in capsys.readouterr().err
