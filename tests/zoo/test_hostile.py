"""Folders of models that were made to do harm: each is refused in a sentence, soon, and within bounds."""

from __future__ import annotations

import re
import resource
import shutil
import time
from pathlib import Path

import pytest

from tests.zoo import hostile_kit as kit
from zoo.errors import UserError

SECONDS, KILOBYTES = 5, 1024**2  # that a folder may take: of processor time, and of memory
SENTENCE = re.compile(r".{20,}[.?!]$", re.DOTALL)


def refuse(folder: Path) -> str:
    """The sentence by which a folder is refused."""
    memory, begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(UserError) as refusal:
        kit.open_and_ask(folder)
    assert time.process_time() - begun < SECONDS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < KILOBYTES
    assert SENTENCE.match(str(refusal.value)), refusal.value
    return str(refusal.value)


@pytest.fixture(scope="module")
def stock_model(tiny_model, tmp_path_factory) -> Path:
    return kit.make_stock(tmp_path_factory.mktemp("stock") / "model", tiny_model)


def test_the_good_folders_are_opened(tiny_model, made_int8, stock_model):
    for folder in (tiny_model, made_int8, stock_model):
        kit.open_and_ask(folder)


@pytest.mark.parametrize("name", kit.FLOAT)
def test_float_folders_are_refused(tiny_model, tmp_path, name):
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    kit.FLOAT[name](folder)
    refuse(folder)


@pytest.mark.parametrize("name", kit.INTEGER)
def test_integer_folders_are_refused(int8, name):
    kit.INTEGER[name](int8)
    refuse(int8)


@pytest.mark.parametrize("name", kit.STOCK)
def test_folders_of_other_programs_are_refused(stock_model, tmp_path, name):
    folder = shutil.copytree(stock_model, tmp_path / "model")
    kit.STOCK[name](folder)
    refuse(folder)


def test_there_are_fifty():
    assert len({**kit.FLOAT, **kit.INTEGER, **kit.STOCK}) >= 50
