"""A checkpoint with its weights as a pickle: told, and converted at one click."""

from __future__ import annotations

import shutil

import gradio as gr
import pytest
import torch
from safetensors.torch import load_file

from tests.ui.page_kit import Driver, loops_closed, shown, words
from ui import people
from ui.desk import Desk
from ui.explore import tab as explore
from zoo import conversion
from zoo.settings import get_settings
from zoo.tensors import SINGLE


@pytest.fixture
def old(tiny_model, tmp_path):
    folder = shutil.copytree(tiny_model, tmp_path / "old")
    torch.save(load_file(folder / SINGLE), folder / "pytorch_model.bin")
    (folder / SINGLE).unlink()
    return folder


@pytest.fixture
def page():
    with loops_closed():
        with gr.Blocks() as demo:
            tab = explore.build_explore(demo, Desk())
        yield tab.parts, tab.selecting, Driver(demo, tab.parts).send


def test_a_pickle_is_converted_at_one_click(page, old):
    p, selecting, send = page
    told = send(selecting.load, other=str(old))
    assert "only as a pickle (pytorch_model.bin)" in words(told, p.hint) and told[p.convert]["visible"]
    done = send(selecting.convert, None, other=str(old))
    assert shown(done, p.model) == str(old) and not done[p.convert]["visible"] and not done[p.hint]["visible"]
    assert (old / SINGLE).is_file()
    assert shown(send(selecting.load, other=str(old)), p.model) == str(old)
    assert shown(send(selecting.convert, None, other=str(old)), p.model) == str(old), "a second click loads it"


def test_the_button_goes_with_what_it_is_for(page, old, tmp_path):
    p, selecting, send = page
    assert send(selecting.load, other=str(old))[p.convert]["visible"]
    other = send(selecting.load, other=str(tmp_path / "absent"))
    assert "no folder" in words(other, p.hint) and not other[p.convert]["visible"]
    assert not send(selecting.select, model="minilm-l6-qa")[p.convert]["visible"]


def test_it_is_for_those_who_may_start_jobs(page, old, monkeypatch):
    p, selecting, send = page
    monkeypatch.setattr(people, "read_only", lambda: True)
    monkeypatch.setattr(conversion, "convert", lambda *_: pytest.fail("nothing is converted"))
    assert "python -m zoo convert" in words(send(selecting.convert, None, other=str(old)), p.hint)


def test_folders_of_a_space_stay_its_hosts(page, old, monkeypatch):
    p, selecting, send = page
    monkeypatch.setenv("SYSTEM", "spaces")
    monkeypatch.setenv("SPACE_ID", "owner/space")
    monkeypatch.setattr(conversion, "convert", lambda *_: pytest.fail("nothing is converted"))
    monkeypatch.setattr(people, "read_only", lambda: False)
    get_settings.cache_clear()
    monkeypatch.setattr(people, "who", lambda _: people.Person("ann", False))
    assert "no model id" in words(send(selecting.convert, None, other=str(old)), p.hint)


def test_an_empty_box_is_told(page):
    p, selecting, send = page
    assert "Name the checkpoint" in words(send(selecting.convert, None, other=" "), p.hint)
