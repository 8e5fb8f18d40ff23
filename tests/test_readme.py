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


def call(command: str, folder: Path) -> subprocess.CompletedProcess:
    words = [sys.executable if word == "python" else word for word in shlex.split(command)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, timeout=280)


def test_every_command_is_covered_here():
    known = ("make ", "python -m compress list", "python -m compress show", "python -m compress evaluate")
    long = ("python -m compress run",)
    folders = ("zoo/", "compress/", "ui/", "bench/", "spaces/")
    assert [c for c in COMMANDS if not c.startswith((*known, *long, *folders))] == []
    assert {c.split()[1] for c in COMMANDS if c.startswith("make ")} == {"run", "test", "lint", "bench"}


@pytest.mark.parametrize("target", ["run", "test", "lint", "bench"])
def test_make_knows_the_target(target):
    told = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=True)
    assert target == "run" and "app.py" in told.stdout or target != "run" and told.stdout


@pytest.mark.parametrize("command", [c for c in COMMANDS if re.match(r"python -m compress (list|show)", c)])
def test_listing_commands(command, tmp_path):
    told = call(command, tmp_path)
    assert told.returncode == 0, told.stderr
    assert "length_adaptive" in told.stdout


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("python -m compress evaluate")])
def test_the_evaluation_command(command, tmp_path):
    told = call(command, tmp_path)
    assert told.returncode == 0, told.stderr
    report = json.loads((tmp_path / "scores.json").read_text())
    assert report["n"] == 60 and report["f1"] > 50


def test_the_run_command_is_a_valid_recipe():
    from compress.recipe import load

    (command,) = [c for c in COMMANDS if c.startswith("python -m compress run")]
    words = shlex.split(command)
    changes = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
    assert load(words[4], changes).dataset.max_train_examples == 20000


def test_named_folders_exist():
    for name in re.findall(r"^    (\w+/)", README, re.MULTILINE):
        assert (ROOT / name).is_dir()
