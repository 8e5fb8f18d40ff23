from __future__ import annotations

import json

import pytest

from bench.__main__ import main
from bench.sparse import DENSE, PATTERNS, compare, table
from zoo.errors import UserError


def test_every_pattern_is_timed_on_every_engine_and_says_the_same_when_packed(tiny_model):
    rows = compare(str(tiny_model), 0.5, tokens=40, rounds=2)
    assert [(row.pattern, row.engine) for row in rows] == [
        (pattern, engine)
        for pattern in (DENSE, *PATTERNS)
        for engine in ("onnxruntime", "openvino", "openvino, packing zeros")
    ]
    by = {row.pattern: row for row in rows}
    assert by[DENSE].zeros == 0 and all(by[name].zeros == pytest.approx(0.5, abs=0.05) for name in PATTERNS)
    cut = by["channels and heads, cut out"]
    assert cut.bytes < by[DENSE].bytes and by["1x1"].bytes == pytest.approx(by[DENSE].bytes, rel=0.01)
    assert by["4x1"].compressed < by[DENSE].compressed
    assert all(row.same and row.p50_ms > 0 for row in rows)
    assert rows[0].gain == 1 and "| 2:4 | 50 % |" in table(rows)


def test_a_sparsity_that_cannot_be_is_told(tiny_model, capsys):
    with pytest.raises(UserError, match="target_sparsity|less than"):
        compare(str(tiny_model), 1.5, tokens=40)
    assert main(["sparse", "--model", str(tiny_model), "--sparsity", "1.5", "--tokens", "40"]) == 2
    for wrong in ("10", "2000"):
        assert main(["sparse", "--model", str(tiny_model), "--tokens", wrong]) == 2
        assert "--tokens is from 32 to 512" in capsys.readouterr().err


def test_the_rows_are_written(tiny_model, tmp_path, monkeypatch, capsys):
    from bench import sparse

    monkeypatch.setattr(sparse, "compare", lambda *_: [sparse.Row("dense", "torch", 0, 1, 1, 1.0, 2.0, 1.0, True)])
    assert main(["sparse", "--json", str(tmp_path / "rows.json")]) == 0
    assert json.loads((tmp_path / "rows.json").read_text())["rows"][0]["p90_ms"] == 2
    assert "| dense |" in capsys.readouterr().out
