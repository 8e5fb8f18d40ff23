"""The card says what is really stored: which products of an int8 entry are in float."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from compress.results.package import TOKENIZER, assemble
from tests.zoo.layout_kit import float_folder, int8_entry
from zoo import card, catalog, publishing
from zoo.files import read_json
from zoo.stored import weights_in_words

FLOATS = ("layers.0.qkv", "layers.1.expand")
SAID = "int8, 6 of 8 matrix products; float32 in layers.0.qkv, layers.1.expand"


@pytest.fixture(scope="module")
def mixed(tiny_model, tmp_path_factory):
    """An entry two of whose products an accuracy criterion has left in float."""
    root = tmp_path_factory.mktemp("mixed")
    return int8_entry(float_folder("qa", tiny_model, root / "float"), root / "mixed-int8", FLOATS)


def test_a_packaged_card_names_what_went_back_to_float(mixed, tmp_path):
    assert weights_in_words(mixed) == SAID
    facts = {**read_json(mixed.folder / "entry.json"), "provenance": {}}
    files = {name: mixed.folder / name for name in ("config.json", "model.int8.onnx", "front.json", *TOKENIZER)}
    entry = catalog.open_folder(assemble(tmp_path / "mixed", files, facts, set()))
    assert f"- **weights**: {SAID}\n" in entry.card
    assert card.read(entry.card)["budget_zoo"]["weights"] == SAID
    assert entry.weights_dtype == "int8", "by which programs go"


def test_a_published_card_says_so_too(mixed, tmp_path):
    publishing.export(mixed.folder, tmp_path / "out")
    assert f"- **weights**: {SAID}\n" in (tmp_path / "out" / "README.md").read_text()


def test_an_entry_with_all_products_in_integers_is_int8(tiny_model, tmp_path):
    entry = int8_entry(float_folder("qa", tiny_model, tmp_path / "float"), tmp_path / "whole-int8")
    assert weights_in_words(entry) == "int8"
    assert weights_in_words(catalog.open_folder(tiny_model)) == "f32"


def test_many_are_counted_and_the_word_embeddings_are_no_product(tiny_model, tmp_path):
    floats = [f"layers.{i}.{part}" for i in (0, 1) for part in ("qkv", "project", "expand", "contract")][:7]
    source = float_folder("qa", tiny_model, tmp_path / "float")
    entry = int8_entry(source, tmp_path / "few-int8", (*floats, "words"))
    listed = ", ".join(["the word embeddings", *floats[:5]])
    assert weights_in_words(entry) == f"int8, 1 of 8 matrix products; float32 in {listed} and 2 more"


def test_layers_of_neural_compressor_are_told_by_their_own_names(mixed, tmp_path):
    tensors = {f"layers.0.{name}.weight": torch.zeros(4, 4, dtype=torch.int8) for name in ("query", "key")}
    tensors |= {"layers.0.value.weight": torch.zeros(4, 4), "layers.0.output_norm.weight": torch.zeros(4)}
    save_file(tensors | {"words.weight": torch.zeros(9, 4)}, tmp_path / "model.inc.safetensors")
    (tmp_path / "config.json").write_bytes((mixed.folder / "config.json").read_bytes())
    (tmp_path / "entry.json").write_text('{"task": "qa", "weights_dtype": "int8"}')
    entry = catalog.look_at(tmp_path, "inc")
    assert weights_in_words(entry) == "int8, 2 of 3 matrix products; float32 in layers.0.value"
