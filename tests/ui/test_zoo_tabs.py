"""The tabs Models and Compare, driven without a browser."""

import html
from types import SimpleNamespace

import pytest

from ui.models.tab import stamped, unstamped
from zoo.settings import get_settings


def words(updates, component):
    """A note's text of what a handler updates, without entities."""
    told = updates[component]
    return html.unescape(str(told["value"] if isinstance(told, dict) and "value" in told else told))


ASKED = ("", "any", "any", "any", "any", "any", "", "", "", [])


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home without the results that other tests left."""
    monkeypatch.setenv("BUDGET_ZOO_HOME", str(tmp_path))
    get_settings.cache_clear()
    yield tmp_path
    get_settings.cache_clear()


@pytest.mark.usefixtures("home")
def test_the_zoo_is_searched_and_a_bad_bound_is_told(built):
    p, h = built.build_models
    opened = h.open(None, *ASKED)
    names = [row[1] for row in opened[p.table]["data"]]
    assert "minilm-l6-qa" in names and not opened[p.banner]["visible"]
    int8 = h.choose(None, *("", "any", "any", "any", "any", "yes", "", "", "", []))
    there = {f"minilm-l6-{task}-length-adaptive-int8" for task in ("qa", "sst2", "mnli")}
    assert {row[1] for row in int8[p.table]["data"]} == {*there, "minilm-l6-w8a8-stsb-int8"}
    assert "4 models" in int8[p.counted]
    wrong = h.choose(None, *("", "any", "any", "any", "any", "any", "many", "", "", []))
    assert "“many”" in words(wrong, p.notice)


def test_a_click_opens_the_card_and_a_tick_compares(built):
    p, h = built.build_models
    row = ["☐", "minilm-l6-qa"]
    opened = h.click(SimpleNamespace(row_value=row, index=[0, 3]), None, *ASKED)
    assert opened[p.detail]["visible"] and "MiniLM" in opened[p.card] and "![" not in opened[p.card]
    ticked = h.click(SimpleNamespace(row_value=row, index=[0, 0]), None, *ASKED)
    assert ticked[p.ticked] == ["minilm-l6-qa"]
    assert "Tick 2 to 4" in words(h.to_compare(["minilm-l6-qa"], None), p.notice)
    both = ["minilm-l6-qa", "minilm-l6-qa-length-adaptive-int8"]
    assert unstamped(h.to_compare(both, None)[p.compared]) == both
    assert unstamped(h.to_explore("minilm-l6-qa", None)[p.wanted]) == ["minilm-l6-qa"]
    assert "no model gone" in words(h.to_explore("gone", None), p.notice)


def test_the_same_wish_twice_is_a_change():
    assert stamped(["a"]) != stamped(["a"])


def test_comparing_opens_with_as_many_rows_as_wanted(built):
    p, h = built.build_compare
    assert [update["visible"] for update in h.count(3).values()] == [True, True, True, False]
    assert [update["visible"] for update in h.count("many").values()] == [True, True, False, False]
    (_, failed) = h.run(2, "q", "p", "gone/model/x", 50, None, 50)
    assert "2 to 4" in words(failed, p.notice)
