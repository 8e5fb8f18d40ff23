"""From texts to a classifier in eight-bit integers, on tiny random encoders of three families."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from compress.data.texts import TextExample
from compress.int8.ranges import calibrate
from compress.int8.rounding import integer_weights
from compress.learn.loop import Schedule, train
from compress.progress import Progress
from compress.tasks.heads import Outputs, head_settings, load_labelled
from compress.tasks.losses import class_loss, plain
from compress.tasks.samples import collate
from compress.tasks.subjects import subject_for
from zoo import torchvision_fix
from zoo.engines.base import EngineOutput
from zoo.engines.onnx import OnnxEngine
from zoo.engines.torch import TorchEngine
from zoo.errors import UserError
from zoo.features import load_tokenizer
from zoo.files import read_json
from zoo.lengths import LengthConfig
from zoo.modeling import LengthAdaptiveModel
from zoo.tasks import find_task
from zoo.weights import float_weights, linears, spec_of, write

torchvision_fix.mend()
import transformers  # noqa: E402

SST2, MRPC, STSB, MNLI = map(find_task, ("sst2", "mrpc", "stsb", "mnli"))
LOSS = plain(lambda logits, batch: class_loss(logits, batch["label"]))
FAMILIES = ("bert", "roberta", "distilbert")
GOOD, BAD, DULL = ("lake", "deep"), ("chess", "queen"), ("the", "and", "of", "in", "is")


def texts(count: int, seed: int) -> list[TextExample]:
    """Sentences of dull words with a telling one somewhere."""
    chance, made = random.Random(seed), []
    for i in range(count):
        words = chance.choices(DULL, k=chance.randint(3, 9))
        words.insert(chance.randrange(len(words)), chance.choice(GOOD if i % 2 else BAD))
        made.append(TextExample(f"{seed}-{i}", " ".join(words), None, i % 2))
    return made


@pytest.fixture(scope="module", params=FAMILIES)
def encoder(request, tiny_model, tmp_path_factory) -> Path:
    """A bare random encoder with the tiny tokenizer."""
    folder, tokenizer = tmp_path_factory.mktemp(request.param), load_tokenizer(tiny_model)
    tokenizer.save_pretrained(str(folder))
    sizes = {"vocab_size": len(tokenizer), "max_position_embeddings": 80, "initializer_range": 0.1, "pad_token_id": 0}
    if request.param == "distilbert":
        sizes |= {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64}
    else:
        sizes |= {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    config, model = {
        "bert": (transformers.BertConfig, transformers.BertModel),
        "roberta": (transformers.RobertaConfig, transformers.RobertaModel),
        "distilbert": (transformers.DistilBertConfig, transformers.DistilBertModel),
    }[request.param]
    sizes |= {"type_vocab_size": 2} if request.param == "roberta" else {}
    torch.manual_seed(0)
    model(config(**sizes)).save_pretrained(folder)
    return folder


def test_a_separable_task_is_learned_and_kept_in_eight_bits(encoder, tmp_path):
    tokenizer, held_out = load_tokenizer(encoder), texts(60, seed=2)
    torch.manual_seed(0)
    model = load_labelled(encoder, SST2, dropout=0.05)
    data = subject_for("sst2").samples(tokenizer, texts(240, seed=1))
    pad_id = tokenizer.pad_token_id
    schedule = Schedule(learning_rate=3e-3, epochs=5, batch_size=16, precision="fp32", pad_id=pad_id)
    progress = Progress(tmp_path / "progress.jsonl", "train", bar=False, shown=False)
    result = train(
        model,
        data,
        LOSS,
        schedule,
        tmp_path / "run",
        progress,
    )
    assert result["steps"] == 75 and result["loss"] < 0.5
    model.save(tmp_path / "model")
    scores = subject_for(SST2.name).score(TorchEngine.open(tmp_path / "model", 1), tokenizer, held_out)
    assert scores == {"accuracy": pytest.approx(100, abs=5), "n": 60}
    batches = [
        {key: value for key, value in collate(data[i : i + 4], 0).items() if key.endswith(("ids", "mask"))}
        for i in (0, 4, 8)
    ]
    ranges = calibrate(model, batches, [LengthConfig((0.6, 0.4))])
    weights = integer_weights(float_weights(model), linears(model), ranges, reduce_range=True)
    engine = OnnxEngine.open(write(weights, spec_of(model), tmp_path / "int8").parent, 1)
    seen = []
    int8 = subject_for(SST2.name).score(engine, tokenizer, held_out, progress=lambda *at: seen.append(at))
    assert int8["accuracy"] >= scores["accuracy"] - 5 and seen[-1] == (60, 60)
    dropped = subject_for(SST2.name).score(engine, tokenizer, held_out, LengthConfig((0.5, 0.3)))
    assert dropped["n"] == 60 and dropped["accuracy"] <= 100
    again = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "model").eval()
    assert again.config.id2label == {0: "negative", 1: "positive"}
    row = {key: value for key, value in batches[0].items() if key != "token_type_ids"}
    with torch.no_grad():
        torch.testing.assert_close(again(**row).logits, model(**row).logits, atol=1e-4, rtol=0)


def test_a_score_is_learned_towards(encoder, tmp_path):
    """The mean squared error of one output falls; its figures are correlations."""
    tokenizer = load_tokenizer(encoder)
    examples = [TextExample(e.id, e.first, "the lake", 4.0 if e.label else 1.0) for e in texts(80, seed=3)]
    torch.manual_seed(0)
    model = load_labelled(encoder, STSB)
    assert model.config["problem_type"] == "regression" and model.classifier.out_features == 1
    schedule = Schedule(learning_rate=3e-3, epochs=12, batch_size=16, precision="fp32")
    progress = Progress(tmp_path / "progress.jsonl", "train", bar=False, shown=False)
    data = subject_for(STSB.name).samples(tokenizer, examples)
    train(
        model,
        data,
        LOSS,
        schedule,
        tmp_path / "run",
        progress,
    )
    model.save(tmp_path / "model")
    engine = OnnxEngine.open(write(float_weights(model), spec_of(model), tmp_path / "onnx").parent, 1)
    scores = subject_for(STSB.name).score(engine, tokenizer, examples)
    assert set(scores) == {"pearson", "spearman", "n"} and scores["pearson"] > 60


def test_a_head_is_kept_only_where_it_is_the_task_s(tiny_model, tmp_path):
    torch.manual_seed(0)
    bare = load_labelled(tiny_model, MRPC)  # a question-answering checkpoint: its encoder is kept
    assert torch.equal(bare.words.weight, LengthAdaptiveModel.load(tiny_model).words.weight)
    bare.save(tmp_path)
    config = read_json(tmp_path / "config.json")
    assert config["label2id"] == {"not_equivalent": 0, "equivalent": 1} and config["finetuning_task"] == "mrpc"
    assert config["problem_type"] == "single_label_classification"
    same, other = load_labelled(tmp_path, MRPC), load_labelled(tmp_path, SST2)
    assert torch.equal(same.classifier.weight, bare.classifier.weight)
    assert not torch.equal(other.classifier.weight, bare.classifier.weight)
    assert other.config["id2label"] == {"0": "negative", "1": "positive"}
    assert load_labelled(tmp_path, MNLI).classifier.out_features == 3
    assert not Outputs(MRPC).is_of({"architectures": ["BertModel"]})
    assert Outputs(MRPC).is_of({"architectures": ["BertForSequenceClassification"]}), "two labels without names"


def test_samples_are_labelled_and_named(tiny_model):
    tokenizer = load_tokenizer(tiny_model)
    pairs = [TextExample("a", "the lake", "is deep", 1), TextExample("b", "the " * 40, "of the lake", 0)]
    one, other = subject_for(MRPC.name, 16).samples(tokenizer, pairs)
    assert (one.label, one.key, other.label, other.key) == (1, "a", 0, "b")
    assert len(other.window.input_ids) == 16
    assert tokenizer.decode(list(other.window.input_ids)).endswith("of the lake [SEP]"), "the longer one is cut"
    assert collate([one, other], 0)["label"].tolist() == [1, 0]
    scored = subject_for(STSB.name).samples(tokenizer, [TextExample("a", "x", "y", 2), TextExample("b", "x", "y", 0.5)])
    assert collate(scored, 0)["label"].dtype == torch.float32
    for wrong, message in [
        ([], "no texts"),
        ([TextExample("c", "x")], "1 of the texts .* no label of mrpc, first 'c'"),
    ]:
        with pytest.raises(UserError, match=message):
            subject_for(MRPC.name).samples(tokenizer, wrong)


def test_losses_are_cross_entropy_and_squared_error():
    logits = torch.tensor([[0.0, np.log(3.0)], [0.0, 0.0]])
    assert class_loss(logits, torch.tensor([1, 0])).item() == pytest.approx((np.log(4 / 3) + np.log(2)) / 2)
    assert class_loss(torch.tensor([[1.0], [2.0]]), torch.tensor([3, 2])).item() == 2


class Echo:
    """An engine that reads the class off the first word."""

    name, layers = "echo", 1

    def __init__(self, outputs: int, marks: dict[int, int]):
        self.outputs, self.marks = outputs, marks

    def run(self, batch, lengths):
        return EngineOutput(np.eye(self.outputs)[[self.marks[i] for i in batch["input_ids"][:, 1]]])


def test_a_model_that_orders_its_labels_otherwise_is_scored_rightly(tiny_model):
    tokenizer = load_tokenizer(tiny_model)
    words = ["the", "and", "of"]
    marks = {tokenizer.get_vocab()[word]: i for i, word in enumerate(words)}
    names = ["contradiction", "entailment", "neutral"]
    mine = [MNLI.labels.index(name) for name in names]
    examples = [TextExample(str(i), word, "the lake", mine[i]) for i, word in enumerate(words)]
    engine = Echo(3, marks)
    subject, settings = subject_for("mnli"), {"id2label": dict(enumerate(names))}
    assert subject.score(engine, tokenizer, examples, settings=settings)["accuracy"] == 100
    assert subject.score(engine, tokenizer, examples)["accuracy"] < 100
    with pytest.raises(UserError, match="gives a, b, c; mnli wants entailment"):
        subject.score(engine, tokenizer, examples, settings={"id2label": dict(enumerate("abc"))})
    with pytest.raises(UserError, match="has 2 outputs, mnli needs 3"):
        subject.score(Echo(2, dict.fromkeys(marks, 0)), tokenizer, examples)
    with pytest.raises(UserError, match="no texts to evaluate on"):
        subject.score(engine, tokenizer, [])


def test_settings_of_a_head_go_into_json():
    assert json.loads(json.dumps(head_settings(STSB))) == {
        "id2label": {"0": "score"},
        "label2id": {"score": 0},
        "problem_type": "regression",
        "finetuning_task": "stsb",
    }
