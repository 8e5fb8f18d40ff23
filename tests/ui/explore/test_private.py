"""A private model of the Hub opens for those who sit at this machine, with its token, and for nobody else."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tests.ui.page_kit import Driver, visitor
from ui import people
from zoo import pulling

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
NAME = "writer/secret"


@pytest.fixture
def explore(built, local_hub, tiny_model, monkeypatch):
    """The tab over a Hub with one private model."""
    local_hub.put(NAME, {path.name: path.read_bytes() for path in tiny_model.iterdir() if path.is_file()}, private=True)
    monkeypatch.setenv("HF_TOKEN", "hf_writer")
    parts = built.explore.parts
    send = Driver(built.demo, parts, {"unit": "macs", "engine": "torch"}).send
    return SimpleNamespace(p=parts, load=lambda request: send(built.explore.selecting.load, request, other=NAME))


def test_it_opens_for_who_sits_here_with_this_machines_token(explore):
    loaded = explore.load(visitor())
    assert not loaded[explore.p.hint]["visible"] and loaded[explore.p.model]["value"] == NAME


def test_visitors_and_the_unsigned_are_told_what_is_possible(explore, monkeypatch):
    refused = explore.load(visitor("10.0.0.5"))[explore.p.hint]["value"]
    assert "no public model" in refused and "hf auth login" in refused
    monkeypatch.setattr(people.publishing, "standard_token", lambda: None)
    assert "hf auth login" in explore.load(visitor())[explore.p.hint]["value"]


def test_a_space_uses_no_token_and_says_so(explore, monkeypatch, tmp_path):
    settings = SimpleNamespace(on_space=True, hub=pulling.get_settings().hub, home=tmp_path)
    monkeypatch.setattr(people, "get_settings", lambda: settings)
    monkeypatch.setattr(pulling, "get_settings", lambda: settings)
    said = explore.load(visitor())[explore.p.hint]["value"]
    assert "in your own copy of this program alone" in said
