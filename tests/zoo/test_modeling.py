"""The encoder against transformers' own, in every family and with every head."""

from __future__ import annotations

import json

import pytest
import torch

from tests.zoo.model_kit import CONFIGS, KINDS, SHIFTED, SIZES, both, inputs
from zoo.dropping import choose
from zoo.errors import UserError
from zoo.modeling import LengthAdaptiveModel
from zoo.tasks import LOST, QUESTIONS, TEXTS


@pytest.mark.parametrize("kind", KINDS)
def test_equals_transformers_at_full_length(kind, tmp_path):
    reference, model = both(kind, tmp_path)
    batch = inputs(kind.startswith(SHIFTED))
    with torch.no_grad():
        theirs, ours = reference(**batch), model(**batch).logits
    if "qa" in kind:
        real = batch["attention_mask"].bool()
        torch.testing.assert_close(ours[..., 0][real], theirs.start_logits[real], atol=1e-4, rtol=0)
        torch.testing.assert_close(ours[..., 1][real], theirs.end_logits[real], atol=1e-4, rtol=0)
        assert (ours[~real] == LOST).all()
    else:
        torch.testing.assert_close(ours, theirs.logits, atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_checkpoint_loads_in_transformers(kind, tmp_path):
    _, model = both(kind, tmp_path / "a")
    model.save(tmp_path / "b")
    again = KINDS[kind][1].from_pretrained(tmp_path / "b").eval()
    batch = inputs(kind.startswith(SHIFTED))
    with torch.no_grad():
        logits = again(**batch)[0]
        mine = model(**batch).logits
    mine = mine[..., 0] if "qa" in kind else mine
    keep = batch["attention_mask"].bool() if "qa" in kind else slice(None)
    torch.testing.assert_close(mine[keep], logits[keep], atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_batched_equals_single(kind, config, tmp_path):
    _, model = both(kind, tmp_path)
    batch = inputs(kind.startswith(SHIFTED))
    counts = batch["attention_mask"].sum(1).tolist()
    lengths = torch.tensor([config.tokens(n) for n in counts])
    with torch.no_grad():
        together = model(**batch, lengths=lengths)
        for row, count in enumerate(counts):
            single = model(**{k: v[row : row + 1, :count] for k, v in batch.items()}, lengths=lengths[row : row + 1])
            mine = together.logits[row, :count] if "qa" in kind else together.logits[row]
            torch.testing.assert_close(mine, single.logits[0], atol=1e-5, rtol=0)
            for kept, alone in zip(together.kept, single.kept, strict=True):
                assert kept[row, :count].equal(alone[0])
                assert not kept[row, count:].any()


def reference_qa(model: LengthAdaptiveModel, ids: torch.Tensor, lengths) -> torch.Tensor:
    """Drop-and-restore of hidden states as the paper has it, one example, no batching, no short cuts."""
    state = model.embed(ids, None)
    places, restored = list(range(ids.shape[1])), state[0].clone()
    for i, layer in enumerate(model.blocks):
        attended, _, probabilities = layer.attend(state, torch.zeros(1), 0.0, True)
        assert probabilities is not None
        received = probabilities[0].sum((0, 1))
        top = sorted(range(len(places)), key=lambda j: -float(received[j]))[: lengths[i]]
        places = [places[j] for j in top]
        state = layer.feed(attended[:, top], 0.0)
        for j, place in enumerate(places):
            restored[place] = state[0, j]
    return model.qa_outputs(restored)


def test_restoring_logits_is_restoring_states(tmp_path):
    _, model = both("bert-qa", tmp_path)
    ids = inputs()["input_ids"][:1]
    with torch.no_grad():
        expected = reference_qa(model, ids, (30, 14, 5))
        got = model(ids, torch.ones_like(ids), lengths=torch.tensor([[30, 14, 5]])).logits[0]
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)


def test_only_drop_layers_drop(tmp_path):
    both("bert-qa", tmp_path)
    model = LengthAdaptiveModel.load(tmp_path, length_drop_layers=[1])
    ids = inputs()["input_ids"][:1]
    with torch.no_grad():
        out = model(ids, torch.ones_like(ids), lengths=torch.tensor([[20, 15, 5]]))
    assert [int(kept.sum()) for kept in out.kept] == [40, 15, 15]


def test_padding_never_wins_and_the_first_token_can_be_kept():
    received = torch.tensor([[0.0, 3.0, 2.0, 9.0, 9.0]])
    alive = torch.tensor([[True, True, True, False, False]])
    pick, lives = choose(received, alive, torch.tensor([3]), keep_first=False)
    assert sorted(pick[0].tolist()) == [0, 1, 2]
    pick, lives = choose(received, alive, torch.tensor([2]), keep_first=True)
    assert pick[0].tolist() == [0, 1]
    assert lives.all()


def test_first_token_is_kept_for_classification(tmp_path):
    _, model = both("bert-classification", tmp_path)
    batch = inputs()
    with torch.no_grad():
        out = model(**batch, lengths=torch.full((3, 3), 2))
    assert all(kept[:, 0].all() for kept in out.kept)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "gpt2"}, "not supported"),
        ({"hidden_act": "mish"}, "not supported"),
        ({"architectures": ["BertForMaskedLM"]}, "is for none of"),
        ({"position_embedding_type": "relative_key"}, "not supported"),
        ({"id2label": {"a": "x"}, "architectures": ["BertForSequenceClassification"]}, "number from 0"),
    ],
)
def test_what_would_be_computed_wrongly_is_refused(change, message, tmp_path):
    both("bert-qa", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(UserError, match=message):
        LengthAdaptiveModel.load(tmp_path)


def test_missing_weights_are_named(tmp_path):
    both("bert-qa", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 4}))
    with pytest.raises(UserError, match=r"lacks 16 weights.*layer\.3"):
        LengthAdaptiveModel.load(tmp_path)


def test_only_what_is_new_is_drawn_at_random(tmp_path):
    both("bert-qa", tmp_path)
    torch.manual_seed(7)
    before = torch.get_rng_state()
    LengthAdaptiveModel.load(tmp_path)
    assert torch.equal(torch.get_rng_state(), before)
    heads = [LengthAdaptiveModel.load(tmp_path, head=TEXTS).classifier.weight for _ in range(2)]
    assert not torch.equal(*heads) and heads[0].std() > 0


def test_distilbert_is_refused_for_its_own_reasons(tmp_path):
    both("distilbert-qa", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"activation": "mish"}))
    with pytest.raises(UserError, match="'mish' is not supported"):
        LengthAdaptiveModel.load(tmp_path)


@pytest.mark.parametrize("kind", ["bert-classification", "roberta-classification", "distilbert-classification"])
def test_a_head_for_other_labels_is_new_and_the_encoder_stays(kind, tmp_path):
    _, model = both(kind, tmp_path)
    two = LengthAdaptiveModel.load(tmp_path, head=TEXTS, id2label={"0": "no", "1": "yes"})
    assert two.classifier.weight.shape == (2, 32) and torch.equal(two.dense.weight, model.dense.weight)
    assert torch.equal(two.blocks[2].expand.weight, model.blocks[2].expand.weight)
    two.save(tmp_path / "two")
    again = KINDS[kind][1].from_pretrained(tmp_path / "two").eval()
    assert again.config.id2label == {0: "no", 1: "yes"}
    batch = inputs(kind.startswith(SHIFTED))
    with torch.no_grad():
        torch.testing.assert_close(two(**batch).logits, again(**batch).logits, atol=1e-4, rtol=0)


def test_a_question_answering_head_goes_on_any_family(tmp_path):
    both("distilbert-classification", tmp_path)
    model = LengthAdaptiveModel.load(tmp_path, head=QUESTIONS)
    assert model.config["architectures"] == ["DistilBertForQuestionAnswering"] and model.head is QUESTIONS
    assert model(**inputs()).logits.shape == (3, 40, 2)


def test_a_classifier_keeps_its_first_token_whatever_the_configuration_says(tmp_path):
    both("distilbert-classification", tmp_path)
    model = LengthAdaptiveModel.load(tmp_path, always_keep_first_token=False)
    with torch.no_grad():
        out = model(**inputs(), lengths=torch.full((3, 3), 2))
    assert all(kept[:, 0].all() for kept in out.kept)


def test_training_in_mixed_precision_has_the_gradients_of_float(tmp_path, monkeypatch):
    kind, cls, more = KINDS["bert-qa"]
    torch.manual_seed(0)
    cls(kind(**SIZES, **more)).save_pretrained(str(tmp_path))
    model = LengthAdaptiveModel.load(tmp_path).train()
    ids, alive = torch.randint(5, 90, (3, 20)), torch.ones(3, 20, dtype=torch.long)
    alive[1, 12:] = 0
    attention, seen = torch.nn.functional.scaled_dot_product_attention, []

    def noted(q, *more):
        seen.append(q.dtype)
        return attention(q, *more)

    def gradients(mixed):
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            model(ids, alive).logits[:, :12].float().square().mean().backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", noted)
    exact = gradients(False)
    assert seen == [torch.float32] * 3
    swift = gradients(True)
    assert len(seen) == 3, "this program's own attention needs none of torch's"
    for layer in model.blocks:
        layer.swift = False
    plain = gradients(True)
    assert seen == [torch.float32] * 6, "backwards, torch's in bf16 takes twice as long"
    for mixed in (swift, plain):
        assert torch.cosine_similarity(exact, mixed, dim=0) > 0.99 and not exact.equal(mixed)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        model.eval()(ids, alive)
    assert seen[-1] is torch.bfloat16, "forwards it is the faster one"


def test_attention_drops_probabilities_in_training_alone_and_chooses_tokens_by_all(tmp_path):
    _, model = both("bert-qa", tmp_path)
    layer, state = model.blocks[0], model.embed(inputs()["input_ids"][:1], None).detach()
    layer.train()
    torch.manual_seed(5)
    attended, _, probabilities = layer.attend(state, torch.zeros(1), 0.0, True, 0.4)
    assert probabilities is not None
    torch.testing.assert_close(probabilities.sum(-1), torch.ones(probabilities.shape[:-1]))
    torch.manual_seed(5)
    left = torch.nn.functional.dropout(probabilities, 0.4)
    assert 0.3 < float((left == 0).float().mean()) < 0.5
    values = layer.value(state).view(1, state.shape[1], layer.heads, layer.size).transpose(1, 2)
    mixed = layer.project((left @ values).transpose(1, 2).flatten(2))
    torch.testing.assert_close(attended, layer.attention_norm(state + mixed), atol=1e-6, rtol=1e-5)
    fused = [layer.attend(state, torch.zeros(1, 1, 1, 1), 0.0, False, 0.4)[0] for _ in range(2)]
    assert not torch.equal(*fused)
    layer.eval()
    for scored in (True, False):
        calm = [layer.attend(state, torch.zeros(1, 1, 1, 1), 0.0, scored, p)[0] for p in (0.0, 0.4)]
        assert torch.equal(*calm)
