"""The README's commands are run, and what it says of files is true."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [line.split("#")[0].strip() for line in re.findall(r"^    (.+)$", README, re.MULTILINE)]


FAR = ("python -m zoo publish", "python -m zoo verify", "python -m zoo deploy")  # these need the Hub


def call(command: str, folder: Path) -> subprocess.CompletedProcess:
    words = [sys.executable if word == "python" else word for word in shlex.split(command)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, timeout=280)


def test_every_command_is_covered_here():
    known = ("make ", "python -m compress list", "python -m compress show", "python -m compress evaluate")
    known += tuple(f"python -m compress {name}" for name in ("jobs", "submit", "sensitivity"))
    known += ("python -m zoo list", "python -m zoo ask")
    long = ("python -m compress run", *FAR)
    folders = ("zoo/", "compress/", "ui/", "bench/", "spaces/")
    assert [c for c in COMMANDS if not c.startswith((*known, *long, *folders))] == []
    assert {c.split()[1] for c in COMMANDS if c.startswith("make ")} == {
        "run",
        "test",
        "coverage",
        "lint",
        "bench",
        "lock",
    }


@pytest.mark.parametrize("target", ["run", "test", "coverage", "lint", "bench", "lock"])
def test_make_knows_the_target(target):
    told = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=True)
    assert target == "run" and "app.py" in told.stdout or target != "run" and told.stdout


@pytest.mark.parametrize("command", [c for c in COMMANDS if re.match(r"python -m compress (list|show)", c)])
def test_listing_commands(command, tmp_path):
    told = call(command, tmp_path)
    assert told.returncode == 0, told.stderr
    assert "length_adaptive" in told.stdout


@pytest.mark.parametrize(
    ("command", "says"), [("python -m compress jobs --json", "["), ("python -m zoo list", "minilm-l6-qa")]
)
def test_tables(command, says, tmp_path):
    assert command in COMMANDS
    told = call(command, tmp_path)
    assert told.returncode == 0, told.stderr
    assert says in told.stdout


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith(FAR)])
def test_commands_that_need_the_hub_know_their_options(command, tmp_path):
    words = shlex.split(command)
    told = call(" ".join([*words[:4], "--help"]), tmp_path)
    assert told.returncode == 0, told.stderr
    assert all(word in told.stdout for word in words if word.startswith("--"))


def test_the_submitted_recipe_ships():
    from compress.recipe.load import shipped

    (command,) = [c for c in COMMANDS if c.startswith("python -m compress submit")]
    assert command.split()[-1] in shipped()


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("python -m compress evaluate")])
def test_the_evaluation_command(command, tmp_path):
    told = call(command, tmp_path)
    assert told.returncode == 0, told.stderr
    report = json.loads((tmp_path / "scores.json").read_text())
    assert report["n"] == 60 and report["f1"] > 50


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("python -m compress sensitivity")])
def test_the_sensitivity_command(command, tmp_path):
    told = call(command, tmp_path)
    assert told.returncode == 0, told.stderr
    assert all(f"layers.{i}.contract" in told.stdout for i in range(6))


def test_the_run_commands_do_what_is_said(tmp_path, tiny_model, monkeypatch):
    from typer.testing import CliRunner

    from compress.__main__ import app
    from compress.data import uploads
    from compress.recipe.load import load

    first, second = (shlex.split(c) for c in COMMANDS if c.startswith("python -m compress run"))
    changes = [first[i + 1] for i, word in enumerate(first) if word == "--set"]
    assert load(first[4], changes).model_dump()["dataset"]["max_train_examples"] == 20000
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(uploads, "folder", lambda: tmp_path / "uploads")
    rows = [
        f"the {word} is deep {'the ' * i},{number}" for i in range(20) for word, number in (("lake", 5), ("chess", 1))
    ]
    (tmp_path / "reviews.csv").write_text("\n".join(["review,stars", *rows]))
    quick = ["--set", f"model={tiny_model}", "--set", "finetune.epochs=1", "--set", "evaluate.latency_rounds=2"]
    said = CliRunner().invoke(app, [*second[3:], *quick])
    assert said.exit_code == 0, said.output
    entry = json.loads((tmp_path / "runs/stars/package/stars/config.json").read_text())
    assert entry["id2label"] == {"0": "1", "1": "5"}


def test_the_zoo_is_asked_as_is_said(tmp_path):
    (tmp_path / "passage.txt").write_text("The lake was dug by monks in 1340.")
    (command,) = [c for c in COMMANDS if c.startswith("python -m zoo ask")]
    done = call(command, tmp_path)
    assert done.returncode == 0 and "monks" in done.stdout, done.stderr


def test_named_folders_exist():
    for name in re.findall(r"^    (\w+/)", README, re.MULTILINE):
        assert (ROOT / name).is_dir()


def test_the_published_figures_stand_in_the_table():
    from compress.recipe.load import KINDS, load
    from compress.recipe.published import GLUE_MEANS, HEAD, PUBLISHED

    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in README.splitlines() if line[:1] == "|"]
    start = next(i for i, row in enumerate(rows) if row[: len(HEAD)] == list(HEAD))
    table = rows[start + 2 : start + 2 + len(PUBLISHED)]
    assert [tuple(row[: len(HEAD)]) for row in table] == [one.cells for one in PUBLISHED]
    assert all(f"{mean:.2f}" in README for mean in GLUE_MEANS)
    for one in PUBLISHED:
        assert one.kind in KINDS and load(one.recipe).kind == one.kind


def test_the_published_figures_are_those_of_the_documents(seeds):
    from compress.recipe.published import GLUE_MEANS, PUBLISHED

    glue = re.findall(r"<td> ([\d.]+) </td>", seeds["001"])
    columns = [one for one in PUBLISHED if one.kind == "aimet_w8a8" and one.task != "squad"]
    assert [float(cell) for cell in glue[:9]] == [*(one.full for one in columns), GLUE_MEANS[0]]
    assert [float(cell) for cell in glue[9:]] == [*(one.small for one in columns), GLUE_MEANS[1]]
    for one in PUBLISHED:
        if one.kind == "nncf":
            stated = {float(part) for part in re.findall(r"([\d.]+)%", seeds["004"])}
            assert {one.full, one.small} <= stated
    assert "x8.8 speedup with <1% accuracy loss" in seeds["000"]
