"""A new family is a row, and positions are counted as its row says."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from zoo import catalog, families, torchvision_fix
from zoo.ask import QuestionAnswerer
from zoo.checkpoints import most_tokens
from zoo.engines.onnx import OnnxEngine
from zoo.engines.openvino import OpenVinoEngine
from zoo.families import Family
from zoo.features import load_tokenizer, make_windows, pad
from zoo.files import write_json
from zoo.lengths import LengthConfig
from zoo.modeling import LengthAdaptiveModel
from zoo.weights import float_weights, spec_of

torchvision_fix.mend()
import transformers  # noqa: E402

TOY = Family(
    "toy",
    "Toy",
    "Toy",
    dense="first",
    classifier="second",
    words_head=("guess.dense", "guess.norm", "guess.bias"),
    layer={
        "query": "q",
        "key": "k",
        "value": "v",
        "project": "o",
        "attention_norm": "n1",
        "expand": "up",
        "contract": "down",
        "output_norm": "n2",
    },
    stem="blocks",
    embeddings={"words": "word", "positions": "place", "norm": "norm"},
    bend="relu",
    sizes={"width": "hidden_size", "depth": "num_hidden_layers"},
    token_types=False,
    first=3,
)
CONFIG = {
    "model_type": "toy",
    "architectures": ["ToyForSequenceClassification"],
    "width": 32,
    "depth": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "vocab_size": 60,
    "max_position_embeddings": 43,
    "num_labels": 3,
    "hidden_act": "gelu",
}


class ToyBlock(nn.Module):
    def __init__(self):
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(32, 32) for _ in range(4))
        self.n1, self.n2 = nn.LayerNorm(32, eps=1e-12), nn.LayerNorm(32, eps=1e-12)
        self.up, self.down = nn.Linear(32, 48), nn.Linear(48, 32)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        rows, tokens, _ = x.shape
        q, k, v = (part(x).view(rows, tokens, 4, 8).transpose(1, 2) for part in (self.q, self.k, self.v))
        scores = (q @ k.transpose(2, 3) / math.sqrt(8)).masked_fill(~mask[:, None, None, :], -torch.inf)
        x = self.n1(x + self.o((scores.softmax(-1) @ v).transpose(1, 2).reshape(rows, tokens, 32)))
        return self.n2(x + self.down(F.gelu(self.up(x))))


class ToyForSequenceClassification(nn.Module):
    """An encoder that nobody else has, written without this program's own."""

    def __init__(self):
        super().__init__()
        toy = nn.Module()
        toy.word, toy.place, toy.norm = nn.Embedding(60, 32), nn.Embedding(43, 32), nn.LayerNorm(32, eps=1e-12)
        toy.blocks = nn.ModuleList(ToyBlock() for _ in range(3))
        self.toy, self.first, self.second = toy, nn.Linear(32, 32), nn.Linear(32, 3)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        toy: SimpleNamespace = self.toy  # type: ignore[assignment]
        x = toy.norm(toy.word(ids) + toy.place(3 + torch.arange(ids.shape[1])))
        for block in toy.blocks:
            x = block(x, mask.bool())
        return self.second(torch.relu(self.first(x[:, 0])))


@pytest.fixture
def toy(monkeypatch, tmp_path) -> tuple[ToyForSequenceClassification, Path]:
    monkeypatch.setitem(families.FAMILIES, "toy", TOY)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = ToyForSequenceClassification().eval()
        for parameter in model.parameters():
            parameter.data += 0.2 * torch.randn_like(parameter)
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    write_json(tmp_path / "config.json", CONFIG)
    return model, tmp_path


def test_a_family_is_added_by_a_row(toy, tmp_path):
    """Its checkpoints open, say what a model written by itself says, on every engine, and are written as they were."""
    reference, folder = toy
    generator = torch.Generator().manual_seed(0)
    ids, mask = torch.randint(5, 60, (3, 40), generator=generator), torch.ones(3, 40, dtype=torch.long)
    for row, count in enumerate((40, 25, 12)):
        ids[row, count:], mask[row, count:] = 0, 0
    model = LengthAdaptiveModel.load(folder)
    with torch.no_grad():
        expected = reference(ids, mask)
        torch.testing.assert_close(model(ids, mask).logits, expected, atol=1e-5, rtol=1e-5)
    assert most_tokens(CONFIG) == 40 and catalog.find(str(folder)).task == "classification"
    batch = {"input_ids": ids.numpy(), "attention_mask": mask.numpy(), "token_type_ids": np.zeros((3, 40), np.int64)}
    lengths = np.array([LengthConfig.full(3).tokens(int(count)) for count in mask.sum(1)])
    for engine in (OnnxEngine, OpenVinoEngine):
        logits = engine(float_weights(model), spec_of(model), 1).run(batch, lengths).logits
        np.testing.assert_allclose(logits, expected, atol=1e-4)
    model.save(tmp_path / "again")
    reference.load_state_dict(dict(LengthAdaptiveModel.load(tmp_path / "again").state_dict()), strict=False)
    from safetensors.torch import load_file

    stored = load_file(tmp_path / "again" / "model.safetensors")
    assert stored.keys() == reference.state_dict().keys()


def test_a_family_without_a_row_is_refused(toy, tmp_path, monkeypatch):
    monkeypatch.delitem(families.FAMILIES, "toy")
    with pytest.raises(Exception, match="BERT, RoBERTa, XLM-R, .* or "):
        LengthAdaptiveModel.load(toy[1])


@pytest.mark.parametrize(("name", "most"), [("Roberta", 129), ("MPNet", 128), ("Bert", 130)])
def test_a_long_passage_is_read_in_windows_that_fit(tiny_model, tmp_path, name, most):
    """With 130 positions, of which some families leave the first ones to padding, 600 words go in as many windows as
    they need, and each says what transformers says."""
    tokenizer = load_tokenizer(tiny_model)
    config = getattr(transformers, f"{name}Config")(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=130,
        pad_token_id=0,
        type_vocab_size=1,
        initializer_range=0.3,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        reference = getattr(transformers, f"{name}ForQuestionAnswering")(config).eval()
    reference.save_pretrained(tmp_path)
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    tokenizer.save_pretrained(tmp_path)
    answerer = QuestionAnswerer(catalog.find(str(tmp_path)), "torch", threads=1)
    assert answerer.max_length == most
    question, passage = "Which river leaves the lake?", "The Angara is the only river there. " * 86
    reply = answerer.ask(question, passage)
    assert len(passage.split()) >= 600 and max(reply.tokens) == most and len(reply.tokens) > 4
    windows = make_windows(answerer.tokenizer, [question], [passage], most)
    assert [len(window.input_ids) for window in windows] == reply.tokens
    best, where = -math.inf, (0, 0)
    for window in windows:
        batch = {k: torch.from_numpy(v) for k, v in pad([window]).items() if k != "token_type_ids"}
        with torch.no_grad():
            out = reference(**batch)
        inside = torch.tensor([span is not None for span in window.offsets])
        scores = out.start_logits[0][:, None] + out.end_logits[0][None]
        near = torch.ones_like(scores).triu().bool() & ~torch.ones_like(scores).triu(30).bool()
        scores[~(inside[:, None] & inside[None] & near)] = -math.inf
        if float(scores.max()) > best:
            best, (first, last) = float(scores.max()), divmod(int(scores.argmax()), len(inside))
            start, end = window.offsets[first], window.offsets[last]
            assert start and end
            where = start[0], end[1]
    assert reply.answers[0].score == pytest.approx(best, abs=1e-4)
    assert (reply.answers[0].start, reply.answers[0].end) == where
