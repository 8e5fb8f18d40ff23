"""The documents' commands are run, what they say of files is true, and their reference is what `--help` says."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests import docs_kit

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md")}
TEXT = "\n".join([README, *DOCS.values()])
COMMANDS = [line.split("#")[0].strip() for line in re.findall(r"^    (.+)$", TEXT, re.MULTILINE)]


FAR = ("python -m zoo publish", "python -m zoo verify", "python -m zoo deploy")  # these need the Hub


def call(command: str, folder: Path) -> subprocess.CompletedProcess:
    words = [sys.executable if word == "python" else word for word in shlex.split(command)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, timeout=280)


def test_every_command_is_covered_here():
    known = ("make ", "python -m compress list", "python -m compress show", "python -m compress evaluate")
    known += tuple(f"python -m compress {name}" for name in ("jobs", "submit", "sensitivity"))
    known += ("python -m zoo list", "python -m zoo ask", "python -m zoo export")
    long = ("python -m compress run", "torchrun --nproc_per_node=2 -m compress run", *FAR)
    folders = ("zoo/", "compress/", "ui/", "bench/", "spaces/", "tests/")
    assert [c for c in COMMANDS if not c.startswith((*known, *long, *folders))] == []
    assert {c.split()[1] for c in COMMANDS if c.startswith("make ")} == {"run", "test"}


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

    runs = [shlex.split(c[c.index("-m compress") :]) for c in COMMANDS if "-m compress run" in c]
    (second,) = (words for words in runs if "--data" in words)
    loaded = [
        load(words[3], [words[i + 1] for i, word in enumerate(words) if word == "--set"])
        for words in runs
        if words is not second
    ]
    assert {made.kind for made in loaded} == {"length_adaptive", "quantize"}
    assert 20000 in [made.model_dump()["dataset"].get("max_train_examples") for made in loaded]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(uploads, "folder", lambda *_: tmp_path / "uploads")
    rows = [
        f"the {word} is deep {'the ' * i},{number}" for i in range(20) for word, number in (("lake", 5), ("chess", 1))
    ]
    (tmp_path / "reviews.csv").write_text("\n".join(["review,stars", *rows]))
    quick = ["--set", f"model={tiny_model}", "--set", "finetune.epochs=1", "--set", "evaluate.latency_rounds=2"]
    said = CliRunner().invoke(app, [*second[2:], *quick])
    assert said.exit_code == 0, said.output
    entry = json.loads((tmp_path / "runs/stars/package/stars/config.json").read_text())
    assert entry["id2label"] == {"0": "1", "1": "5"}


def test_the_zoo_is_asked_as_is_said(tmp_path):
    (tmp_path / "passage.txt").write_text("The lake was dug by monks in 1340.")
    (command,) = [c for c in COMMANDS if c.startswith("python -m zoo ask")]
    done = call(command, tmp_path)
    assert done.returncode == 0 and "monks" in done.stdout, done.stderr


def test_a_model_is_exported_as_is_said(tmp_path):
    (command,) = [c for c in COMMANDS if c.startswith("python -m zoo export")]
    done = call(command, tmp_path)
    assert done.returncode == 0, done.stderr
    named = re.findall(r"`((?:onnx|openvino)/\S+?)`", DOCS["publish.md"])
    assert len(named) == 2 and all((tmp_path / "OUT" / name).is_file() and name in done.stdout for name in named)


def test_named_folders_exist():
    named = re.findall(r"^    (\w+/)", DOCS["architecture.md"], re.MULTILINE)
    assert set(named) >= {"zoo/", "compress/", "ui/"} and all((ROOT / name).is_dir() for name in named)


@pytest.mark.parametrize("name", ["README.md", *(f"docs/{name}" for name in DOCS)])
def test_links_lead_somewhere(name):
    path = ROOT / name
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", path.read_text(encoding="utf-8"))
    assert [link for link in links if not (path.parent / link).is_file()] == []
    assert name != "README.md" or {f"docs/{doc}" for doc in DOCS} <= {*links}, "the README leads to all of them"


def test_files_and_recipes_that_are_named_are_there():
    from compress.recipe.load import shipped

    named = set(re.findall(r"`((?:zoo|compress|ui|bench|tests|spaces)/[\w/.-]*[\w/])`", TEXT))
    assert len(named) > 40 and [name for name in sorted(named) if not (ROOT / name).exists()] == []
    rows = [line.split("|")[2] for line in DOCS["recipes.md"].splitlines() if line.startswith("| ")][1:]
    recipes = {word for row in rows for word in re.findall(r"`(\w+)`", row)}
    assert len(recipes) > 10 and recipes <= set(shipped())


def test_the_reference_is_what_help_says():
    assert docs_kit.reference() == DOCS["command-line.md"], "run `python -m tests.docs_kit`"
    assert {"### `python -m zoo ask ENTRY [FIRST] [SECOND]`", "### `python -m compress list`"} <= {
        *DOCS["command-line.md"].splitlines()
    }


def test_the_benchmarks_that_are_named_are_there():
    named = set(re.findall(r"`(?:python -m )?bench (\w+)", TEXT)) - {"--help"}
    assert len(named) > 8 and [name for name in named if not (ROOT / "bench" / f"{name}.py").is_file()] == []


def test_the_published_figures_stand_in_the_table():
    from compress.recipe.load import KINDS, load
    from compress.recipe.published import GLUE_MEANS, HEAD, PUBLISHED

    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in DOCS["systems.md"].splitlines()
        if line[:1] == "|"
    ]
    start = next(i for i, row in enumerate(rows) if row[: len(HEAD)] == list(HEAD))
    table = rows[start + 2 : start + 2 + len(PUBLISHED)]
    assert [tuple(row[: len(HEAD)]) for row in table] == [one.cells for one in PUBLISHED]
    assert all(f"{mean:.2f}" in DOCS["systems.md"] for mean in GLUE_MEANS)
    for one in PUBLISHED:
        assert one.kind in KINDS and load(one.recipe).kind == one.kind


def test_the_published_figures_stand_in_the_readme_too():
    from compress.recipe.published import GLUE_MEANS, PUBLISHED

    told = {float(figure) for figure in re.findall(r"\d\d\.\d\d", README.split("The five systems")[1].split("##")[0])}
    columns = {"cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte"}  # task by task in docs/systems.md
    whole = [one for one in PUBLISHED if one.kind != "aimet_w8a8" or one.task not in columns]
    main = [one for one in whole if one.metric != "em" and one.task != "mnli_mm"]
    assert told == {*GLUE_MEANS, *(value for one in main for value in (one.full, one.small) if value is not None)}


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
