"""Recipes that ship and name data of BUDGET_ZOO_DATA: a search would begin on them, hours of training later."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from compress.recipe.load import RECIPES, expanded, load, shipped
from compress.tasks.subjects import subject_of
from zoo.settings import get_settings

NAMED = "${BUDGET_ZOO_DATA}"


def on_examples(name: str) -> bool:
    """Whether a recipe of this name learns from the bundled questions and chooses by others of them."""
    dataset: Any = load(name).dataset
    return "examples" == str(getattr(dataset, "train", "")) == str(getattr(dataset, "validation", ""))


@pytest.mark.parametrize("name", [name for name in shipped() if on_examples(name)])
def test_the_bundled_questions_are_in_one_part_each(name):
    subject = subject_of(expanded(load(name)))
    parts = {part: subject.fingerprints(subject.load(part)) for part in ("train", "validation", "evaluation")}
    assert all(parts.values())
    assert not parts["validation"] & (parts["train"] | parts["evaluation"]) and not parts["train"] & parts["evaluation"]


def searched(name: str) -> bool:
    """Whether a recipe of this name searches on data of the folder."""
    lines = (RECIPES / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    return any(line.strip().startswith("validation:") and NAMED in line for line in lines)


@pytest.mark.parametrize("name", [name for name in shipped() if searched(name)])
def test_what_is_searched_on_is_not_reported_on(name, data, monkeypatch):
    monkeypatch.setenv("BUDGET_ZOO_DATA", str(data))
    get_settings.cache_clear()
    recipe: Any = expanded(load(name))
    if missing := [part for part in ("validation", "evaluation") if not Path(getattr(recipe.dataset, part)).exists()]:
        pytest.skip(f"BUDGET_ZOO_DATA holds no {', '.join(missing)} of {name}")
    subject = subject_of(recipe)
    validation, evaluation = (subject.load(part) for part in ("validation", "evaluation"))
    reported = subject.fingerprints(evaluation)
    searched_on = subject.searchable(validation, reported)
    assert len(evaluation) > 100 and len(searched_on) > 0.99 * len(validation) > 100
    assert not subject.fingerprints(searched_on) & reported
