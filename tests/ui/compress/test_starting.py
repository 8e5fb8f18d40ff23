"""What a person turns off in the form is left out without a word; what they set and nothing hears is told."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from compress.jobs import jobs
from compress.recipe import kind
from compress.recipe import load as recipe
from tests.ui.page_kit import Driver, contents, words
from ui.compress import form, presets, sources
from ui.compress.sources import EXAMPLES, HUB, OWN


@pytest.fixture
def check(built, monkeypatch):
    """Checks a form as the page does, and starts it; what each says."""
    tab, sent = built.compress, []
    monkeypatch.setattr(kind, "find_spec", lambda name: name)
    monkeypatch.setattr(recipe.get_settings(), "data", "/data")
    monkeypatch.setattr("ui.compress.starting.estimate", lambda made: {"minutes": 2, "memory_gib": 1.0,
                                                                       "disk_gib": 0.2, "basis": "told"})  # fmt: skip

    def submit(made, **more):
        jobs.check(made)
        sent.append(made)
        return SimpleNamespace(id="c")

    monkeypatch.setattr(jobs, "submit", submit)

    def checked(preset: str, held: dict) -> str:
        asked = {"preset": preset, "source": OWN, "data": OWN, "task": OWN, "launcher": "local", "form": held}
        driver = Driver(built.demo, tab.parts, asked)
        told = words(driver.send(tab.starting.check, None), tab.parts.notice)
        sent.clear()
        started = words(driver.send(tab.starting.start, None), tab.parts.notice)
        assert started == told and bool(sent) is not bool(told), "checked and started alike"
        return told

    return checked


def _held(preset: str, data: dict) -> dict:
    schema = recipe.KINDS[data["kind"]]
    return {**contents(preset), "values": form.spread(schema, data)}


@pytest.mark.parametrize("name", recipe.shipped())
def test_a_shipped_recipe_starts_as_it_is_with_other_data_and_with_any_group_turned_off(check, name):
    preset = presets.find(name, None)
    assert check(name, contents(name)) == ""
    switches = [key for key in form.spread(preset.schema, preset.data) if key.rpartition(".")[2] == "apply"]
    switches += ["aimet.learn"] if preset.kind == "aimet_w8a8" else []
    for key in switches:
        held = contents(name, **{key: False})
        made, _ = form.check(preset.schema, form.collect(preset.schema, held["values"]))
        if made is not None:  # else another sentence says what does not fit together
            assert check(name, held) == "", key
    if not recipe.load(name).dataset.type.has_articles:
        return
    for data, of_hub in ((EXAMPLES, ""), (HUB, "owner/questions")):
        taken = sources.pick(preset.data, OWN, "", data, of_hub, None, OWN)
        assert check(name, _held(name, sources.apply(preset.schema, preset.data, taken))) == "", data


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        (
            "train_tiny",
            {"prune.apply": False, "prune.pattern": "1x1"},
            "pattern is not heard where prune.apply is false",
        ),
        ("train_tiny", {"dataset.validation_titles": "Q*"}, "or criterion.apply to true."),
        ("static_int8", {"criterion.max_trials": 3}, "set it to 10, or criterion.apply to true."),
        ("nas_tiny", {"search.scoring": "finetune", "tune.epochs": 2}, "tune.epochs is not heard where search.scoring"),
    ],
)
def test_what_a_person_sets_and_nothing_hears_is_told(check, name, changes, said):
    assert said in check(name, contents(name, **changes))
