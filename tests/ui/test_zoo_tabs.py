"""The tabs Models and Compare, driven without a browser."""

from types import SimpleNamespace

import pytest

from tests.ui.page_kit import Driver, selected, visitor, words
from ui.checkpoints import stamped, unstamped
from zoo.settings import get_settings

UNFILTERED = {f"filters_{key}": "any" for key in ("task", "method", "base_model", "origin", "int8")}


@pytest.fixture
def models(built):
    tab = built.models
    driver = Driver(built.demo, tab.parts, {**UNFILTERED, "search": "", "ticked": []})
    return SimpleNamespace(p=tab.parts, h=tab.browsing, send=driver.send)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home without the results that other tests left."""
    monkeypatch.setenv("BUDGET_ZOO_HOME", str(tmp_path))
    get_settings.cache_clear()
    yield tmp_path
    get_settings.cache_clear()


@pytest.mark.usefixtures("home")
def test_the_zoo_is_searched_and_a_bad_bound_is_told(models):
    p, h, send = models.p, models.h, models.send
    opened = send(h.open, None)
    names = [row[1] for row in opened[p.table]["data"]]
    assert "minilm-l6-qa" in names and not opened[p.banner]["visible"]
    int8 = send(h.choose, None, filters_int8="yes")
    there = {f"minilm-l6-{task}-length-adaptive-int8" for task in ("qa", "sst2", "mnli", "embeddings")}
    assert {row[1] for row in int8[p.table]["data"]} == {*there, "minilm-l6-w8a8-stsb-int8"}
    assert "5 models" in int8[p.counted]
    assert not int8[p.clear]["visible"]
    none = send(h.choose, None, search="no such thing", filters_int8="yes")
    assert none[p.clear]["visible"] and "0 models: nothing fits" in none[p.counted]
    back = send(h.clear, None)
    assert back[p.search] == "" and back[p.filters["int8"]] == "any" and not back[p.clear]["visible"]
    assert "minilm-l6-qa" in [row[1] for row in back[p.table]["data"]]
    wrong = send(h.choose, None, most_mb="many")
    assert "“many”" in words(wrong, p.notice)


def test_a_click_opens_the_card_and_a_tick_compares(models):
    p, h, send = models.p, models.h, models.send
    row = ["☐", "minilm-l6-qa"]
    opened = send(h.click, selected([0, 3], row), None)
    assert opened[p.detail]["visible"] and "MiniLM" in opened[p.card] and "![" not in opened[p.card]
    ticked = send(h.click, selected([0, 0], row), None)
    assert ticked[p.ticked] == ["minilm-l6-qa"]
    assert "Tick 2 to 4" in words(send(h.to_compare, None, ticked=["minilm-l6-qa"]), p.notice)
    both = ["minilm-l6-qa", "minilm-l6-qa-length-adaptive-int8"]
    assert unstamped(send(h.to_compare, None, ticked=both)[p.compared]) == both
    assert unstamped(send(h.to_explore, None, name="minilm-l6-qa")[p.wanted]) == ["minilm-l6-qa"]
    assert "no model gone" in words(send(h.to_explore, None, name="gone"), p.notice)


def test_a_link_opens_a_card(models):
    p, arrive = models.p, models.h.arrive
    opened = arrive(visitor(card="minilm-l6-qa"), None)
    assert opened[p.name] == "minilm-l6-qa" and opened[p.detail]["visible"] and "MiniLM" in opened[p.card]
    assert set(arrive(visitor(), None)) == {p.name}
    assert "no model nowhere" in words(arrive(visitor(card="nowhere"), None), p.notice)


def test_the_same_wish_twice_is_a_change():
    assert stamped(["a"]) != stamped(["a"])


def test_comparing_opens_with_as_many_rows_as_wanted(built):
    p, h = built.compare.parts, built.compare.comparing
    send = Driver(built.demo, p, {"many": 2, "question": "q", "passage": "p"}).send
    assert [update["visible"] for update in send(h.count, many=3).values()] == [True, True, True, False]
    assert [update["visible"] for update in send(h.count, many="many").values()] == [True, True, False, False]
    (_, failed) = send(h.run, models0="gone/model/x", budgets0=50, budgets1=50)
    assert "2 to 4" in words(failed, p.notice)


def test_what_was_ticked_fills_the_rows_of_the_comparison(built):
    p, h = built.compare.parts, built.compare.comparing
    names = ["minilm-l6-qa", "minilm-l6-qa-length-adaptive-int8", "minilm-l6-qa"]
    updates = h.take(names, "qa")
    assert updates[p.many] == 3 and [updates[row]["visible"] for row in p.rows] == [True, True, True, False]
    assert [updates[model]["value"] for model in p.models] == [*names, names[0]]
    assert {updates[budget] for budget in p.budgets} == {100} and not updates[p.notice]["visible"]
    assert "gone/model/x" in words(h.take(["gone/model/x"] * 2, "qa"), p.notice)
