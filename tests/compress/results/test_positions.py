"""Families that leave their first positions to padding are never given more tokens than they have positions for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from compress.aimet.export import examples_for
from compress.data.squad import Example
from compress.int8 import inc
from compress.recipe.groups import Quantize
from compress.results.score import subject_of_entry
from compress.tasks.subjects import subject_for
from zoo import catalog
from zoo.engines.torch import TorchEngine
from zoo.features import load_tokenizer
from zoo.files import read_json
from zoo.modeling import LengthAdaptiveModel

FIRST = {"roberta": 1, "mpnet": 2}  # padding has the id 0 here


@pytest.fixture(params=FIRST)
def short(request, tiny_model, tmp_path) -> tuple[Path, int]:
    """A checkpoint with 130 positions, and how many tokens it can read."""
    config = {**read_json(tiny_model / "config.json"), "max_position_embeddings": 130, "pad_token_id": 0}
    config |= {"model_type": request.param, "architectures": ["RobertaForQuestionAnswering"], "type_vocab_size": 1}
    tokenizer = load_tokenizer(tiny_model)
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    tokenizer.save_pretrained(tmp_path)
    LengthAdaptiveModel(config).save(tmp_path)
    return tmp_path, 130 - FIRST[request.param]


def long_example() -> Example:
    passage = "The Angara is the only river there. " * 86
    return Example("1", "Which river?", passage, [{"text": "The Angara", "answer_start": 0}])


def test_long_passages_are_scored(short):
    folder, most = short
    settings = read_json(folder / "config.json")
    example = long_example()
    subject = subject_of_entry(catalog.find(str(folder)), settings)
    assert max(len(window.input_ids) for window in subject.windows(load_tokenizer(folder), [example])) == most
    engine = TorchEngine.open(folder, 1)
    scores = subject_for("squad").score(engine, load_tokenizer(folder), [example], None, None, settings)
    assert scores["n"] == 1


def test_what_an_exported_file_is_compared_on_fits(short):
    folder, most = short
    settings = {**read_json(folder / "config.json"), "max_position_embeddings": 40}
    batch = examples_for(settings, load_tokenizer(folder))
    assert batch["input_ids"].shape[1] == most - 90
    LengthAdaptiveModel(settings)(batch["input_ids"], batch["attention_mask"])


def test_neural_compressor_exports_no_longer_inputs_than_fit(short, monkeypatch):
    class Seen(Exception):
        pass

    def dim(name, min, max):
        raise Seen(max)

    monkeypatch.setattr(torch.export, "Dim", dim)
    with pytest.raises(Seen, match=f"^{short[1]}$"):
        inc.build(short[0], short[0] / "out", Quantize(approach="dynamic"), lambda _: [])


def test_other_families_have_all_their_positions(tiny_model):
    settings = {**read_json(tiny_model / "config.json"), "max_position_embeddings": 300}
    entry = catalog.find(str(tiny_model))
    windows = subject_of_entry(entry, settings).windows(load_tokenizer(tiny_model), [long_example()])
    assert max(len(window.input_ids) for window in windows) == 300
