"""The panel that publishes: what other programs open, and a pull request to the base model, by two ticks."""

from __future__ import annotations

import shutil
from html import unescape
from types import SimpleNamespace

import pytest

from compress.jobs import jobs
from tests.ui.page_kit import Driver, visitor, words
from tests.zoo.layout_kit import float_folder, int8_entry
from zoo import layouts, publishing
from zoo.files import read_json, write_json

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
ORDER = {"job": "b", "entry": "tiny-int8", "namespace": "writer", "name": "tiny-int8", "private": True}


@pytest.fixture(scope="module")
def made(tiny_model, tmp_path_factory):
    root = tmp_path_factory.mktemp("made")
    return int8_entry(float_folder("qa", tiny_model, root / "tiny"), root / "tiny-int8").folder.parent


@pytest.fixture
def panel(built, made, tmp_path, local_hub, make_job, monkeypatch):
    """The panel over a job that made an int8 entry and its float one; their base is on the Hub."""
    root = shutil.copytree(made, tmp_path / "package")
    local_hub.put("org/base", {"config.json": (root / "tiny-int8" / "config.json").read_bytes()})
    monkeypatch.setenv("HF_TOKEN", "hf_writer")
    monkeypatch.setattr(jobs, "find", lambda job_id: make_job(id=job_id, folder=tmp_path))
    monkeypatch.setattr(jobs, "results", lambda job_id: [root / "tiny", root / "tiny-int8"])
    monkeypatch.setattr(jobs, "mark_published", lambda *args: None)
    tab = built.jobs
    driver = Driver(built.demo, tab.publish, ORDER, job=tab.parts.job)
    return SimpleNamespace(p=tab.publish, h=tab.publishing, send=driver.send, folder=root / "tiny-int8", hub=local_hub)


def test_the_ticks_say_what_they_add_and_to_whom_it_is_proposed(panel):
    p, h, send = panel.p, panel.h, panel.send
    opened = send(h.open, visitor(), None, None)
    size = 2 * (panel.folder / "model.int8.onnx").stat().st_size / 1e3
    assert opened[p.layouts]["label"].endswith(f"open (adds about {size:.1f} kB)") and opened[p.layouts]["interactive"]
    assert opened[p.propose]["label"] == "Propose the int8 files to org/base as a pull request"
    in_float = send(h.choose, None, entry="tiny")
    assert not in_float[p.layouts]["interactive"] and "open it as it is" in in_float[p.layouts]["info"]
    assert not in_float[p.propose]["interactive"] and "not in int8" in in_float[p.propose]["info"]
    write_json(panel.folder / "entry.json", {**read_json(panel.folder / "entry.json"), "metrics": {}})
    unmeasured = send(h.choose, None)
    assert unmeasured[p.layouts]["interactive"] and "Nothing was measured" in unmeasured[p.propose]["info"]


def test_both_are_looked_at_then_done_and_told(panel):
    p, h, send = panel.p, panel.h, panel.send
    plain = unescape(send(h.preview, visitor(), None, None)[p.preview])
    assert layouts.ONNX not in plain and "pull request" not in plain
    ticked = {"layouts": True, "propose": True}
    looked = send(h.preview, visitor(), None, None, **ticked)
    shown = unescape(looked[p.preview])
    assert "The standard layouts add" in shown and "**A pull request to org/base**: Add Tiny, int8" in shown
    assert not panel.hub.repo("org/base").offers and "In other programs" in looked[p.card]["value"]
    *_, last = send(h.publish, visitor(), None, None, **ticked)
    assert "Published and verified" in last[p.result] and "✓ Proposed: [pull request 1](http" in last[p.result]
    assert layouts.OPENVINO in panel.hub.files("writer/tiny-int8") and len(panel.hub.repo("org/base").offers) == 1
    *_, again = send(h.publish, visitor(), None, None, **ticked)
    assert "It is open already" in again[p.result] and len(panel.hub.repo("org/base").offers) == 1


def test_what_cannot_be_proposed_is_published_all_the_same(panel):
    panel.hub.put("org/base", {"config.json": b'{"model_type": "bert", "num_hidden_layers": 12}'})
    *_, last = panel.send(panel.h.publish, visitor(), None, None, propose=True)
    said = unescape(last[panel.p.result])
    assert "Published and verified" in said and "**Not proposed:** tiny-int8 is another model than org/base" in said


def test_without_a_token_what_would_be_sent_is_shown_and_nothing_can_be(panel, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(publishing, "standard_token", lambda: None)
    p, h, send = panel.p, panel.h, panel.send
    opened = send(h.open, visitor(), None, None)
    assert opened[p.entry]["value"] == opened[p.name] == "tiny-int8", "what it made is picked all the same"
    assert opened[p.namespace]["choices"] == [] and "no token of the Hub" in words(opened, p.notice)
    looked = send(h.preview, visitor(), None, None, namespace=None)
    shown = unescape(looked[p.preview])
    assert "**your-account/tiny-int8** will be made, private" in shown and "entry.json" in shown
    assert "the Hub was not asked" in shown and looked[p.card_box]["visible"] and "Tiny" in looked[p.card]["value"]
    assert not looked[p.go]["interactive"] and words(looked, p.notice).startswith("A preview only. There is no token")
    *_, refused = send(h.publish, visitor(), None, None, namespace=None)
    assert "no token" in words(refused, p.notice) and not panel.hub.repos.keys() & {("models", "writer/tiny-int8")}
