from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from compress.__main__ import app, main
from compress.recipe.load import shipped
from zoo import card
from zoo.errors import UserError

ROOT = Path(__file__).parents[2]
INT8 = "tiny-qa-length-adaptive-int8"


def called(*arguments):
    result = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_list_names_every_recipe_and_what_it_is():
    rows = re.findall(r"^  (\w+) +(.+)$", called("list"), re.MULTILINE)  # goals before them stand at the margin
    assert sorted(name for name, _ in rows) == shipped()
    assert all(len(words.split()) > 4 and words.endswith(".") for _, words in rows)


def test_show_documents_the_keys():
    assert "learning_rate: 3.0e-05  # highest learning rate" in called("show", "length_adaptive")


def test_a_run_goes_on_from_the_command_line(finished_run):
    told = called("run", finished_run, "--folder", finished_run)
    assert told.splitlines()[-1].startswith("package: entries")


def test_an_entry_is_scored(finished_run, tiny_data, tmp_path):
    report = tmp_path / "report.json"
    common = ("evaluate", "--entry", finished_run / "package" / INT8, "--eval-file", tiny_data.evaluation)
    called(*common, "--json", report)
    full = json.loads(report.read_text())
    stored = json.loads((finished_run / "evaluate/scores.json").read_text())["int8"]
    assert (full["f1"], full["exact_match"], full["n"]) == (stored["f1"], stored["em"], 10)
    assert full["macs_ratio"] == 1 and full["config"] == [1, 1] and full["engine"] == "onnxruntime"
    assert full["machine"]["threads"] and full["budget"] is None

    called(*common, "--json", report, "--config", "(192, 96)", "--max-questions", "3", "--engine", "torch")
    part = json.loads(report.read_text())
    assert part["config"] == [0.5, 0.25] and part["n"] == 3 and part["engine"] == "torch"
    assert 0.4 < part["macs_ratio"] < 0.9

    told = called(*common, "--json", report, "--budget", "1")
    low = json.loads(report.read_text())
    front = json.loads((finished_run / "evaluate/front.json").read_text())
    cheapest = min([*front["points"], front["full"]], key=lambda point: point["macs_ratio"])
    assert low["config"] == cheapest["fractions"] and low["budget"] == 1
    assert low["f1"] == pytest.approx(cheapest["metrics"]["f1"]) and low["macs_ratio"] == pytest.approx(
        cheapest["macs_ratio"]
    )
    assert "cheap" in told


def test_a_score_goes_into_the_card(finished_run, tiny_data, tmp_path):
    entry = shutil.copytree(finished_run / "package" / INT8, tmp_path / "mine")
    before = json.loads((entry / "entry.json").read_text())["metrics"]
    report = tmp_path / "report.json"
    common = ("evaluate", "--entry", entry, "--json", report, "--into-card")
    called(*common, "--eval-file", tiny_data.evaluation, "--max-questions", "7")
    facts, told = json.loads((entry / "entry.json").read_text()), json.loads(report.read_text())
    after = facts["metrics"]
    assert (after["f1"], after["em"], after["n"]) == (told["f1"], told["exact_match"], 7) and before["n"] == 10
    assert after["dataset"] == before["dataset"] and after["metric"] == "SQuAD 1.1"
    text = (entry / "README.md").read_text()
    assert f"| F1 | {told['f1']:.2f} |" in text and "- **n**: 7" in text
    assert card.read(text)["metrics"]["f1"] == pytest.approx(told["f1"], abs=1e-4)

    whole = json.loads(tiny_data.evaluation.read_text())
    whole["data"][0]["paragraphs"][0]["qas"][0] |= {"is_impossible": True, "answers": []}
    second = tmp_path / "second.json"
    second.write_text(json.dumps({**whole, "version": "v2.0"}))
    called(*common, "--eval-file", second, "--task", "squad_v2")
    facts, told = json.loads((entry / "entry.json").read_text()), json.loads(report.read_text())
    assert facts["metrics"] | {"squad_v2": None} == {**after, "squad_v2": None}
    assert facts["metrics"]["squad_v2"] == {
        "f1": told["f1"],
        "em": told["exact_match"],
        "n": 10,
        "engine": "onnxruntime",
        "dataset": "second.json",
    }
    assert "second.json" in (entry / "README.md").read_text()
    with pytest.raises(UserError, match="leave --budget and --config out"):
        called(*common, "--eval-file", tiny_data.evaluation, "--config", "(192, 96)")
    plain = ("evaluate", "--entry", finished_run / "length_drop", "--eval-file", tiny_data.evaluation, "--json", report)
    with pytest.raises(UserError, match="no entry in a folder of this machine"):
        called(*plain, "--into-card")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "no-such", "--folder", "x"], "There is no recipe no-such"),
        (["run", "length_adaptive", "--folder", "x", "--set", "a=1"], "There is no key a"),
        (["evaluate", "--entry", "./absent", "--eval-file", "x.json", "--json", "o"], "There is no folder"),
    ],
)
def test_a_fault_is_one_plain_message(arguments, message, tmp_path):
    command = [sys.executable, "-m", "compress", *arguments]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 2
    assert done.stderr.startswith(message) and "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"--eval-file": "train"}, "were trained on"),
        ({"--config": "0.5", "--budget": "50"}, "either --budget or --config"),
        ({"--config": "__import__('os')"}, "is no length configuration"),
        ({"--config": "1, 0.5, 0.5"}, "has 2 layers"),
        ({"--entry": "tiny-qa", "--budget": "50"}, "has no front"),
        ({"--engine": "abacus"}, "no engine 'abacus'"),
    ],
)
def test_what_evaluate_refuses(finished_run, tiny_data, tmp_path, changes, message, monkeypatch):
    options = {"--entry": INT8, "--eval-file": "evaluation", "--json": str(tmp_path / "o.json"), **changes}
    options["--entry"] = str(finished_run / "package" / options["--entry"])
    options["--eval-file"] = str(getattr(tiny_data, options["--eval-file"]))
    with pytest.raises(UserError, match=message):
        called("evaluate", *(part for option in options.items() for part in option))
    assert not (tmp_path / "o.json").exists()


def test_main_exits_with_2(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["compress", "show", "no-such"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("There is no recipe no-such")
