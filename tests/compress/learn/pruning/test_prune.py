"""The pruner in trainings of the tiny model."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
import torch

from compress.learn.loop import Schedule, train
from compress.learn.pruning.prune import Pruner, check
from compress.learn.pruning.report import compressed_bytes, sparsity_of
from compress.progress import Progress
from compress.recipe.training_groups import PRUNING_TYPES, Prune
from compress.tasks.losses import span
from compress.tasks.samples import Sample
from tests.compress.training_kit import Interrupting, Stop
from zoo.errors import UserError
from zoo.features import Window
from zoo.modeling import LengthAdaptiveModel

STEPS = 12
PATTERNS = ("1x1", "4x1", "8x2", "2:4", "channelx1")
RANKED = [name for name in PRUNING_TYPES if name != "pattern_lock"]
PAIRS = [
    (approach, pattern)
    for approach in RANKED
    for pattern in PATTERNS
    if not (approach.endswith("_progressive") and pattern in ("1x1", "2:4"))
]


def prune(**keys: Any) -> Prune:
    return Prune.model_validate(keys)


def samples(count: int = 24) -> list[Sample]:
    chance = np.random.default_rng(0)
    made = []
    for i in range(count):
        ids = chance.integers(5, 50, 16).tolist()
        made.append(Sample(Window(i, ids, [0] * 16, [None, *((j, j + 1) for j in range(15))]), 3, 5))
    return made


def steps(model, pruner, total=STEPS, first=0, last=None):
    """Trains on noise as `compress.learn.loop.train` does, and yields after every step."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.1, betas=(0.9, 0.99))
    chance = torch.Generator().manual_seed(first)
    model.train()
    for step in range(first, total if last is None else last):
        ids = torch.randint(5, 50, (4, 12), generator=chance)
        pruner.before_step(step, total)
        exact(pruner)
        model(ids, torch.ones_like(ids)).logits[:, 1:, 0].square().mean().backward()
        pruner.after_backward(step, total)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        pruner.after_step(step, total)
        exact(pruner)
        yield step


def exact(pruner):
    for name, mask in pruner.masks.items():
        weight = pruner.model.get_parameter(f"{name}.weight")
        assert not weight[~mask].any() and not torch.signbit(weight[~mask]).any()


def run(model, pruner, **options):
    for _ in steps(model, pruner, **options):
        pass
    pruner.finish()
    return pruner.report()


def gone(pruner):
    return {name: ~mask for name, mask in pruner.masks.items()}


@pytest.mark.parametrize(("approach", "pattern"), PAIRS)
def test_every_approach_reaches_the_target_in_every_pattern(tiny_model, approach, pattern):
    model = LengthAdaptiveModel.load(tiny_model)
    target = 0.5 if pattern == "2:4" else 0.6
    pruner = Pruner(model, prune(approach=approach, pattern=pattern, target_sparsity=target, end_step=8, frequency=2))
    fixed = None
    for step in steps(model, pruner):
        if step == 8:
            fixed = {name: mask.clone() for name, mask in pruner.masks.items()}
    pruner.finish()
    exact(pruner)
    told = pruner.report()
    unit = {"8x2": 16, "4x1": 4, "channelx1": 64}.get(pattern, 1)
    assert abs(told["operators"] - target) * told["weights"] <= unit and told["awake"] == 0
    assert told["locked"] == told["operators"] and pruner.complete
    assert fixed and all(fixed[name].equal(mask) for name, mask in pruner.masks.items())
    for name, pruned in gone(pruner).items():
        if pattern == "2:4":
            assert (pruned.reshape(-1, 4).sum(1) == 2).all()
        elif pattern in ("4x1", "8x2"):
            n, m = map(int, pattern.split("x"))
            blocks = pruned.unflatten(0, (-1, n)).unflatten(2, (-1, m)).float().mean((1, 3))
            assert blocks.unique().tolist() == [0, 1], name
    if pattern == "channelx1":
        assert set(pruner.masks) == {f"layers.{i}.{name}" for i in range(2) for name in ("expand", "contract")}
        for i in range(2):
            row, column = (gone(pruner)[f"layers.{i}.{name}"] for name in ("expand", "contract"))
            assert row[:, 0].equal(column[0]) and row.all(1).equal(row.any(1))


def test_scores_are_those_of_the_formulas(tiny_model):
    settings = {"pattern": "1x1", "start_step": 3, "end_step": 3, "scope": "local"}
    for approach in ("magnitude", "gradient", "snip", "snip_momentum"):
        model = LengthAdaptiveModel.load(tiny_model)
        weight = model.blocks[0].expand.weight
        pruner = Pruner(model, prune(approach=approach, target_sparsity=0.3, **settings))
        products, gradient = [], torch.empty(0)
        for step in range(3):
            pruner.before_step(step, 10)
            ids = torch.randint(5, 50, (4, 12), generator=torch.Generator().manual_seed(step))
            model(ids, torch.ones_like(ids)).logits[:, 1:, 0].square().mean().backward()
            assert weight.grad is not None
            gradient = weight.grad.clone().abs()
            products.append((weight.detach() * weight.grad).abs())
            pruner.after_backward(step, 10)
            with torch.no_grad():
                for p in model.parameters():
                    p -= 0.01 * p.grad if p.grad is not None else 0.0
                    p.grad = None
            pruner.after_step(step, 10)
        by_hand = {
            "magnitude": weight.detach().abs(),
            "gradient": gradient,
            "snip": products[-1],
            "snip_momentum": 0.9 * (products[0] + products[1] + products[2]),
        }[approach]
        pruner.before_step(3, 10)
        count = round(0.3 * by_hand.numel())
        lowest = torch.zeros(by_hand.numel(), dtype=torch.bool)
        lowest[by_hand.flatten().argsort(stable=True)[:count]] = True
        assert gone(pruner)["layers.0.expand"].flatten().equal(lowest), approach


def test_global_pruning_takes_more_from_layers_of_small_weights_and_local_does_not(tiny_model):
    for scope, share in (("global", 1.0), ("local", 0.5)):
        model = LengthAdaptiveModel.load(tiny_model)
        with torch.no_grad():
            model.blocks[0].query.weight *= 1e-3
        settings = prune(approach="magnitude", scope=scope, end_step=0, max_sparsity_per_op=1)
        told = run(model, Pruner(model, settings))
        assert told["per_operator"]["layers.0.query"] == share and told["operators"] == pytest.approx(0.5, abs=1e-3)


def test_least_and_most_of_an_operator_hold_in_the_end(tiny_model):
    model = LengthAdaptiveModel.load(tiny_model)
    with torch.no_grad():
        model.blocks[0].query.weight *= 1e-3
        model.blocks[1].key.weight *= 1e3
    settings = Prune(approach="snip", end_step=6, min_sparsity_per_op=0.3, max_sparsity_per_op=0.6)
    told = run(model, Pruner(model, settings))
    assert all(0.3 - 1e-9 <= share <= 0.6 + 1e-9 for share in told["per_operator"].values())
    assert told["operators"] == pytest.approx(0.5, abs=1e-3)


def test_sparsity_rises_step_by_step(tiny_model):
    for approach, pattern in (("magnitude", "4x1"), ("snip_momentum_progressive", "8x2")):
        model = LengthAdaptiveModel.load(tiny_model)
        settings = prune(approach=approach, pattern=pattern, target_sparsity=0.8, end_step=9, frequency=3)
        pruner, seen = Pruner(model, settings), []
        for _ in steps(model, pruner):
            seen.append(sparsity_of(model)["operators"])
        assert seen == sorted(seen) and seen[-1] == pytest.approx(0.8, abs=2e-3) and len(set(seen)) > 3


def test_progressive_masks_pass_between_whole_blocks(tiny_model):
    model = LengthAdaptiveModel.load(tiny_model)
    settings = Prune(
        approach="magnitude_progressive", pattern="8x2", target_sparsity=0.6, start_step=0, end_step=8, frequency=4
    )
    pruner, partial, shares = Pruner(model, settings), [], []
    for _ in steps(model, pruner):
        blocks = torch.cat(
            [
                pruned.unflatten(0, (-1, 8)).unflatten(2, (-1, 2)).float().mean((1, 3)).flatten()
                for pruned in gone(pruner).values()
            ]
        )
        partial.append(int(((blocks > 0) & (blocks < 1)).sum()))
        shares.append(float(blocks.mean()))
    # Masks are drawn at 0 and at 4, and whole before the next is, and before step 8.
    assert all(partial[:3] + partial[4:7]) and partial[3] == 0 and not any(partial[7:])
    assert shares[:8] == sorted(set(shares[:8])) and shares[-1] == pytest.approx(0.6, abs=2e-3)


def test_a_pruned_weight_may_come_back_until_the_end_and_not_after(tiny_model):
    model = LengthAdaptiveModel.load(tiny_model)
    pruner = Pruner(model, Prune(approach="gradient", pattern="1x1", end_step=8, frequency=1, schedule="linear"))
    back, before = [], None
    for _ in steps(model, pruner):
        now = torch.cat([pruned.flatten() for pruned in gone(pruner).values()]) if pruner.masks else None
        back.append(0 if before is None or now is None else int((before & ~now).sum()))
        before = now
    assert sum(back[:9]) > 100 and not any(back[9:])


def test_a_pruned_weight_has_no_gradient_left(tiny_model):
    model = LengthAdaptiveModel.load(tiny_model)
    pruner = Pruner(model, Prune(approach="magnitude", end_step=0))
    pruner.before_step(0, STEPS)
    ids = torch.randint(5, 50, (4, 12))
    model(ids, torch.ones_like(ids)).logits[:, 1:, 0].square().mean().backward()
    pruner.after_backward(0, STEPS)
    for name, mask in pruner.masks.items():
        gradient = model.get_parameter(f"{name}.weight").grad
        assert gradient is not None
        assert not gradient[~mask].any() and gradient[mask].any()


def test_pattern_lock_keeps_the_zeros_that_are_there(tiny_model):
    model = LengthAdaptiveModel.load(tiny_model)
    with pytest.raises(UserError, match="this one has none"):
        Pruner(model, Prune(approach="pattern_lock"))
    with torch.no_grad():
        for layer in model.blocks:
            layer.expand.weight[torch.rand(64, 32, generator=torch.Generator().manual_seed(1)) < 0.7] = 0
    zeros = {name: model.get_parameter(f"{name}.weight") == 0 for name in ("layers.0.expand", "layers.1.expand")}
    pruner = Pruner(model, Prune(approach="pattern_lock", target_sparsity=0.9))
    before = model.blocks[0].expand.weight.clone()
    told = run(model, pruner)
    for name, were in zeros.items():
        assert (model.get_parameter(f"{name}.weight") == 0).equal(were)
    assert told["per_operator"]["layers.0.query"] == 0 and "target" not in told
    assert not before.equal(model.blocks[0].expand.weight)


def test_excluded_layers_embeddings_and_head_are_left_alone(tiny_model):
    model = LengthAdaptiveModel.load(tiny_model)
    told = run(model, Pruner(model, Prune(approach="magnitude", end_step=0, excluded=["layers.0.*", "*.value"])))
    assert set(told["per_operator"]) == {
        f"layers.1.{name}" for name in ("query", "key", "project", "expand", "contract")
    }
    assert told["operators"] == pytest.approx(0.5, abs=1e-3)
    for part in (model.blocks[0].query, model.blocks[1].value, model.words, model.qa_outputs):
        assert (part.weight == 0).float().mean() < 0.05
    parameters = sum(p.numel() for p in model.parameters())
    assert told["parameters"] == parameters
    assert told["model"] == pytest.approx(sum(int((p == 0).sum()) for p in model.parameters()) / parameters)


def test_a_resumed_pruning_goes_on_as_if_never_interrupted(tiny_model):
    for approach in ("snip_momentum_progressive", "gradient", "magnitude_progressive"):
        settings = prune(approach=approach, target_sparsity=0.7, end_step=9, frequency=4)
        straight = LengthAdaptiveModel.load(tiny_model)
        pruner = Pruner(straight, settings)
        list(steps(straight, pruner, last=6))
        held, weights = pruner.state_dict(), {k: v.clone() for k, v in straight.state_dict().items()}
        list(steps(straight, pruner, first=6))
        again = LengthAdaptiveModel.load(tiny_model)
        again.load_state_dict(weights)
        resumed = Pruner(again, settings)
        resumed.load_state_dict(held)
        exact(resumed)
        list(steps(again, resumed, first=6))
        assert all(resumed.masks[name].equal(mask) for name, mask in pruner.masks.items()) and resumed.complete


def test_an_interrupted_training_ends_with_the_same_zeros_and_so_does_an_average(tiny_model, tmp_path):
    plan = Schedule(
        learning_rate=1e-3, epochs=3, batch_size=4, checkpoint_minutes=0, precision="fp32", average=0.9, keep_start=0.1
    )
    ends = []
    for name, stop in (("straight", None), ("broken", 8)):
        model = LengthAdaptiveModel.load(tiny_model)
        pruner = Pruner(model, Prune(target_sparsity=0.7))
        if stop:
            with pytest.raises(Stop):
                cut = Interrupting(tmp_path / "p", stop)
                train(model, samples(), span(), plan, tmp_path / name, cut, hooks=[pruner])
            model = LengthAdaptiveModel.load(tiny_model)
            pruner = Pruner(model, Prune(target_sparsity=0.7))
        train(
            model,
            samples(),
            span(),
            plan,
            tmp_path / name,
            Progress(tmp_path / "p", "train", bar=False),
            hooks=[pruner],
        )
        exact(pruner)
        told = pruner.report()
        assert told["operators"] == pytest.approx(0.7, abs=1e-3) and told["awake"] == 0 and pruner.complete
        ends.append((model, pruner))
    (one, first), (other, second) = ends
    assert all(first.masks[name].equal(mask) for name, mask in second.masks.items())
    for mine, its in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine, its, atol=1e-6, rtol=0)
    one.save(tmp_path / "saved", torch.float16)
    saved = sparsity_of(LengthAdaptiveModel.load(tmp_path / "saved"), first.masks)
    assert saved["awake"] == 0 and saved["operators"] >= first.report()["operators"]


def test_a_training_that_ends_early_says_so(tiny_model, caplog):
    model = LengthAdaptiveModel.load(tiny_model)
    pruner = Pruner(model, Prune(approach="magnitude", end_step=9, frequency=3))
    list(steps(model, pruner, last=5))
    with caplog.at_level(logging.WARNING):
        pruner.finish()
    assert not pruner.complete and "instead of 50.0 %" in caplog.text
    assert 0 < pruner.report()["operators"] < 0.5


def test_what_cannot_work_is_told_by_the_configuration_alone(tiny_model):
    model = LengthAdaptiveModel.load(tiny_model)
    for source in (model, model.config):
        assert len(check(source, Prune(), 100)) == 12
        with pytest.raises(UserError, match="5x1 does not fit layers.0.query"):
            check(source, Prune(pattern="5x1"))
        with pytest.raises(UserError, match="only 100 steps"):
            check(source, Prune(end_step=100), 100)


def test_the_compressed_size_shows_the_zeros(tiny_model, tmp_path):
    model, sizes = LengthAdaptiveModel.load(tiny_model), []
    for share in (0.0, 0.5, 0.9):
        if share:
            run(model, Pruner(model, Prune(approach="magnitude", target_sparsity=share, pattern="1x1", end_step=0)))
        model.save(tmp_path / str(share))
        sizes.append(compressed_bytes(tmp_path / str(share) / "model.safetensors"))
    import zlib

    assert sizes[0] > sizes[1] > sizes[2]
    assert sizes[2] == len(zlib.compress((tmp_path / "0.9" / "model.safetensors").read_bytes(), 6))
