from __future__ import annotations

import pytest

from bench.training import LOOPS, OURS, PLAIN, TRAINER, Row, compare, table
from zoo.errors import UserError


def test_the_loops_learn_the_same_in_turn(tiny_model):
    rows = compare(rounds=2, steps=3, student=tiny_model)
    assert [row.name for row in rows] == [OURS, PLAIN, TRAINER] == list(LOOPS)
    for row in rows:
        assert 40 <= min(row.windows) <= max(row.windows) <= 48 and min(row.rates) > 0 and row.per_cpu_second > 0
        assert 10**8 < row.peak < 10**10
    assert len({row.loss for row in rows}) == 3
    assert all(row.loss == pytest.approx(rows[-1].loss, rel=0.05) for row in rows), "one start, one recipe"


def test_a_loop_that_fails_is_named(tiny_model):
    with pytest.raises(UserError, match="process of nobody's"):
        compare(1, 1, tiny_model, ["nobody's"])


def test_the_table_tells_gains():
    fast, slow = (
        Row("new", [1.0, 2.0, 1.0], [1.0, 1.0, 1.0], [16, 16, 16], 1.5, 2 * 10**9),
        Row("old", [2.0, 2.0, 4.0], [2.0, 2.0, 2.0], [16, 16, 16], 1.25, 3 * 10**9),
    )
    assert "| new | 16.0 (9.6) | 2.00 | 16.0 | 2.00 | 1.500 | 2.00 GB |" in table([fast, slow])
    assert "| old | 8.0 (4.8) | 1.00 | 8.0 | 1.00 | 1.250 | 3.00 GB |" in table([fast, slow])
