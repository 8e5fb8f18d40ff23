"""The tick and the slider of "no answer" in the Explore tab, over a tiny model that would rather not answer."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from tests.ui.page_kit import Driver, visitor
from tests.zoo.abstaining_kit import PASSAGE, QUESTION, make_silent

SST2 = "minilm-l6-sst2-length-adaptive-int8"


@pytest.fixture
def explore(built, tiny_model, tmp_path, monkeypatch):
    """The tab, and the name of a model whose own threshold is -12.25, trained for SQuAD 2."""
    folder = make_silent(tiny_model, tmp_path / "tiny-squad2")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "null_threshold": -12.25}))
    monkeypatch.setattr("zoo.latency.disturbed", lambda: False)
    parts, tab = built.explore.parts, built.explore
    send = Driver(built.demo, parts, {"unit": "macs", "engine": "torch"}).send

    def ask(**changes):
        """What is said first, before the clock runs."""
        texts = {"model": str(folder), "question": QUESTION, "passage": PASSAGE, "slider": 100}
        updates = next(one for one in send(tab.running.run, visitor(), **{**texts, **changes}) if parts.answer in one)
        return updates[parts.answer]

    return SimpleNamespace(p=parts, tab=tab, send=send, ask=ask, name=str(folder))


def test_the_slider_starts_at_the_checkpoint_s_own_threshold(explore, tiny_model):
    shown = explore.send(explore.tab.selecting.load, visitor(), other=explore.name)
    slider = shown[explore.p.null_threshold]
    assert (slider["value"], slider["minimum"], slider["maximum"], slider["step"]) == (-12.25, -13, 10, 0.01)
    assert slider["visible"] and slider["interactive"] and shown[explore.p.no_answer]["value"]
    plain = explore.send(explore.tab.selecting.load, visitor(), other=str(tiny_model))[explore.p.null_threshold]
    assert (plain["value"], plain["minimum"], plain["maximum"], plain["step"]) == (0, -10, 10, 0.5)
    assert plain["visible"] and not plain["interactive"], "nothing hears it while the tick is off"
    assert not explore.send(explore.tab.selecting.select, model=SST2)[explore.p.null_threshold]["visible"]


@pytest.mark.parametrize("ticked", [True, False])
def test_the_tick_sets_the_slider_free(explore, ticked):
    assert explore.send(explore.tab.selecting.allow, no_answer=ticked)[explore.p.null_threshold] == {
        "interactive": ticked,
        "__type__": "update",
    }


def test_both_reach_the_model(explore):
    none = "No answer in this passage"
    assert none in explore.ask(no_answer=True, null_threshold=-12.25)
    assert none not in explore.ask(no_answer=True, null_threshold=1000)
    assert none in explore.ask(no_answer=True, null_threshold=None), "an empty box is as the checkpoint has it"
    assert none not in explore.ask(no_answer=False, null_threshold=-12.25)


def test_what_is_no_number_is_told(explore):
    p, handler = explore.p, explore.tab.running.look_up
    sent = {"model": explore.name, "question": QUESTION, "passage": PASSAGE, "slider": 100}
    told = explore.send(handler, visitor(), None, **sent, no_answer=True, null_threshold="much")
    assert "a number such as" in told[p.notice]["value"]
