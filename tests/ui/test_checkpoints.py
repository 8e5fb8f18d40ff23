"""What a person's jobs made can be picked in every list of checkpoints, by that person alone."""

from __future__ import annotations

import shutil

import pytest

from tests.ui.page_kit import PRESET, Driver, contents, shown, visitor
from ui import checkpoints
from ui.people import Person
from zoo import catalog, library, settings
from zoo.files import write_json
from zoo.settings import get_settings

ANN, BOB, HERE = Person("ann", False), Person("bob", False), Person("", True)


@pytest.fixture
def made(tiny_model, tmp_path, monkeypatch):
    """A home with results of ann's and of bob's, two of one title."""
    monkeypatch.setenv("BUDGET_ZOO_HOME", str(tmp_path / "home"))
    get_settings.cache_clear()
    for name, owner, title in (("anns", "ann", "Mine"), ("anns-other", "ann", "Mine"), ("bobs", "bob", "His")):
        folder = shutil.copytree(tiny_model, tmp_path / "home" / "jobs" / name)
        write_json(folder / "entry.json", {"name": name, "task": "qa", "title": title})
        library.register(folder, owner)
    yield tmp_path / "home" / "jobs"
    get_settings.cache_clear()


def test_results_are_their_owners_and_titles_tell_them_apart(made):
    assert checkpoints.own(ANN) == [["Mine (anns)", "anns", "qa"], ["Mine (anns-other)", "anns-other", "qa"]]
    assert checkpoints.own(BOB) == [["His", "bobs", "qa"]] and checkpoints.own(Person("", False)) == []
    assert [name for _, name, _ in checkpoints.own(HERE)] == ["anns", "anns-other", "bobs"]
    bundled = [entry.name for entry in catalog.bundled()]
    assert [name for _, name, _ in checkpoints.every(BOB)] == [*bundled, "bobs"]
    assert checkpoints.name_of(made / "bobs") == "bobs" and checkpoints.name_of(made / "none") == "none"


def test_a_stranger_on_a_space_is_offered_nobodys(made, monkeypatch):
    monkeypatch.setattr(settings, "_on_space", lambda: True)
    get_settings.cache_clear()
    assert checkpoints.own() == []


def choices_of(updates, component):
    return [name for _, name in updates[component]["choices"]]


def test_explore_compare_and_compress_offer_them(built, made):
    results = ["anns", "anns-other", "bobs"]
    e = built.explore
    send = Driver(built.demo, e.parts, {"model": "minilm-l6-qa"}).send
    offered = send(e.selecting.offer)
    assert set(results) < set(choices_of(offered, e.parts.model))
    assert "value" not in offered[e.parts.model], "what another tab has loaded meanwhile stays"
    assert "minilm-l6-sst2-length-adaptive-int8" not in choices_of(offered, e.parts.model), "of another task"
    opened = e.selecting.open(visitor(model="anns"))
    assert shown(opened, e.parts.model) == "anns" and e.parts.other not in opened, "a link needs no loading"

    c = built.compare
    names = {f"models{i}": "minilm-l6-qa" for i in range(4)}
    offered = Driver(built.demo, c.parts, names).send(c.comparing.offer)
    for model in c.parts.models:
        assert set(results) < set(choices_of(offered, model)) and "value" not in offered[model]

    p = built.compress.parts
    send = Driver(built.demo, p, {"preset": PRESET, "task": "own", "zoo": "bobs", "form": contents()}).send
    offered = send(built.compress.choosing.offer, None)
    assert set(results) < set(choices_of(offered, p.zoo)) and shown(offered, p.zoo) == "bobs"


def test_only_what_the_recipe_takes_is_offered(built, made):
    tab = built.compress
    send = Driver(built.demo, tab.parts, {"preset": PRESET, "task": "own", "form": contents()}).send
    sentiment = "minilm-l6-sst2-length-adaptive-int8"
    p = tab.parts
    questions = send(tab.choosing.offer, None)
    assert "minilm-l6-qa" in choices_of(questions, p.zoo) and sentiment not in choices_of(questions, p.zoo)
    count = len(checkpoints.every())
    assert questions[p.zoo]["info"].startswith(
        f"{count - len(choices_of(questions, p.zoo))} of {count} are not offered"
    )
    texts = send(tab.choosing.offer, None, task="sst2")
    assert choices_of(texts, p.zoo) == [], "nothing here that has float weights is for sentiment"
    trained = send(tab.choosing.take_preset, None, preset="finetune_glue")
    assert {"minilm-l6-qa", "anns"} < set(choices_of(trained, p.zoo)), "a head for it is trained"
