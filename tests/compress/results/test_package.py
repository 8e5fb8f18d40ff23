"""Entries are put together beside their place, and one that is replaced stands until the other is in its place."""

from __future__ import annotations

import os
import sys

import pytest

from compress.results import package
from compress.results.package import SCORES, TOKENIZER, assemble
from zoo import catalog
from zoo.files import write_json

FACTS = {"task": "qa", "license": "mit", "base_model": "tiny", "method": "none", "weights_dtype": "f32"}


def put(folder, tiny_model, title, **stated):
    files = {name: tiny_model / name for name in ("config.json", "model.safetensors", *TOKENIZER)}
    return assemble(folder / "tiny", files, {**FACTS, "title": title, "provenance": {}, "metrics": {}, **stated}, set())


def test_what_was_not_scored_on_the_second_set_tells_of_the_first_alone(tmp_path):
    """neural-compressor's model is not scored on MNLI's mismatched pairs."""
    stamp = {"metric": "MNLI", "n": 9, "threads": 1, "cpu": "c", "vnni": True, "amx": False, "date": "d"}
    beside = {"task": "mnli_mm", "n": 5, "float": {"accuracy": 3.0}, "int8": {"accuracy": 4.0}}
    scores = {name: {"accuracy": 50.0} for name in ("float", "int8", "neural_compressor")}
    write_json(tmp_path / SCORES, {**scores, "measured_on": {**stamp, "engine": "onnxruntime", "beside": beside}})
    found = package.measured(tmp_path, ["accuracy"])
    assert {name: row.get("mnli_mm") for name, row in found.items()} == {
        "float": {"accuracy": 3.0, "n": 5},
        "int8": {"accuracy": 4.0, "n": 5},
        "neural_compressor": None,
    }


def test_an_entry_replaces_an_earlier_one_and_leaves_nothing_beside_itself(tiny_model, tmp_path):
    for title in ("First", "Second"):
        entry = put(tmp_path, tiny_model, title)
    assert catalog.open_folder(entry).title == "Second"
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux exchanges two folders in one step")
def test_an_entry_is_there_at_every_moment(tiny_model, tmp_path, monkeypatch):
    entry = put(tmp_path, tiny_model, "First")
    exchange, replace = package.swap, os.replace

    def replace_files(source, target):
        assert not os.path.isdir(source), "two steps, and no entry in between"
        replace(source, target)

    def looked_at(draft, target):
        assert catalog.open_folder(target).title == "First" and (draft / "entry.json").is_file()
        done = exchange(draft, target)
        assert done and catalog.open_folder(target).title == "Second"
        raise KeyboardInterrupt  # a process that ends here has lost nothing

    monkeypatch.setattr(package, "swap", looked_at)
    monkeypatch.setattr(package.os, "replace", replace_files)
    with pytest.raises(KeyboardInterrupt):
        put(tmp_path, tiny_model, "Second")
    assert catalog.open_folder(entry).title == "Second"


def test_an_earlier_entry_is_there_if_the_exchange_fails(tiny_model, tmp_path, monkeypatch):
    entry = put(tmp_path, tiny_model, "First")
    monkeypatch.setattr(package, "swap", lambda *_: False)  # as on a system that has no such step
    replace, weights = os.replace, (entry / "model.safetensors").read_bytes()

    def fail(source, target):
        if str(source).endswith(".tmp"):
            assert any((tmp_path / name / "model.safetensors").is_file() for name in ("tiny", ".tiny.old"))
            raise OSError("no space left")
        replace(source, target)

    monkeypatch.setattr(package.os, "replace", fail)
    with pytest.raises(OSError, match="no space left"):
        put(tmp_path, tiny_model, "Second")
    assert catalog.open_folder(entry).title == "First" and (entry / "model.safetensors").read_bytes() == weights


def test_the_card_has_what_was_published_for_the_method_and_the_task(tiny_model, tmp_path):
    metrics = {"metric": "SQuAD 1.1", "f1": 12.5, "n": 9}
    for recipe, sentence in (
        ("length_adaptive", "QuaLA-MiniLM, L6: F1 88.58 in full precision, 87.68 compressed at a speed-up of 8.8."),
        ("nas", ""),
    ):
        entry = catalog.open_folder(put(tmp_path, tiny_model, "T", provenance={"recipe": recipe}, metrics=metrics))
        said = sentence and f"Published for this method and task: {sentence}"
        assert entry.provenance.get("published", "") == said
        assert (f"- **n**: 9\n\n{said}\n" in entry.card) if said else "Published" not in entry.card
