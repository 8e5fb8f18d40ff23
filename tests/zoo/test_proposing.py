"""A pull request to the base model on a Hub of this machine, and what is refused."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.compress.embedding_kit import sentence_encoder
from tests.hub_state import User
from tests.zoo.command_kit import call
from tests.zoo.layout_kit import float_folder, int8_entry
from zoo import catalog, layouts, proposing
from zoo.commits import follow
from zoo.errors import UserError
from zoo.files import read_json, write_json

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
TOKEN, BASE = "hf_writer", "org/base"


@pytest.fixture(scope="module")
def made(tiny_model, tmp_path_factory):
    """The folder of an int8 entry of a question answerer."""
    root = tmp_path_factory.mktemp("proposed")
    return int8_entry(float_folder("qa", tiny_model, root / "float"), root / "tiny-int8").folder


@pytest.fixture
def folder(made, tmp_path):
    return shutil.copytree(made, tmp_path / "tiny-int8")


@pytest.fixture
def base(local_hub, folder):
    """The base model, of somebody else."""
    local_hub.put(BASE, {"config.json": (folder / "config.json").read_bytes(), "model.safetensors": b"float"})
    return local_hub.repo(BASE)


def propose(folder, base=None, token=TOKEN, tell=lambda step: None):
    return follow(proposing.propose(folder, token, base), tell)


def change(folder, **facts):
    write_json(folder / "entry.json", {**read_json(folder / "entry.json"), **facts})


def test_it_holds_the_files_and_what_was_measured_and_touches_nothing(local_hub, folder, base):
    said: list[str] = []
    done = propose(folder, tell=said.append)
    (offer,) = base.offers
    assert (done.number, done.url, done.new) == (1, f"{local_hub.url}/{BASE}/discussions/1", True)
    assert (offer.author, offer.title) == ("writer", "Add Tiny, int8 for ONNX Runtime and OpenVINO")
    added = {name: blob for name, blob in offer.commit[2].items() if name not in base.commits[-1][2]}
    assert set(added) == set(layouts.GRAPHS)
    with layouts.written(catalog.open_folder(folder)) as files:
        assert all(added[name].path.read_bytes() == files[name].read_bytes() for name in added)
    for told in ("| F1 | 80.00 |", "**n**: 100", "**cpu**: Chip", "`onnx/model_quantized.onnx` | 0.", "refs/pr/N"):
        assert told in offer.text, told
    assert f'from_pretrained("{BASE}"' in offer.text and "replaces" not in offer.text
    assert len(base.commits) == 2 and "3 files of" in said[-1] and "right hashes" in said[-1]


def test_it_is_opened_once(folder, base):
    first, second = propose(folder), propose(folder)
    assert (second.number, second.new) == (first.number, False) and len(base.offers) == 1


@pytest.mark.parametrize("fault", ["drop", "gone", 503])
def test_a_lost_answer_opens_no_second_one(local_hub, folder, base, waits, fault):
    local_hub.faults["commit"] = [fault]
    assert propose(folder).number == 1 and len(base.offers) == 1


def test_a_file_that_is_there_is_said_to_be_replaced(local_hub, folder, base):
    local_hub.put(BASE, {layouts.ONNX: b"another"})
    shown = proposing.preview(folder, TOKEN)
    assert shown.replaced == [layouts.ONNX] and "replaces the one that is there" in shown.text
    with layouts.written(catalog.open_folder(folder)) as files:
        local_hub.put(BASE, {name: files[name].read_bytes() for name in layouts.GRAPHS})
    with pytest.raises(UserError, match="holds these very files already"):
        propose(folder)
    assert not base.offers


@pytest.mark.parametrize(
    ("facts", "named", "message"),
    [
        ({"base_model": ""}, None, "does not say which model it was made from. Name it: owner/name"),
        ({"base_model": "minilm-l6-qa"}, None, "“minilm-l6-qa”, which is no id of the Hub"),
        ({"base_model": "../models/mine"}, None, "“../models/mine”, which is no id of the Hub"),
        ({"base_model": "org/gone"}, None, "There is no org/gone on the Hub"),
        ({}, "nobody", "“nobody”, which is no id of the Hub"),
        ({"metrics": {}}, None, "Nothing was measured of tiny-int8.*compress evaluate"),
        ({"metrics": {"n": 3}}, None, "Nothing was measured of tiny-int8"),
    ],
)
def test_what_is_not_known_is_refused_before_anything_is_sent(local_hub, folder, base, facts, named, message):
    change(folder, **facts)
    with pytest.raises(UserError, match=message):
        propose(folder, named)
    assert not base.offers and not local_hub.uploads


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"num_hidden_layers": 12}, "another model than org/base: num_hidden_layers is 2, there 12"),
        ({"architectures": ["BertForTokenClassification"]}, "is for question answering.*for token classification"),
        ({"architectures": ["BertForMaskedLM"]}, "org/base is another model.*BertForMaskedLM"),
        (None, "has no config.json"),
    ],
)
def test_another_model_is_not_offered_these_files(local_hub, folder, base, config, message):
    stated = read_json(folder / "config.json")
    files = {"config.json": json.dumps({**stated, **config}).encode()} if config else {}
    if config is None:
        base.commits[-1][2].pop("config.json")
    local_hub.put(BASE, files)
    with pytest.raises(UserError, match=message):
        propose(folder)
    assert not base.offers


def test_a_float_entry_and_a_token_that_only_reads_are_refused(local_hub, tiny_model, folder, base):
    with pytest.raises(UserError, match="is not in int8"):
        propose(tiny_model, BASE)
    local_hub.tokens["hf_reader"] = User("reader", role="read")
    with pytest.raises(UserError, match="only read"):
        propose(folder, token="hf_reader")
    local_hub.faults["commit"] = [403]
    with pytest.raises(UserError, match="may open no pull request at org/base"):
        propose(folder)
    assert not base.offers


def test_a_model_that_was_trained_further_says_so(folder, base):
    assert "trained further" not in proposing.preview(folder, TOKEN).text
    change(folder, provenance={"trained on": "train.json"})
    assert "It was trained further on train.json, so" in proposing.preview(folder, TOKEN).text


def test_an_encoder_of_sentence_transformers_saved_under_another_name_is_the_same_model(
    local_hub, tiny_model, tmp_path
):
    source = sentence_encoder(tmp_path / "float", tiny_model)
    entry = int8_entry(source, tmp_path / "int8", task="embeddings")
    config = {**read_json(source / "config.json"), "architectures": ["BertForMaskedLM"]}
    local_hub.put(BASE, {"config.json": json.dumps(config).encode(), "modules.json": b"[]"})
    assert propose(entry.folder).new
    (offer,) = local_hub.repo(BASE).offers
    assert f'SentenceTransformer("{BASE}", backend="openvino"' in offer.text
    assert "modules.json" in offer.commit[2] and offer.commit[2]["modules.json"].size == 2, "the base's own stays"


def test_the_command_line_shows_asks_and_proposes(local_hub, folder, base, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    shown = call("publish", folder, "--pull-request", "--dry-run")
    assert "a pull request to org/base: Add Tiny, int8" in shown and "| F1 | 80.00 |" in shown and not base.offers
    with pytest.raises(UserError, match="Nothing was proposed"):
        call("publish", folder, "--pull-request", answer="n\n")
    assert "discussions/1" in call("publish", folder, "--pull-request", answer="y\n") and len(base.offers) == 1
    assert "is open already" in call("publish", folder, BASE, "--pull-request", "--yes")
    with pytest.raises(UserError, match="Say where to publish"):
        call("publish", folder)
