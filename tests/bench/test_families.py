"""`bench families`: no cell is a traceback, figures are those of the models, and a fault fails the run."""

from __future__ import annotations

import json

import pytest

from bench import families
from bench.__main__ import main
from bench.families import compare, line
from zoo.task_types import TASK_TYPES


@pytest.mark.parametrize("family", ["bert", "deberta", "nomic_bert"])
def test_every_head_is_opened_quantized_and_asked(family):
    rows = list(compare([family]))
    assert [row.head for row in rows] == [head.title for head in TASK_TYPES.values()]
    assert not any(row.faults for row in rows)
    for row in rows:
        if family == "nomic_bert" and row.head == "question answering":
            assert row.float == "transformers has no ForQuestionAnswering of this family" and row.static == ""
        else:
            assert isinstance(row.float, float) and row.float < 1e-4 and row.asked
            assert isinstance(row.static, float) and isinstance(row.dynamic, float)
            assert row.head == "ranking" or min(row.static, row.dynamic) > 60, row
    by = "this program" if family == "bert" else "transformers"
    assert {row.by for row in rows} == {by} and all(line(row).count("|") == 8 for row in rows)


def test_a_fault_is_a_cell_and_fails_the_run(tmp_path, monkeypatch, capsys):
    def broken(*_, **__):
        raise ValueError("no good\nat all")

    monkeypatch.setattr(families, "small_model", broken)
    assert main(["families", "--family", "bert", "--json", str(tmp_path / "f.json")]) == 2
    said = capsys.readouterr()
    assert "| BERT | ranking | this program | FAULT ValueError: no good |" in said.out and "5 cells" in said.err
    assert [row["faults"] for row in json.loads((tmp_path / "f.json").read_text())] == [1] * 5
    assert main(["families", "--family", "gpt2"]) == 2 and "no family 'gpt2'" in capsys.readouterr().err
