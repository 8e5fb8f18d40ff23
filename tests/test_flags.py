"""`docs/flags.md`: every flag of the five systems is there, and what stands beside it is run as far as it decides."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest
import yaml
from typer.main import get_command

from compress.__main__ import app
from compress.recipe.load import load, stages_of
from tests.conftest import ROOT
from zoo.settings import Settings

DOCUMENT = (ROOT / "docs" / "flags.md").read_text(encoding="utf-8")
SYSTEMS = dict(re.findall(r"^## (\d{3}) .*?$\n(.*?)(?=^## |\Z)", DOCUMENT, re.MULTILINE | re.DOTALL))
ROWS = [
    (system, *(cell.strip() for cell in line.strip("|").split(" | ")))
    for system, text in SYSTEMS.items()
    for line in text.splitlines()
    if line.startswith("| `")
]
COMMANDS = sorted({right.strip("`") for _, _, right, *_ in ROWS if right != "-"})


def flags(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])--[A-Za-z][\w-]*", text))


def test_the_five_systems_are_there():
    assert list(SYSTEMS) == ["000", "001", "002", "003", "004"]
    assert len(ROWS) > 100 and all(right == "-" or right.startswith("`") for _, _, right, *_ in ROWS)
    assert all(rest and rest[0] for _, _, right, *rest in ROWS if right == "-"), "a dash says why"


def test_every_flag_of_their_commands_is_there(seeds):
    for system in ("000", "001", "002", "004"):
        there = flags(" ".join(left for number, left, *_ in ROWS if number == system))
        assert flags(seeds[system]) <= there, system
    assert set(re.findall(r'"(minilm_w8a8_\w+)"', seeds["001"])) == set(re.findall(r"minilm_w8a8_\w+", SYSTEMS["001"]))
    there = {left.strip("`") for number, left, *_ in ROWS if number == "003"}
    assert set(re.findall(r"\b([A-Z]+(?:_[A-Z]+)+)\b(?=:|: |=)", seeds["003"])) <= there
    assert set(re.findall(r"`(\w+\.sh)`", seeds["003"])) <= there


@pytest.mark.parametrize("command", COMMANDS)
def test_each_line_is_a_command_that_has_this_effect(command, monkeypatch):
    words = shlex.split(command)
    start = words.index("compress") + 1
    name, rest = words[start], words[start + 1 :]
    for variable, _, value in (word.partition("=") for word in words if word.startswith("BUDGET_ZOO_")):
        monkeypatch.setenv(variable, value)
        assert getattr(Settings(), variable.removeprefix("BUDGET_ZOO_").lower()) == value
    monkeypatch.setenv("BUDGET_ZOO_DATA", str(ROOT))
    parsed = get_command(app).commands[name].make_context(name, list(rest)).params  # type: ignore[attr-defined]
    if name == "evaluate":
        from compress.results.score import choose
        from zoo import catalog
        from zoo.engines import names

        entry = catalog.find(parsed["entry"])
        assert parsed["engine"] in (None, *names())
        if parsed["config"]:
            assert choose(entry, None, parsed["config"])[0] is not None
    if name != "run":
        return
    recipe = load(parsed["recipe"], parsed["set_"] or [])
    settings: Any = recipe.model_dump(mode="json")
    for change in parsed["set_"] or []:
        key, _, text = change.partition("=")
        value = settings
        for part in key.split("."):
            value = value[part]
        wanted = yaml.safe_load(text)
        assert value == (float(text) if isinstance(value, float) else wanted), change
    if parsed["stage"]:
        assert parsed["stage"] in stages_of(settings["kind"], settings)
