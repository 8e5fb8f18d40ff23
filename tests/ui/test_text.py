import html
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ui.desk_kit import SHAPE, make_point
from ui import text
from ui.explore import readout
from zoo.answers import Answer, Reply
from zoo.latency import Timing
from zoo.lengths import Choice
from zoo.measuring import BUDGET, FLOAT, FULL, Measured

MARKUP = set("<>|*_`[]()#!$\\~-+&\"'{}\n")


@given(st.text())
def test_escaped_text_shows_the_same_and_means_nothing(raw):
    escaped = text.escape(raw)
    if raw.isprintable():
        assert html.unescape(escaped) == raw
    assert not (set(escaped) & MARKUP) - set("&#")


def reply(*answers):
    return Reply(("",), [9], [], 1.0, answers=list(answers))


def test_a_hostile_answer_stays_text():
    shown = text.show_answer("At this budget", reply(Answer("<img src=x>|**", 0, 3, 1.0, 0.5)), "int8")
    assert "<img" not in shown and "**" not in shown and "50 % probability · int8" in shown
    assert "<img" not in text.list_answers([Answer("<img>|\nx", 0, 3, 1.0, 0.5)])
    assert len(text.list_answers([Answer("a\nb|c", 0, 3, 1.0, 0.5)]).splitlines()) == 3


def test_no_answer_is_said():
    none = reply(Answer("", -1, -1, 1.0, 0.7))
    assert "No answer" in text.show_answer("", none) and none.span is None and none.no_answer
    assert "No answer" in text.show_answer("", reply()) and "no answer" in text.list_answers(none.answers)


def test_the_same_span_is_the_same_answer():
    a, b = reply(Answer("x", 1, 2, 9.0, 0.9)), reply(Answer("x", 1, 2, 3.0, 0.1))
    assert a.agrees(b) and not a.agrees(reply(Answer("x", 4, 5, 9.0, 0.9)))
    assert reply().agrees(reply()) and not a.agrees(reply())


@pytest.fixture
def measured():
    timings = {
        BUDGET: Timing.from_samples([1.0, 2.0]),
        FULL: Timing.from_samples([2.0, 4.0]),
        FLOAT: Timing.from_samples([8.0, 9.0]),
    }
    machine = {"cpu": "X|Y", "threads": 2, "vnni": True, "amx": False, "date": "2026-11-22"}
    return Measured(timings, {FULL: (2.0, 1.9, 2.1), FLOAT: (5.6, 5.0, 6.0)}, machine, True, [170, 30])


def test_latency_names_rows_spread_and_machine(measured):
    shown = text.show_latency(measured, "onnxruntime")
    assert "2.00×" in shown and "1.90×" in shown and "2.10×" in shown and "5.60×" in shown
    assert "| int8, this budget (ONNX Runtime) | 1.5 ms |" in shown and "fp32, full length (PyTorch)" in shown
    stamp = text.show_machine(measured)
    assert "Disturbed" in stamp and "VNNI" in stamp and "200 tokens in 2 windows" in stamp and "2 threads" in stamp


def test_the_expected_speed_up_stands_beside_the_measured_one(measured):
    (line,) = [line for line in text.show_latency(measured, "onnxruntime", 1.54).splitlines() if "1.54×" in line]
    assert "95 % of resampled rounds" in line and "where it was searched" in line
    assert "Expected" not in text.show_latency(measured, "onnxruntime")


def test_a_probability_says_what_it_does_not_mean(entry):
    sure = reply(Answer("x", 1, 2, 9.0, 0.98))
    assert "never learned" in text.doubt(entry, sure)
    taught = replace(entry, no_answer=True)
    assert text.doubt(taught, sure) == "" == text.doubt(entry, reply())
    assert text.show_answer("A", sure, "int8", text.doubt(entry, sure)).endswith("the passage holds nothing.")


def test_equal_words_of_two_places_are_told_apart():
    here, there = reply(Answer("x", 1, 2, 9.0, 0.9)), reply(Answer("x", 5, 6, 9.0, 0.9))
    assert text.compare(here, here, "fp32") == "Same as fp32 full length"
    assert text.compare(here, there, "fp32") == "The same words, another place than at fp32 full length"
    assert text.compare(here, reply(Answer("y", 5, 6, 9.0, 0.9)), "fp32") == "Different from fp32 full length"


def test_the_two_accountings_stay_apart():
    padded = {"macs_ratio": 0.53, "f1": 79.1, "loss": 0.9, "lengths": "(315, 100)"}
    point = make_point((0.8, 0.4), 0.6, 79.2)
    shown = text.account_for(Choice(point, None, ""), SHAPE, [100], {"padded_to_384": padded})
    own, theirs = shown.split("\n\n")
    assert "60.0 %" in own and "this input of 100 tokens" in own and "53" not in own
    assert "53.0 %" in theirs and "315" in theirs and "0.90 F1" in theirs and "60.0" not in theirs
    texts = text.account_for(Choice(point, None, ""), SHAPE, [20], {"padded_to_128": padded})
    assert "padded to 128:**" in texts and "53.0 %" in texts and "padded to 384:**" in shown
    assert "not measured" in text.account_for(Choice(make_point((1.0, 1.0), 1.0, 80.0), None, ""), None, [], {})


def test_an_entry_is_described_without_its_markup(entry):
    assert text.describe_entry(entry) == "1.0 M parameters · 2 MB · F1 80.0 (n not stated) · apache&#45;2&#46;0"


def test_the_origin_of_the_figures_is_told():
    assert text.describe_origin({"n": 10, "cpu": "A | B", "rows": [1]}) == "n: 10 · cpu: A &#124; B"


def test_the_readout_says_what_was_chosen(front):
    choice = front.at("macs", 60)
    shown = readout.draw_readout(choice, front, 100, full_ms=40)
    assert "60.0<small> %" in shown and "79.2" in shown and "−0.80 against full length" in shown
    assert "26.0<small> ms" in shown and "expected here" in shown
    assert "<i>80</i>" in shown and "<i>40</i>" in shown and "each layer, of 100<" in shown
    assert "60 % of the MACs" in readout.draw_binding(choice) and "(0.8, 0.4)" in readout.draw_binding(choice)
    below = readout.draw_readout(front.at("macs", 1), front, None)
    assert 'class="message"' in below and "of 384<" in below and "F1 <small>n = 10, few</small>" in below
    assert "expected, as measured with A | B" in below


def test_a_checkpoint_without_a_front_has_no_f1_tile():
    choice = Choice(make_point((1.0, 1.0), 1.0, float(np.nan)), "no front", "no front")
    assert "F1" not in readout.draw_readout(choice, None, 10)
