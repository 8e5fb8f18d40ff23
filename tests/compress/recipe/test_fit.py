"""A recipe says before it starts that it cannot take a checkpoint: by its family, its precision or its head."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from compress.recipe.fit import has_head, is_float
from compress.recipe.kind import missing, takes
from compress.recipe.load import load
from zoo.catalog import MODELS
from zoo.tasks import find_task

QA, SENTIMENT = "minilm-l6-qa", "minilm-l6-sst2-length-adaptive-int8"
BERT = {"model_type": "bert", "num_hidden_layers": 2, "hidden_size": 32, "intermediate_size": 64, "vocab_size": 99}


def checkpoint(folder: Path, architecture: str, labels: tuple[str, ...] = (), **more: object) -> str:
    """A folder that looks like a checkpoint of its own weights; nobody loads them."""
    folder.mkdir()
    config = {**BERT, "architectures": [architecture], "num_labels": 2, **more}
    if labels:
        config["id2label"] = dict(enumerate(labels))
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(b"")
    return str(folder)


@pytest.mark.parametrize(
    ("recipe", "family", "taken"),
    [
        ("nncf_tiny", "mpnet", False),
        ("nas_tiny", "albert", False),
        ("aimet_w8a8", "mpnet", False),
        ("train_tiny", "albert", False),  # it prunes
        ("train_tiny", "mpnet", True),
        ("static_int8", "mpnet", True),
        ("nncf_tiny", "roberta", True),
    ],
)
def test_a_family_that_a_recipe_cannot_take_apart_is_refused(tmp_path, recipe, family, taken):
    more: dict[str, object] = {"num_hidden_groups": 1, "embedding_size": 16} if family == "albert" else {}
    model = checkpoint(tmp_path / "m", "XForQuestionAnswering", (), model_type=family, **more)
    assert takes(load(recipe), model) is taken
    if not taken:
        said = missing(load(recipe, [f"model={model}"])) or ""
        assert said.startswith("m is of the family") and "this recipe cannot take: its " in said
        assert said.endswith("or the recipe static_int8 or dynamic_int8 for this one.")


@pytest.mark.parametrize(
    ("recipe", "architecture", "labels", "said"),
    [
        ("static_int8", "BertForSequenceClassification", ("good", "bad"), "with the labels good, bad"),
        ("static_int8", "BertForMaskedLM", (), "(BertForMaskedLM) is for no task yet"),
        ("nncf_post_training", "BertForTokenClassification", ("O", "B"), "is for token classification"),
        ("static_int8", "BertForQuestionAnswering", (), ""),
        ("train_tiny", "BertForSequenceClassification", ("a", "b"), ""),  # it trains a head
    ],
)
def test_a_head_of_another_task_is_refused_where_none_is_trained(tmp_path, recipe, architecture, labels, said):
    model = checkpoint(tmp_path / "m", architecture, labels)
    found = missing(load(recipe, [f"model={model}"])) or ""
    assert (said in found and "could make a head for SQuAD 1.1" in found) if said else found == ""
    assert takes(load(recipe), model) is not bool(said)


def test_a_teacher_has_to_have_the_head(tmp_path):
    teacher = checkpoint(tmp_path / "t", "BertForSequenceClassification", ("a", "b"))
    said = missing(load("train_tiny", [f"distill.teacher={teacher}"])) or ""
    assert said.startswith("t is for classification with the labels a, b")


def test_eight_bits_alone_are_no_beginning(tmp_path):
    task = ["dataset.task=sst2", "dataset.train=hub", "dataset.evaluation=hub"]
    said = missing(load("static_int8", [f"model={SENTIMENT}", *task])) or ""
    assert "has its weights in eight bits alone" in said and "sentence-transformers/all-MiniLM-L6-v2" in said
    assert is_float(MODELS / QA) and is_float(MODELS / f"{QA}-length-adaptive-int8"), "it names its float sibling"
    copy = shutil.copytree(MODELS / f"{QA}-length-adaptive-int8", tmp_path / "copy")
    assert not is_float(copy, by_name=False), "a folder alone has no sibling"


@pytest.mark.parametrize(
    ("task", "architecture", "labels", "stated", "expected"),
    [
        ("sst2", "BertForSequenceClassification", ("POSITIVE", "negative"), None, True),
        ("sst2", "BertForSequenceClassification", ("LABEL_0", "LABEL_1"), None, True),
        ("sst2", "BertForSequenceClassification", ("joy", "rage"), None, False),
        ("sst2", "BertForSequenceClassification", ("joy", "rage"), ["positive", "negative"], True),
        ("sst2", "BertForSequenceClassification", ("joy", "rage"), ["joy", "rage"], False),
        ("mnli", "BertForSequenceClassification", ("a", "b"), None, False),
        ("labels", "BertForSequenceClassification", ("a", "b"), None, True),  # whose labels nobody has read yet
        ("score", "BertForSequenceClassification", ("a", "b"), None, False),
        ("ranking", "BertForSequenceClassification", ("score",), None, True),
        ("ranking", "BertForSequenceClassification", ("a", "b"), None, False),
        ("embeddings", "BertModel", (), None, True),
        ("squad_v2", "BertForQuestionAnswering", (), None, True),
        ("squad", "BertModel", (), None, False),
    ],
)
def test_whose_head_is_a_tasks(task, architecture, labels, stated, expected):
    config = {**BERT, "architectures": [architecture], **({"id2label": dict(enumerate(labels))} if labels else {})}
    assert has_head(find_task(task), config, stated) is expected
