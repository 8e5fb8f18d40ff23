"""Configurations of other people's checkpoints, DistilBERT's own spelling among them."""

from __future__ import annotations

import pytest

from compress.recipe.groups import Budgets
from compress.tasks.lengths import drop_layers_of
from zoo.checkpoints import architecture, labels_of, most_tokens, normalized, ours, theirs
from zoo.errors import UserError
from zoo.families import FAMILIES
from zoo.lengths import Shape, ladder
from zoo.tasks import TEXTS, TOKENS

DISTIL = {"model_type": "distilbert", "dim": 8, "hidden_dim": 16, "n_layers": 3, "n_heads": 2, "activation": "gelu"}


def test_distilbert_s_sizes_have_everybody_s_names_too():
    config = normalized(DISTIL)
    assert config["hidden_size"] == 8 and config["num_attention_heads"] == 2 and config["hidden_act"] == "gelu"
    assert config | DISTIL == config and normalized(config) == config
    assert normalized({"model_type": "bert", "dim": 3}) == {"model_type": "bert", "dim": 3}


def test_what_reads_sizes_from_a_configuration_reads_distilbert_s():
    assert Shape.from_config(DISTIL) == Shape(3, 8, 16, False)
    assert drop_layers_of(DISTIL) == [0, 1, 2]
    assert [c.fractions for c in ladder({**DISTIL, "length_drop_layers": [2]}, Budgets(points=1, drop=0.5))] == [
        (1, 1, 1),
        (1, 1, 0.5),
    ]


def test_labels_come_in_the_order_of_their_numbers():
    assert labels_of({"id2label": {str(i): f"l{i}" for i in reversed(range(12))}}) == [f"l{i}" for i in range(12)]
    assert labels_of({}) == ["LABEL_0", "LABEL_1"]
    assert labels_of({"num_labels": 3}) == ["LABEL_0", "LABEL_1", "LABEL_2"]
    with pytest.raises(UserError, match="Correct config.json"):
        labels_of({"id2label": ["a", "b"]})


def test_roberta_s_first_positions_are_not_for_tokens():
    assert most_tokens({"model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 1}) == 512
    assert most_tokens({"model_type": "mpnet", "max_position_embeddings": 514, "pad_token_id": 0}) == 512
    assert most_tokens({"model_type": "distilbert", "max_position_embeddings": 512, "pad_token_id": 0}) == 512


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "key", ["words.weight", "norm.bias", "layers.11.project.weight", "layers.0.contract.bias", "dense.bias"]
)
def test_names_go_there_and_back(family, key):
    assert ours(theirs(key, family), family, TEXTS) == key
    assert ours(theirs("tags.bias", family), family, TOKENS) == "tags.bias"


def test_known_names():
    assert theirs("layers.2.expand.weight", "distilbert") == "distilbert.transformer.layer.2.ffn.lin1.weight"
    assert theirs("dense.weight", "distilbert") == "pre_classifier.weight"
    assert theirs("classifier.bias", "roberta") == "classifier.out_proj.bias"
    assert ours("transformer.layer.2.sa_layer_norm.bias", "distilbert", TEXTS) == "layers.2.attention_norm.bias"
    assert ours("bert.embeddings.LayerNorm.gamma", "bert", TEXTS) == "norm.weight"
    assert theirs("layers.2.query.weight", "mpnet") == "mpnet.encoder.layer.2.attention.attn.q.weight"
    assert ours("encoder.relative_attention_bias.weight", "mpnet", TEXTS) == "distances.weight"
    assert architecture("distilbert", TEXTS) == "DistilBertForSequenceClassification"
