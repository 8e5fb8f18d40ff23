"""What is done to good files at random, for hypothesis: values exchanged, bytes cut off or changed."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

NASTY: list[Any] = [
    None, True, -1, 0, 1, 2**31, 2**63, 10**30, -0.5, 1e308, float("nan"), float("inf"), "", "x", "\ud800", "a" * 5000,
    [], {}, [[]], [None] * 50, {"": ""}, {"type": "x"}, [1.5, "x"],
]  # fmt: skip


def tries(count: int) -> settings:
    """So many examples, the same every time, however long they take."""
    unwatched = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]
    return settings(max_examples=count, deadline=None, derandomize=True, suppress_health_check=unwatched)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths to all values inside of a JSON value; of long lists and objects to the first few."""
    if isinstance(value, dict):
        steps = list(value.items())[:40]
    elif isinstance(value, list):
        steps = list(enumerate(value))[:4]
    else:
        return [path] if path else []
    return [*([path] if path else []), *(each for step, inner in steps for each in places(inner, (*path, step)))]


@st.composite
def changed(draw: st.DrawFn, value: Any) -> Any:
    """A JSON value with one to three values exchanged or removed."""
    made = copy.deepcopy(value)
    for _ in range(draw(st.integers(1, 3))):
        options = places(made)
        if not options:
            return draw(st.sampled_from(NASTY))
        *path, last = draw(st.sampled_from(options))
        holder = made
        for step in path:
            holder = holder[step]
        if draw(st.booleans()):
            holder[last] = copy.deepcopy(draw(st.sampled_from(NASTY)))
        else:
            del holder[last]
    return made


@st.composite
def damaged(draw: st.DrawFn, raw: bytes) -> bytes:
    """Bytes that are cut, or of which some are others."""
    at = draw(st.integers(0, max(0, len(raw) - 1)))
    if draw(st.booleans()):
        return raw[:at]
    piece = draw(st.binary(min_size=1, max_size=8))
    return raw[:at] + piece + raw[at + len(piece) :]
