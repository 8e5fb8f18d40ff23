"""Schedules, patterns and the choice of what goes, each by itself."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError

from compress.learn.pruning.masks import KEPT, choose, moves_of
from compress.learn.pruning.patterns import Part, Units, shapes_of, units_of
from compress.learn.pruning.prune import check
from compress.learn.pruning.schedules import plan_of, reached
from compress.recipe.training_groups import Prune
from zoo.errors import UserError

SHAPES = {
    "layers.0.expand": (8, 4),
    "layers.0.contract": (4, 8),
    "layers.1.expand": (8, 4),
    "layers.1.contract": (4, 8),
}


def scored(units, seed=0):
    chance = torch.Generator().manual_seed(seed)
    return [torch.rand(each.count, generator=chance) for each in units]


@pytest.mark.parametrize(
    ("schedule", "half"),
    [("linear", 0.4), ("cube", 0.1), ("exp", 1 - math.sqrt(0.2)), ("cos", 0.8 * (1 - math.cos(math.pi / 4)))],
)
def test_sparsity_rises_from_zero_to_the_target(schedule, half):
    way = [reached(schedule, 0.8, i / 20) for i in range(21)]
    assert way[0] == pytest.approx(0) and way[-1] == pytest.approx(0.8) and way[10] == pytest.approx(half)
    assert way == sorted(way) and len(set(way)) == 21


def test_by_default_forty_prunings_end_after_seventy_percent_of_the_steps():
    plan = plan_of(Prune(approach="magnitude"), 1000)
    assert (plan.start, plan.end, plan.moves) == (0, 700, 1)
    assert sorted(plan.decisions) == [*range(0, 700, 18), 700] and plan.decisions[700] == 1
    assert list(plan.decisions.values()) == sorted(plan.decisions.values())
    assert plan.at(1) == (None, 1) and plan.at(18)[0] == plan.decisions[18] and plan.at(999) == (None, 1)


def test_a_single_pruning_reaches_the_target_at_once():
    assert plan_of(Prune(approach="magnitude", start_step=5, end_step=5), 10).decisions == {5: 1.0}
    assert plan_of(Prune(approach="snip_progressive", start_step=5, end_step=5), 10).moves == 1


def test_a_ranking_by_gradients_waits_for_the_first_one():
    for approach, first in (("magnitude", 0), ("gradient", 1), ("snip", 1), ("snip_momentum", 1)):
        assert plan_of(Prune.model_validate({"approach": approach}), 10).start == first
    assert plan_of(Prune(approach="snip", start_step=0, end_step=0), 10).decisions == {1: 1.0}


def test_progressive_masks_are_whole_at_the_end_step():
    plan = plan_of(Prune(approach="magnitude_progressive", start_step=2, end_step=26, frequency=8), 40)
    assert plan.decisions == {2: pytest.approx(1 / 3), 10: pytest.approx(2 / 3), 18: 1}
    assert plan.at(1) == (None, 0)
    assert [plan.at(step)[1] for step in range(2, 12)] == [1, 1, 2, 2, 3, 3, 4, 4, 1, 1]
    assert plan.at(18) == (1, 1) and [plan.at(step) for step in (25, 26, 39)] == [(None, 4)] * 3


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"end_step": 10}, "prune.end_step is 10, but the training has only 10 steps: set it to 9"),
        ({"start_step": 10}, "before step 10 .* only 10 steps"),
    ],
)
def test_steps_beyond_the_training_are_told(changes, told):
    with pytest.raises(UserError, match=told):
        plan_of(Prune(**changes), 10)
    with pytest.raises(UserError, match="snip would start before step 1 .* only 1 steps"):
        plan_of(Prune(approach="snip"), 1)


@pytest.mark.parametrize(
    "changes",
    [
        {"target_sparsity": 1.0},
        {"target_sparsity": -0.1},
        {"target_sparsity": float("nan")},
        {"target_sparsity": 0.99},  # more than max_sparsity_per_op
        {"target_sparsity": 0.5, "min_sparsity_per_op": 0.6},
        {"pattern": "4x"},
        {"pattern": "0x4"},
        {"pattern": "4:4"},
        {"pattern": "2:4", "target_sparsity": 0.8},
        {"pattern": "4x1", "heads": True},
        {"start_step": 5, "end_step": 4},
    ],
)
def test_settings_that_cannot_be_met_are_refused(changes):
    with pytest.raises(ValidationError):
        Prune(**changes)


def test_settings_that_can_be_met_are_not():
    assert Prune(pattern="2:4").target_sparsity == 0.5
    assert Prune(pattern="1:3", target_sparsity=0.333).pattern == "1:3"
    assert Prune(target_sparsity=0.99, max_sparsity_per_op=1).target_sparsity == 0.99
    assert Prune(approach="pattern_lock", pattern="2:4", target_sparsity=0).approach == "pattern_lock"


def test_a_block_of_4x1_is_four_outputs_of_one_input():
    part = Part("w", (8, 6), (4, 1))
    values = torch.arange(48.0).reshape(8, 6)
    assert part.fold(values)[1].equal(values[:4, 1])  # as neural-compressor's documentation has it: N outputs, M inputs
    spread = part.unfold(torch.arange(12))
    assert spread[:4, 1].unique().tolist() == [1] and spread[4:, 0].unique().tolist() == [6]
    assert part.fold(spread).float().std(1).max() == 0


def test_two_of_every_four_inputs_go():
    (units,) = units_of({"layers.0.query": (8, 16)}, 4, Prune(pattern="2:4"))
    (score,) = scored([units])
    rows = score.reshape(-1, 4)
    (all_of_it,) = choose([units], [score], 0.5)
    gone = all_of_it.reshape(-1, 4)
    assert (gone.sum(1) == 2).all()
    assert (rows.masked_fill(~gone, -1).amax(1) < rows.masked_fill(gone, 2).amin(1)).all()
    (half_way,) = choose([units], [score], 0.2)
    assert half_way.sum() == round(0.2 * 128) and (half_way.reshape(-1, 4).sum(1) <= 2).all()
    assert (half_way & ~all_of_it).sum() == 0


@pytest.mark.parametrize("share", [0.0, 0.1, 0.37, 0.5, 0.93])
def test_the_lowest_scores_go_over_all_layers_or_in_each(share):
    units = units_of(SHAPES, 2, Prune(pattern="2x2"))
    scores = scored(units)
    scores[0] = scores[0] / 4
    flat = torch.cat(scores)
    everywhere = torch.cat(choose(units, scores, share))
    assert everywhere.sum() == math.floor(share * len(flat) + 0.5)
    if everywhere.sum() > 0:
        assert flat[everywhere].max() < flat[~everywhere].min()
    for score, gone in zip(scores, choose(units, scores, share, everywhere=False), strict=True):
        assert gone.sum() == math.floor(share * len(score) + 0.5)
        assert not gone.any() or score[gone].max() < score[~gone].min()


def test_least_and_most_a_layer_are_kept_and_the_total_still_met():
    units = units_of({**SHAPES, "layers.2.query": (8, 8)}, 2, Prune(pattern="1x1"))
    scores = scored(units)
    scores[0], scores[1] = scores[0] / 100, scores[1] + 100
    free = choose(units, scores, 0.5)
    assert free[0].all() and not free[1].any()
    bound = choose(units, scores, 0.5, True, least=0.25, most=0.75)
    assert bound[0].sum() == 24 and bound[1].sum() == 8
    assert sum(int(gone.sum()) for gone in bound) == sum(each.count for each in units) // 2
    assert [int(g.sum()) for g in choose(units, scores, 0.9, False, most=0.5)] == [16] * 4 + [32]


def test_equal_scores_still_meet_the_share():
    units = units_of(SHAPES, 2, Prune(pattern="1x1"))
    assert sum(int(g.sum()) for g in choose(units, [torch.zeros(each.count) for each in units], 0.25)) == 32


def test_a_channel_goes_from_both_of_its_sides_by_their_joint_score():
    units = units_of(SHAPES, 2, Prune(pattern="channelx1"))
    assert [each.name for each in units] == ["layers.0.channels", "layers.1.channels"]
    assert units == units_of(SHAPES, 2, Prune(pattern="1xchannel"))
    values = {name: torch.rand(shape, generator=torch.Generator().manual_seed(3)) for name, shape in SHAPES.items()}
    expand, contract = values["layers.0.expand"], values["layers.0.contract"]
    torch.testing.assert_close(units[0].score(values), (expand.sum(1) + contract.sum(0)) / 8)
    gone = units[0].score(values) < units[0].score(values).median()
    row, column = (part.unfold(gone) for part in units[0].parts)
    assert row.equal(gone[:, None].expand(8, 4)) and column.equal(gone[None].expand(4, 8))


def test_every_layer_loses_the_same_number_of_heads_and_the_channels_make_up_the_rest():
    config = {"num_hidden_layers": 2, "hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 4}
    units = units_of(shapes_of(config), 4, Prune(pattern="channelx1", heads=True))
    heads = [i for i, each in enumerate(units) if each.even]
    assert [each.name for each in units] == [f"layers.{i}.{what}" for i in range(2) for what in ("channels", "heads")]
    assert [part.block for part in units[1].parts] == [(4, 16)] * 3 + [(16, 4)]
    scores = scored(units)
    scores[1] = scores[1] / 100
    for everywhere in (True, False):
        gone = choose(units, scores, 0.6, everywhere)
        assert [int(gone[i].sum()) for i in heads] == [2, 2]
        weights = sum(int(g.sum()) * each.weights for g, each in zip(gone, units, strict=True))
        total = sum(each.count * each.weights for each in units)
        assert abs(weights - 0.6 * total) <= (1 if everywhere else 2) * units[0].weights


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"pattern": "3x1"}, "3x1 does not fit layers.0.expand: its 8 outputs cannot be divided by 3"),
        ({"pattern": "1x16"}, "1x16 does not fit layers.0.expand: its 4 inputs cannot be divided by 16"),
        ({"pattern": "3:8", "target_sparsity": 0.375}, "3:8 does not fit layers.0.expand: its 4 inputs"),
        ({"excluded": ["encoder.*"]}, "no layer is called 'encoder"),
        ({"excluded": ["layers.*"]}, "Nothing is left to prune"),
        ({"excluded": ["*.expand"], "pattern": "channelx1"}, "exclude neither or both"),
        ({"approach": "snip_progressive", "pattern": "1x1"}, "pattern 1x1 has no blocks"),
        ({"approach": "magnitude_progressive", "pattern": "2:4"}, "or the approach magnitude"),
    ],
)
def test_a_pattern_that_does_not_fit_is_told(changes, told):
    with pytest.raises(UserError, match=told):
        units_of(SHAPES, 2, Prune(**changes))


def test_excluded_layers_are_left_out():
    assert [each.name for each in units_of(SHAPES, 2, Prune(excluded=["layers.0.*"]))] == list(SHAPES)[2:]
    kept = units_of(SHAPES, 2, Prune(excluded=["layers.1.contract"], pattern="channelx1"))
    assert [each.name for each in kept] == ["layers.0.channels"]


def test_distilbert_names_its_sizes_otherwise():
    distil = {"model_type": "distilbert", "dim": 8, "hidden_dim": 32, "n_layers": 1, "n_heads": 2}
    assert shapes_of(distil)["layers.0.expand"] == (32, 8) and len(shapes_of(distil)) == 6


def test_layers_that_share_their_weights_are_not_pruned():
    albert = {"model_type": "albert", "hidden_size": 8, "intermediate_size": 32, "num_attention_heads": 2}
    with pytest.raises(UserError, match="cannot be pruned here: its layers share"):
        check({**albert, "num_hidden_layers": 4}, Prune())
    assert check({**albert, "num_hidden_layers": 4, "num_hidden_groups": 4}, Prune())


def test_weights_go_in_equal_moves_lowest_score_first():
    before = torch.tensor([True, True] + [False] * 10)
    after = torch.tensor([True, False] + [True] * 8 + [False] * 2)
    score = torch.tensor([0.0, 0.0, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0])
    assert moves_of(before, after, score, 4).tolist() == [0, KEPT, 4, 4, 3, 3, 2, 2, 1, 1, KEPT, KEPT]
    assert moves_of(before, after, score, 1).tolist() == [0, KEPT, *[1] * 8, KEPT, KEPT]
    assert moves_of(after, after, score, 4).eq(0).equal(after)


def test_units_of_several_parts_weigh_all_of_them():
    units = Units("both", (Part("a", (4, 6), (1, 6)), Part("b", (2, 4), (2, 1))))
    assert (units.count, units.weights) == (4, 8)
