"""Curves of what grows, at a few small sizes."""

from __future__ import annotations

import json

from bench import growth
from bench.__main__ import main
from bench.growth import SMALL, Curve, draw, table
from bench.latency import OURS
from zoo import catalog
from zoo.settings import get_settings


def test_longer_inputs_and_larger_budgets_have_their_own_points():
    entry = catalog.find(OURS)
    curve = growth.over_tokens(entry, (16, 64))
    assert set(curve.series) == {"full length", "at most 1 F1 lost", "the cheapest"}
    assert [x for x, _ in curve.series["full length"]] == [16, 64]
    assert all(ms > 0 for points in curve.series.values() for _, ms in points)
    windows = growth.over_windows(entry, (1, 3)).series
    assert set(windows) == {"onnxruntime", "openvino"} and [x for x, _ in windows["openvino"]] == [1, 3]


def test_models_and_jobs_are_counted_in_a_home_of_their_own():
    before = get_settings().home
    with growth._home():
        assert get_settings().home != before
        models, jobs = growth.over_entries((5, 20)), growth.over_jobs((2,))
    assert get_settings().home == before
    assert [x for x, _ in models.series["search"]] == [5, 20]
    assert set(jobs.series) == {"read anew", "seen before", "command line"}


def test_memory_is_that_of_a_process_of_its_own():
    for points in growth.over_questions(60).series.values():
        assert [count for count, _ in points] == [50, 60] and all(size > 50 for _, size in points)


def test_the_command_writes_a_table_the_figures_and_a_picture(tmp_path, capsys, monkeypatch):
    curves = [Curve("one", "tokens", "ms", {"full": [(16, 1.5), (384, 20.25)], "half": [(16, 1.0)]})]
    monkeypatch.setattr(growth, "measure", lambda sizes: curves if sizes is SMALL else [])
    chart, path = tmp_path / "growth.png", tmp_path / "growth.json"
    assert main(["growth", "--small", "--chart", str(chart), "--json", str(path)]) == 0
    told = capsys.readouterr().out
    assert "| one: ms at tokens | 16 | 384 |" in told and "| half | 1 | – |" in told and "| full | 1.5 | 20.2 |" in told
    assert chart.read_bytes().startswith(b"\x89PNG") and json.loads(path.read_text())[0]["x"] == "tokens"
    assert table(curves) in told
    draw(curves * 4, chart)
