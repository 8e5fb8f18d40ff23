"""Tokens that a learned scorer ranks: in torch, in the graph, in what is counted and in checkpoints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.zoo.model_kit import CONFIGS, KINDS, SHIFTED, arrays, both, inputs, portable
from zoo.engines.onnx import OnnxEngine
from zoo.engines.openvino import OpenVinoEngine
from zoo.errors import UserError
from zoo.layers import Layer
from zoo.lengths import Shape, macs
from zoo.modeling import LengthAdaptiveModel
from zoo.scorer import Scorer
from zoo.significance import KEY, LEARNED
from zoo.weights import float_weights, spec_of, write


def learned(kind: str, folder: Path, **overrides: Any) -> LengthAdaptiveModel:
    """A random model whose scorers are random, too; it lies in `folder`."""
    both(kind, folder)
    model = LengthAdaptiveModel.load(folder, length_drop_significance=LEARNED, **overrides)
    torch.manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith("significance."):
                parameter.normal_()
    model.save(folder)
    return model


def by_hand(scorer: Scorer, x: np.ndarray, mixed: np.ndarray) -> np.ndarray:
    """Scores of one input's tokens, token by token."""
    w = {name: value.detach().double().numpy() for name, value in scorer.named_parameters()}
    heard = np.exp([state @ w["asks"] for state in x])
    share = heard / heard.sum()
    mean_x = sum(s * row for s, row in zip(share, x, strict=True))
    mean_mixed = sum(s * row for s, row in zip(share, mixed, strict=True))
    own, met = w["own"] + mean_x * w["own_asked"], w["met"] + mean_mixed * w["met_asked"]
    return np.array([a @ own + b @ met for a, b in zip(x, mixed, strict=True)])


def attended(layer: Layer, x: torch.Tensor) -> tuple[torch.Tensor, np.ndarray]:
    """A layer's states after attention, and what it mixed, from softmax(q k) v of each head by itself."""
    out = layer.attend(x, torch.zeros(1, 1, 1, 1), 0.0, False)
    heads = []
    for head in range(layer.heads):
        part = slice(head * layer.size, (head + 1) * layer.size)
        q, k, v = (each(x)[0, :, part] for each in (layer.query, layer.key, layer.value))
        heads.append((q @ k.T / layer.size**0.5).softmax(-1) @ v)
    return out.x, torch.cat(heads, -1).double().numpy()


def test_the_tokens_with_the_highest_scores_go_on(tmp_path):
    model = learned("bert-qa", tmp_path)
    ids, lengths = inputs()["input_ids"][:1], (30, 14, 5)
    places, want = np.arange(40), []
    with torch.no_grad():
        state = model.embed(ids, None)
        for i, layer in enumerate(model.blocks):
            after, mixed = attended(layer, state)
            scores = by_hand(model.scorer(i), state[0].double().numpy(), mixed)
            top = np.argsort(-scores)[: lengths[i]]
            places, state = places[top], layer.feed(after[:, top.copy()], 0.0)
            want.append(set(places))
        got = model(ids, torch.ones_like(ids), lengths=torch.tensor([lengths]))
    assert [set(np.flatnonzero(kept[0])) for kept in got.kept] == want
    by_attention = LengthAdaptiveModel.load(tmp_path, length_drop_significance=None)
    with torch.no_grad():
        other = by_attention(ids, torch.ones_like(ids), lengths=torch.tensor([lengths]))
    assert not other.kept[0].equal(got.kept[0])  # else nothing was shown


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_batches_and_graphs_keep_the_tokens_that_each_input_keeps_alone(kind, config, tmp_path):
    model = learned(kind, tmp_path)
    batch = inputs(kind.startswith(SHIFTED))
    counts = batch["attention_mask"].sum(1).tolist()
    lengths = torch.tensor([config.tokens(n) for n in counts])
    path = write(float_weights(model), spec_of(model), tmp_path / "float")
    with torch.no_grad():
        expected = model(**batch, lengths=lengths)
        for row, count in enumerate(counts):
            single = model(**{k: v[row : row + 1, :count] for k, v in batch.items()}, lengths=lengths[row : row + 1])
            for kept, alone in zip(expected.kept, single.kept, strict=True):
                assert kept[row, :count].equal(alone[0]) and not kept[row, count:].any()
    for engine in (OnnxEngine, OpenVinoEngine):
        session = engine.open(path.parent, 1)
        out = session.run(arrays(batch), lengths.numpy())
        np.testing.assert_allclose(out.logits, expected.logits, atol=1e-4, err_msg=engine.name)
        assert all((a == b.numpy()).all() for a, b in zip(out.kept, expected.kept, strict=True)), engine.name
        alone = {k: v[:1] for k, v in arrays(batch).items()}  # without padding the graph has no mask
        out = session.run(alone, lengths[:1].numpy())
        np.testing.assert_allclose(out.logits[0], expected.logits[0], atol=1e-4, err_msg=engine.name)
    logits = portable(float_weights(model), spec_of(model))(arrays(batch), lengths.numpy())[0]
    np.testing.assert_allclose(logits, expected.logits[..., 0] if "qa" in kind else expected.logits, atol=1e-4)


def test_no_attention_of_a_graph_is_unfused_for_a_scorer(tmp_path):
    """Where probabilities are asked for there is a Softmax of scores; a scorer's own is over tokens alone."""
    from zoo.graph import build

    counts = {}
    for name, model in (("learned", learned("bert-qa", tmp_path / "a")), ("attention", both("bert-qa", tmp_path)[1])):
        graph = build(float_weights(model), spec_of(model), "onnxruntime", padded=False).graph
        counts[name] = sum(node.op_type == "MultiHeadAttention" for node in graph.node)
    assert counts == {"learned": 3, "attention": 0}


def test_what_a_scorer_computes_is_counted(tmp_path):
    config = learned("bert-qa", tmp_path, length_drop_layers=[0, 2]).config
    shape = Shape.from_config(config)
    plain = Shape.from_config({key: value for key, value in config.items() if key != KEY})
    assert macs(shape, 40) == macs(plain, 40)  # none is asked where nothing is dropped
    each = 32  # hidden, and of all heads together
    pooled = 40 * each + 2 * 40 * each  # who is heard, and two means
    vectors, scores = 2 * each, 2 * 40 * each
    assert macs(shape, 40, (20, 20, 20)) - macs(plain, 40, (20, 20, 20)) == pooled + vectors + scores


def test_a_checkpoint_keeps_its_scorers_and_loads_in_transformers(tmp_path):
    model = learned("bert-qa", tmp_path)
    again = LengthAdaptiveModel.load(tmp_path)
    assert all(again.state_dict()[name].equal(value) for name, value in model.state_dict().items())
    reference = KINDS["bert-qa"][1].from_pretrained(tmp_path).eval()
    batch = inputs()
    with torch.no_grad():
        theirs, ours = reference(**batch).start_logits, model(**batch).logits[..., 0]
    real = batch["attention_mask"].bool()
    torch.testing.assert_close(ours[real], theirs[real], atol=1e-4, rtol=0)
    plain = LengthAdaptiveModel.load(tmp_path, length_drop_significance=None)
    plain.save(tmp_path / "plain")
    assert KEY not in json.loads((tmp_path / "plain/config.json").read_text())
    assert not any(name.startswith("significance") for name in plain.state_dict())


def test_scorers_learn_from_what_the_later_half_of_the_layers_attends_to(tmp_path):
    model = learned("bert-qa", tmp_path)
    batch = inputs()
    with torch.no_grad():
        out = model(**batch, scored=True)
        asked = LengthAdaptiveModel.load(tmp_path, length_drop_significance=None)(**batch, scored=True)
        assert not model(**batch).needed
    want = torch.stack([share for _, share, _ in asked.significance[1:]]).mean(0)  # of three layers the last two
    torch.testing.assert_close(out.needed, {0: want, 1: want, 2: want})
    assert [round(float(share[2].sum()), 5) for _, share, _ in out.significance] == [1.0] * 3
    assert (out.significance[0][1][2, 12:] == 0).all()  # padding
    torch.testing.assert_close(out.logits, asked.logits)


def test_a_way_to_rank_that_is_none_is_refused_by_name(tmp_path):
    both("bert-qa", tmp_path)
    with pytest.raises(
        UserError, match="length_drop_significance is 'magic' in config.json: it is 'learned', or left out"
    ):
        LengthAdaptiveModel.load(tmp_path, length_drop_significance="magic")
