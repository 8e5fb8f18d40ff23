from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from tests.zoo.catalog_kit import CONFIG, write_tensors
from zoo import catalog, pulling
from zoo.errors import UserError
from zoo.files import write_json
from zoo.settings import get_settings


@pytest.fixture(autouse=True)
def no_hub(monkeypatch):
    def refuse(repo_id, revision=None, token=None, check=None):
        raise UserError(f"asked the Hub for {repo_id} at {revision}")

    monkeypatch.setattr(pulling, "pull", refuse)


def test_bundled(models):
    plain, small = catalog.bundled()
    assert (plain.name, plain.engines, plain.parameters, plain.weights_dtype) == ("plain", ["torch"], 6, "f16")
    assert (plain.task, plain.license, plain.base_model, plain.metrics) == ("qa", "mit", "org/base", {"f1": 82.0})
    assert plain.bytes == (models / "plain" / "model.safetensors").stat().st_size
    assert small.engines == ["onnxruntime", "openvino", "torch"]
    assert (small.bytes, small.card, small.method) == (5, "# Small", "length_drop")
    assert small.front and len(small.front.points) == 2


def test_the_float_weights_of_an_int8_entry_are_its_siblings(models):
    small, plain = catalog.find("small"), catalog.find("plain")
    assert catalog.full_precision(small) == plain
    assert small.float_folder == plain.float_folder == models / "plain"


def test_an_entry_without_float_weights_says_so(models, tmp_path):
    stated = {"name": "small", "title": "Alone"}
    write_json(models / "small" / "entry.json", {**stated, "full_precision": None})
    alone = catalog.find("small")
    assert alone.engines == ["onnxruntime", "openvino"]
    with pytest.raises(UserError, match="full-precision"):
        _ = alone.float_folder


def make_folder(folder: Path, config: dict = CONFIG) -> Path:
    write_json(folder / "config.json", config)
    write_tensors(folder / "model.safetensors")
    return folder


def test_a_local_folder_needs_no_entry(models, tmp_path):
    entry = catalog.find(f" {make_folder(tmp_path / 'mine')} ")
    assert (entry.engines, entry.task, entry.front, entry.metrics) == (["torch"], "qa", None, {})
    assert entry.parameters == 6


def test_a_bundled_name_comes_before_a_folder(models, tmp_path, monkeypatch):
    make_folder(tmp_path / "plain")
    make_folder(tmp_path / "other")
    monkeypatch.chdir(tmp_path)
    assert catalog.find("plain").folder == models / "plain"
    assert catalog.find("other").folder == tmp_path / "other"


def test_folders_of_a_space_are_not_for_its_visitors(models, tmp_path, monkeypatch):
    monkeypatch.setenv("SYSTEM", "spaces")
    monkeypatch.setenv("SPACE_ID", "a/b")
    get_settings.cache_clear()
    with pytest.raises(UserError, match="no model id"):
        catalog.find(str(make_folder(tmp_path / "mine")))


def test_anything_else_is_asked_of_the_hub(models, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="asked the Hub for owner/name at v1"):
        catalog.find("owner/name", revision="v1")
    # A snapshot's files are links to the blobs beside it.
    repository = tmp_path / "models--owner--name"
    blobs, snapshot = repository / "blobs", repository / "snapshots" / "c0ffee"
    make_folder(blobs)
    snapshot.mkdir(parents=True)
    for path in blobs.iterdir():
        (snapshot / path.name).symlink_to(path)
    monkeypatch.setattr(pulling, "pull", lambda name, revision=None, token=None, check=None: (snapshot, "c0ffee"))
    entry = catalog.find("owner/name")
    assert (entry.name, entry.revision, entry.engines) == ("owner/name", "c0ffee", ["torch"])


@pytest.mark.parametrize("name", ["/no/such/folder", "./absent", "~/absent-zoo", "a/b/c", "a\\b"])
def test_what_looks_like_a_path_is_told_as_a_path(models, name):
    with pytest.raises(UserError, match="no folder"):
        catalog.find(name)


def test_nothing_given(models):
    with pytest.raises(UserError, match="No model"):
        catalog.find("  ")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({**CONFIG, "model_type": "t5"}, "'t5'"),
        ({**CONFIG, "architectures": ["BertForMaskedLM"]}, "BertForMaskedLM"),
        ({"model_type": "bert"}, "without a name"),
        ([], "JSON object"),
    ],
)
def test_models_that_cannot_be_run_are_refused(models, tmp_path, config, message):
    with pytest.raises(UserError, match=message):
        catalog.find(str(make_folder(tmp_path / "mine", config)))


@pytest.mark.parametrize("wrong", [{"metrics": []}, {"title": 3}, {"parameters": "many"}, {"task": "chess"}])
def test_a_wrong_entry_file_is_named(models, tmp_path, wrong):
    write_json(make_folder(tmp_path / "mine") / "entry.json", wrong)
    with pytest.raises(UserError, match="entry.json"):
        catalog.find(str(tmp_path / "mine"))


@pytest.mark.parametrize(("family", "cls"), [("roberta", "Roberta"), ("distilbert", "DistilBert"), ("mpnet", "MPNet")])
def test_classification(models, tmp_path, family, cls):
    config = {"model_type": family, "architectures": [f"{cls}ForSequenceClassification"]}
    assert catalog.find(str(make_folder(tmp_path / "mine", config))).task == "classification"


@pytest.mark.parametrize(
    "content", [b"", b"\xff" * 20, struct.pack("<Q", 2) + b"[]", struct.pack("<Q", 7) + b'{"a":1}']
)
def test_broken_weights_are_named(models, tmp_path, content):
    (make_folder(tmp_path / "mine") / "model.safetensors").write_bytes(content)
    with pytest.raises(UserError, match="model.safetensors"):
        catalog.find(str(tmp_path / "mine"))


def test_a_graph_without_its_front_does_not_run(models, tmp_path):
    from onnx import helper, save

    write_json(tmp_path / "mine" / "config.json", CONFIG)
    save(helper.make_model(helper.make_graph([], "g", [], [])), str(tmp_path / "mine" / "model.int8.onnx"))
    with pytest.raises(UserError, match="front.json"):
        catalog.find(str(tmp_path / "mine"))


def test_examples_are_squad_with_exact_spans():
    found = catalog.examples()
    contexts = {example["context"] for example in found}
    assert len(found) == 60 and len(contexts) == 12 and len({example["title"] for example in found}) == 12
    assert all(70 <= len(context.split()) <= 160 for context in contexts)
    for example in found:
        assert example["question"].endswith("?") and example["answers"]
        for answer in example["answers"]:
            start = answer["answer_start"]
            assert example["context"][start : start + len(answer["text"])] == answer["text"] != ""


def test_examples_have_their_own_ids():
    articles = json.loads((Path(catalog.__file__).parent / "models" / "examples.json").read_text(encoding="utf-8"))
    ids = [qa["id"] for article in articles["data"] for p in article["paragraphs"] for qa in p["qas"]]
    assert articles["version"] == "1.1" and len(set(ids)) == 60


def test_what_is_bundled_can_be_read():
    for entry in catalog.bundled():
        assert entry.engines and entry.license and entry.card and entry.metrics
