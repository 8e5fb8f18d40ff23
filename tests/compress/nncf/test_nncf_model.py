"""NNCF's rounding on the tiny model: what it rounds, how it learns, and the same in real integers."""

from __future__ import annotations

import copy
import json
import logging
import os
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch

from compress.learn.distill import distilled
from compress.learn.loop import Schedule, train
from compress.nncf import export as nncf_export
from compress.nncf import store as nncf_store
from compress.nncf.control import AccuracyGuard, open_exported, quantize_exported
from compress.nncf.export import PlainOpenVino, compare, export_onnx, graph_weights
from compress.nncf.load import load_nncf
from compress.nncf.model import HOOKS, operations, quantized
from compress.nncf.stages import range_rates
from compress.progress import Progress
from compress.recipe.nncf import Control, Rounding
from compress.recipe.nncf_config import Numbers, Override, Plan
from compress.recipe.training_groups import Distill
from compress.tasks.losses import span
from tests.compress.training_kit import Interrupting, Stop, windows
from zoo import layers
from zoo.engines import open_graph
from zoo.errors import UserError
from zoo.features import pad
from zoo.modeling import LengthAdaptiveModel
from zoo.operators import dequantized
from zoo.weights import spec_of, write

PLAN = Schedule(learning_rate=1e-3, epochs=2, batch_size=4, precision="fp32", checkpoint_minutes=0)
PRODUCTS = Rounding(subset_size=4)


@pytest.fixture
def model(outlying_model):
    return outlying_model


@pytest.fixture(scope="module")
def data():
    return windows()


def inputs(data, count=4):
    return [{key: torch.from_numpy(value) for key, value in pad([sample.window]).items()} for sample in data[:count]]


def logits(model, data, count=8):
    with torch.no_grad():
        return torch.cat([model(**batch).logits.flatten() for batch in inputs(data, count)])


def rounds(model):
    """Bits and levels of weights and inputs by the place that they have."""
    held = getattr(model, HOOKS).named_hooks(remove_duplicate=False)
    return {name: hook for name, hook in held if hasattr(hook, "num_bits")}


def learn(model, data, folder, progress=None, loss=None, plan=PLAN):
    return train(model, data, loss or span(), plan, folder, progress or Progress(None, "tune", bar=False))


def test_the_activation_is_the_checkpoints(model, data, tmp_path):
    other = LengthAdaptiveModel({**model.config, "hidden_act": "relu"}).eval()
    other.load_state_dict(model.state_dict())
    made = quantized(other, Plan(), PRODUCTS, inputs(data))
    assert (logits(made, data) - logits(other, data)).abs().mean() < (
        logits(made, data) - logits(model, data)
    ).abs().mean()
    write(graph_weights(made, inputs(data)[0]), spec_of(made), tmp_path)
    assert compare(made, open_graph(tmp_path, 1, "onnxruntime"), inputs(data, 8)) < 0.1


def test_what_is_simulated_is_what_every_engine_computes(model, data, tmp_path, capsys):
    made = quantized(model, Plan(), PRODUCTS, inputs(data))
    weights = graph_weights(made, inputs(data)[0])
    assert "layers.0.expand.x_factor" in weights, "the outlying column is smoothed"
    assert all(f"layers.{i}.{part}.q" in weights for i in range(2) for part in ("qkv", "project", "expand", "contract"))
    write(weights, spec_of(made), tmp_path)
    for name in ("onnxruntime", "openvino"):
        assert compare(made, open_graph(tmp_path, 1, name), inputs(data, 8)) < 0.1
    facts = export_onnx(made, tmp_path / "plain" / "model.onnx", inputs(data))
    assert facts["graph"] == "house" and facts["distance"] < 0.1
    assert compare(made, PlainOpenVino(tmp_path / "plain" / "model.onnx", 1, 2), inputs(data, 8)) < 0.1
    assert capsys.readouterr().out == "", "NNCF's progress stays away"


@pytest.mark.parametrize(("fix", "middle"), [("enable", 64), ("disable", 128)])
def test_asymmetric_weights_are_real_integers_with_a_zero_point_each(fix, middle, model, data, tmp_path):
    with torch.no_grad():  # weights whose range lies to one side, so that zero points matter
        for block in model.blocks:
            block.contract.weight += (
                0.3 * block.contract.weight.std() * torch.arange(block.contract.out_features)[:, None]
            )
    plan = Plan(weights=Numbers("asymmetric"), activations=Numbers("asymmetric"))
    made = quantized(model, plan, Rounding(subset_size=4, overflow_fix=fix), inputs(data))
    weights = graph_weights(made, inputs(data)[0])
    hooks, nodes = rounds(made), operations(model, inputs(data)[0])
    for name, graph in (("layers.1.contract", "layers.1.contract"), ("layers.0.expand", "layers.0.expand")):
        quantizer = hooks[f"pre_hooks.{nodes[name].replace('.', ':')}__1.0"]
        weight = made.get_submodule(name).weight.detach()
        low, high, scale, zero = quantizer.get_parameters_for_torch_fq()  # what NNCF itself exports
        expected = (weight / scale[:, None]).round() + zero[:, None]
        assert int((weights[f"{graph}.zero"] != 0).sum()) > 0
        np.testing.assert_array_equal(weights[f"{graph}.zero"], zero.numpy() - middle)
        np.testing.assert_array_equal(weights[f"{graph}.q"], expected.clamp(0, 2 * middle - 1).numpy().T - middle)
        np.testing.assert_allclose(
            dequantized(weights, graph), quantizer.quantize(weight).detach().numpy().T, atol=1e-6
        )
    write(weights, spec_of(made), tmp_path)
    stored = {
        tensor.name: tensor.data_type for tensor in onnx.load(str(tmp_path / "model.int8.onnx")).graph.initializer
    }
    assert not [name for name in stored if name.startswith("layers.") and name.endswith(".w")]
    assert {stored[name] for name in stored if name.endswith((".q", ".zero"))} == {onnx.TensorProto.INT8}
    for name in ("onnxruntime", "openvino"):
        assert compare(made, open_graph(tmp_path, 1, name), inputs(data, 8)) < 0.1
    facts = export_onnx(made, tmp_path / "plain.onnx", inputs(data))
    assert facts["graph"] == "house" and facts["distance"] < 0.1


@pytest.mark.parametrize(
    ("plan", "settings", "why"),
    [
        (Plan(ignored=("layers.0.query",)), PRODUCTS, "layers.0.qkv"),
        (Plan(), Rounding(placement="graph"), "it rounds"),
    ],
)
def test_what_the_house_graph_cannot_say_goes_the_way_of_nncf(plan, settings, why, model, data, tmp_path):
    made = quantized(model, plan, settings, inputs(data))
    facts = export_onnx(made, tmp_path / "model.onnx", inputs(data))
    assert facts["graph"] == "nncf" and why in facts["why"] and facts["distance"] < 0.25
    other = PlainOpenVino(tmp_path / "model.onnx", 1, 2)
    assert compare(made, other, inputs(data, 8)) < 0.3


def test_an_export_that_says_something_else_is_not_left_behind(model, data, tmp_path, monkeypatch):
    made = quantized(model, Plan(), PRODUCTS, inputs(data))
    before = nncf_export.graph_weights

    def spoilt(*args):
        weights = before(*args)
        return {**weights, "layers.1.contract.scale": weights["layers.1.contract.scale"] * 2}

    monkeypatch.setattr(nncf_export, "graph_weights", spoilt)
    with pytest.raises(UserError, match="says something else than the simulation"):
        export_onnx(made, tmp_path / "model.onnx", inputs(data))
    assert list(tmp_path.iterdir()) == []


def test_four_bits_are_simulated_only_where_nothing_runs_them(model, data, tmp_path):
    plan = Plan(weights=Numbers("asymmetric", 4), activations=Numbers(bits=4))
    made = quantized(model, plan, PRODUCTS, inputs(data))
    assert {hook.num_bits for name, hook in rounds(made).items() if "/linear/" in name} == {4}
    with pytest.raises(UserError, match="It can be simulated only"):
        export_onnx(made, tmp_path / "model.onnx", inputs(data))


@pytest.mark.parametrize(("fix", "top"), [("auto", 63), ("enable", 63), ("disable", 127)])
def test_the_overflow_fix_leaves_a_bit_of_weights_unused(fix, top, model, data):
    made = quantized(model, Plan(), Rounding(overflow_fix=fix), inputs(data))
    held = rounds(made)
    assert {
        hook.level_high for name, hook in held.items() if name.startswith("pre_hooks./linear") and "__1." in name
    } == {top}
    assert held["pre_hooks.words/embedding/0__1.0"].level_high == 127, "no product overflows there"
    assert np.abs(graph_weights(made, inputs(data)[0])["layers.0.qkv.q"]).max() == top


def test_query_key_and_value_share_their_input(model, data):
    held = rounds(quantized(model, Plan(), PRODUCTS, inputs(data)))
    one, two, three = (held[f"pre_hooks./linear/{i}__0.1"] for i in range(3))
    assert one is two is three


def test_scopes_and_overrides_are_kept(model, data):
    plan = Plan(
        ignored=("layers.1.expand",),
        ignored_activations=("layers.0.contract",),
        overrides=(Override("weights", "layers.0.project", Numbers("symmetric", 4, False)),),
        activations=Numbers("symmetric"),
    )
    made = quantized(model, plan, Rounding(smooth_quant_alpha=-1), inputs(data))
    held = rounds(made)
    assert not any("/linear/10__" in name for name in held)
    assert not any("/linear/5__0" in name for name in held) and "pre_hooks./linear/5__1.0" in held
    assert held["pre_hooks./linear/3__1.0"].num_bits == 4 and held["pre_hooks./linear/3__1.0"].scale.numel() == 1
    assert {type(hook).__name__ for name, hook in held.items() if "__0." in name} == {"SymmetricQuantizer"}


def test_scopes_that_leave_nothing_are_refused(model, data):
    with pytest.raises(UserError, match="leave nothing to quantize"):
        quantized(model, Plan(ignored=("{re}layers",)), PRODUCTS, inputs(data))
    with pytest.raises(UserError, match="matches nothing"):
        quantized(model, Plan(targets=("{re}Conv2d",)), PRODUCTS, inputs(data))
    with pytest.raises(UserError, match="need nncf.placement products"):
        quantized(model, Plan(ignored_activations=("words",)), Rounding(placement="graph"), inputs(data))


def test_percentiles_cut_what_lies_outside(model, data):
    whole, cut = (
        graph_weights(quantized(model, plan, Rounding(smooth_quant_alpha=-1), inputs(data)), inputs(data)[0])
        for plan in (Plan(estimator="min_max"), Plan(estimator="percentile", percentiles=(5.0, 95.0)))
    )
    assert all(cut[key] < whole[key] for key in whole if key.endswith("x_scale"))


def test_a_model_is_stored_and_opened_without_pickles(model, data, tmp_path):
    made = quantized(model, Plan(), PRODUCTS, inputs(data))
    nncf_store.save_model(made, tmp_path, "products")
    opened, placement = nncf_store.load_model(tmp_path)
    assert placement == "products" and torch.equal(logits(opened, data), logits(made, data))
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".safetensors"}
    facts = json.loads((tmp_path / nncf_store.FACTS).read_text())
    facts["config"]["compression_state"][0] |= {"module_path": "os", "module_cls_name": "system"}
    (tmp_path / nncf_store.FACTS).write_text(json.dumps(facts))
    with pytest.raises(UserError, match="do not belong there"):
        nncf_store.load_model(tmp_path)


def test_training_with_rounding_learns_and_goes_on_after_a_stop(model, data, tmp_path):
    begun = quantized(model, Plan(), PRODUCTS, inputs(data))
    whole, cut = copy.deepcopy(begun), copy.deepcopy(begun)
    learn(whole, data, tmp_path / "whole")
    with torch.no_grad():
        before, after = (
            sum(
                next(span()(part, batch(data, i), None))[0].item()  # type: ignore[arg-type]
                for i in range(0, 12, 4)
            )
            for part in (begun, whole)
        )
    assert after < before
    with pytest.raises(Stop):
        learn(cut, data, tmp_path / "cut", Interrupting(tmp_path / "progress.jsonl", 7))
    again = copy.deepcopy(begun)
    learn(again, data, tmp_path / "cut")
    for (name, mine), other in zip(whole.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.allclose(mine.float(), other.float(), atol=1e-6), name
    moved = [
        name for name, p in whole.named_parameters() if HOOKS in name and not torch.equal(p, begun.get_parameter(name))
    ]
    assert any("input_low" in name for name in moved) and any("_scale_param_storage" in name for name in moved)
    assert not any("_scale_value" in name for name in moved), "smoothing stays"


def test_ranges_move_by_a_share_of_their_width(model, data, tmp_path):
    begun = quantized(model, Plan(), PRODUCTS, inputs(data))
    slow = Schedule(learning_rate=1e-6, epochs=1, batch_size=4, precision="fp32", warmup_ratio=0)
    rates = range_rates(begun, 0.01, slow.learning_rate)
    moved = {}
    for name, given in (("by width", rates), ("by the rate alone", {})):
        made = copy.deepcopy(begun)
        train(made, data, span(), replace(slow, rates=given), tmp_path / name, Progress(None, "tune", bar=False))
        far = [
            float((p - begun.get_parameter(key)).detach().abs().mean() / (1e-6 * rates[key] / 0.01))
            for key, p in made.named_parameters()
            if key in rates
        ]
        moved[name] = float(np.median(far))
    ends = {key.rpartition(".")[2] for key in rates}
    assert ends == {"input_low", "_input_range_param_storage", "_scale_param_storage"}
    assert 0.002 < moved["by width"] < 0.1 and moved["by the rate alone"] < 1e-4


def batch(data, at):
    from compress.tasks.samples import collate

    return collate(data[at : at + 4], 0)


def test_distillation_lowers_the_distance_to_the_float_model(model, data, tmp_path):
    from compress.learn.teacher import Teacher

    made = quantized(model, Plan(weights=Numbers(bits=3)), PRODUCTS, inputs(data))
    before = (logits(made, data) - logits(model, data)).abs().mean()
    loss = distilled(span(), Distill(apply=True, store_logits=False), made, Teacher(copy.deepcopy(model), None))
    learn(made, data, tmp_path, loss=loss, plan=Schedule(learning_rate=3e-3, epochs=8, batch_size=4, precision="fp32"))
    after = (logits(made.eval(), data) - logits(model, data)).abs().mean()
    assert after < 0.9 * before


def rigged(tiny_model):
    """A model whose first feed-forward eight-bit inputs destroy: one column is thousands of times the others."""
    made = LengthAdaptiveModel.load(tiny_model)
    layer = made.blocks[0]
    with torch.no_grad():
        layer.attention_norm.weight[3] *= 5000
        layer.expand.weight[:, 3] /= 5000
        layer.attention_norm.bias[3] = 0
    return made


@pytest.mark.parametrize("backend", ["openvino", "onnx"])
def test_accuracy_control_returns_what_loses_too_much(backend, tiny_model, data, tmp_path):
    model = rigged(tiny_model)
    arrays = [pad([sample.window]) for sample in data[:12]]
    exact = [model(**{k: torch.from_numpy(v) for k, v in a.items()}).logits.detach().numpy() for a in arrays]

    def score(engine, places):
        close = 0
        for i in places:
            said = engine.run(arrays[i], np.zeros((1, 2), np.int64)).logits
            close += np.abs(said - exact[i]).mean() < 0.15 * np.abs(exact[i]).mean()
        return 100 * close / len(places)

    settings = Rounding(backend=backend, smooth_quant_alpha=-1, bias_correction="none")
    quantize_exported(model, Plan(), settings, arrays[:4], tmp_path / "free")
    lost = 100 - score(open_exported(tmp_path / "free", 1, 2), range(12))
    assert lost > 30, "the rigged model suffers"
    control = Control(apply=True, max_drop=10)
    facts = quantize_exported(
        model, Plan(), settings, arrays[:4], tmp_path / "kept", AccuracyGuard(control, score, range(12))
    )
    assert facts["drop"] <= 10 and facts["float"] == 100
    assert 100 - score(open_exported(tmp_path / "kept", 1, 2), range(12)) <= 10


def test_what_only_torch_models_take_is_refused_elsewhere(model, data, tmp_path):
    arrays = [pad([sample.window]) for sample in data[:2]]
    settings = Rounding(backend="onnx")
    with pytest.raises(UserError, match="need nncf.backend torch"):
        quantize_exported(model, Plan(ignored_weights=("words",)), settings, arrays, tmp_path)
    with pytest.raises(UserError, match="one product here"):
        quantize_exported(model, Plan(ignored=("layers.0.key",)), settings, arrays, tmp_path)


def test_nncf_sends_nothing_and_leaves_logging_as_it_was():
    before, somebodys = logging.getLoggerClass(), logging.NullHandler()
    load_nncf()
    logger = logging.getLogger("nncf")
    logger.addHandler(somebodys)
    load_nncf()
    logger.removeHandler(somebodys)
    assert os.environ["NNCF_CI"] and logging.getLoggerClass() is before
    assert logger.level == logging.ERROR and somebodys.level == logging.NOTSET


def test_its_absence_is_told(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(UserError, match="pip install nncf"):
        load_nncf()


def test_scorers_go_through_as_they_are_and_keep_the_tokens_in_the_graph_that_they_keep_here(model, data, tmp_path):
    model.save(tmp_path / "plain")
    scored = LengthAdaptiveModel.load(tmp_path / "plain", length_drop_significance="learned")
    with torch.no_grad():
        for name, parameter in scored.named_parameters():
            if name.startswith("significance."):
                parameter.normal_()
    made = quantized(scored, Plan(), PRODUCTS, inputs(data))
    weights = graph_weights(made, inputs(data)[0])
    for name, value in scored.state_dict().items():
        if name.startswith("significance."):
            assert np.array_equal(weights[name], value.numpy()), name
    write(weights, spec_of(made), tmp_path)
    batch = inputs(data)[0]
    lengths = torch.tensor([[batch["input_ids"].shape[1] // 2] * 2])
    engine = open_graph(tmp_path, 1, "onnxruntime").run({k: v.numpy() for k, v in batch.items()}, lengths.numpy())
    with torch.no_grad():
        here = made(**batch, lengths=lengths)
    assert (engine.kept[0] == here.kept[0].numpy()).mean() > 0.9
    assert np.abs(engine.logits - here.logits.numpy()).mean() < 0.2


def test_in_training_nncf_sees_torchs_attention(model, data, monkeypatch):
    made = quantized(model, Plan(), Rounding(subset_size=4, placement="graph"), inputs(data)).train()
    monkeypatch.setattr(layers, "attention", None)
    seen, own = [], torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(layers.F, "scaled_dot_product_attention", lambda *given: seen.append(1) or own(*given))
    with torch.autocast("cpu", torch.bfloat16):
        made(**inputs(data)[0]).logits.float().sum().backward()
    assert len(seen) == len(made.blocks)
