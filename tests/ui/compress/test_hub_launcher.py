"""A machine of the Hub picked on the page: what it costs is shown first, and whose token it runs with."""

from __future__ import annotations

from types import SimpleNamespace

import gradio as gr
import pytest

from compress.data import uploads
from compress.jobs import jobs, machines
from compress.jobs.machines import Machine
from tests.ui.page_kit import PRESET, Driver, contents, profile_of, shown, visitor, words
from ui import people
from ui.compress import filling
from zoo import publishing
from zoo.errors import UserError

LENT = [Machine("cpu-basic", "2 vCPU, 16 GB", 0.000167), Machine("t4-small", "4 vCPU, 15 GB, 1 × T4", 0.4 / 60)]


@pytest.fixture
def start(built, monkeypatch):
    """The last step of the tab, and what was submitted."""
    sent = []

    def submit(made, **more):
        sent.append(more)
        return SimpleNamespace(id="c")

    monkeypatch.setattr(machines, "machines", lambda: LENT)
    monkeypatch.setattr(jobs, "submit", submit)
    tab = built.compress
    asked = {"preset": PRESET, "launcher": "hf-job", "form": contents()}
    return SimpleNamespace(p=tab.parts, h=tab.starting, send=Driver(built.demo, tab.parts, asked).send, sent=sent)


def test_machines_are_shown_with_their_prices(start):
    p = start.p
    told = start.send(start.h.name, None, name=PRESET)
    assert (told[p.machine]["visible"], told[p.machine]["value"]) == (True, "cpu-basic")
    assert told[p.machine]["choices"][1] == (
        "t4-small: 4 vCPU, 15 GB, 1 × T4, $0.0067 a minute ($0.40 an hour)",
        "t4-small",
    )
    assert "cpu-basic (2 vCPU, 16 GB) costs $0.0002 a minute ($0.01 an hour)" in words(told, p.price)
    assert told[p.command].endswith(f"submit {PRESET} --launcher hf-job:cpu-basic")
    picked = start.send(start.h.name, None, name=PRESET, machine="t4-small")
    assert "costs $0.0067 a minute" in words(picked, p.price) and picked[p.command].endswith("hf-job:t4-small")
    here = start.send(start.h.name, None, name=PRESET, launcher="local")
    assert here[p.machine]["visible"] is here[p.price]["visible"] is False and "launcher" not in here[p.command]


def test_where_the_hub_is_away_that_is_told(start, monkeypatch):
    def away():
        raise UserError("The Hub cannot be reached. Check the network.")

    monkeypatch.setattr(machines, "machines", away)
    told = start.send(start.h.name, None, name=PRESET)
    assert words(told, start.p.notice) == "The Hub cannot be reached. Check the network."
    assert told[start.p.machine]["visible"] is False


def test_on_a_space_it_runs_with_the_token_of_who_signed_in_alone(start, monkeypatch, tmp_path):
    settings = SimpleNamespace(on_space=True, preset="full", home=tmp_path)
    for module in (people, uploads, filling):
        monkeypatch.setattr(module, "get_settings", lambda: settings)
    ann, token = profile_of("ann"), gr.OAuthToken("hf_ann", "", 0)
    refused = start.send(start.h.start, ann, visitor(), None, name="mine", machine="t4-small")
    assert "Sign in first" in words(refused, start.p.notice) and not start.sent
    start.send(start.h.start, ann, visitor(), token, name="mine", machine="t4-small")
    assert start.sent == [{"name": "mine", "owner": "ann", "launcher": "hf-job:t4-small", "token": "hf_ann"}]


def test_elsewhere_it_runs_with_this_machines_for_who_sits_at_it(start, monkeypatch):
    monkeypatch.setattr(publishing, "standard_token", lambda: "hf_here")
    started = start.send(start.h.start, None, visitor(), None, name="mine", machine="cpu-basic")
    assert shown(started, start.p.started) == "c" and start.sent[-1]["token"] == "hf_here"
    refused = start.send(start.h.start, None, visitor(host="10.0.0.9"), None, name="mine", machine="cpu-basic")
    assert "those who sit at it" in words(refused, start.p.notice) and len(start.sent) == 1
    start.send(start.h.start, None, visitor(), None, name="mine", launcher="local")
    assert (start.sent[-1]["launcher"], start.sent[-1]["token"]) == ("local", None)
