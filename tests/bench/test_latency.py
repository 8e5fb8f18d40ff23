"""Every contender at every length, and the command line of the benchmarks."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import bench.__main__ as command
from bench import contenders, latency
from bench.latency import Row
from zoo import catalog
from zoo.errors import UserError
from zoo.lengths import Front, LengthConfig, Point
from zoo.settings import get_settings

NAMES = [
    "bert-base-fp32-torch",
    "minilm-fp32-torch",
    "minilm-int8-onnxruntime",
    "minilm-int8-openvino",
    "integer-products-alone",
    "ours-100-onnxruntime",
    "ours-100-openvino",
    "ours-1f1-onnxruntime",
    "ours-1f1-openvino",
]
FRONT = Front(
    Point(LengthConfig.full(2), 1.0, {"f1": 81.0, "em": 72.0}),
    [
        Point(LengthConfig((0.5, 0.25)), 0.4, {"f1": 79.0, "em": 70.0}),
        Point(LengthConfig((0.75, 0.5)), 0.7, {"f1": 80.5, "em": 71.0}),
    ],
)


@pytest.fixture
def entry(tmp_path):
    return catalog.Entry(
        "ours", tmp_path, "none", "qa", "", 1, 1, {}, FRONT, ["onnxruntime", "openvino"], "mit", "Ours", ""
    )


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """Every engine answers at once; what ours are asked is kept."""
    monkeypatch.setenv("BUDGET_ZOO_HOME", str(tmp_path))
    get_settings.cache_clear()
    calls: list[tuple[str, int, list[int]]] = []

    def open_engine(name, entry, threads):
        return SimpleNamespace(
            run=lambda batch, lengths: calls.append((name, batch["input_ids"].shape[1], lengths.tolist()[0]))
        )

    def instant(*_):
        return lambda batch: lambda: None

    for name in ("bert_base", "pretrained", "onnxruntime_int8", "openvino_int8", "compiled", "integer_products"):
        monkeypatch.setattr(contenders, name, instant)
    monkeypatch.setattr(latency, "open_engine", open_engine)
    monkeypatch.setattr(latency.latency, "multiplies_bf16", lambda: False)
    monkeypatch.setattr(latency, "load_tokenizer", lambda folder: None)
    monkeypatch.setattr(latency, "calibration", lambda tokenizer: [])
    monkeypatch.setattr(
        latency,
        "passage",
        lambda tokenizer, tokens: {n: np.ones((1, tokens), np.int64) for n in contenders.INPUTS},
    )
    yield calls
    get_settings.cache_clear()


def test_every_name_at_every_length(asked, entry):
    rows = latency.compare(entry, entry, tokens=(384, 170), rounds=5)
    assert [(row.name, row.tokens) for row in rows] == [(name, tokens) for tokens in (384, 170) for name in NAMES]
    assert all(row.n == 5 and 0 <= row.p50_ms <= row.p90_ms for row in rows)


def test_in_bf16_too_where_the_cpu_multiplies_it(asked, entry, monkeypatch):
    monkeypatch.setattr(latency.latency, "multiplies_bf16", lambda: True)
    monkeypatch.setattr(latency.shutil, "which", lambda name: None)
    names = {row.name for row in latency.compare(entry, entry, tokens=(9,), rounds=1)}
    more = {"minilm-int8-openvino-bf16", "ours-100-openvino-bf16", "ours-1f1-openvino-bf16"}
    assert names == {*NAMES, *more}
    monkeypatch.setattr(latency.shutil, "which", lambda name: name)
    names = {row.name for row in latency.compare(entry, entry, tokens=(9,), rounds=1)}
    assert names == {*NAMES, *more, "minilm-bf16-compiled"}


def test_ours_run_at_full_length_and_at_the_cheapest_point_within_one_f1(asked, entry):
    latency.compare(entry, entry, tokens=(100,), rounds=1)
    lengths = {
        name: {tuple(asked) for engine, _, asked in asked if engine == name} for name in ("onnxruntime", "openvino")
    }
    assert lengths["onnxruntime"] == lengths["openvino"] == {(100, 100), (75, 50)}


def test_an_entry_without_a_front(asked, entry):
    with pytest.raises(UserError, match="front.json"):
        latency.compare(entry, replace(entry, front=None))


def test_table():
    rows = [
        Row(NAMES[0], 384, 500.0, 600.0, 9),
        Row("ours-1f1-onnxruntime", 384, 25.04, 30.0, 40),
        Row("ours-1f1-onnxruntime", 170, 9.0, 9.0, 40),
    ]
    lines = latency.table(rows).splitlines()
    assert lines[2:] == [
        "| bert-base-fp32-torch | 384 | 500.0 | 600.0 | 9 | 1.0 |",
        "| ours-1f1-onnxruntime | 384 | 25.0 | 30.0 | 40 | 20.0 |",
        "| ours-1f1-onnxruntime | 170 | 9.0 | 9.0 | 40 | – |",
    ]


def test_the_fastest_of_ours_stands_beside_the_fastest_peer():
    took = {"minilm-a": 20.0, "minilm-b": 12.0, "ours-100-a": 10.0, "ours-100-b": 11.0, "ours-1f1-a": 8.0}
    rows = [Row(name, 384, ms, ms, 9) for name, ms in {**took, "integer-products-alone": 4.0}.items()]
    assert latency.table(rows).splitlines()[-1] == (
        "384 tokens: ours-100-a is 1.20 times as fast as minilm-b, the fastest peer; ours-1f1-a 1.50 times; "
        "2.5 times the integer products alone."
    )


def test_the_command_prints_a_table_and_writes_json(monkeypatch, capsys, tmp_path):
    seen = {}
    rows = [Row(NAMES[0], 384, 500.0, 600.0, 9)]
    monkeypatch.setattr(latency, "compare", lambda rounds: seen.update(rounds=rounds) or rows)
    path = tmp_path / "out" / "rows.json"
    assert command.main(["latency", "--json", str(path), "--rounds", "7"]) == 0
    assert seen == {"rounds": 7}
    expected = {"name": NAMES[0], "tokens": 384, "p50_ms": 500.0, "p90_ms": 600.0, "n": 9}
    assert json.loads(path.read_text()) == [expected]
    printed = capsys.readouterr().out
    assert "| bert-base-fp32-torch |" in printed and '"vnni"' in printed


def test_the_command_says_why_it_cannot_run(monkeypatch, capsys):
    def fail(rounds):
        raise UserError("no front")

    monkeypatch.setattr(latency, "compare", fail)
    assert command.main(["latency"]) == 2
    assert capsys.readouterr().err == "no front\n"


@pytest.mark.parametrize("arguments", [[], ["latency", "--rounds", "0"], ["latency", "--bogus"]])
def test_wrong_arguments(arguments, capsys):
    with pytest.raises(SystemExit):
        command.main(arguments)
    assert "Usage: python -m bench" in capsys.readouterr().err


def test_an_option_takes_several_words():
    words = ["entries", "a", "b", "--tokens", "64", "128", "--json", "rows.json", "c"]
    assert command.repeated(words) == [*words[:5], "--tokens", "128", "--json", "rows.json", "c"]
    assert command.repeated(["nas", "run", "--limits", "0.35", "0.6"])[2:] == ["--limits", "0.35", "--limits", "0.6"]


def test_every_benchmark_is_listed():
    """In a process of its own, since what imports transformers has to mend torchvision first."""
    told = subprocess.run([sys.executable, "-m", "bench", "--help"], capture_output=True, text=True, timeout=120)
    assert told.returncode == 0, told.stderr
    names = [line.split()[0] for line in told.stdout.partition("Commands:\n")[2].splitlines() if line.strip()]
    assert names == [name.rpartition(".")[2] for name in (module.__name__ for module in command.BENCHMARKS)]
