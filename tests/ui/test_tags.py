"""Models that label words on the page: Explore, Compare and the endpoint, over a tiny one."""

from __future__ import annotations

from typing import Any

import gradio as gr
import pytest

from tests.ui.page_kit import Driver, loops_closed, visitor
from tests.zoo.tagger_kit import TEXT, make_entry
from ui.compare import tab as compare
from ui.desk import Desk
from ui.explore import tab as explore
from ui.explore.displays import colours_of, display_of
from ui.explore.tokens import mark_tags
from ui.reading import reading_of
from ui.text import list_tags
from zoo import catalog
from zoo.answers import Tag
from zoo.catalog import find

ON_SCREEN = {"engine": "onnxruntime", "unit": "macs", "slider": 60.0, "axis": "macs", "layer": 2, "rivals": []}
TAGS = [Tag("Ada", 0, 3, "PER", 0.9), Tag("Rome|x", 7, 13, "LOC", 0.5)]


@pytest.fixture(scope="module")
def tagger(tiny_model, tmp_path_factory):
    return make_entry(tiny_model, tmp_path_factory.mktemp("tags"))


def test_text_is_marked_by_labels_and_whole():
    text = "Ada in Rome|x."
    marked = mark_tags(text, TAGS)
    assert marked == [("Ada", "PER"), (" in ", None), ("Rome|x", "LOC"), (".", None)]
    assert "".join(piece for piece, _ in marked) == text and mark_tags("x", []) == [("x", None)]


def test_the_list_has_both_lengths():
    rows = list_tags(TAGS[:1], [Tag("Ada", 0, 3, "PER", 0.8), TAGS[1]]).splitlines()
    assert rows[2] == "| PER | Ada | 90.0 % | 80.0 % |"
    assert rows[3] == "| LOC | Rome&#124;x | – | 50.0 % |" and len(rows) == 4
    assert list_tags([], []) == "Nothing is labelled."


def test_a_tagger_is_explored_compared_and_asked(entry, tagger, monkeypatch):
    monkeypatch.setattr("zoo.latency.disturbed", lambda: False)
    monkeypatch.setattr(catalog, "bundled", lambda: [entry, tagger])
    desk = Desk(lambda name: tagger if name != entry.name else entry, catalog.full_precision)
    reading = reading_of(tagger)
    assert (reading.first, reading.second, reading.button, len(reading.samples)) == ("Text", "", "Label", 5)
    assert list(colours_of(tagger)) == ["LOC", "PER"] and display_of("tokens").listing == "Labelled words"
    with loops_closed():
        with gr.Blocks() as demo:
            tab, versus = explore.build_explore(demo, desk), compare.build_compare(demo, desk)
        p, vp = tab.parts, versus.parts
        send, ask = Driver(demo, p, ON_SCREEN).send, Driver(demo, vp, {"many": 2}).send
        assert "label words" in [name for name, _ in p.task.choices]
        chosen = send(tab.selecting.select, model=tagger.name, reading="qa", choices=None)
        assert chosen[p.marked]["visible"] and not chosen[p.bars]["visible"] and not chosen[p.passage]["visible"]
        assert chosen[p.more]["label"] == "Labelled words" and chosen[p.ask]["value"] == "Label"
        steps = list(send(tab.running.run, visitor("a"), model=tagger.name, question=TEXT, passage=""))
        shown = next(step for step in steps if p.marked in step)
        assert "".join(piece for piece, _ in shown[p.marked]) == TEXT
        assert {label for _, label in shown[p.marked]} - {None} <= {"PER", "LOC"}
        assert "| label | words |" in shown[p.n_best] and shown[p.kept]
        assert "full length" in shown[p.verdict]["value"]
        pair = {"question": TEXT, "passage": "", "models0": tagger.name, "budgets0": 100, "models1": tagger.name}
        *_, last = ask(versus.comparing.run, budgets1=60, **pair)
        assert "F1" in last[vp.table] and "LOC" in last[vp.csv_text]
        *_, mixed = ask(versus.comparing.run, budgets1=60, **{**pair, "models1": entry.name})
        assert "labels words and" in mixed[vp.notice]["value"] and "answers questions" in mixed[vp.notice]["value"]
        ends: dict[Any, Any] = {
            event.api_name: event.fn for event in demo.fns.values() if event.api_visibility == "public"
        }
        said = ends["label"](TEXT, tagger.name, 60.0, compare=True)
        assert said["point"]["macs_ratio"] == 0.6 and said["shared"][1] >= len(said["entities"]) > 0
        assert all(TEXT[one["start"] : one["end"]] == one["text"] for one in said["entities"])
        for call, message in (
            (lambda: ends["label"](TEXT, entry.name), "endpoint answer"),
            (lambda: ends["classify"](TEXT, "", tagger.name), "endpoint label"),
            (lambda: ends["answer"](TEXT, "", tagger.name), "endpoint label"),
        ):
            with pytest.raises(gr.Error, match=message):
                call()


def test_full_length_stands_beside_in_float(tagger):
    whole = catalog.full_precision(tagger)
    assert whole and whole.task == "tokens" and find(str(whole.folder)).labels == tagger.labels
