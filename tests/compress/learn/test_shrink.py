from __future__ import annotations

import pytest
import torch

from compress.learn.pruning.prune import Pruner, check
from compress.learn.pruning.report import zeros_left
from compress.learn.shrink import shrink
from compress.recipe.training_groups import Prune
from zoo.lengths import Shape, macs
from zoo.modeling import LengthAdaptiveModel


def ids() -> tuple[torch.Tensor, torch.Tensor]:
    values = torch.randint(5, 50, (3, 20), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(values)
    mask[1, 12:] = 0
    return values, mask


def logits(model: LengthAdaptiveModel) -> torch.Tensor:
    with torch.inference_mode():
        return model.eval()(*ids()).logits


def pruned(folder, **changes) -> LengthAdaptiveModel:
    """The model after a few steps with its channels pruned."""
    model = LengthAdaptiveModel.load(folder)
    pruner = Pruner(model, Prune(approach="magnitude", pattern="channelx1", end_step=0, **changes))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for step in range(4):
        pruner.before_step(step, 4)
        model(*ids()).logits[0, 1:].square().mean().backward()
        pruner.after_backward(step, 4)
        optimizer.step()
        optimizer.zero_grad()
        pruner.after_step(step, 4)
    pruner.finish()
    return model


@pytest.mark.parametrize("scope", ["local", "global"])
def test_a_shrunk_model_computes_what_the_pruned_one_does(tiny_model, tmp_path, scope):
    model = pruned(tiny_model, scope=scope)
    with torch.no_grad():
        for layer in model.blocks:  # idle channels have biases too
            layer.expand.bias.add_(torch.rand(64, generator=torch.Generator().manual_seed(2)) - 0.3)
    small, told = shrink(model)
    torch.testing.assert_close(logits(small), logits(model), atol=1e-5, rtol=0)
    busy = [int((layer.contract.weight != 0).any(0).sum()) for layer in model.blocks]
    assert told["busy"] == busy and told["intermediate_size"] == [64, max(busy)]
    assert sum(busy) == 64 and (scope == "global" or busy == [32, 32])
    small.save(tmp_path)
    again = LengthAdaptiveModel.load(tmp_path)
    assert again.shape.intermediate == max(busy) == again.blocks[0].expand.out_features
    torch.testing.assert_close(logits(again), logits(model), atol=1e-5, rtol=0)
    less = (64 - max(busy)) * (2 * 32 + 1) * 2
    assert told["parameters"][0] - told["parameters"][1] == less > 0


def test_zeros_that_were_cut_out_are_not_told(tiny_model, tmp_path):
    attention = [f"*.{name}" for name in ("query", "key", "value", "project")]
    model = pruned(tiny_model, scope="local", excluded=attention)
    model.save(tmp_path / "whole")
    shrink(model)[0].save(tmp_path / "cut")
    assert zeros_left(tmp_path / "whole")["operators"] > 0.2
    assert zeros_left(tmp_path / "cut") == zeros_left(tiny_model) == {}


def test_a_channel_whose_input_is_gone_leaves_its_constant_behind(tiny_model):
    model = LengthAdaptiveModel.load(tiny_model)
    with torch.no_grad():
        for layer in model.blocks:
            layer.expand.weight[10:40] = 0
            layer.expand.bias[:] = torch.linspace(-1, 2, 64)
    small, told = shrink(model)
    assert told["intermediate_size"] == [64, 34]
    moved = (small.blocks[0].contract.bias - model.blocks[0].contract.bias).abs().max()
    assert moved > 0.1
    torch.testing.assert_close(logits(small), logits(model), atol=1e-5, rtol=0)


def test_the_size_can_be_a_multiple_and_never_grows(tiny_model):
    model = pruned(tiny_model, scope="local", target_sparsity=0.7)
    assert shrink(model)[1]["intermediate_size"] == [64, 19]
    small, told = shrink(model, multiple=8)
    assert told["intermediate_size"] == [64, 24]
    torch.testing.assert_close(logits(small), logits(model), atol=1e-5, rtol=0)
    assert shrink(LengthAdaptiveModel.load(tiny_model), multiple=48)[1]["intermediate_size"] == [64, 64]


def test_a_dense_model_stays_as_it_is(tiny_model):
    model = LengthAdaptiveModel.load(tiny_model)
    small, told = shrink(model)
    assert told["parameters"][0] == told["parameters"][1]
    assert all(small.state_dict()[key].equal(value) for key, value in model.state_dict().items())


def test_a_feed_forward_without_any_channel_keeps_one(tiny_model):
    model = LengthAdaptiveModel.load(tiny_model)
    with torch.no_grad():
        for layer in model.blocks:
            layer.contract.weight.zero_()
    small, told = shrink(model)
    assert told["intermediate_size"] == [64, 1] and told["busy"] == [0, 0]
    torch.testing.assert_close(logits(small), logits(model), atol=1e-5, rtol=0)


def test_whole_heads_are_removed_and_their_constants_stay(tiny_model, tmp_path):
    model = pruned(tiny_model, heads=True, scope="local")
    with torch.no_grad():
        for layer in model.blocks:
            layer.value.bias.add_(torch.rand(32, generator=torch.Generator().manual_seed(4)))
        for layer in model.blocks[:1]:  # an idle head whose values still reach the output, as a constant
            idle = (layer.value.weight.unflatten(0, (4, 8)) == 0).all(2).all(1).nonzero()[0]
            layer.project.weight[:, 8 * idle : 8 * idle + 8] = 0.3
    small, told = shrink(model)
    assert told["heads"] == [4, 2] and told["busy_heads"] == [2, 2]
    assert small.blocks[0].query.weight.shape == (16, 32) and small.blocks[0].project.weight.shape == (32, 16)
    torch.testing.assert_close(logits(small), logits(model), atol=1e-5, rtol=0)
    with torch.inference_mode():  # the same tokens go on
        lengths = torch.tensor([[10, 5], [8, 4], [15, 15]])
        ours, theirs = (each.eval()(*ids(), lengths=lengths) for each in (small, model))
    assert all(mine.equal(its) for mine, its in zip(ours.kept, theirs.kept, strict=True))
    torch.testing.assert_close(ours.logits, theirs.logits, atol=1e-5, rtol=0)
    small.save(tmp_path)
    again = LengthAdaptiveModel.load(tmp_path)
    torch.testing.assert_close(logits(again), logits(model), atol=1e-5, rtol=0)
    assert macs(again.shape, 20) < macs(Shape(2, 32, again.shape.intermediate), 20) < macs(model.shape, 20)
    assert len(check(again, Prune(pattern="channelx1", heads=True))) == 4  # and it can be pruned on


def test_a_head_that_says_nothing_but_chooses_tokens_stays(tiny_model):
    model = LengthAdaptiveModel.load(tiny_model)
    with torch.no_grad():
        for layer in model.blocks:
            layer.project.weight[:, :8] = 0
    assert shrink(model)[1]["heads"] == [4, 4]
    with torch.no_grad():
        model.blocks[0].key.weight[:8] = 0
    assert shrink(model)[1]["busy_heads"] == [3, 4]
    assert shrink(model)[1]["heads"] == [4, 4]  # one number for all layers


def test_a_model_with_fewer_heads_becomes_the_same_graph(tiny_model):
    import numpy as np
    import onnxruntime

    from zoo.graph import build
    from zoo.weights import float_weights, spec_of

    small, _ = shrink(pruned(tiny_model, heads=True))
    values, mask = ids()
    feed = {"input_ids": values.numpy(), "attention_mask": mask.numpy(), "token_type_ids": np.zeros((3, 20), np.int64)}
    feed["lengths"] = np.full((3, 2), 20, np.int64)
    for dialect in ("portable", "onnxruntime"):
        graph = build(float_weights(small), spec_of(small), dialect, [] if dialect == "onnxruntime" else None)
        session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
        (start,) = session.run(["start_logits"], {port.name: feed[port.name] for port in session.get_inputs()})
        np.testing.assert_allclose(np.asarray(start), logits(small)[..., 0].numpy(), atol=1e-4)
