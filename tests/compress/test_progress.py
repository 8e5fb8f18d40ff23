from __future__ import annotations

import json

import pytest

from compress.progress import Progress


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_at_most_a_line_a_second_but_always_the_last(tmp_path):
    clock = Clock()
    with Progress(tmp_path / "p.jsonl", "learn", clock=clock) as progress:
        for step in range(1, 41):
            clock.now += 0.25
            progress.update(step, 40, loss=1 / step)
    found = lines(tmp_path / "p.jsonl")
    assert [line["step"] for line in found] == [1, 5, 9, 13, 17, 21, 25, 29, 33, 37, 40]
    assert found[5]["rate"] == pytest.approx(4)
    assert found[5]["eta_s"] == pytest.approx((40 - 21) / 4)
    assert {"time", "stage", "loss", "total"} <= set(found[0])


def test_a_resumed_run_does_not_count_the_steps_of_the_one_before(tmp_path):
    clock = Clock()
    with Progress(tmp_path / "p.jsonl", "learn", clock=clock) as progress:
        progress.update(1000, 2000)
        clock.now += 10
        progress.update(1010, 2000)
    assert lines(tmp_path / "p.jsonl")[-1]["rate"] == pytest.approx(1)


def test_close_writes_what_was_held_back(tmp_path):
    with Progress(tmp_path / "p.jsonl", "learn", clock=Clock()) as progress:
        progress.update(1, 9)
        progress.update(2, 9)
    assert [line["step"] for line in lines(tmp_path / "p.jsonl")] == [1, 2]


def test_half_a_line_of_a_killed_process_spoils_no_other(tmp_path):
    (tmp_path / "p.jsonl").write_text('{"step": 1}\n{"st')
    with Progress(tmp_path / "p.jsonl", "learn") as progress:
        progress.note("resumed")
    assert json.loads((tmp_path / "p.jsonl").read_text().splitlines()[2])["note"] == "resumed"


def test_what_json_does_not_know_becomes_null(tmp_path):
    with Progress(tmp_path / "p.jsonl", "learn") as progress:
        progress.update(1, 1, loss=float("nan"), front=[(0.5, float("inf"))])
    assert lines(tmp_path / "p.jsonl")[0] | {"time": 0} == {
        "time": 0, "stage": "learn", "step": 1, "total": 1, "rate": None, "eta_s": None, "loss": None,
        "front": [[0.5, None]],
    }  # fmt: skip


@pytest.mark.parametrize("bar", [True, False])
def test_people_see_it_too(tmp_path, capsys, bar):
    with Progress(tmp_path / "p.jsonl", "learn", bar=bar) as progress:
        progress.update(1, 2, loss=0.25)
        progress.note("halfway")
        progress.update(2, 2, loss=0.125)
    shown = capsys.readouterr().err
    assert "learn" in shown and "halfway" in shown and "0.125" in shown


def test_without_file_and_unshown_it_is_silent(tmp_path, capsys):
    with Progress(None, "learn", shown=False) as progress:
        progress.update(1, 2)
        progress.note("nothing")
    assert capsys.readouterr().err == ""
