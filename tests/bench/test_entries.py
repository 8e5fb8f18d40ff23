"""Entries beside each other: every budget is timed with its own lengths, scores are those of the cards."""

from __future__ import annotations

import json
from functools import partial

import pytest

import bench.__main__ as command
from bench import entries
from zoo import catalog, latency

QUESTIONS, FEELINGS = "minilm-l6-qa-length-adaptive-int8", "minilm-l6-sst2-length-adaptive-int8"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(entries, "SECONDS", 0.1)


def test_rows_have_the_scores_of_the_cards_and_the_latency_of_their_lengths(monkeypatch):
    now, measured, opened = [0], latency.measure, entries.open_engine

    class Slow:
        """The engine on a clock on which a call takes 1 ms for each token that a layer keeps: no noise in it."""

        def __init__(self, *of):
            self.runner = opened(*of)

        def run(self, batch, kept):
            found = self.runner.run(batch, kept)
            now[0] += int(kept.sum()) * 1_000_000
            return found

    monkeypatch.setattr(entries, "open_engine", Slow)
    monkeypatch.setattr(latency, "measure", partial(measured, clock=lambda: now[0]))
    rows = entries.compare([QUESTIONS, FEELINGS], (32, 128), points=2, rounds=3)
    front = catalog.find(QUESTIONS).front
    assert front is not None
    own = [row for row in rows if row.name == QUESTIONS and row.tokens == 128]
    assert [row.score for row in own] == [front.points[0].score, front.everything[-2].score, front.full.score]
    assert own[-1].kept == (128,) * 6 and own[0].kept == front.points[0].config.tokens(128)
    assert own[0].macs < own[1].macs < own[2].macs
    assert all(row.p50_ms == row.p90_ms == sum(row.kept) for row in rows)
    assert {row.metric for row in rows} == {"f1", "accuracy"} and len(rows) == 12
    assert {row.sizes for row in rows} == {"l6-h384-f1536-a12"} and all(row.n >= 3 for row in rows)
    shown = entries.table(rows)
    assert shown.count("\n") == 12 + 3 and "3,000 of rajpurkar/squad, validation" in shown and "all 128" in shown


def test_a_folder_goes_by_its_name():
    folder = catalog.find(FEELINGS).folder
    (row,) = entries.compare([str(folder)], (16,), points=0, rounds=2)
    assert row.name == FEELINGS


def test_the_command_writes_the_rows(tmp_path, capsys):
    assert command.main(["entries", FEELINGS, "--points", "0", "--json", str(tmp_path / "rows.json")]) == 0
    assert "| all 128 |" in capsys.readouterr().out
    assert [row["name"] for row in json.loads((tmp_path / "rows.json").read_text())["rows"]] == [FEELINGS]


def test_what_has_no_int8_is_refused(capsys):
    assert command.main(["entries", "minilm-l6-qa"]) == 2
    assert "name an int8 entry of the zoo" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        command.main(["entries", FEELINGS, "--tokens", "3"])
