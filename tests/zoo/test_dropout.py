from __future__ import annotations

import math

import pytest
import torch

from zoo import dropout
from zoo.dropout import STEPS, dropped


@pytest.mark.parametrize("share", [0.05, 0.1, 0.5, 0.9])
def test_as_many_values_stay_as_are_asked_for_and_their_mean_is_kept(share):
    torch.manual_seed(0)
    count = 1_000_003  # not a multiple of four
    x = dropped(torch.ones(count), share, True)
    left = round(share * STEPS) / STEPS
    assert sorted({*x.tolist()}) == pytest.approx([0.0, 1 / (1 - left)], rel=1e-6)
    spread = math.sqrt(share * (1 - share) / count)  # of a mean of independent draws
    assert abs(float((x == 0).float().mean()) - left) < 5 * spread
    neighbours = float((x[:-1].eq(0) & x[1:].eq(0)).float().mean())
    assert abs(neighbours - left**2) < 6 * spread, "four values that share a number are independent of one another"
    apart = [float((x[i : count // 4 * 4 : 4] == 0).float().mean()) for i in range(4)]
    assert all(abs(one - left) < 6 * 2 * spread for one in apart)


def test_the_seed_says_which():
    torch.manual_seed(3)
    first = dropped(torch.ones(7, 11), 0.4, True)
    second = dropped(torch.ones(7, 11), 0.4, True)
    torch.manual_seed(3)
    assert first.equal(dropped(torch.ones(7, 11), 0.4, True)) and not first.equal(second)


def test_nothing_is_left_out_of_what_is_not_trained():
    x = torch.randn(5)
    assert dropped(x, 0.5, False) is x and dropped(x, 0.0, True) is x
    assert (dropped(x, 1.0, True) == 0).all()


def test_the_gradient_passes_where_the_value_did():
    torch.manual_seed(0)
    x = torch.randn(1000, requires_grad=True)
    y = dropped(x, 0.25, True)
    y.backward(torch.ones(1000))
    assert x.grad is not None
    torch.testing.assert_close(x.grad * x, y)


def test_a_product_in_bf16_is_scaled_in_float32():
    x = torch.ones(100, dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        y = dropped(x, 0.1, True)
    assert y.dtype is torch.float32 and float(y.max()) == pytest.approx(STEPS / (STEPS - 6554), rel=1e-6)
    assert dropped(x, 0.1, True).dtype is torch.bfloat16, "a model in bf16 stays in bf16"


def test_who_looks_on_sees_torchs_own(monkeypatch):
    seen, own = [], dropout.F.dropout
    monkeypatch.setattr(dropout.F, "dropout", lambda *given: seen.append(given[1]) or own(*given))
    torch.jit.trace(lambda x: dropped(x, 0.25, True), torch.ones(4), check_trace=False)
    assert seen == [0.25]
    dropped(torch.ones(4, dtype=torch.float64), 0.5, True)
    assert seen == [0.25, 0.5]
