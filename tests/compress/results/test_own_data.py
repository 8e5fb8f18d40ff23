"""`--eval-file` and recipes' data take files as people have them, and say what they left out."""

from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from compress.__main__ import app
from compress.recipe.load import load
from compress.tasks.subjects import subject_of
from zoo.errors import UserError

ROWS = "question;context;answer\nWho?;Zoë came.;Zoë\nWho?;Ann came.;Bob\nWho?;Ann came.;ann \n"


def evaluate(model: Any, file: Any, out: Any, *more: str) -> Any:
    words = [
        "evaluate",
        "--entry",
        str(model),
        "--eval-file",
        str(file),
        "--json",
        str(out),
        "--engine",
        "torch",
        *more,
    ]
    return CliRunner().invoke(app, words)


def test_a_table_from_a_spreadsheet_is_scored_on(tiny_model, tmp_path):
    file, out = tmp_path / "mine.csv", tmp_path / "scores.json"
    file.write_bytes(ROWS.encode("cp1252"))
    refused = evaluate(tiny_model, file, out)
    assert isinstance(refused.exception, UserError) and "mine.csv, line 3: the answer “Bob”" in str(refused.exception)
    done = evaluate(tiny_model, file, out, "--skip")
    assert done.exit_code == 0, done.output
    report = json.loads(out.read_text())
    assert report["n"] == 2 and report["eval_file"] == str(file)
    windows, mended, lost = report["notices"][:3]
    assert "read as Windows-1252: check that “Zoë” in line 2" in windows
    assert mended.startswith("1 answers differed from their passage in outer blanks or in capitals")
    assert lost.startswith("1 wrong lines were left out; the first: ") and lost in done.stderr


def test_a_recipe_reads_it_too_and_its_report_counts_what_it_left_out(tmp_path, caplog):
    file = tmp_path / "mine.csv"
    file.write_bytes(ROWS.encode("cp1252"))
    changes = [f"dataset.train={file}", f"dataset.evaluation={file}"]
    with pytest.raises(UserError, match="line 3: the answer “Bob”"):
        subject_of(load("static_int8", changes)).load("evaluation")
    subject = subject_of(load("static_int8", [*changes, "dataset.skip=true"]))
    with caplog.at_level("INFO"):
        assert len(subject.load("evaluation")) == len(subject.load("train")) == 2
    assert "1 wrong lines were left out; the first" in caplog.text
    remark = subject.description(2)["remark"]
    assert "1 wrong lines were left out" in remark and str(tmp_path) not in remark


@pytest.mark.parametrize("words", [["run", "static_int8", "--folder"], ["submit", "static_int8"]])
def test_skip_without_a_file_is_for_the_recipe_s_own_data(words, tmp_path, monkeypatch):
    from compress.jobs import jobs

    recipes: list[Any] = []

    class Job:
        id = "j1"

    monkeypatch.setattr(jobs, "submit", lambda recipe, *rest: recipes.append(recipe) or Job)
    monkeypatch.setattr("compress.__main__.run_recipe", lambda recipe, *rest: recipes.append(recipe) or {})
    words = [*words, *([str(tmp_path)] if words[0] == "run" else [])]
    for more in ([], ["--skip"]):
        assert CliRunner().invoke(app, [*words, *more], catch_exceptions=False).exit_code == 0
    assert [recipe.dataset.skip for recipe in recipes] == [False, True]
