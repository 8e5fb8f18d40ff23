"""Labels of tokens and vectors of texts: against transformers, against hand-computed pooling, and on every engine."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from tests.zoo.model_kit import CONFIGS, MORE, SHIFTED, arrays, both, inputs, portable, restored_states
from zoo.checkpoints import head_of, read_config
from zoo.engines.base import GraphEngine
from zoo.engines.onnx import OnnxEngine
from zoo.engines.openvino import OpenVinoEngine
from zoo.errors import UserError
from zoo.modeling import LengthAdaptiveModel
from zoo.pooling import Pooling
from zoo.tasks import EMBEDDINGS, LOST, RANKING, TEXTS, TOKENS
from zoo.weights import float_weights, spec_of

TAGGING = [kind for kind in MORE if kind.endswith("tokens")]
EMBEDDING = [kind for kind in MORE if kind.endswith("embeddings")]
POOLINGS = [Pooling("mean"), Pooling("mean", False), Pooling("mean", True, "left"), Pooling("cls"), Pooling("max")]


def pooled(states: torch.Tensor, mask: torch.Tensor, mode: str, normalize: bool) -> torch.Tensor:
    """The vector of one text, `[hidden]`, written down plainly."""
    real = states[mask.bool()]
    vector = {"mean": real.mean(0), "cls": real[0], "max": real.max(0).values}[mode]
    return vector / vector.norm() if normalize else vector


@pytest.mark.parametrize("kind", TAGGING)
def test_labels_of_tokens_equal_transformers(kind, tmp_path):
    reference, model = both(kind, tmp_path)
    batch = inputs(kind.startswith(SHIFTED))
    with torch.no_grad():
        theirs, ours = reference(**batch).logits, model(**batch).logits
    real = batch["attention_mask"].bool()
    torch.testing.assert_close(ours[real], theirs[real], atol=1e-4, rtol=0)
    assert (ours[~real] == LOST).all() and model.head is TOKENS
    model.save(tmp_path / "again")
    again = type(reference).from_pretrained(tmp_path / "again").eval()
    with torch.no_grad():
        torch.testing.assert_close(again(**batch).logits[real], theirs[real], atol=1e-4, rtol=0)


@pytest.mark.parametrize("pooling", POOLINGS, ids=str)
@pytest.mark.parametrize("kind", EMBEDDING)
def test_vectors_equal_pooled_states_of_transformers(kind, pooling, tmp_path):
    reference, _ = both(kind, tmp_path)
    model = LengthAdaptiveModel.load(tmp_path, pooling=pooling.to_dict())
    batch = inputs(kind.startswith(SHIFTED))
    with torch.no_grad():
        states, ours = reference(**batch).last_hidden_state, model(**batch).logits
    for row in range(3):
        expected = pooled(states[row], batch["attention_mask"][row], pooling.mode, pooling.normalize)
        torch.testing.assert_close(ours[row], expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("pooling", POOLINGS, ids=str)
@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_vectors_of_dropped_tokens_are_of_their_last_states(pooling, config, tmp_path):
    both("bert-embeddings", tmp_path)
    model = LengthAdaptiveModel.load(tmp_path, pooling=pooling.to_dict())
    batch = inputs()
    counts = batch["attention_mask"].sum(1).tolist()
    lengths = torch.tensor([config.tokens(n) for n in counts])
    with torch.no_grad():
        ours = model(**batch, lengths=lengths).logits
        for row, count in enumerate(counts):
            states, left = restored_states(model, batch["input_ids"][row : row + 1, :count], lengths[row])
            if pooling.mode == "cls":
                assert 0 in left
            mask = torch.ones(count)
            if pooling.over == "left":
                mask = torch.zeros(count).scatter(0, torch.tensor(left), 1.0)
            expected = pooled(states, mask, pooling.mode, pooling.normalize)
            torch.testing.assert_close(ours[row], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("pooling", POOLINGS, ids=str)
@pytest.mark.parametrize("engine", [OnnxEngine, None])
def test_graphs_pool_as_the_model_does(engine: type[GraphEngine] | None, pooling, tmp_path):
    both("bert-embeddings", tmp_path)
    model = LengthAdaptiveModel.load(tmp_path, pooling=pooling.to_dict())
    _agree(model, engine)


@pytest.mark.parametrize("kind", TAGGING + EMBEDDING)
def test_graphs_agree_in_every_family(kind, tmp_path):
    _agree(both(kind, tmp_path)[1], None, kind.startswith(SHIFTED))


@pytest.mark.parametrize("kind", ["bert-tokens", "roberta-embeddings"])
def test_openvino_agrees(kind, tmp_path):
    _agree(both(kind, tmp_path)[1], OpenVinoEngine, kind.startswith(SHIFTED))


def _agree(model: LengthAdaptiveModel, engine: type[GraphEngine] | None, shifted: bool = False) -> None:
    """Compares a graph with the model: padded and not, at full length and with tokens dropped."""
    weights, spec = float_weights(model), spec_of(model)
    made = engine(weights, spec, 1) if engine else None
    plain = portable(weights, spec)
    batch = inputs(shifted)
    single = {key: value[1:2, :25] for key, value in batch.items()}
    for each in (batch, single):
        for config in (None, CONFIGS[1]):
            counts = each["attention_mask"].sum(1).tolist()
            rows = [config.tokens(n) if config else (n,) * 3 for n in counts]
            with torch.no_grad():
                expected = model(**each, lengths=torch.tensor(rows)).logits.numpy()
            lengths = np.array(rows, np.int64)
            got = made.run(arrays(each), lengths).logits if made else plain(arrays(each), lengths)[0]
            np.testing.assert_allclose(got, expected, atol=1e-4)


MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
]
NORMALIZE = {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"}
DENSE = {"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"}


def sentence_folder(folder, modules, pooling) -> None:
    both("bert-embeddings", folder)
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 32, **pooling}))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 48, "do_lower_case": False}))


@pytest.mark.parametrize(
    ("modules", "pooling", "expected"),
    [
        ([*MODULES, NORMALIZE], {"pooling_mode_mean_tokens": True}, Pooling("mean", True, max_length=48)),
        (MODULES, {"pooling_mode_cls_token": True}, Pooling("cls", False, max_length=48)),
        (MODULES, {"pooling_mode": "max"}, Pooling("max", False, max_length=48)),
    ],
)  # fmt: skip
def test_pooling_is_as_the_folder_of_sentence_transformers_says(modules, pooling, expected, tmp_path):
    sentence_folder(tmp_path, modules, pooling)
    assert Pooling.of(read_config(tmp_path)) == expected
    LengthAdaptiveModel.load(tmp_path).save(tmp_path / "ours")  # which keeps it in config.json alone
    assert Pooling.of(read_config(tmp_path / "ours")) == expected


@pytest.mark.parametrize(
    ("modules", "pooling", "message"),
    [
        ([*MODULES, DENSE], {"pooling_mode_mean_tokens": True}, r"a layer Dense \(2_Dense\)"),
        (MODULES, {"pooling_mode_weightedmean_tokens": True}, "pools by weightedmean_tokens"),
    ],
)
def test_what_is_not_computed_here_is_refused_by_name(modules, pooling, message, tmp_path):
    sentence_folder(tmp_path, modules, pooling)
    with pytest.raises(UserError, match=message):
        LengthAdaptiveModel.load(tmp_path)


def test_a_folder_of_sentence_transformers_is_one_whatever_its_encoder_was_trained_from(tmp_path):
    sentence_folder(tmp_path, MODULES, {"pooling_mode_mean_tokens": True})
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "architectures": ["BertForMaskedLM"]}))
    assert head_of(read_config(tmp_path)) is EMBEDDINGS
    assert read_config(tmp_path)["architectures"] == ["BertModel"]


def test_a_ranker_is_one_by_name_and_a_decoder_is_none():
    config = {"architectures": ["BertForSequenceClassification"], "model_type": "bert"}
    assert head_of(config) is TEXTS
    assert head_of({**config, "finetuning_task": "ranking"}) is RANKING
    with pytest.raises(UserError, match="BertLMHeadModel"):
        head_of({"architectures": ["BertLMHeadModel"]})
