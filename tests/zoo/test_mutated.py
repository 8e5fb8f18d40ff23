"""Folders of models with something changed at random: they run, or are refused in a sentence."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz_kit import changed, damaged, tries
from tests.zoo import hostile_kit as kit
from zoo.errors import UserError

SLOWEST = 5  # seconds of processor time
FILES = {
    "float": ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"),
    "integer": ("config.json", "entry.json", "front.json", "model.int8.onnx"),
    "stock": ("config.json", "model.onnx"),
}
EACH = 20  # of each kind of folder


@pytest.fixture(scope="module")
def good(tiny_model, made_int8, tmp_path_factory) -> dict[str, Path]:
    stock = kit.make_stock(tmp_path_factory.mktemp("stock") / "model", tiny_model)
    return {"float": tiny_model, "integer": made_int8, "stock": stock}


@pytest.mark.parametrize("kind", FILES)
@tries(EACH)
@given(data=st.data())
def test_what_is_changed_runs_or_is_refused(good, tmp_path_factory, kind, data):
    folder = shutil.copytree(good[kind], tmp_path_factory.mktemp("changed") / "model")
    path = folder / data.draw(st.sampled_from(FILES[kind]))
    if path.suffix == ".json" and data.draw(st.booleans()):
        path.write_text(json.dumps(data.draw(changed(json.loads(path.read_text())))))
    else:
        path.write_bytes(data.draw(damaged(path.read_bytes())))
    begun = time.process_time()
    try:
        kit.open_and_ask(folder)
    except UserError as error:
        assert len(str(error)) > 20
    finally:
        shutil.rmtree(folder)
    assert time.process_time() - begun < SLOWEST
