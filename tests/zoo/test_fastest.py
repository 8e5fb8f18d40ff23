"""The fastest engine of a model: timed in turn, remembered by machine and model, never one that says something else."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.zoo.command_kit import call
from ui import text
from zoo import catalog, fastest, latency, measuring
from zoo.engines.openvino import OpenVinoEngine
from zoo.errors import UserError
from zoo.latency import Timing
from zoo.measuring import Measured, Superseded

QUESTION, PASSAGE = "Which river leaves the lake?", "The Angara is the only river that leaves the lake."


@pytest.fixture
def entry(int8):
    return catalog.find(str(int8))


@pytest.fixture
def takes(monkeypatch):
    """Sets how long a call of each engine takes, and whether the machine is disturbed meanwhile; without bf16."""
    monkeypatch.setattr("zoo.engines.openvino.multiplies_bf16", lambda: False)

    def pretend(disturbed=False, **ms):
        def time_in_turn(calls):
            for run in calls.values():
                run()
            return {name: Timing.from_samples([ms[name], ms[name] + 1, ms[name] + 2]) for name in calls}, disturbed

        monkeypatch.setattr(measuring, "time_in_turn", time_in_turn)

    return pretend


@pytest.mark.parametrize(("openvino", "best"), [(5.0, "openvino"), (9.9, "onnxruntime"), (20.0, "onnxruntime")])
def test_the_fastest_is_the_default_from_then_on(entry, takes, openvino, best):
    takes(onnxruntime=10.0, openvino=openvino)
    assert fastest.remembered(entry) is None and fastest.default_engine(entry) == "onnxruntime"
    found = fastest.find(entry, QUESTION, PASSAGE)
    assert found.engine == best and found.p50_ms == {"onnxruntime": 11.0, "openvino": openvino + 1}
    assert fastest.remembered(entry) == found and fastest.default_engine(entry) == best
    said = fastest.words(found)
    assert "11.0 ms" in said and f"{found.tokens} tokens" in said and not found.left_out


def test_what_was_timed_on_a_busy_machine_is_not_remembered(entry, takes):
    takes(disturbed=True, onnxruntime=10.0, openvino=5.0)
    assert "not remembered" in fastest.words(fastest.find(entry, QUESTION, PASSAGE))
    assert fastest.remembered(entry) is None


def test_other_weights_another_machine_or_other_threads_are_timed_anew(entry, takes, monkeypatch):
    takes(onnxruntime=10.0, openvino=5.0)
    fastest.find(entry, QUESTION, PASSAGE)
    assert fastest.remembered(entry)
    here = latency.machine()
    monkeypatch.setattr(latency, "machine", lambda: {**here, "cpu": "Another"})
    assert fastest.remembered(entry) is None
    monkeypatch.setattr(latency, "machine", lambda: here)
    (entry.folder / "model.int8.onnx").touch()
    assert fastest.remembered(entry) is None


def test_an_engine_that_says_something_else_is_left_out(entry, takes, monkeypatch):
    takes(onnxruntime=10.0, openvino=5.0)
    real = OpenVinoEngine.run

    def wrong(self, batch, lengths):
        out = real(self, batch, lengths)
        return replace(out, logits=-out.logits)

    monkeypatch.setattr(OpenVinoEngine, "run", wrong)
    found = fastest.find(entry, QUESTION, PASSAGE)
    assert found.engine == "onnxruntime" and set(found.p50_ms) == {"onnxruntime"}
    assert "of their range" in found.left_out["openvino"] and "OpenVINO was left out" in fastest.words(found)


def test_nobody_waits_any_longer(entry, takes):
    takes(onnxruntime=10.0, openvino=5.0)
    with pytest.raises(Superseded):
        fastest.find(entry, QUESTION, PASSAGE, stale=lambda: True)
    assert fastest.remembered(entry) is None


def test_a_cut_file_is_as_none(entry, takes):
    takes(onnxruntime=10.0, openvino=5.0)
    fastest.find(entry, QUESTION, PASSAGE)
    fastest._place(entry).write_text('{"engine": "open')
    assert fastest.default_engine(entry) == "onnxruntime"


def test_the_command_line_times_and_takes_it(entry, takes):
    takes(onnxruntime=10.0, openvino=5.0)
    why, *replies = call(
        "ask", entry.folder, "--engine", "auto", "--json", answer=f"{QUESTION}\t{PASSAGE}\n" * 2
    ).splitlines()
    assert "OpenVINO is taken by default here" in why
    assert [json.loads(line)["answers"][0]["text"] for line in replies] == [
        json.loads(replies[0])["answers"][0]["text"]
    ] * 2
    with pytest.raises(UserError, match="no text to time"):
        fastest.by_first(entry, iter(()), None)


def test_the_page_says_why_it_is_the_default(entry, takes):
    takes(onnxruntime=10.0, openvino=5.0)
    found = fastest.find(entry, QUESTION, PASSAGE)
    measured = Measured({}, {}, latency.machine(), False, [12])
    assert "OpenVINO is taken by default here" in text.show_machine(measured, found)
    assert "by default" not in text.show_machine(measured)
