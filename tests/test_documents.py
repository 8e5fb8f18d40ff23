"""What the documents name is there."""

from __future__ import annotations

import re
from pathlib import Path

from tests import results_kit
from zoo.catalog import MODELS
from zoo.files import read_json

ROOT = Path(__file__).parents[1]


def test_every_input_is_held_by_a_test():
    """The table of what people bring is of at least 60 inputs, and each names a test that exists."""
    rows = [
        line for line in (ROOT / "docs" / "inputs.md").read_text(encoding="utf-8").splitlines() if "::test_" in line
    ]
    assert len(rows) >= 60
    for row in rows:
        cells = [cell.strip() for cell in row.strip("|").split(" | ")]
        assert len(cells) == 4 and all(cells), row
        path, _, name = cells[3].strip("` |").partition("::")
        assert re.search(rf"^def {name}\(", (ROOT / path).read_text(encoding="utf-8"), re.M), cells[3]


def test_every_file_of_the_walks_is_there():
    named = re.findall(r"`([\w/]+\.py)`", (ROOT / "docs" / "walks.md").read_text(encoding="utf-8"))
    assert len(named) > 30 and not [name for name in named if not (ROOT / name).is_file()]


def test_the_tables_of_stored_figures_are_those_of_the_files():
    text = results_kit.RESULTS.read_text(encoding="utf-8")
    assert results_kit.written(text) == text, "run `python -m tests.results_kit`"
    assert "| `minilm-l6-qa` | SQuAD 1.1 | 10,570 | F1 82.75, EM 73.06 | torch, AMD EPYC with VNNI |" in text
    assert "| 49.4 % | 89.79 | 4.0 |" in text


def test_a_figure_that_was_changed_by_hand_would_be_noticed():
    text = results_kit.RESULTS.read_text(encoding="utf-8")
    assert results_kit.written(text.replace("| 49.4 % | 89.79 |", "| 49.4 % | 90.79 |")) == text


def test_the_scores_beside_latencies_are_the_entries():
    """Of the table that `make bench` prints: what it takes from the entries, and what is said of their front."""
    text = results_kit.RESULTS.read_text(encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for row, name in (("minilm-fp32-torch", "minilm-l6-qa"), ("ours-100-onnx", "minilm-l6-qa-length-adaptive-int8")):
        facts = read_json(MODELS / name / "entry.json")["metrics"]
        (line,) = re.findall(rf"^\| {row}.*$", text, re.M)
        assert line.endswith(f"| {facts['f1']:.2f} | {facts['em']:.2f} | 100 % |"), line
        assert f"| {facts['f1']:.2f} | 100 % |" in readme
    facts = read_json(MODELS / "minilm-l6-qa-length-adaptive-int8" / "entry.json")["metrics"]["squad_v2"]
    assert f"questions of\nwhich half have no answer, it has an F1 of {facts['f1']:.2f} at full length" in text
    front = read_json(MODELS / "minilm-l6-qa-length-adaptive-int8" / "front.json")
    lost = {
        f"{100 * p['macs_ratio']:.1f}": front["full"]["metrics"]["f1"] - p["metrics"]["f1"] for p in front["points"]
    }
    said = re.search(r"([\d.]+) F1 below full length at ([\d.]+) %, ([\d.]+) at\s([\d.]+) %", text)
    assert said and [f"{lost[said[2]]:.1f}", f"{lost[said[4]]:.1f}"] == [said[1], said[3]]
