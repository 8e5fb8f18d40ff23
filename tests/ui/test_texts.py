"""Classifiers on the page: Explore, Compare and the endpoint, over stand-ins for models."""

import json
from dataclasses import replace
from types import SimpleNamespace

import gradio as gr
import pytest

from tests.ui.desk_kit import FakeAnswerer, FakeClassifier
from tests.ui.page_kit import Driver, loops_closed, visitor, words
from ui.compare import contest
from ui.compare import tab as compare
from ui.desk import Desk
from ui.explore import labels
from ui.explore import tab as explore
from zoo import catalog
from zoo.errors import UserError

SENTIMENT, ENTAILMENT = ["negative", "positive"], ["entailment", "neutral", "contradiction"]
ON_SCREEN = {"engine": "onnxruntime", "unit": "macs", "slider": 60.0, "axis": "macs", "layer": 2, "rivals": []}


@pytest.fixture
def entries(entry, make_classifier):
    made = [make_classifier("mood", SENTIMENT), make_classifier("nli", ENTAILMENT), make_classifier("sim", ["LABEL_0"])]
    return {one.name: one for one in [entry, *made]}


@pytest.fixture
def both(entries, tmp_path, monkeypatch):
    """The page over a model for questions and three for texts."""
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
    with loops_closed():
        with gr.Blocks() as demo:
            tab, versus = explore.build_explore(demo, desk), compare.build_compare(demo, desk)
        send, ask = Driver(demo, tab.parts, ON_SCREEN).send, Driver(demo, versus.parts, {"many": 2}).send
        yield SimpleNamespace(
            demo=demo, p=tab.parts, select=tab.selecting, run=tab.running, desk=desk, send=send,
            versus=versus.comparing, vp=versus.parts, ask=ask,
        )  # fmt: skip


def names(update):
    return [name for _, name in update["choices"]]


def test_the_page_opens_with_questions_and_offers_the_switch(both):
    """As it was built, so that what a visitor types meanwhile is overwritten by nothing."""
    p = both.p
    assert p.model.value == "small" and [name for _, name in p.model.choices] == ["small"]
    assert p.task.visible and p.task.value == "qa" and not p.bars.visible
    assert p.question.label == "Question" and p.question.value and p.ask.value == "Ask"
    assert "79.2" in p.readout.value and 'class="mark current"' in p.front.value and p.slider.value == 60.0
    assert set(both.select.open(visitor())) == {p.hint}
    assert both.select.open(visitor(budget="60"))[p.model]["value"] == "small"


def test_the_switch_brings_a_classifier_its_boxes_and_something_to_try(both):
    p, select = both.p, both.select
    to = both.send(select.select_task, task="classification", reading="qa")
    assert to[p.model]["value"] == "mood" and names(to[p.model]) == ["mood", "nli", "sim"]
    assert (to[p.question]["label"], to[p.passage]["visible"]) == ("Sentence", False) and to[p.passage]["value"] == ""
    assert to[p.bars]["visible"] and not to[p.marked]["visible"] and not to[p.more]["visible"]
    assert to[p.states.reading] == "sst2" and to[p.question]["value"] == to[p.example]["choices"][0][0][8:]
    pair = both.send(select.select, model="nli", reading="sst2")
    assert (pair[p.question]["label"], pair[p.passage]["label"]) == ("Premise", "Hypothesis")
    assert pair[p.passage]["visible"] and pair[p.passage]["value"] and pair[p.engine]["value"] == "onnxruntime"
    assert both.send(select.select, model="sim", reading="mnli")[p.ask]["value"] == "Score"
    back = both.send(select.select_task, task="qa", reading="mnli")
    assert back[p.model]["value"] == "small" and back[p.marked]["visible"] and back[p.passage]["label"] == "Passage"


def test_a_text_stays_where_the_next_checkpoint_reads_the_same(both, entries, make_classifier):
    entries["other"] = make_classifier("other", SENTIMENT)
    stays = both.send(both.select.select, model="other", reading="sst2")
    assert both.p.question not in stays and both.p.model in stays


def test_a_second_thing_to_try_is_a_click_away_and_questions_are_too(both, entries):
    assert not both.send(both.select.select, model="mood", reading="qa")[both.p.turn]["visible"]
    vectors = replace(entries["mood"], name="vectors", title="Vectors", task="embeddings", front=None)
    entries["vectors"] = vectors
    both.select.bundled = [*both.select.bundled, ["Vectors", "vectors", "embeddings"]]
    turn = both.send(both.select.select, model="small", reading="mood")[both.p.turn]
    assert (turn["value"], turn["visible"]) == ("How alike are two texts?", True)
    there = both.send(both.select.turn, model="small", reading="qa")
    assert there[both.p.model]["value"] == "vectors" and there[both.p.task]["value"] == "embeddings"
    assert (there[both.p.turn]["value"], there[both.p.turn]["visible"]) == ("Ask a question", True)
    back = both.send(both.select.turn, model="vectors", reading="embeddings")
    assert back[both.p.model]["value"] == "small" and back[both.p.passage]["label"] == "Passage"


def test_a_task_without_a_checkpoint_is_told(both):
    both.select.bundled = both.select.bundled[:1]
    other = "qa" if both.select.bundled[0][2] != "qa" else "classification"
    told = both.send(both.select.select_task, task=other, reading="qa")
    assert set(told) == {both.p.hint} and "no checkpoint" in told[both.p.hint]["value"]
    loaded = [["Nli", "nli", "classification"]]
    both.select.bundled = []
    to = both.send(both.select.select_task, task="classification", choices=loaded, reading="qa")
    assert names(to[both.p.model]) == ["nli"]


def test_examples_are_of_what_is_picked(both):
    filled = both.send(both.select.pick, example=1, model="nli")
    assert filled[both.p.passage] == "The choir has forty members."
    assert both.send(both.select.pick_another, example=0, model="mood")[both.p.passage] == ""


def run(both, model, first, second="", unit="macs"):
    shown = {"model": model, "unit": unit, "question": first, "passage": second}
    both.send(both.run.look_up, visitor(), None, **shown)
    told = list(both.send(both.run.run, visitor(), **shown))
    return [updates for updates in told if set(updates) != {both.p.stamp}]  # but for how far a slow machine is


@pytest.mark.parametrize("unit", ["macs", "ms"])
def test_a_text_is_classified_at_the_budget_and_at_full_length(both, unit):
    p = both.p
    *_, answered, measured = run(both, "mood", "positive words of a kind person here", unit=unit)
    assert "### positive" in answered[p.answer] and "90 % probability" in answered[p.answer]
    assert answered[p.verdict]["value"] == "Same as fp32 full length"
    assert "positive" in answered[p.bars] and "90.0 %" in answered[p.bars] and p.marked not in answered
    assert "| p50 |" in measured[p.latency]
    kept = answered[p.states.windows]
    assert kept["texts"] == ("positive words of a kind person here",)
    assert both.send(both.run.show_layer, window=0, windows=kept)[p.kept]
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
    pair = {"question": "positive words here", "models0": "mood", "budgets0": 100, "models1": "mood", "budgets1": 60}
    *_, last = both.ask(both.versus.run, **pair)
    assert "positive" in last[p.table] and "Accuracy" in last[p.table] and "positive" in last[p.csv_text]
    entries["any"] = make_classifier("any", ["yes", "no"])
    contest.refuse_mixed([entries["any"], entries["mood"]])
    for pair, said in ((("small", "mood"), "answers questions and The mood classifies"), (("nli", "sim"), "same kind"),
                       (("mood", "nli"), "same kind")):  # fmt: skip
        rows = {"models0": pair[0], "budgets0": 100, "models1": pair[1], "budgets1": 100}
        *_, told = both.ask(both.versus.run, question="a", passage="b", **rows)
        assert said in words(told, p.notice)


def test_what_a_is_decides_what_the_others_offer(both):
    p, h = both.vp, both.versus
    assert {name for _, name in p.models[0].choices} == {"small", "mood", "nli", "sim"}
    assert [name for _, name in p.models[1].choices] == ["small"]
    told = both.ask(h.choose, reads="qa", models0="nli", models1="small", models2="sim", models3="small")
    assert names(told[p.models[1]]) == ["mood", "nli", "sim"]
    assert [told[one]["value"] for one in p.models[1:]] == ["nli", "sim", "nli"]
    assert told[p.passage]["label"] == "Hypothesis" and told[p.reads] == "mnli"
    assert p.question not in both.ask(h.choose, reads="mnli", **{f"models{i}": "nli" for i in range(4)})
    assert both.ask(h.pick, example=0, models0="mood")[p.passage] == ""


def test_the_endpoint_classifies_scores_and_sends_questions_elsewhere(both):
    ends = {event.api_name: event.fn for event in both.demo.fns.values() if event.api_visibility == "public"}
    found = ends["classify"]("positive thing", "left out", "mood", 60.0, compare=True)
    assert found["labels"][0]["label"] == "positive" and found["same"] and found["full_length"]["fp32"]
    assert found["point"]["metric"] == "accuracy" and found["score"] is None
    assert ends["classify"]("a", "b", "sim")["score"] == 3.5
    alone = ends["classify"]("positive thing", "left out", "mood", 60.0)
    assert alone["full_length"] is None and alone["same"] is None and alone["labels"] == found["labels"]
    json.dumps(found)
    assert ends["classify"]("positive thing")["labels"][0]["label"] == "positive"  # of the first for one text
    assert {one["label"] for one in ends["classify"]("a", "b")["labels"]} == set(ENTAILMENT)
    for call, said in (
        (lambda: ends["classify"]("a", "", "small"), "endpoint answer"),
        (lambda: ends["answer"]("a", "b", "mood"), "endpoint classify"),
    ):
        with pytest.raises(gr.Error, match=said):
            call()
    assert ends["measure"]("positive words", "", "mood", 60.0)["timings"]


def test_the_models_tab_sends_only_one_task_to_compare(built, monkeypatch):
    p, h = built.models.parts, built.models.browsing
    send = Driver(built.demo, p).send
    rows = {name: SimpleNamespace(task=task) for name, task in (("a", "qa"), ("b", "classification"), ("c", ""))}
    monkeypatch.setattr("ui.models.browsing.find", lambda name, profile: rows[name])
    for alike in (["a", "c"], ["b", "c"]):
        assert send(h.to_compare, None, ticked=alike)[p.compared].endswith("\n".join(alike))
    assert "same task" in words(send(h.to_compare, None, ticked=["a", "b"]), p.notice)
