from __future__ import annotations

import pytest

from bench.profile import profile, table
from zoo.errors import UserError


def test_the_profile_of_the_bundled_model_names_its_operators():
    found = profile(tokens=60, runs=2)
    assert found["MatMulIntegerToFloat"]["100"] > 0
    assert found["MultiHeadAttention"]["100"] > 0
    assert found["TopK"]["100"] == 0 < found["TopK"]["1f1"]
    assert found["all"]["100"] >= max(ms["100"] for kind, ms in found.items() if kind != "all")
    assert "| MatMulIntegerToFloat |" in table(found)


def test_openvino_tells_integers_from_floats():
    found = profile(tokens=60, runs=2, engine="openvino")
    products = {kind: ms["100"] for kind, ms in found.items() if kind.startswith("FullyConnected (")}
    assert any(kind.lower().endswith("i8)") and ms > 0 for kind, ms in products.items()), products
    assert found["all"]["100"] == pytest.approx(sum(ms["100"] for kind, ms in found.items() if kind != "all"))


def test_what_is_not_looked_into_is_refused():
    with pytest.raises(UserError, match="choose onnxruntime, openvino"):
        profile(engine="torch")
