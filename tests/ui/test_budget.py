import math
from dataclasses import replace

import pytest

from ui import budget
from zoo.errors import UserError
from zoo.lengths import Front


@pytest.mark.parametrize("unit", budget.UNITS)
def test_every_point_that_a_budget_can_pick_is_picked_from_its_place_on_the_slider(front, unit):
    for point in front.everything:
        scale = budget.scale(front, unit, point)
        assert scale.minimum <= scale.value <= scale.maximum
        assert budget.choose(front, unit, scale.value).point is point


@pytest.mark.parametrize("unit", budget.UNITS)
def test_the_slider_stands_on_its_own_steps(front, unit):
    scale = budget.scale(front, unit, front.points[1])
    steps = (scale.value - scale.minimum) / scale.step
    assert steps == pytest.approx(round(steps), abs=1e-6)


def test_milliseconds_follow_this_machine(front):
    assert budget.cost(front, front.full, "ms", full_ms=40) == 40
    assert budget.cost(front, front.points[0], "ms", full_ms=40) == 18
    assert budget.scale(front, "ms", front.full, full_ms=40).maximum == 40


@pytest.mark.parametrize("unit", budget.UNITS)
def test_the_slider_ends_where_the_front_ends(front, unit):
    """One step beyond either end would be a place that changes nothing."""
    scale = budget.scale(front, unit, front.full)
    ends = {budget.choose(front, unit, value).point.score for value in (scale.minimum, scale.maximum)}
    assert ends == {front.full.score, front.points[0].score}
    costs = [budget.cost(front, point, unit) for point in front.everything]
    assert abs(scale.minimum - min(costs)) <= scale.step and abs(scale.maximum - max(costs)) <= scale.step
    assert all(budget.choose(front, unit, end).message is None for end in (scale.minimum, scale.maximum))


def test_the_start_loses_at_most_one_point_for_the_least_compute(front):
    assert budget.default_point(front) is front.points[1]


def test_a_pin_holds_only_where_it_was_put(front):
    dominated = front.dominated[0]
    pinned = budget.pin(front, dominated, "macs", 70.0, "picked")
    choice = budget.choose(front, "macs", 70.0, pinned=pinned)
    assert choice.point is dominated and "dominated" in (choice.message or "") and choice.binding == "picked"
    assert budget.choose(front, "macs", 70.5, pinned=pinned).point is front.points[1]
    assert budget.choose(front, "loss", 70.0, pinned=pinned).point is not dominated


def test_points_lost_are_of_the_fronts_metric(front):
    points = [replace(p, metrics={"accuracy": p.score}) for p in front.everything]
    by_accuracy = Front(points[-1], points[:-1])
    assert budget.label("loss", by_accuracy) == "Accuracy points lost" and budget.label("loss", front).startswith("F1 ")
    assert "Accuracy points lost against" in budget.title("loss", by_accuracy)
    assert budget.title("ms", by_accuracy) == budget.TITLES["ms"] and budget.label("loss", None) == "points lost"
    assert budget.cost(by_accuracy, points[1], "loss") == pytest.approx(0.8)


def test_a_front_without_latencies_offers_no_units_of_time(front):
    full = type(front.full)(front.full.config, 1.0, {"f1": 80.0})
    bare = Front(full, [type(p)(p.config, p.macs_ratio, p.metrics) for p in front.points])
    assert budget.units(bare) == ["macs", "loss"] == budget.units(None)
    assert budget.units(front) == list(budget.UNITS)
    with pytest.raises(UserError, match="no latencies"):
        budget.cost(bare, bare.full, "ms")


@pytest.mark.parametrize("value", [None, "", "many", math.nan, math.inf])
def test_no_number_is_a_clear_message(value):
    with pytest.raises(UserError, match="number"):
        budget.number(value)


def test_an_unknown_unit_is_a_clear_message(front):
    with pytest.raises(UserError, match="miles"):
        budget.cost(front, front.full, "miles")
