"""The graph in its three dialects against torch, padded and unpadded."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch

from compress.int8.quantize import calibrate, integer_weights, simulate
from tests.zoo.test_modeling import CONFIGS, SHIFTED, both, inputs
from zoo.engines.onnx import OnnxEngine
from zoo.engines.openvino import OpenVinoEngine
from zoo.errors import UserError
from zoo.graph import build, read
from zoo.lengths import LengthConfig
from zoo.weights import float_weights, linears, spec_of, write


def arrays(batch: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    made = {key: value.numpy() for key, value in batch.items()}
    return made | {"token_type_ids": np.zeros_like(made["input_ids"])}


def portable(weights, spec):
    session = onnxruntime.InferenceSession(build(weights, spec).SerializeToString())
    wanted = {i.name for i in session.get_inputs()}

    def run(batch, lengths):
        found = session.run(None, {k: v for k, v in {**batch, "lengths": lengths}.items() if k in wanted})
        return [np.asarray(value) for value in found]

    return run


@pytest.fixture(params=["bert-qa", "roberta-qa"])
def model(request, tmp_path):
    return both(request.param, tmp_path)[1]


@pytest.mark.parametrize("config", [LengthConfig.full(3), *CONFIGS], ids=str)
def test_float_graph_equals_torch_in_padded_batches(model, config):
    batch = inputs(model.family in SHIFTED)
    lengths = torch.tensor([config.tokens(int(n)) for n in batch["attention_mask"].sum(1)])
    with torch.no_grad():
        expected = model(**batch, lengths=lengths)
    start, end, *kept = portable(float_weights(model), spec_of(model))(arrays(batch), lengths.numpy())
    np.testing.assert_allclose(start, expected.logits[..., 0], atol=1e-4)
    np.testing.assert_allclose(end, expected.logits[..., 1], atol=1e-4)
    for places, mask in zip(kept, expected.kept, strict=True):
        for row in range(3):
            chosen = places[row][places[row] >= 0]
            assert sorted(chosen) == np.flatnonzero(mask[row]).tolist()


@pytest.fixture(params=["static", "smoothed", "dynamic"])
def quantized(request, model, tmp_path):
    batch = inputs(model.family in SHIFTED)
    smoothing = 0.75 if request.param == "smoothed" else 0.0
    if smoothing:
        with_outliers(model)
    ranges = None if request.param == "dynamic" else calibrate(model, [batch], CONFIGS)
    weights = integer_weights(float_weights(model), linears(model), ranges, True, smoothing)
    assert ("layers.1.expand.x_factor" in weights) == bool(smoothing)
    return write(weights, spec_of(model), tmp_path / "int8"), simulate(model, weights)


@pytest.mark.parametrize("engine", [OnnxEngine, OpenVinoEngine])
@pytest.mark.parametrize("config", [LengthConfig.full(3), *CONFIGS], ids=str)
def test_int8_engines_equal_the_simulation(quantized, model, engine, config):
    path, twin = quantized
    batch = inputs(model.family in SHIFTED)
    loaded = engine(path, 1)
    lengths = torch.tensor([config.tokens(int(n)) for n in batch["attention_mask"].sum(1)])
    rows = [(batch, lengths)] if "x_scale" in str(loaded.weights.keys()) else []  # dynamic scales see the whole batch
    rows += [
        ({k: v[i : i + 1, :n] for k, v in batch.items()}, lengths[i : i + 1])
        for i, n in enumerate(batch["attention_mask"].sum(1).tolist())
    ]
    for part, goal in rows:
        with torch.no_grad():
            expected = twin(**part, lengths=goal)
        got = loaded.run(arrays(part), goal.numpy())
        real = part["attention_mask"].bool().numpy()
        agree = np.mean([np.mean(a[real] == b.numpy()[real]) for a, b in zip(got.kept, expected.kept, strict=True)])
        assert agree > 0.9, "kept tokens"
        # An input on the edge between two integers may round either way: most logits agree closely, few do not.
        far = np.abs(got.start - expected.logits[..., 0].numpy())[real]
        assert np.median(far) < 0.15 * expected.logits[..., 0].std()


OTHERS = [
    "bert-classification",
    "roberta-classification",
    "distilbert-classification",
    "distilbert-qa",
    "mpnet-classification",
    "mpnet-qa",
]


@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize("config", [LengthConfig.full(3), CONFIGS[1]], ids=str)
def test_float_graphs_of_other_heads_and_families_equal_torch(kind, config, tmp_path):
    model = both(kind, tmp_path)[1]
    path = write(float_weights(model), spec_of(model), tmp_path / "float")
    batch = inputs(model.family in SHIFTED)
    lengths = torch.tensor([config.tokens(int(n)) for n in batch["attention_mask"].sum(1)])
    with torch.no_grad():
        expected = model(**batch, lengths=lengths)
    wanted = [expected.logits] if model.head == "classification" else expected.logits.unbind(-1)
    stored = portable(*read(path))(arrays(batch), lengths.numpy())
    for got, right in zip(stored, wanted, strict=False):
        np.testing.assert_allclose(got, right, atol=1e-4)
    for engine in (OnnxEngine, OpenVinoEngine):
        out = engine(path, 1).run(arrays(batch), lengths.numpy())
        np.testing.assert_allclose(out.said, expected.logits, atol=1e-4, err_msg=engine.name)
        for got, right in zip(out.kept, expected.kept, strict=True):
            assert (got == right.numpy()).all()


@pytest.mark.parametrize("engine", [OnnxEngine, OpenVinoEngine])
@pytest.mark.parametrize("kind", OTHERS)
def test_int8_of_other_heads_and_families_equals_the_simulation(kind, engine, tmp_path):
    model = both(kind, tmp_path)[1]
    batch = inputs(model.family in SHIFTED)
    weights = integer_weights(float_weights(model), linears(model), calibrate(model, [batch], CONFIGS), True)
    loaded = engine(write(weights, spec_of(model), tmp_path / "int8"), 1)
    for config in (LengthConfig.full(3), CONFIGS[0]):
        lengths = torch.tensor([config.tokens(int(n)) for n in batch["attention_mask"].sum(1)])
        with torch.no_grad():
            expected = simulate(model, weights)(**batch, lengths=lengths).logits.numpy()
        out = loaded.run(arrays(batch), lengths.numpy())
        real = slice(None) if model.head == "classification" else batch["attention_mask"].bool().numpy()
        assert np.median(np.abs(out.said - expected)[real]) < 0.15 * expected[real].std()


def with_outliers(model):
    """One column of what enters each feed-forward grows twentyfold, as in trained BERT encoders."""
    with torch.no_grad():
        for layer in model.blocks:
            layer.attention_norm.weight[3] *= 20
            layer.expand.weight[:, 3] /= 20


def test_smoothing_divides_outliers_down_and_so_keeps_the_logits(model):
    with_outliers(model)
    batch = inputs(model.family in SHIFTED)
    real = batch["attention_mask"].bool()
    with torch.no_grad():
        exact = model(**batch).logits[real]
        ranges = calibrate(model, [batch], [])
        off = {}
        for smoothing in (0.0, 0.75):
            weights = integer_weights(float_weights(model), linears(model), ranges, True, smoothing)
            off[smoothing] = (simulate(model, weights)(**batch).logits[real] - exact).abs().mean().item()
        factors = [weights[f"layers.{i}.expand.x_factor"] for i in range(model.shape.layers)]
    assert all(factor.argmin() == 3 and factor.max() == 1 for factor in factors)
    assert off[0.75] < 0.7 * off[0.0]


def test_integer_products_are_integers_that_cannot_overflow(quantized):
    weights, spec = read(quantized[0])
    integers = [value for name, value in weights.items() if name.endswith(".q") and name != "words.q"]
    assert len(integers) == 4 * spec["layers"]
    assert all(value.dtype == np.int8 and np.abs(value.astype(int)).max() <= 63 for value in integers)


def test_a_foreign_file_is_refused(tmp_path):
    (tmp_path / "model.int8.onnx").write_bytes(b"not an onnx file")
    with pytest.raises(UserError, match="no length-adaptive model"):
        read(tmp_path / "model.int8.onnx")
