"""Masked language modelling: heads of three families, what is saved, what is learned."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest
import torch

from compress.learn.loop import Schedule, train
from compress.learn.masked_lm import MaskedLanguageModel
from compress.learn.masking import Masking
from compress.learn.pretrain import masked, open_dense
from compress.learn.shards import Shards, make_shards
from compress.progress import Progress
from compress.recipe.training_groups import Pretrain
from compress.tasks.samples import collate
from tests.compress.training_kit import Interrupting, Stop
from tests.zoo.family_kit import made
from zoo.errors import UserError
from zoo.features import load_tokenizer
from zoo.modeling import LengthAdaptiveModel
from zoo.tasks import QUESTIONS

SIZES: dict[str, Any] = {"vocab_size": 90, "max_position_embeddings": 40}
BERT: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
DISTIL: dict[str, Any] = {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24}


@pytest.fixture(scope="module")
def tokenizer(tiny_model):
    return load_tokenizer(tiny_model)


@pytest.fixture(scope="module")
def blocks(tiny_model, tmp_path_factory) -> Shards:
    return make_shards(tmp_path_factory.mktemp("blocks"), tiny_model, Pretrain(text="examples", block_tokens=32))


def family(name: str):
    import transformers

    torch.manual_seed(0)
    config = {
        "Bert": lambda: transformers.BertConfig(**SIZES, **BERT, hidden_act="silu", initializer_range=0.3),
        "Roberta": lambda: transformers.RobertaConfig(**SIZES, **BERT, type_vocab_size=1, initializer_range=0.3),
        "XLMRoberta": lambda: transformers.XLMRobertaConfig(
            **SIZES, **BERT, type_vocab_size=1, hidden_act="relu", initializer_range=0.3
        ),
        "Electra": lambda: transformers.ElectraConfig(**SIZES, **BERT, embedding_size=8, initializer_range=0.3),
        "Albert": lambda: transformers.AlbertConfig(**SIZES, **BERT, embedding_size=8, initializer_range=0.3),
        "MPNet": lambda: transformers.MPNetConfig(**SIZES, **BERT, initializer_range=0.3),
        "DistilBert": lambda: transformers.DistilBertConfig(**SIZES, **DISTIL, initializer_range=0.3),
    }[name]()
    model = getattr(transformers, f"{name}ForMaskedLM")(config).eval()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if key.endswith("bias"):
                parameter.normal_()
    return model


@pytest.mark.parametrize("name", ["Bert", "Roberta", "XLMRoberta", "DistilBert", "MPNet", "Electra", "Albert"])
def test_heads_come_from_checkpoints_and_go_into_them(name, tmp_path):
    original = family(name)
    original.save_pretrained(str(tmp_path / "a"))
    ids = torch.randint(5, 90, (2, 12), generator=torch.Generator().manual_seed(0))
    alive = torch.ones_like(ids)
    alive[1, 8:] = 0
    ids[1, 8:] = original.config.pad_token_id
    holes = torch.zeros_like(ids).bool()
    holes[0, 3] = holes[1, 5] = holes[1, 7] = True
    expected = original(ids, attention_mask=alive).logits[holes]
    model = MaskedLanguageModel.load(tmp_path / "a")
    assert model.has_head
    torch.testing.assert_close(model(ids, alive, holes)[1], expected, atol=1e-4, rtol=1e-4)

    with torch.no_grad():
        model.encoder.blocks[0].expand.weight[:, ::2] = 0
        model.bias.add_(1)
    model.save(tmp_path / "b")
    again = type(original).from_pretrained(str(tmp_path / "b")).eval()
    torch.testing.assert_close(
        again(ids, attention_mask=alive).logits[holes], model(ids, alive, holes)[1], atol=1e-4, rtol=1e-4
    )
    ready = LengthAdaptiveModel.load(tmp_path / "b", head=QUESTIONS)
    assert (ready.blocks[0].expand.weight[:, ::2] == 0).all()
    assert ready.blocks[0].query.weight.equal(model.encoder.blocks[0].query.weight)


def test_a_family_whose_masked_words_are_not_computed_here_says_so(tmp_path):
    made("modernbert", "qa", tmp_path)
    with pytest.raises(UserError, match="ModernBERT cannot learn masked words here"):
        MaskedLanguageModel.load(tmp_path)


def loss_of(settings, model, teacher, tokenizer, blocks, rows=(0, 1, 2, 3)):
    batch = {**collate([blocks[i] for i in rows], 0), "row": torch.tensor(rows)}
    loss = masked(settings, model, Masking(tokenizer), teacher)
    return next(loss(model, batch, random.Random(0)))


def test_the_loss_is_the_weighted_mean_of_its_parts(tiny_model, tokenizer, blocks):
    torch.manual_seed(0)
    model = MaskedLanguageModel.load(tiny_model)
    assert not model.has_head
    teacher = copy.deepcopy(model)
    with torch.no_grad():
        teacher.encoder.words.weight.add_(0.1)
    settings = Pretrain(text="examples", label_weight=1, teacher_weight=2, hidden_weight=3)
    value, parts = loss_of(settings, model, teacher, tokenizer, blocks)
    total = parts["words_loss"] + 2 * parts["teacher_loss"] + 3 * parts["hidden_loss"]
    assert parts["loss"] == pytest.approx(total / 6, rel=1e-5) and parts["teacher_loss"] > 0 < parts["hidden_loss"]
    value.backward()
    assert all(p.grad is None for p in teacher.parameters())
    trained = {name for name, p in model.named_parameters() if p.grad is not None}
    assert "transform.weight" in trained and "encoder.layers.0.query.weight" in trained
    assert not any("qa_outputs" in name for name in trained)
    own = loss_of(settings, model, copy.deepcopy(model), tokenizer, blocks)[1]
    assert own["teacher_loss"] < 1e-6 > own["hidden_loss"]
    plain = Pretrain(text="examples", label_weight=1, teacher_weight=0)
    assert loss_of(plain, model, None, tokenizer, blocks)[1]["loss"] == pytest.approx(parts["words_loss"], rel=1e-5)


def test_every_layer_or_the_last_is_compared_with_the_teacher(tiny_model, tokenizer, blocks):
    model = MaskedLanguageModel.load(tiny_model)
    teacher = copy.deepcopy(model)
    with torch.no_grad():
        teacher.encoder.blocks[-1].output_norm.bias.add_(0.5)  # layers before the last say the same
    seen = {}
    for layers in ("last", "all"):
        settings = Pretrain(text="examples", teacher_weight=0, hidden_weight=1, layers=layers)
        seen[layers] = loss_of(settings, model, teacher, tokenizer, blocks)[1]["hidden_loss"]
    assert seen == {"last": pytest.approx(0.25, rel=1e-4), "all": pytest.approx(0.125, rel=1e-4)}


def test_an_interrupted_pre_training_sees_the_same_holes(tiny_model, tokenizer, blocks, tmp_path):
    plan = Schedule(learning_rate=3e-3, epochs=1.5, batch_size=16, seed=5, checkpoint_minutes=0, precision="fp32")
    settings = Pretrain(text="examples", teacher_weight=0)
    heard = []

    def run(folder, progress, rate=None):
        torch.manual_seed(1)
        model = MaskedLanguageModel.load(tiny_model)
        train(model, blocks, masked(settings, model, Masking(tokenizer)), plan, folder, progress)
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    class Listening(Progress):
        def update(self, step, total, **figures):
            heard.append(figures["words_loss"])

    straight = run(tmp_path / "a", Listening(None, "pretrain", shown=False))
    assert len(heard) > 8 and sum(heard[-3:]) < 0.95 * sum(heard[:3])
    with pytest.raises(Stop):
        run(tmp_path / "b", Interrupting(None, 5))
    resumed = run(tmp_path / "b", Progress(None, "pretrain", shown=False))
    torch.testing.assert_close(resumed, straight, atol=1e-6, rtol=0)


def test_a_teacher_without_a_head_cannot_teach_words(tiny_model, tokenizer):
    def dense(**settings):
        return open_dense(Pretrain(text="examples", **settings), str(tiny_model), tokenizer)

    with pytest.raises(UserError, match="no head for masked words.*teacher_weight to 0"):
        dense()
    assert dense(teacher_weight=0) is None
    teacher = dense(teacher_weight=0, hidden_weight=1)
    assert teacher is not None and not any(p.requires_grad for p in teacher.parameters())
    with pytest.raises(UserError, match="512 tokens at most"):
        long = Pretrain(text="examples", teacher_weight=0, hidden_weight=1).model_copy(update={"block_tokens": 600})
        open_dense(long, str(tiny_model), tokenizer)


def test_a_loss_of_nothing_is_refused():
    with pytest.raises(ValueError, match="nothing would be learned"):
        Pretrain(text="examples", label_weight=0, teacher_weight=0)
