"""Shortcuts: what a dropped token adds to a vector, by hand, in every graph, and fitted as numpy fits it."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
import torch

from compress.tasks.subjects import subject_for
from tests.zoo.model_kit import CONFIGS, MORE, SHIFTED, arrays, both, inputs, portable, restored_states
from zoo.checkpoints import read_config
from zoo.engines.onnx import OnnxEngine
from zoo.engines.openvino import OpenVinoEngine
from zoo.errors import UserError
from zoo.graph import read
from zoo.lengths import Shape, macs
from zoo.modeling import LengthAdaptiveModel
from zoo.pooling import SHORTCUTS, Pooling
from zoo.shortcut import Fit, Shortcut
from zoo.weights import float_weights, spec_of, write

MAPPED = Pooling("mean", True, "mapped")
EMBEDDING = [kind for kind in MORE if kind.endswith("embeddings")]


def model_of(folder, kind="bert-embeddings") -> LengthAdaptiveModel:
    """A model whose shortcuts are drawn at random."""
    both(kind, folder)
    model, chance = LengthAdaptiveModel.load(folder, pooling=MAPPED.to_dict()), torch.Generator().manual_seed(1)
    for parameter in model.shortcuts.parameters():
        parameter.data = torch.randn(parameter.shape, generator=chance) / 4
    return model


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_dropped_tokens_are_mapped_one_by_one(config, tmp_path):
    model, batch = model_of(tmp_path), inputs()
    counts = batch["attention_mask"].sum(1).tolist()
    lengths = torch.tensor([config.tokens(n) for n in counts])
    with torch.no_grad():
        out = model(**batch, lengths=lengths)
        for row, count in enumerate(counts):
            states, _ = restored_states(model, batch["input_ids"][row : row + 1, :count], lengths[row])
            alive = [torch.ones(count, dtype=torch.bool), *(kept[row, :count] for kept in out.kept)]
            for i in model.drop_layers:
                weight, bias = model.shortcut(i).weight, model.shortcut(i).bias
                for place in (alive[i] & ~alive[i + 1]).nonzero()[:, 0].tolist():
                    states[place] = states[place] @ weight + bias
            mean = states.mean(0)
            torch.testing.assert_close(out.logits[row], mean / mean.norm(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("engine", [OnnxEngine, OpenVinoEngine, None])
@pytest.mark.parametrize("kind", EMBEDDING)
def test_graphs_map_as_the_model_does(kind, engine, tmp_path):
    model = model_of(tmp_path, kind)
    weights, spec = float_weights(model), spec_of(model)
    made, plain = engine(weights, spec, 1) if engine else None, portable(weights, spec)
    batch = inputs(kind.startswith(SHIFTED))
    for each in (batch, {key: value[1:2, :25] for key, value in batch.items()}):
        for config in (None, CONFIGS[1]):
            counts = each["attention_mask"].sum(1).tolist()
            rows = [config.tokens(n) if config else (n,) * len(model.blocks) for n in counts]
            with torch.no_grad():
                expected = model(**each, lengths=torch.tensor(rows)).logits.numpy()
            lengths = np.array(rows, np.int64)
            got = made.run(arrays(each), lengths).logits if made else plain(arrays(each), lengths)[0]
            np.testing.assert_allclose(got, expected, atol=1e-4)


def test_new_shortcuts_leave_states_as_they_are_and_are_kept_with_the_model(tmp_path):
    both("bert-embeddings", tmp_path)
    batch, rows = inputs(), torch.tensor([[20, 9, 4], [14, 8, 3], [6, 5, 4]])
    restored, mapped = (
        LengthAdaptiveModel.load(tmp_path, pooling=Pooling("mean", True, over).to_dict())
        for over in ("restored", "mapped")
    )
    with torch.no_grad():
        torch.testing.assert_close(mapped(**batch, lengths=rows).logits, restored(**batch, lengths=rows).logits)
    model = model_of(tmp_path / "other")
    model.save(tmp_path / "saved")
    again = LengthAdaptiveModel.load(tmp_path / "saved")
    assert Pooling.of(read_config(tmp_path / "saved")) == MAPPED
    for i in model.drop_layers:
        assert torch.equal(again.shortcut(i).weight, model.shortcut(i).weight)


def test_a_fit_is_least_squares():
    chance = np.random.default_rng(0)
    states = [chance.normal(size=(4, 30, 8)) for _ in range(3)]
    states[2] = states[0] @ chance.normal(size=(8, 8)) + 0.1 * chance.normal(size=(4, 30, 8)) + 3
    mask = chance.random((4, 30)) < 0.8
    fit, into = Fit([0, 1], 8), Shortcut(8)
    for part in (slice(0, 1), slice(1, 4)):
        fit.add([torch.tensor(one[part], dtype=torch.float32) for one in states], torch.tensor(mask[part]))
    for layer in (0, 1):
        fit.solve(layer, into, ridge=0.0)
        known = np.c_[states[layer][mask], np.ones(mask.sum())]
        found, *_ = np.linalg.lstsq(known, states[2][mask], rcond=None)
        np.testing.assert_allclose(into.weight.detach(), found[:-1], atol=1e-3)
        np.testing.assert_allclose(into.bias.detach(), found[-1], atol=1e-3)


@pytest.mark.parametrize("kind", EMBEDDING)
def test_states_are_those_of_transformers(kind, tmp_path):
    reference, model = both(kind, tmp_path)
    batch = inputs(kind.startswith(SHIFTED))
    with torch.no_grad():
        theirs, ours = reference(**batch, output_hidden_states=True).hidden_states, model.states(**batch)
    real = batch["attention_mask"].bool()
    assert len(ours) == len(theirs)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine[real], other[real], atol=1e-4, rtol=0)


def test_what_cannot_be_is_refused(tmp_path):
    with pytest.raises(UserError, match="which goes with the mode mean, not max"):
        Pooling.of({"pooling": {"mode": "max", "over": "mapped"}})
    both("bert-embeddings", tmp_path)
    config = read_config(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**config, "pooling": MAPPED.to_dict()}))
    with pytest.raises(UserError, match=r"lacks 6 weights, for example shortcuts\.0\.weight"):
        LengthAdaptiveModel.load(tmp_path)
    with pytest.raises(UserError, match="lacks 6 weights"):
        subject_for("embeddings").load_model(tmp_path)
    model = model_of(tmp_path / "other")
    weights = float_weights(model)
    path = write(weights, spec_of(model), tmp_path)
    assert read(path)[1]["pooling"]["over"] == "mapped"
    graph = onnx.load(path)
    (one,) = [each for each in graph.graph.initializer if each.name == f"{SHORTCUTS}.1.bias"]
    one.CopyFrom(onnx.numpy_helper.from_array(np.zeros(5, np.float32), one.name))
    onnx.save(graph, path)
    with pytest.raises(UserError, match="the shortcut of layer 1 is missing, or of another shape"):
        read(path)


def test_a_matrix_is_counted_where_tokens_are_dropped():
    plain, mapped = (Shape(3, 8, 16, mapped=each) for each in (False, True))
    assert macs(mapped, 10, (10, 5, 5)) - macs(plain, 10, (10, 5, 5)) == 64
    assert macs(mapped, 10) == macs(plain, 10)


def test_a_scorer_learns_who_is_attended_to_and_who_is_mapped_badly(tmp_path):
    model = model_of(tmp_path)
    model.save(tmp_path / "saved")
    attended, learned = (
        LengthAdaptiveModel.load(tmp_path / "saved", length_drop_significance=how) for how in (None, "learned")
    )
    batch = inputs()
    real = batch["attention_mask"].bool()
    with torch.no_grad():
        needed = learned(**batch, scored=True).needed
        late = torch.stack([share for _, share, _ in attended(**batch, scored=True).significance[1:]]).mean(0)
        states = model.states(**batch)
        for layer in model.drop_layers:
            guess = states[layer] @ model.shortcut(layer).weight + model.shortcut(layer).bias
            for row in range(len(real)):
                off = (guess[row] - states[-1][row]).square().sum(1)[real[row]]
                want = (late[row, real[row]] + off / off.sum()) / 2
                torch.testing.assert_close(needed[layer][row, real[row]], want)
    assert sorted(needed) == list(model.drop_layers) and all((one[~real] == 0).all() for one in needed.values())
