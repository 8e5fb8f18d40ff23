"""Every native family in eight bits: what the engines compute is what is simulated, and near the float model."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch

from compress.int8.graph import Calibrated
from compress.int8.ranges import calibrate
from compress.int8.rounding import integer_weights
from compress.int8.sensitivity import answers, divergence, measure
from compress.int8.simulation import simulate
from compress.recipe.groups import Quantize
from tests.zoo.family_kit import GRAPHS, batch_of, made
from tests.zoo.model_kit import CONFIGS, arrays
from zoo.engines.onnx import OnnxEngine
from zoo.engines.openvino import OpenVinoEngine
from zoo.features import Window, load_tokenizer
from zoo.graph import build, read
from zoo.lengths import LengthConfig
from zoo.weights import float_weights, linears, spec_of, write


@pytest.mark.parametrize(("variant", "head"), GRAPHS)
def test_int8_engines_equal_the_simulation_and_are_near_float(variant, head, tmp_path):
    _, model = made(variant, head, tmp_path)
    batch = batch_of(model)
    real = batch["attention_mask"].bool().numpy() if model.head.per_token else slice(None)
    weights = integer_weights(float_weights(model), linears(model), calibrate(model, [batch], CONFIGS), True, 0.5)
    folder, twin = write(weights, spec_of(model), tmp_path / "int8").parent, simulate(model, weights)
    for config in (LengthConfig.full(3), CONFIGS[0]):
        lengths = torch.tensor([config.tokens(int(n)) for n in batch["attention_mask"].sum(1)])
        with torch.no_grad():
            rounded, exact = (each(**batch, lengths=lengths).logits.numpy()[real] for each in (twin, model))
        for engine in (OnnxEngine, OpenVinoEngine):
            got = engine.open(folder, 1).run(arrays(batch), lengths.numpy()).logits[real]
            # An input on the edge between two integers may round either way: most logits agree closely, few do not.
            assert np.median(np.abs(got - rounded)) < 0.15 * rounded.std(), engine.name
        if config.is_full:  # where nothing is dropped: which tokens are depends on small differences here
            assert np.corrcoef(rounded.ravel(), exact.ravel())[0, 1] > 0.9


def test_layers_that_share_their_weights_share_the_integers_and_not_their_ranges(tmp_path):
    """Of ALBERT a file holds a layer once, and every engine still reads it as that of each layer."""
    _, model = made("albert", "classification", tmp_path)
    with torch.no_grad():
        model.blocks[0].attention_norm.weight[3] *= 20  # smoothing divides this column down, in all layers alike
        model.blocks[0].expand.weight[:, 3] /= 20
    assert model.blocks[2].expand.weight[0, 3] == model.blocks[0].expand.weight[0, 3]
    ranges = calibrate(model, [batch_of(model)], [])
    weights = integer_weights(float_weights(model), linears(model), ranges, True, 0.75)
    path = write(weights, spec_of(model), tmp_path / "int8")
    stored = [t.name for t in onnx.load(path).graph.initializer]
    assert [name for name in stored if name.endswith("expand.q")] == ["layers.0.expand.q"]
    assert len([name for name in stored if name.endswith("expand.x_scale")]) == 3
    again, spec = read(path)
    assert spec == spec_of(model) and again.keys() == weights.keys()
    scales = {float(again[f"layers.{i}.expand.x_scale"]) for i in range(3)}
    assert len(scales) == 3
    for name, value in weights.items():
        np.testing.assert_array_equal(again[name], value, err_msg=name)
    factors = [again[f"layers.{i}.expand.x_factor"] for i in range(3)]
    assert factors[0].argmin() == 3 and all((factor == factors[0]).all() for factor in factors)
    for dialect in ("openvino", "onnxruntime"):
        rebuilt = [t.name for t in build(again, spec, dialect, active=[1]).graph.initializer]
        assert [name for name in rebuilt if name.endswith("expand.q")] == ["layers.0.expand.q"]


def test_one_layer_alone_can_be_float_or_rounded_where_layers_share_weights(tmp_path):
    _, model = made("albert", "classification", tmp_path)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    names = [name for name in linears(model) if not name.startswith("layers.1.")]
    weights = integer_weights(float_weights(model), names, calibrate(model, [batch_of(model)], []), True)
    twin = simulate(model, weights)
    assert twin.blocks[1].expand.weight.equal(model.blocks[1].expand.weight)
    assert not twin.blocks[2].expand.weight.equal(model.blocks[2].expand.weight)
    alone = model.untied()
    with torch.no_grad():
        alone.blocks[1].expand.weight.zero_()
    assert alone.blocks[0].expand.weight.any() and all(v.equal(before[k]) for k, v in model.state_dict().items())


@pytest.mark.parametrize("variant", ["albert", "modernbert"])
def test_products_are_rounded_one_at_a_time_to_see_which_are_sensitive(variant, tiny_model, tmp_path):
    _, model = made(variant, "classification", tmp_path)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    windows = [Window(0, row[:12].tolist(), None, [None] * 12) for row in batch_of(model)["input_ids"]]
    ranges = calibrate(model, [batch_of(model)], [])
    report = measure(Calibrated(model, load_tokenizer(tiny_model), ranges, 3), Quantize(), windows)
    divergences = {row.name: row.kl for row in report.rows}
    assert len(divergences) == 13 and len({divergences[f"layers.{i}.expand"] for i in range(3)}) == 3
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())
    with torch.no_grad():  # the middle layer's feed-forward alone is rounded as the graph has it
        smoothing = Quantize().smoothing
        weights = integer_weights(float_weights(model), ["layers.1.expand"], ranges, True, smoothing, False)
        texts = [
            {"input_ids": torch.tensor([w.input_ids]), "attention_mask": torch.ones(1, 12).long()} for w in windows
        ]
        off = divergence(answers(simulate(model, weights), texts), answers(model, texts), model.head)
    assert divergences["layers.1.expand"] == pytest.approx(off, rel=0.1)  # of a millionth, in float32
