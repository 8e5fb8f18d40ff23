"""The int8 graph on every engine against the simulation in torch, padded and unpadded."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from compress.int8.ranges import calibrate
from compress.int8.rounding import integer_weights
from compress.int8.simulation import simulate
from tests.zoo.model_kit import CONFIGS, OTHERS, SHIFTED, arrays, both, inputs
from zoo.engines.onnx import OnnxEngine
from zoo.engines.openvino import OpenVinoEngine
from zoo.graph import read
from zoo.lengths import LengthConfig
from zoo.tasks import TEXTS
from zoo.weights import float_weights, linears, spec_of, write


@pytest.fixture(params=["bert-qa", "roberta-qa"])
def model(request, tmp_path):
    return both(request.param, tmp_path)[1]


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
    loaded = engine.open(path.parent, 1)
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


@pytest.mark.parametrize("engine", [OnnxEngine, OpenVinoEngine])
@pytest.mark.parametrize("kind", OTHERS)
def test_int8_of_other_heads_and_families_equals_the_simulation(kind, engine, tmp_path):
    model = both(kind, tmp_path)[1]
    batch = inputs(model.family in SHIFTED)
    weights = integer_weights(float_weights(model), linears(model), calibrate(model, [batch], CONFIGS), True)
    loaded = engine.open(write(weights, spec_of(model), tmp_path / "int8").parent, 1)
    for config in (LengthConfig.full(3), CONFIGS[0]):
        lengths = torch.tensor([config.tokens(int(n)) for n in batch["attention_mask"].sum(1)])
        with torch.no_grad():
            expected = simulate(model, weights)(**batch, lengths=lengths).logits.numpy()
        out = loaded.run(arrays(batch), lengths.numpy())
        real = slice(None) if model.head is TEXTS else batch["attention_mask"].bool().numpy()
        assert np.median(np.abs(out.logits - expected)[real]) < 0.15 * expected[real].std()


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
