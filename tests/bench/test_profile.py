from __future__ import annotations

from bench.profile import profile, table


def test_the_profile_of_the_bundled_model_names_its_operators():
    found = profile(tokens=60, runs=2)
    assert found["MatMulIntegerToFloat"]["100"] > 0
    assert found["MultiHeadAttention"]["100"] > 0
    assert found["TopK"]["100"] == 0 < found["TopK"]["1f1"]
    assert found["all"]["100"] >= max(ms["100"] for kind, ms in found.items() if kind != "all")
    assert "| MatMulIntegerToFloat |" in table(found)
