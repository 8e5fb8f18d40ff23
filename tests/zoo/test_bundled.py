"""The models that ship, as people get them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from compress.int8.simulation import simulate
from compress.results.score import score_entry
from zoo import card, catalog, torchvision_fix
from zoo.ask import QuestionAnswerer
from zoo.engines.onnx import OnnxEngine
from zoo.engines.openvino import OpenVinoEngine
from zoo.features import load_tokenizer, make_windows, pad
from zoo.graph import read
from zoo.lengths import non_dominated
from zoo.modeling import LengthAdaptiveModel

FLOAT, INT8 = "minilm-l6-qa", "minilm-l6-qa-length-adaptive-int8"


@pytest.fixture(scope="module")
def batch():
    """Three examples of unlike length, padded."""
    examples = sorted(catalog.examples(), key=lambda e: len(e["context"]))
    chosen = [examples[0], examples[30], examples[-1]]
    tokenizer = load_tokenizer(catalog.find(FLOAT).folder)
    made = pad(make_windows(tokenizer, [e["question"] for e in chosen], [e["context"] for e in chosen]))
    assert not made["attention_mask"].all()
    return made


def test_the_float_model_equals_transformers(batch):
    torchvision_fix.mend()
    from transformers import BertForQuestionAnswering

    folder = catalog.find(FLOAT).folder
    reference = BertForQuestionAnswering.from_pretrained(folder, dtype=torch.float32).eval()
    inputs = {key: torch.from_numpy(value) for key, value in batch.items()}
    with torch.no_grad():
        theirs, ours = reference(**inputs), LengthAdaptiveModel.load(folder)(**inputs).logits
    real = inputs["attention_mask"].bool()
    torch.testing.assert_close(ours[..., 0][real], theirs.start_logits[real], atol=1e-4, rtol=0)
    torch.testing.assert_close(ours[..., 1][real], theirs.end_logits[real], atol=1e-4, rtol=0)


@pytest.mark.parametrize("engine", [OnnxEngine, OpenVinoEngine])
def test_int8_equals_torch_at_every_front_point(engine, batch):
    entry = catalog.find(INT8)
    assert entry.front
    path = entry.folder / "model.int8.onnx"
    weights, _ = read(path)
    twin = simulate(LengthAdaptiveModel.load(catalog.find(FLOAT).folder), weights)
    loaded = engine.open(entry.folder, 1)
    real = batch["attention_mask"].astype(bool)
    for point in entry.front.everything:
        lengths = np.array([point.config.tokens(int(n)) for n in real.sum(1)], np.int64)
        with torch.no_grad():
            expected = twin(**{k: torch.from_numpy(v) for k, v in batch.items()}, lengths=torch.from_numpy(lengths))
        got = loaded.run(batch, lengths)
        for row, rows_real in enumerate(real):
            agree = [
                np.mean(g[row][rows_real] == e[row].numpy()[rows_real])
                for g, e in zip(got.kept, expected.kept, strict=True)
            ]
            assert min(agree) > 0.95, (str(point.config), row, agree)
        # Values on the edge between two integers may round either way, so single logits differ a little.
        far = np.abs(got.start - expected.logits[..., 0].numpy())[real]
        assert np.median(far) < 0.3, str(point.config)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino", "torch"])
def test_it_answers_its_own_examples(engine):
    report = score_entry(INT8, "examples", engine=engine)
    assert report["n"] == 60
    assert report["f1"] >= 80


def test_the_front_is_one():
    front = catalog.find(INT8).front
    assert front and len(front.points) >= 10
    assert non_dominated(front.points) == front.points
    assert all(p.p50_ms for p in front.everything)
    assert front.measured_on["n"] >= 3000 and front.measured_on["cpu"]


@pytest.mark.parametrize("name", [FLOAT, INT8])
def test_cards_say_what_was_measured(name):
    entry = catalog.find(name)
    found = card.read(entry.card)
    assert found["license"] == "apache-2.0"
    assert found["metrics"]["f1"] == pytest.approx(entry.metrics["f1"])


def test_a_budget_changes_what_is_kept_and_little_else():
    entry = catalog.find(INT8)
    assert entry.front
    example = catalog.examples()[0]
    answerer = QuestionAnswerer(entry, threads=1)
    full = answerer.ask(example["question"], example["context"])
    tight = answerer.ask(example["question"], example["context"], entry.front.at("loss", 1.0).point.config)
    assert tight.macs_ratio < full.macs_ratio == 1
    assert tight.kept[0].kept.sum() < full.kept[0].kept.sum()
    assert tight.answers[0].text == full.answers[0].text
