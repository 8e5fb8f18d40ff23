"""AIMET's simulation on the tiny model: what it rounds, where ranges start, how they learn, the same in integers."""

from __future__ import annotations

import copy
import logging
import sys

import numpy as np
import onnx
import pytest
import torch

from compress.aimet import backend
from compress.aimet.engine import SimulatedEngine
from compress.aimet.integers import integers_of, write_graph
from compress.aimet.packing import of_graph
from compress.aimet.simulable import MASKS
from compress.aimet.simulation import SETTINGS, STATE, Settings, Simulated, open_simulated
from compress.int8.simulation import simulate
from compress.learn.finetune import freeze
from compress.learn.loop import Schedule, train
from compress.progress import Progress
from compress.recipe.groups import Training
from compress.recipe.load import load
from compress.tasks.losses import span
from tests.compress.training_kit import Interrupting, Stop, windows
from zoo.engines.onnx import OnnxEngine
from zoo.errors import UserError
from zoo.features import load_tokenizer, pad
from zoo.files import read_json, write_json
from zoo.graph import MODEL_FILE, read
from zoo.modeling import LengthAdaptiveModel

PLAN = Schedule(learning_rate=2e-3, epochs=1, batch_size=4, precision="fp32", checkpoint_minutes=0)


@pytest.fixture
def model(outlying_model):
    return outlying_model


@pytest.fixture
def data():
    return windows()


def simulated(model, data, **settings):
    twin = Simulated(copy.deepcopy(model), Settings(**settings))
    twin.calibrate([sample.window for sample in data], 0, 0)
    return twin.eval()


def batch_of(data, count=6):  # windows of unlike lengths: there is padding
    return {key: torch.from_numpy(value) for key, value in pad([sample.window for sample in data[:count]]).items()}


def said(model, batch):
    with torch.no_grad():
        return model(**batch).logits


def distance(a, b, batch):
    return (a - b)[batch["attention_mask"].bool()].abs().mean().item()


def learn(model, data, folder, progress=None):
    train(model, data, span(), PLAN, folder, progress or Progress(None, "train", bar=False))


def test_full_rounds_every_activation_and_no_bias(model, data):
    net = simulated(model, data).net
    norms = [module for name, module in net.named_modules() if name.endswith("norm")]
    assert len(norms) == 5  # of the embeddings, and two a layer
    for module in [*norms, *(layer.gelu for layer in net.layers), *(layer.softmax for layer in net.layers)]:
        (held,) = module.output_quantizers
        assert (held.bitwidth, held.symmetric, held.qmin) == (8, False, 0)
    for layer in net.layers:
        for module in (layer.scores, layer.masked, layer.mix, layer.attention_sum, layer.output_sum):
            assert module.output_quantizers[0] is not None
            assert all(held is None for held in module.input_quantizers)  # rounded once, where it is made
        for name in ("query", "key", "value", "project", "expand", "contract"):
            module = getattr(layer, name)
            held = module.param_quantizers["weight"]
            assert (held.bitwidth, held.symmetric, held.shape) == (8, True, ())
            assert module.param_quantizers["bias"] is None and module.output_quantizers[0] is not None
    assert net.words.param_quantizers["weight"] is not None


def test_deploy_rounds_inputs_and_weights_of_linear_layers_alone(model, data):
    made = simulated(model, data, scope="deploy", per_channel=True)
    layer = made.net.layers[0]
    assert layer.query.input_quantizers[0] is layer.key.input_quantizers[0] is layer.value.input_quantizers[0]
    assert layer.expand.param_quantizers["weight"].shape == (64, 1)
    weights, inputs = 6 * 2, 4 * 2  # of two layers
    assert len(made.quantizers()) == weights + inputs
    assert all(".input_quantizers." in name or ".param_quantizers.weight" in name for name in made.quantizers())
    assert not made.net.qa_outputs.param_quantizers["weight"] and layer.gelu.output_quantizers[0] is None
    kept = simulated(model, data, scope="deploy", keep_float=("layers.1.contract",))
    assert len(kept.quantizers()) == weights + inputs - 2
    assert kept.net.layers[1].contract.param_quantizers["weight"] is None


def test_the_starting_ranges_are_those_of_their_scheme(model, data):
    made = {
        "min_max": simulated(model, data, weight_bits=4),
        "percentile": simulated(model, data, weight_bits=4, ranges="percentile", percentile=99.0),
        "sqnr": simulated(model, data, weight_bits=4, ranges="sqnr"),
    }
    found = {kind: one.ranges() for kind, one in made.items()}
    width = {kind: {name: high - low for name, (low, high) in held.items()} for kind, held in found.items()}
    outputs = [name for name in width["min_max"] if "norm.output" in name]
    assert outputs
    for name in outputs:  # a hundredth of the values lies outside, among them the far column's
        assert width["percentile"][name] < 0.8 * width["min_max"][name]

    def noise(one):  # of the weights
        linears = [getattr(layer, name) for layer in one.net.layers for name in ("query", "expand", "contract")]
        return sum(((m.param_quantizers["weight"](m.weight) - m.weight) ** 2).sum().item() for m in linears)

    with torch.no_grad():
        assert noise(made["sqnr"]) < 0.98 * noise(made["min_max"]) and found["sqnr"] != found["min_max"]
    own = {name: value for name, value in found["min_max"].items() if name.startswith("layers.0.expand.output")}
    edges: list = []
    with torch.no_grad():
        outside = model.blocks[0].expand.register_forward_hook(lambda m, a, y: edges.append(y.aminmax()))
        for at in range(0, 24, 8):
            model(
                **{
                    key: torch.from_numpy(value)
                    for key, value in pad([sample.window for sample in data][at : at + 8]).items()
                }
            )
        outside.remove()
    ((low, high),) = own.values()
    assert low == pytest.approx(float(min(e.min for e in edges)), rel=0.1)
    assert high == pytest.approx(float(max(e.max for e in edges)), rel=0.1)


def test_what_hides_padding_decides_what_is_left_of_the_scores(model, data):
    batch = batch_of(data)
    expected = said(model, batch)
    made = {mask: simulated(model, data, mask=mask) for mask in MASKS}
    off = {mask: distance(said(one, batch), expected, batch) for mask, one in made.items()}
    assert off["-6"] < off["as_is"] / 2 and off["clamp"] < off["as_is"] / 2
    low = {mask: one.ranges()["layers.0.masked.output_quantizers.0"][0] for mask, one in made.items()}
    assert low["as_is"] < -9000 and -60 < low["-6"] < -6 and -60 < low["clamp"] < -6
    alone = {key: value[:1, : int(batch["attention_mask"][0].sum())] for key, value in batch.items()}
    for mask in MASKS:  # one that is not padded has nothing to hide
        assert made[mask].settings.mask == mask and torch.isfinite(said(made[mask], alone)).all()


def test_four_bits_are_sixteen_values_and_embeddings_keep_eight(model, data):
    net = simulated(model, data, weight_bits=4).net
    weight = net.layers[0].expand.param_quantizers["weight"](net.layers[0].expand.weight)
    assert 8 < len(torch.unique(weight.detach())) <= 16
    assert net.words.param_quantizers["weight"].bitwidth == 8


def test_rows_are_rounded_as_aimet_rounds_the_table(model, data):
    words, ids = simulated(model, data).net.words, batch_of(data)["input_ids"]

    def looked_up():
        words.zero_grad()
        rows = words(ids).as_subclass(torch.Tensor)
        (rows**2).sum().backward()
        return rows.detach(), [part.grad.clone() for part in words.parameters()]

    held, top = words.param_quantizers["weight"], words.weight.detach().abs().max()
    assert float(held.get_max().detach()) == pytest.approx(float(top), rel=0.02)  # of the whole table
    ours, mine = looked_up()
    del words.forward
    theirs, other = looked_up()
    assert torch.equal(ours, theirs)
    for a, b in zip(mine, other, strict=True):
        torch.testing.assert_close(a, b)


def test_ranges_and_weights_learn_and_come_back_from_the_files(model, data, tmp_path):
    made = simulated(model, data)
    before, weight = made.ranges(), made.net.layers[0].expand.weight.detach().clone()
    learn(made, data, tmp_path / "run")
    after = made.ranges()
    moved = [
        name for name, (low, high) in after.items() if abs(low - before[name][0]) + abs(high - before[name][1]) > 0
    ]
    assert len(moved) > 0.9 * len(after)
    assert not torch.equal(made.net.layers[0].expand.weight, weight)
    made.save(tmp_path / "kept")
    again, batch = open_simulated(tmp_path / "kept"), batch_of(data)
    assert again.ranges() == after and again.settings == made.settings
    assert torch.equal(said(again, batch), said(made, batch))
    told = read_json(tmp_path / "kept/aimet_encodings.json")
    assert "layers.0.expand.weight" in told["param_encodings"]
    assert told["activation_encodings"]["layers.0.gelu"]["output"]["0"]["bitwidth"] == 8
    plain = made.plain()
    torch.testing.assert_close(plain.blocks[0].expand.weight, made.net.layers[0].expand.weight)


def test_frozen_layers_learn_neither_weights_nor_ranges(model, data):
    made = simulated(model, data)
    freeze(made, Training(freeze_layers=1))
    names = [name for name, parameter in made.named_parameters() if parameter.requires_grad]
    assert not any(part in name for name in names for part in (".layers.0.", ".words.", "model.norm."))
    assert any(".layers.1." in name for name in names)


@pytest.mark.parametrize("scope", ["full", "deploy"])
def test_an_engine_rounds_the_weights_once_and_says_the_same(model, data, scope):
    made, batch = simulated(model, data, scope=scope), batch_of(data)
    before, expand = said(made, batch), made.net.layers[0].expand
    assert expand.weight.unique().numel() > 256
    engine = SimulatedEngine(made, 1)
    assert expand.weight.unique().numel() <= 256 and expand.param_quantizers["weight"] is None
    if scope == "full":
        assert torch.equal(said(engine.model, batch), before)
    else:  # in double precision
        assert expand.weight.dtype == torch.float64 and said(engine.model, batch).dtype == torch.float32
        assert distance(said(engine.model, batch), before, batch) < 1e-3


def test_files_that_do_not_fit_are_refused(model, data, tmp_path):
    with pytest.raises(UserError, match="holds no simulation"):
        open_simulated(tmp_path)
    simulated(model, data).save(tmp_path)
    told = read_json(tmp_path / SETTINGS)
    write_json(tmp_path / SETTINGS, {**told, "scope": "deploy"})
    with pytest.raises(UserError, match="does not fit its settings"):
        open_simulated(tmp_path)
    write_json(tmp_path / SETTINGS, {**told, "colour": "red"})
    with pytest.raises(UserError, match="other settings"):
        open_simulated(tmp_path)
    assert (tmp_path / STATE).is_file()


def test_smoothing_rounds_less_away_and_changes_nothing_else(model, data, tmp_path):
    batch = batch_of(data)
    expected = said(model, batch)
    coarse = simulated(model, data, scope="deploy", per_channel=True)
    made = simulated(model, data, scope="deploy", per_channel=True, smoothing=1.0)
    assert distance(said(made, batch), expected, batch) < 0.5 * distance(said(coarse, batch), expected, batch)
    factor = made.net.layers[0].expand.x_factor
    assert factor.argmin() == 3 and factor[3] < 0.2 and factor.max() == 1
    made.calibrate([sample.window for sample in data], 0, 0)  # once more, from smoothed weights
    for (name, value), other in zip(made.plain().named_parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(value, other, atol=1e-6, rtol=1e-5, msg=name)
    made.save(tmp_path)
    torch.testing.assert_close(said(open_simulated(tmp_path), batch), said(made, batch), atol=0, rtol=0)
    kept = simulated(model, data, scope="deploy", smoothing=1.0, keep_float=("layers.0.expand",))
    assert not hasattr(kept.net.layers[0].expand, "x_factor")


@pytest.mark.parametrize("scope", ["full", "deploy"])
def test_an_interrupted_training_goes_on_as_if_it_had_not_been(model, data, tmp_path, scope):
    straight = simulated(model, data, scope=scope)
    learn(straight, data, tmp_path / "a")
    broken = simulated(model, data, scope=scope)
    with pytest.raises(Stop):
        learn(broken, data, tmp_path / "b", Interrupting(tmp_path / "b.jsonl", 3))
    resumed = simulated(model, data, scope=scope)
    learn(resumed, data, tmp_path / "b")
    for (name, mine), other in zip(resumed.named_parameters(), straight.parameters(), strict=True):
        torch.testing.assert_close(mine, other, atol=1e-6, rtol=1e-5, msg=name)


@pytest.mark.parametrize(
    ("bits", "per_channel", "smoothing"), [(7, True, 0.0), (7, False, 0.0), (8, True, 0.0), (7, True, 0.75)]
)
def test_the_integers_are_what_was_simulated(model, data, tmp_path, tiny_model, bits, per_channel, smoothing):
    made = simulated(model, data, scope="deploy", weight_bits=bits, per_channel=per_channel, smoothing=smoothing)
    learn(made, data, tmp_path / "run")
    batch, tokens = batch_of(data), batch_of(data)["input_ids"].shape[1]
    expected = said(made, batch)
    assert distance(said(made.plain(), batch), expected, batch) > 0.01  # rounding is felt
    facts = write_graph(made, load_tokenizer(tiny_model), tmp_path / "int8")
    weights, _ = read(tmp_path / "int8" / MODEL_FILE)
    assert ("layers.0.expand.x_factor" in weights) == bool(smoothing) and "layers.0.project.x_factor" not in weights
    held = weights["layers.0.expand.q"]
    assert facts["weight_bits"] == bits and held.min() >= -(2 ** (bits - 1)) and held.max() <= 2 ** (bits - 1) - 1
    twin = simulate(model, {name: value.copy() for name, value in weights.items()})
    assert distance(said(twin, batch), expected, batch) < 1e-4
    most = 1e-4 if bits == 7 else 3e-3  # 8: a value on an edge may round either way
    assert distance(said(of_graph(tmp_path / "int8"), batch), expected, batch) < most
    if bits == 7:  # with 8, CPUs without VNNI overflow
        engine = OnnxEngine.open(tmp_path / "int8", 1)
        inputs = {key: value.numpy() for key, value in batch.items()}
        got = torch.from_numpy(engine.run(inputs, np.full((6, 2), tokens, np.int64)).logits)
        # An input on the edge between two integers may round either way, in a few places.
        assert distance(got, expected, batch) < 0.02 * float(expected[batch["attention_mask"].bool()].std())


def test_full_has_no_integers_and_four_bits_no_runtime(model, data):
    with pytest.raises(UserError, match="scope full is a simulation only"):
        integers_of(simulated(model, data))
    with pytest.raises(UserError, match="4 is a simulation only"):
        load("minilm_w8a8_rte", ["aimet.scope=deploy", "aimet.weight_bits=4"])
    assert load("minilm_w8a8_rte", ["aimet.weight_bits=4"]).weight_bits == 4  # pyright: ignore
    assert load("minilm_w8a8_rte", ["aimet.scope=deploy"]).weight_bits == 7  # pyright: ignore
    assert load("minilm_w8a8_rte", ["aimet.scope=deploy", "quantize.reduce_range=false"]).weight_bits == 8  # pyright: ignore


def test_budgets_are_refused(model, data):
    with pytest.raises(UserError, match="full length only"):
        simulated(model, data)(**batch_of(data), lengths=torch.full((6, 2), 4))


def test_aimet_keeps_quiet(model, data, capfd):
    backend.load()
    root = logging.getLogger()
    before = root.level, list(root.handlers), logging.root.manager.disable
    capfd.readouterr()
    said(simulated(model, data), batch_of(data))
    assert capfd.readouterr() == ("", "")
    assert (root.level, list(root.handlers), logging.root.manager.disable) == before


@pytest.mark.parametrize("fault", [None, "broken"])
def test_a_missing_or_broken_library_is_named(model, monkeypatch, fault):
    class Broken:
        def find_spec(self, name, path=None, target=None):
            if name == "aimet_torch":
                raise RuntimeError("operator torchvision::nms does not exist")

    backend.load.cache_clear()
    for name in [name for name in sys.modules if name.split(".")[0] == "aimet_torch"]:
        monkeypatch.delitem(sys.modules, name)
    if fault is None:
        monkeypatch.setitem(sys.modules, "aimet_torch", None)
    else:
        monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    with pytest.raises(UserError, match="pip install aimet-torch"):
        Simulated(model, Settings())


@pytest.mark.parametrize(("per_channel", "smoothing"), [(True, 0.0), (False, 0.0), (True, 0.75)])
def test_what_aimet_exports_says_the_same_or_is_not_kept(
    model, data, tmp_path, tiny_model, monkeypatch, per_channel, smoothing
):
    from compress.aimet import export

    made = simulated(model, data, scope="deploy", weight_bits=7, per_channel=per_channel, smoothing=smoothing)
    told = export.export(made, load_tokenizer(tiny_model), tmp_path)
    assert told["file"] == export.FILE and told["distance"] < 0.02
    held = [t for t in onnx.load(str(tmp_path / export.FILE)).graph.initializer if t.data_type == onnx.TensorProto.INT8]
    assert sum(len(tensor.dims) == 2 for tensor in held) == 12  # the linear layers' weights are integers in the file
    monkeypatch.setattr(export, "_distance", lambda *_: 0.5)
    refused = export.export(made, load_tokenizer(tiny_model), tmp_path / "other")
    assert refused["file"].startswith("not kept") and not list((tmp_path / "other").glob("*"))


def test_scorers_go_through_as_they_are(model, data, tmp_path):
    model.save(tmp_path)
    scored = LengthAdaptiveModel.load(tmp_path, length_drop_significance="learned")
    with torch.no_grad():
        for name, parameter in scored.named_parameters():
            if name.startswith("significance."):
                parameter.normal_()
    twin = simulated(scored, data, scope="deploy")
    weights, plain = integers_of(twin), twin.plain().state_dict()
    names = [name for name in scored.state_dict() if name.startswith("significance.")]
    assert len(names) == 10
    for name in names:
        assert np.array_equal(weights[name], scored.state_dict()[name].numpy())
        assert plain[name].equal(scored.state_dict()[name])
