"""Compare opens as its link says, and says in its link what it shows."""

from __future__ import annotations

import pytest

from tests.ui.page_kit import Driver, visitor, words

INT8, FLOAT = "minilm-l6-qa-length-adaptive-int8", "minilm-l6-qa"


@pytest.fixture
def send(built):
    return Driver(built.demo, built.compare.parts).send


def test_the_tab_opens_with_who_the_link_names(built, send):
    p, h = built.compare.parts, built.compare.comparing
    opened = send(h.open, visitor(a=f"{INT8}:100", b=f"{INT8}:40", c=f"{FLOAT}:100"))
    assert opened[p.many] == 3 and [opened[row]["visible"] for row in p.rows] == [True, True, True, False]
    assert [opened[model]["value"] for model in p.models[:3]] == [INT8, INT8, FLOAT]
    assert [opened[budget] for budget in p.budgets] == [100, 40, 100, 100]
    assert opened[p.link] == f"a={INT8}:100&b={INT8}:40&c={FLOAT}:100" and words(opened, p.notice) == ""
    assert "minilm-l6-sst2-length-adaptive-int8" in [name for _, name in opened[p.models[0]]["choices"]]


def test_a_link_to_classifiers_brings_their_boxes(built, send):
    p, h = built.compare.parts, built.compare.comparing
    opened = send(h.open, visitor(a="minilm-l6-sst2-length-adaptive-int8:50"))
    assert (opened[p.many], opened[p.reads], opened[p.question]["label"]) == (2, "sst2", "Sentence")


def test_a_link_brings_ones_own_texts(built, send):
    p, h = built.compare.parts, built.compare.comparing
    opened = send(h.open, visitor(a=f"{INT8}:100"), arrived='["Who?", "Ada did."]')
    assert (opened[p.question]["value"], opened[p.passage]["value"]) == ("Who?", "Ada did.")
    assert opened[p.passage]["visible"] and opened[p.question]["label"] == "Question"
    told = send(h.open, visitor(a=f"{INT8}:100"), arrived="broken")
    assert "cut when it was copied" in words(told, p.notice)


def test_a_link_that_names_nobody_changes_nothing(built, send):
    p, h = built.compare.parts, built.compare.comparing
    assert set(send(h.open, visitor())) == {p.many}
    told = send(h.open, visitor(a="owner/elsewhere:50"))
    assert set(told) == {p.notice} and "A is not a bundled checkpoint" in words(told, p.notice)


def test_what_is_shown_is_in_the_link(built, send):
    p, h = built.compare.parts, built.compare.comparing
    picked = {"models0": INT8, "models1": FLOAT, "models2": FLOAT, "budgets0": 55, "budgets1": 100, "budgets2": 70}
    assert send(h.tell, many=2, **picked)[p.link] == f"a={INT8}:55&b={FLOAT}:100"
    assert send(h.tell, many=3, **picked)[p.link].endswith(f"&c={FLOAT}:70")
    assert h.take([FLOAT], "qa")[p.link] == f"a={FLOAT}:100"
