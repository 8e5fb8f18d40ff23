"""The budget slider: its scale in every unit, and the point of the front that a value picks. No components here."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from zoo.errors import UserError
from zoo.lengths import Choice, Front, LengthConfig, Point
from zoo.metrics import metric_name

UNITS = {
    "macs": "% of compute",
    "ms": "milliseconds",
    "speedup": "speed-up",
    "loss": "points lost",
}
TITLES = {
    "macs": "Compute that it may spend, at most, in % of full length",
    "ms": "At most this many milliseconds on this machine",
    "speedup": "At least this many times as fast as full length",
    "loss": "At most this many points lost against full length",
}
STEPS = {"macs": 0.5, "ms": 0.1, "speedup": 0.01, "loss": 0.05}
DEFAULT_LOSS = 1.0


@dataclass(frozen=True)
class Scale:
    """What the slider shows."""

    minimum: float
    maximum: float
    step: float
    value: float


def label(unit: str, front: Front | None) -> str:
    """What the switch calls a unit: points are of the front's metric."""
    return f"{metric_name(front.metric)} {UNITS[unit]}" if unit == "loss" and front else UNITS[unit]


def title(unit: str, front: Front | None) -> str:
    """What the slider says in a unit."""
    return TITLES[unit].replace("points lost", label(unit, front)) if unit == "loss" else TITLES[unit]


def units(front: Front | None) -> list[str]:
    """The units that a front can answer in: without stored latencies there are none in time."""
    timed = front is not None and all(p.p50_ms for p in front.everything)
    return [unit for unit in UNITS if timed or unit in ("macs", "loss")]


def everything(front: Front) -> list[Point]:
    """The points of the plot, in its order: those that a budget can pick, then the dominated ones."""
    return front.everything + front.dominated


def cost(front: Front, point: Point, unit: str, full_ms: float | None = None) -> float:
    """What a point costs in a unit; `full_ms` is what full length takes here, and scales the stored latencies.

    Raises:
        UserError: a unit of time for a point without a latency, or an unknown unit.
    """
    if unit == "macs":
        return 100 * point.macs_ratio
    if unit == "loss":
        return max(0.0, front.full.score - point.score)
    if unit not in UNITS:
        raise UserError(f"There is no unit {unit!r}: choose one of {', '.join(UNITS)}.")
    if not point.p50_ms or not front.full.p50_ms:
        raise UserError(
            "This front holds no latencies: choose a budget in percent of compute or in points of "
            f"{metric_name(front.metric)}."
        )
    if unit == "speedup":
        return front.full.p50_ms / point.p50_ms
    return point.p50_ms * (full_ms or front.full.p50_ms) / front.full.p50_ms


def default_point(front: Front) -> Point:
    """Where the page starts: the cheapest point that loses at most one point of the metric."""
    good = [p for p in front.everything if front.full.score - p.score <= DEFAULT_LOSS]
    return min(good or [front.full], key=lambda p: p.macs_ratio)


def scale(front: Front, unit: str, point: Point, full_ms: float | None = None) -> Scale:
    """The slider's scale in a unit, standing at `point`, from one end of the front to the other."""
    costs = [cost(front, p, unit, full_ms) for p in front.everything]
    low, high, step = min(costs), max(costs), STEPS[unit]
    # Every place on the slider picks a point, and both ends pick the last one there is.
    if unit == "speedup":
        low, high = max(step, _down(low, step)), max(2 * step, _down(high, step))
    elif unit == "loss":
        low, high = 0.0, max(step, _up(high, step))
    else:
        low, high = _up(low, step), max(_up(low, step) + step, _up(high, step))
    at = cost(front, point, unit, full_ms)
    snapped = low + (_down(at - low, step) if unit == "speedup" else _up(at - low, step))
    return Scale(round(low, 6), round(high, 6), step, round(min(max(snapped, low), high), 6))


def pin(front: Front, point: Point, unit: str, value: float, why: str) -> dict[str, Any]:
    """A point to keep for as long as the slider stays at `value`, and why it is there.

    The slider's steps are coarser than the front, so its value alone could mean a neighbour.
    """
    points = everything(front)
    return {"index": points.index(point), "unit": unit, "value": value, "points": len(points), "why": why}


def choose(
    front: Front, unit: str, value: float, full_ms: float | None = None, pinned: dict[str, Any] | None = None
) -> Choice:
    """The point for what the slider shows: the pinned one while it is where the pin put it, else the front's best.

    Raises:
        UserError: no number, an unknown unit, or time for a front without latencies.
    """
    points = everything(front)
    if pinned and (pinned["unit"], pinned["value"], pinned["points"]) == (unit, value, len(points)):
        point = points[pinned["index"]]
        beaten = pinned["index"] >= len(front.everything)
        message = "This point is dominated: another loses no more and costs no more." if beaten else None
        return Choice(point, message, pinned["why"])
    return front.at(unit, number(value), full_ms)


def number(value: Any) -> float:
    """A finite number from what a component or a link holds.

    Raises:
        UserError: it is none.
    """
    try:
        parsed = float(value)
    except (TypeError, ValueError):
        parsed = math.nan
    if not math.isfinite(parsed):
        raise UserError(f"The budget is a number, not {str(value)[:40]!r}.")
    return parsed


def full_only(layers: int) -> Choice:
    """For a checkpoint that was never searched."""
    point = Point(LengthConfig.full(layers), 1.0, {})
    return Choice(point, "This checkpoint has no searched front, so it runs at full length.", "no front")


def _up(value: float, step: float) -> float:
    return math.ceil(value / step - 1e-9) * step


def _down(value: float, step: float) -> float:
    return math.floor(value / step + 1e-9) * step
