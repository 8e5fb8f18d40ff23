"""Classifiers on the page: Explore, Compare and the endpoint, over stand-ins for models."""

import asyncio
import html
import json
from types import SimpleNamespace

import gradio as gr
import pytest

from tests.ui.conftest import FakeAnswerer, FakeClassifier
from ui import page
from ui.compare import comparing
from ui.compare import tab as compare
from ui.desk import Desk
from ui.explore import labels
from ui.explore import tab as explore
from ui.models.tab import stamped
from zoo import catalog
from zoo.errors import UserError

SENTIMENT, ENTAILMENT = ["negative", "positive"], ["entailment", "neutral", "contradiction"]
VISITOR = SimpleNamespace(session_hash="ann", query_params={})


@pytest.fixture
def entries(entry, make_classifier):
    made = [make_classifier("mood", SENTIMENT), make_classifier("nli", ENTAILMENT), make_classifier("sim", ["LABEL_0"])]
    return {one.name: one for one in [entry, *made]}


@pytest.fixture
def both(entries, tmp_path, monkeypatch):
    """The page over a model for questions and three for texts."""
    made, make = [], asyncio.new_event_loop
    monkeypatch.setattr(asyncio, "new_event_loop", lambda: made.append(make()) or made[-1])
    monkeypatch.setattr("zoo.latency.disturbed", lambda: False)
    monkeypatch.setattr("zoo.latency.get_settings", lambda: SimpleNamespace(home=tmp_path / "home", threads=1))
    # Classifiers first: the page opens with questions nevertheless.
    monkeypatch.setattr(catalog, "bundled", lambda: sorted(entries.values(), key=lambda e: e.name != "mood"))

    def find(name):
        if name not in entries:
            raise UserError(f"There is no {name}.")
        return entries[name]

    def answerer(which, engine):
        return (FakeAnswerer if which.task == "qa" else FakeClassifier)(which, engine)

    desk = Desk(find, lambda e: e, answerer)
    with gr.Blocks() as demo:
        h = explore.build_explore(demo, desk)
        parts, versus = compare.build_compare(desk)
    yield SimpleNamespace(demo=demo, h=h, p=h.parts, desk=desk, versus=versus, vp=parts)
    asyncio.set_event_loop(None)
    for loop in made:
        loop.close()


def names(update):
    return [name for _, name in update["choices"]]


def test_the_page_opens_with_questions_and_offers_the_switch(both):
    opened = both.h.open(VISITOR)
    p = both.p
    assert opened[p.model]["value"] == "small" and names(opened[p.model]) == ["small"]
    assert opened[p.task]["visible"] and opened[p.task]["value"] == "qa" and not opened[p.bars]["visible"]
    assert opened[p.question]["label"] == "Question" and opened[p.ask]["value"] == "Ask"


def test_the_switch_brings_a_classifier_its_boxes_and_something_to_try(both):
    p, now = both.p, ("onnxruntime", "macs", None)
    to = both.h.select_task("classification", *now, "qa")
    assert to[p.model]["value"] == "mood" and names(to[p.model]) == ["mood", "nli", "sim"]
    assert (to[p.question]["label"], to[p.passage]["visible"]) == ("Sentence", False) and to[p.passage]["value"] == ""
    assert to[p.bars]["visible"] and not to[p.marked]["visible"] and not to[p.more]["visible"]
    assert to[p.states["reading"]] == "sst2" and to[p.question]["value"] == to[p.example]["choices"][0][0][8:]
    pair = both.h.select("nli", *now, "sst2")
    assert (pair[p.question]["label"], pair[p.passage]["label"]) == ("Premise", "Hypothesis")
    assert pair[p.passage]["visible"] and pair[p.passage]["value"] and pair[p.engine]["value"] == "onnxruntime"
    assert both.h.select("sim", *now, "mnli")[p.ask]["value"] == "Score"
    back = both.h.select_task("qa", *now, "mnli")
    assert back[p.model]["value"] == "small" and back[p.marked]["visible"] and back[p.passage]["label"] == "Passage"


def test_a_text_stays_where_the_next_checkpoint_reads_the_same(both, entries, make_classifier):
    entries["other"] = make_classifier("other", SENTIMENT)
    stays = both.h.select("other", "onnxruntime", "macs", None, "sst2")
    assert both.p.question not in stays and both.p.model in stays


def test_a_task_without_a_checkpoint_is_told(both):
    both.h.bundled = both.h.bundled[:1]
    told = both.h.select_task("qa" if both.h.bundled[0][2] != "qa" else "classification", "torch", "macs", None, "qa")
    assert set(told) == {both.p.hint} and "no checkpoint" in told[both.p.hint]["value"]
    loaded = [["Nli", "nli", "classification"]]
    both.h.bundled = []
    assert names(both.h.select_task("classification", "torch", "macs", loaded, "qa")[both.p.model]) == ["nli"]


def test_examples_are_of_what_is_picked(both):
    filled = both.h.pick(1, "nli")
    assert filled[both.p.passage] == "The choir has forty members."
    assert both.h.pick_another(0, "mood")[both.p.passage] == ""


def run(both, model, first, second="", value=60.0, unit="macs"):
    asked = (model, "onnxruntime", unit, value, first, second)
    both.h.look_up(*asked, "macs", None, None, None, [], VISITOR, None)
    return list(both.h.run(*asked, "macs", None, None, 2, [], VISITOR))


@pytest.mark.parametrize("unit", ["macs", "ms"])
def test_a_text_is_classified_at_the_budget_and_at_full_length(both, unit):
    p = both.p
    *_, answered, measured = run(both, "mood", "positive words of a kind person here", unit=unit)
    assert "### positive" in answered[p.answer] and "90 % probability" in answered[p.answer]
    assert answered[p.verdict]["value"] == "Same as fp32 full length"
    assert "positive" in answered[p.bars] and "90.0 %" in answered[p.bars] and p.marked not in answered
    assert "| p50 |" in measured[p.latency]
    kept = answered[p.states["kept"]]
    assert kept["texts"] == ("positive words of a kind person here",) and both.h.show_layer(2, 0, kept)[p.kept]
    assert "Accuracy" in answered[p.readout] and "Accuracy" in answered[p.front]


def test_a_score_has_its_scale(both):
    answered = run(both, "sim", "a b", "c d")[1]
    assert "### 3&#46;50" in answered[both.p.answer] and "probability" not in answered[both.p.answer]
    assert "0 to 5" in answered[both.p.bars] and "width:70.0%" in answered[both.p.bars]


def test_no_text_is_told(both):
    last = run(both, "mood", " ")[-1]
    assert "no text" in last[both.p.notice]["value"] and last[both.p.bars] == ""


def test_labels_of_strangers_stay_text(both, entries, make_classifier):
    entries["odd"] = make_classifier("odd", ["<img src=x>", "b|c"])
    drawn = run(both, "odd", "x y z")[1]
    assert "<img" not in drawn[both.p.bars] and "<img" not in drawn[both.p.answer]
    assert labels.draw_labels.__doc__


def test_classifiers_are_compared_and_mixed_kinds_are_refused(both, entries, make_classifier):
    p = both.vp
    *_, last = both.versus.run(2, "positive words here", "", "mood", 100, "mood", 60, None, 1, None, 1)
    assert "positive" in last[p.table] and "Accuracy" in last[p.table] and "positive" in last[p.csv_text]
    entries["any"] = make_classifier("any", ["yes", "no"])
    comparing.refuse_mixed([entries["any"], entries["mood"]])
    for pair, said in ((("small", "mood"), "answers questions and The mood classifies"), (("nli", "sim"), "same kind"),
                       (("mood", "nli"), "same kind")):  # fmt: skip
        *_, told = both.versus.run(2, "a", "b", pair[0], 100, pair[1], 100, None, 1, None, 1)
        assert said in html.unescape(told[p.notice]["value"])


def test_what_a_is_decides_what_the_others_offer(both):
    p, h = both.vp, both.versus
    assert {name for _, name in p.models[0].choices} == {"small", "mood", "nli", "sim"}
    assert [name for _, name in p.models[1].choices] == ["small"]
    told = h.choose("nli", "qa", "small", "sim", "small")
    assert names(told[p.models[1]]) == ["mood", "nli", "sim"]
    assert [told[one]["value"] for one in p.models[1:]] == ["nli", "sim", "nli"]
    assert told[p.passage]["label"] == "Hypothesis" and told[p.reads] == "mnli"
    assert p.question not in h.choose("nli", "mnli", "nli", "nli", "nli")
    assert h.pick(0, "mood")[p.passage] == ""


def test_the_endpoint_classifies_scores_and_sends_questions_elsewhere(both):
    ends = {event.api_name: event.fn for event in both.demo.fns.values() if event.api_visibility == "public"}
    found = ends["classify"]("positive thing", "left out", "mood", 60.0)
    assert found["labels"][0]["label"] == "positive" and found["same"] and found["full_length"]["fp32"]
    assert found["point"]["metric"] == "accuracy" and found["score"] is None
    assert both.desk.model(both.desk.entry("mood"), "onnxruntime").asked[-1][1] == ""
    assert ends["classify"]("a", "b", "sim")["score"] == 3.5
    json.dumps(found)
    for call, said in (
        (lambda: ends["classify"]("a", "", "small"), "endpoint answer"),
        (lambda: ends["answer"]("a", "b", "mood"), "endpoint classify"),
        (lambda: ends["classify"]("a", "", ""), "name a model"),
    ):
        with pytest.raises(gr.Error, match=said):
            call()
    assert ends["measure"]("positive words", "", "mood", 60.0)["timings"]


def test_the_models_tab_sends_only_one_task_to_compare(built, monkeypatch):
    p, h = built.build_models
    rows = {name: SimpleNamespace(task=task) for name, task in (("a", "qa"), ("b", "classification"), ("c", ""))}
    monkeypatch.setattr("ui.models.tab._find", lambda name, profile: rows[name])
    assert h.to_compare(["a", "c"], None)[p.compared] and h.to_compare(["b", "c"], None)[p.compared]
    assert "same task" in h.to_compare(["a", "b"], None)[p.notice]["value"]
    assert stamped(["a"]) and page.TABS
