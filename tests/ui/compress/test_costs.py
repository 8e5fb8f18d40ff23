"""Each preset shows what it does, what it needs, and what it takes of time and memory here."""

from __future__ import annotations

import html

import pytest

from compress.jobs import goals
from tests.ui.page_kit import PRESET, Driver, contents, words
from ui.compress import presets
from ui.compress.parts import START
from zoo.settings import get_settings


@pytest.fixture
def costs(monkeypatch):
    """Every preset takes five minutes and 1.5 GiB; nobody has data of their own."""
    five = {"minutes": 5.0, "memory_gib": 1.5, "disk_gib": 0.4, "basis": "told"}
    monkeypatch.setattr(goals, "cost", lambda name, now: five)
    monkeypatch.setattr(get_settings(), "data", None)


def test_a_preset_says_what_it_does_needs_and_takes(costs):
    said = presets.about(presets.find(PRESET, None))
    assert said == (
        "Static int8 of the bundled model, calibrated and scored on the bundled questions: no network, no training. "
        "All that it needs comes with the program. Here it takes about 5 min, 1.5 GiB of memory and 0.4 GiB of disk."
    )
    lacking = presets.about(presets.find("finetune_glue", None))
    assert "Cannot run here as it is: " in lacking and "set BUDGET_ZOO_DATA" in lacking and "5 min" not in lacking


def test_the_presets_of_a_goal_stand_beside_each_other(costs):
    lines = [html.unescape(line) for line in presets.tabulate(goals.NO_TRAINING).splitlines()]
    assert lines[2] == "| preset | what it does | what it needs | time here | memory |"
    assert [line.split(" | ")[0].strip("| ") for line in lines[4:]] == [
        name.replace("_", " ") for name in goals.by_goal()[goals.NO_TRAINING]
    ]
    static = next(line for line in lines if line.startswith("| static int8 "))
    assert static.endswith("| All that it needs comes with the program. | 5 min | 1.5 GiB |")
    trained = html.unescape(presets.tabulate(goals.TAUGHT))
    assert "✗ " in trained and "| not here |" in trained


def test_the_recipe_comes_first_and_another_goal_brings_its_table(built, costs):
    tab = built.compress
    held = {"preset": PRESET, "source": "own", "data": "own", "task": "own", "form": contents()}
    driver = Driver(built.demo, tab.parts, held)
    assert tab.parts.walk.selected == 1 and [step.label for step in tab.parts.walk.children] == [
        *("Recipe", "Source", "Settings", "Start")
    ]
    assert "static int8" in tab.filling.open()[tab.parts.costs]
    wanted = driver.send(tab.choosing.take_goal, None, goal="fewer weights", choices=None)
    assert "prune once bert" in wanted[tab.parts.costs]


def test_check_refuses_what_submitting_would_and_start_rests(built):
    tab = built.compress
    held = {"preset": PRESET, "source": "own", "data": "own", "task": "own", "launcher": "local"}
    send, p = Driver(built.demo, tab.parts, held).send, tab.parts
    wrong = contents(model="minilm-l6-sst2-length-adaptive-int8")
    checked = send(tab.starting.check, None, form=wrong)
    told = words(checked, p.notice)
    assert "has its weights in eight bits alone" in told
    assert not checked[p.start]["interactive"] and checked[p.walk].selected == START
    fine = send(tab.starting.check, None, form=contents())
    assert fine[p.start]["interactive"] and not words(fine, p.notice) and "GiB" in html.unescape(fine[p.estimate])
