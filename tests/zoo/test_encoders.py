"""Encoders that transformers computes: their logits, what is refused by name, and what the page says of budgets."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from tests.zoo.encoder_kit import ENDINGS, checkpoint
from tests.zoo.model_kit import transformers
from ui.text import describe_entry
from zoo import catalog, safety
from zoo.ask import QuestionAnswerer
from zoo.checkpoints import check_checkpoint
from zoo.encoders import ENCODERS
from zoo.engines import engines_here, open_engine
from zoo.engines.stock import LOST
from zoo.errors import UserError
from zoo.families import FAMILIES
from zoo.features import load_tokenizer, make_texts, pad
from zoo.files import read_json
from zoo.modeling import LengthAdaptiveModel
from zoo.pretrained import Pretrained
from zoo.verification import logits

TEXTS = ["the lake is deep", "who was the queen of chess and when was the queen born?"]
CASES = [(name, task) for name, row in ENCODERS.items() for task, end in ENDINGS.items() if end not in row.lacks]


@pytest.mark.parametrize(("family", "task"), CASES)
def test_logits_are_those_of_transformers(tiny_model, tmp_path, family, task):
    model = checkpoint(tmp_path / "m", family, tiny_model, task)
    entry = catalog.find(str(tmp_path / "m"))
    assert (entry.engines, entry.task, entry.front, entry.family) == (["transformers"], task, None, family)
    batch = pad(make_texts(load_tokenizer(tiny_model), TEXTS, None))
    feed = {key: torch.from_numpy(value) for key, value in batch.items()}
    if model.config.to_dict().get("type_vocab_size", 2) < 2 or family == "eurobert":
        del feed["token_type_ids"]
    if family == "fnet":
        del feed["attention_mask"]
    with torch.no_grad():
        out = model(**feed)
    if task == "qa":
        expected = torch.stack([out.start_logits, out.end_logits], -1).numpy()
    elif task == "embeddings":  # the mean of the real tokens' states, of length 1
        share = torch.from_numpy(batch["attention_mask"] if family != "fnet" else np.ones_like(batch["input_ids"]))
        mean = (out.last_hidden_state * share[..., None]).sum(1) / share.sum(1, keepdim=True)
        expected = (mean / mean.norm(dim=1, keepdim=True)).numpy()
    else:
        expected = out.logits.numpy()
    tokens = batch["input_ids"].shape[1]
    ours = open_engine("transformers", entry, 1).run(batch, np.full((2, 2), tokens, np.int64))
    mask = batch["attention_mask"].astype(bool)
    if task in ("qa", "tokens"):
        assert (ours.logits[~mask] == LOST).all() and not mask.all()
        ours.logits[~mask] = expected[~mask] = 0
    np.testing.assert_allclose(ours.logits, expected, atol=1e-4)
    assert np.abs(expected).max() > 0.01 and len(ours.kept) == 2


@pytest.mark.parametrize("row", ENCODERS.values(), ids=ENCODERS)
def test_a_row_says_which_models_transformers_lacks(row):
    from transformers.models.auto import modeling_auto as auto

    has = {
        "ForQuestionAnswering": auto.MODEL_FOR_QUESTION_ANSWERING_MAPPING_NAMES,
        "ForTokenClassification": auto.MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES,
    }
    assert {ending for ending, names in has.items() if row.name not in names} == set(row.lacks)
    assert row.name in auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES and row.name not in FAMILIES


def test_it_answers_and_the_page_says_why_there_is_no_budget(tiny_model, tmp_path):
    checkpoint(tmp_path / "m", "deberta-v2", tiny_model)
    entry = catalog.find(str(tmp_path / "m"))
    said = describe_entry(entry)
    assert "no budget: DeBERTa-v2 or v3 is run as it was exported, at full length; only BERT, " in said
    assert "can drop tokens" in said and engines_here(entry) == ["transformers"]
    reply = QuestionAnswerer(entry, "transformers", 1).ask("Who?", "Marie Curie was born in Warsaw.")
    assert reply.answers and reply.macs_ratio == 1 and set(logits(entry.folder)) == {"model.safetensors"}
    with pytest.raises(UserError, match="full length only"):
        open_engine("transformers", entry, 1).run(
            pad(make_texts(load_tokenizer(tiny_model), TEXTS)), np.full((2, 2), 3)
        )
    with pytest.raises(UserError, match="cannot run on torch: it runs on transformers"):
        open_engine("torch", entry, 1)


def test_what_needs_our_own_encoder_refuses_it_by_name(tiny_model, tmp_path):
    checkpoint(tmp_path / "m", "mobilebert", tiny_model)
    with pytest.raises(UserError, match="MobileBERT is run as it was exported.*Take the recipe static_int8"):
        LengthAdaptiveModel.load(tmp_path / "m")


@pytest.mark.parametrize("name", ["gpt2", "vit", "llama", "longformer"])
def test_other_types_are_refused_by_name(tmp_path, name):
    with pytest.raises(UserError, match=f"Model type '{name}' is not supported.*DeBERTa.*which transformers computes"):
        check_checkpoint({"model_type": name, "architectures": ["GPT2ForSequenceClassification"]})


def test_a_head_that_transformers_lacks_and_missing_sizes_are_refused():
    with pytest.raises(UserError, match="transformers has no NomicBertForQuestionAnswering"):
        check_checkpoint({"model_type": "nomic_bert", "architectures": ["NomicBertForQuestionAnswering"]})
    with pytest.raises(UserError, match="does not say hidden_size, intermediate_size, vocab_size"):
        check_checkpoint({"model_type": "deberta", "num_hidden_layers": 2})


def test_code_of_its_own_is_never_run(tiny_model, tmp_path):
    checkpoint(tmp_path / "m", "eurobert", tiny_model, "classification")
    config = read_json(tmp_path / "m" / "config.json")
    code = {"auto_map": {"AutoModelForSequenceClassification": "mine.Model", "AutoConfig": "mine.Config"}}
    (tmp_path / "m" / "config.json").write_text(json.dumps(config | code))
    (tmp_path / "m" / "mine.py").write_text("raise SystemExit('it ran')\n")
    assert isinstance(Pretrained.load(tmp_path / "m").inner, transformers.EuroBertForSequenceClassification)
    with pytest.raises(UserError, match="code of its own"):
        safety.check_code({"model_type": "bert", **code}, "a/b", "config.json")
    with pytest.raises(UserError, match="code of its own"):
        safety.check_code({"model_type": "new", **code}, "a/b", "config.json")


def test_missing_weights_are_told(tiny_model, tmp_path):
    checkpoint(tmp_path / "m", "deberta", tiny_model, "classification")
    config = read_json(tmp_path / "m" / "config.json")
    (tmp_path / "m" / "config.json").write_text(
        json.dumps({**config, "architectures": ["DebertaForQuestionAnswering"]})
    )
    with pytest.raises(UserError, match="lacks 2 weights, for example qa_outputs.bias"):
        Pretrained.load(tmp_path / "m")


def test_it_is_stored_in_half_precision(tiny_model, tmp_path):
    model = checkpoint(tmp_path / "m", "rembert", tiny_model)
    Pretrained.load(tmp_path / "m").save(tmp_path / "half", torch.float16)
    half = Pretrained.load(tmp_path / "half")
    for name, value in model.state_dict().items():
        stored = half.inner.state_dict()[name]
        assert torch.equal(stored, value.half().float() if value.is_floating_point() else value)
    assert read_json(tmp_path / "half" / "config.json")["dtype"] == "float16"
