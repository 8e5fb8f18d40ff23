"""What one picks a shipped recipe by."""

from __future__ import annotations

import pytest

from compress.jobs import goals
from compress.recipe.load import shipped
from zoo.settings import get_settings


def test_every_recipe_is_for_one_thing():
    by_goal = goals.by_goal()
    assert sorted(name for names in by_goal.values() for name in names) == shipped()
    assert list(by_goal) == list(goals.GOALS) and all(by_goal.values())
    assert {"static_int8", "dynamic_int8"} <= set(by_goal[goals.NO_TRAINING])


@pytest.mark.parametrize("name", shipped())
def test_every_recipe_says_what_it_does_in_a_whole_sentence(name):
    said = goals.about(name)
    assert said.endswith(".") and said[0].isupper() and "\n" not in said and len(said) < 260
    assert goals.about("compress_minilm_l6").endswith("on the questions in BUDGET_ZOO_DATA."), "of two lines"


def test_what_is_lacking_here_is_said_before(monkeypatch, tmp_path):
    monkeypatch.delenv("BUDGET_ZOO_DATA", raising=False)
    get_settings.cache_clear()
    try:
        assert "set BUDGET_ZOO_DATA" in goals.lacking("finetune_glue") and goals.lacking("static_int8") == ""
        monkeypatch.setenv("BUDGET_ZOO_DATA", str(tmp_path))
        get_settings.cache_clear()
        assert "set BUDGET_ZOO_DATA" not in goals.lacking("finetune_glue")
    finally:
        get_settings.cache_clear()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("static_int8", "All that it needs comes with the program."),
        ("aimet_w8a8", "It downloads microsoft/MiniLM-L12-H384-uncased, nyu-mll/glue."),
        (
            "finetune_glue",
            "It downloads sentence-transformers/all-MiniLM-L6-v2 and takes glue from the folder of BUDGET_ZOO_DATA.",
        ),
        (
            "length_adaptive_minilm_l6_taught",
            "It takes qa/squad_train_v2.json, qa/validation.json, qa/squad-dev-v1.1.json from the folder of "
            "BUDGET_ZOO_DATA and takes the result mpnet-qa of another recipe.",
        ),
    ],
)
def test_what_a_recipe_needs_is_said(name, said):
    assert goals.needs(name) == said


def test_what_a_recipe_takes_here_is_worked_out_once(monkeypatch):
    asked = []
    monkeypatch.setattr(goals, "estimate", lambda recipe: asked.append(recipe.kind) or {"minutes": 2.0})
    goals.cost.cache_clear()
    try:
        assert [goals.cost("static_int8", 1)["minutes"] for _ in range(3)] == [2.0] * 3 and asked == ["quantize"]
        assert goals.cost("static_int8", 2)["minutes"] == 2.0 and len(asked) == 2, "asked anew later"
    finally:
        goals.cost.cache_clear()
