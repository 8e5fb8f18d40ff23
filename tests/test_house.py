"""The rules of the house that a reader would otherwise have to watch over."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from tests import house_kit as house
from tests.house_kit import top_level

ROOT = Path(__file__).parents[1]
FLOORS = ("zoo", "compress", "ui", "bench")
MAY_IMPORT = {
    "zoo": {"zoo"},
    "compress": {"compress", "zoo"},
    "ui": {"ui", "compress", "zoo"},
    "bench": {"bench", "compress", "zoo"},
}
CODE = sorted(path for floor in (*FLOORS, "tests") for path in (ROOT / floor).rglob("*.py"))
APP = ROOT / "app.py"
SKIPPED = {".git", ".venv", "runs", "__pycache__"}
TEXT = {".py", ".md", ".txt", ".toml", ".yaml", ".yml", ".json", ".cfg", ".ini", ".sh", ""}
# Spelled in parts, so that this file does not name them.
HOSTS = re.compile(
    r"pypi\.(org|python)|python" + r"hosted|download\.py" + r"torch|(--|_)(extra-)?index[-_]url|conda\.anaconda"
)


def texts() -> list[Path]:
    found = []
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in SKIPPED and not name.endswith("_cache")]
        found += [Path(folder) / name for name in names if Path(name).suffix in TEXT]
    return [path for path in found if path.is_file() and path.name != "tokenizer.json" and path.stat().st_size < 2**21]


@pytest.mark.parametrize("floor", FLOORS)
def test_no_floor_knows_a_higher_one(floor):
    for path in (ROOT / floor).rglob("*.py"):
        reached = top_level(path) & {*FLOORS, "tests", "app"}
        assert reached <= MAY_IMPORT[floor], f"{path.relative_to(ROOT)} imports {reached - MAY_IMPORT[floor]}"


def test_no_modules_import_each_other_in_a_circle():
    assert house.circles() == []


def test_no_arrow_points_upwards():
    assert house.upward() == []


@pytest.mark.parametrize(
    ("measure", "most"),
    [
        pytest.param(house.hidden_imports, 50, id="imports inside functions"),
        pytest.param(house.flat, 6, id="modules flat in compress"),
        pytest.param(house.any_parameters, 40, id="parameters typed Any"),
        pytest.param(house.moments, 560, id="names that are participles"),
        pytest.param(house.wide_functions, 0, id="functions with 8 or more parameters"),
    ],
)
def test_the_structure_is_as_simple_as_was_reached(measure, most):
    """A number that has fallen is written here, so that it does not rise again."""
    places = measure()
    assert len(places) <= most, places


def test_the_measures_would_notice(tmp_path, monkeypatch):
    (tmp_path / "zoo").mkdir()
    (tmp_path / "compress").mkdir()
    (tmp_path / "zoo" / "a.py").write_text("from zoo.b import c\nimport compress.d\n")
    (tmp_path / "zoo" / "b.py").write_text("from typing import Any\ndef c(x: Any): from zoo import a\nfound = 1\n")
    (tmp_path / "compress" / "d.py").write_text("def wide(a, b, c, d, e, f, g, h): ...\n")
    (tmp_path / "compress" / "e.py").write_text("import compress.f\n")
    (tmp_path / "compress" / "f.py").write_text("d = Lazy('compress.d')\ndef g(): import_module('compress.e')\n")
    monkeypatch.setattr(house, "ROOT", tmp_path)
    for cached in (house.modules, house.arrows):
        cached.cache_clear()
    try:
        assert house.circles() == [["zoo.a", "zoo.b"], ["compress.e", "compress.f"]]
        assert house.upward() == [("zoo.a", "compress.d")]
        assert house.hidden_imports() == [("zoo.b", 2), ("compress.f", 2)]
        assert house.late_imports() == [("compress.f", 1)] and "compress.d" in house.arrows()["compress.f"]
        assert house.flat() == ["compress.d", "compress.e", "compress.f"]
        assert house.moments() == [("zoo.b", "found")]
        assert house.any_parameters() == [("zoo.b", "c", "x")]
        assert house.wide_functions() == [("compress.d", "wide", 8)]
    finally:
        for cached in (house.modules, house.arrows):
            cached.cache_clear()


def test_every_package_that_is_imported_is_required():
    program = house.required(ROOT / "requirements.txt")
    developers = program | house.required(ROOT / "requirements-dev.txt")
    missing = {
        name for name, holders in house.packages(*house.modules().values(), APP).items() if not holders & program
    }
    assert missing == {"ray"}, "ray is optional: recipes that ask for it are told how to install it"
    missing = {name for name, holders in house.packages(*CODE).items() if not holders & developers}
    assert not missing


def test_no_test_imports_another_test():
    for path in (ROOT / "tests").rglob("*.py"):
        imported = re.findall(r"^ *(?:from|import) (tests[\w.]*\.test_\w+)", path.read_text(encoding="utf-8"), re.M)
        assert not imported, f"{path.relative_to(ROOT)} imports {imported}: makers that tests share stand in a *_kit.py"


def test_spaces_is_data_and_no_package():
    # Gradio imports `spaces` by name: a package here would be taken for the one of that name, and the app would die.
    assert (ROOT / "spaces" / "README.md").is_file()
    assert not list((ROOT / "spaces").rglob("*.py"))
    assert all("spaces" not in top_level(path) for path in CODE)


def test_the_space_serves_what_is_here():
    card = (ROOT / "spaces" / "README.md").read_text(encoding="utf-8")
    matter = yaml.safe_load(card.split("---\n")[1])
    assert (matter["sdk"], matter["app_file"], matter["license"]) == ("gradio", "app.py", "apache-2.0")
    wanted = set((ROOT / "requirements.txt").read_text().splitlines())
    (gradio,) = (line for line in wanted if line.startswith("gradio>"))
    low, high = re.findall(r"\d+\.\d+", gradio)
    assert (
        tuple(map(int, low.split(".")))
        <= tuple(map(int, matter["sdk_version"].split(".")))
        < tuple(map(int, high.split(".")))
    )
    lines = (ROOT / "spaces" / "requirements.txt").read_text().splitlines()
    served = {line for line in lines if line and not line.startswith(("#", "spaces"))}
    assert served <= wanted, f"not as in requirements.txt: {served - wanted}"


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_can_be_read_in_one_sitting(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


def test_no_file_names_an_index():
    named = [
        path.relative_to(ROOT) for path in texts() if HOSTS.search(path.read_text(encoding="utf-8", errors="ignore"))
    ]
    assert not named


def test_the_rule_about_indexes_would_notice():
    assert HOSTS.search("https://download.py" + "torch.org/whl/cpu") and HOSTS.search("--extra-index" + "-url x")


def test_every_target_of_the_makefile_is_explained():
    made = subprocess.run(["make", "-s"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert [line.split()[0] for line in made.splitlines()] == [
        "help",
        "run",
        "test",
        "coverage",
        "lint",
        "audit",
        "bench",
        "lock",
    ]


def test_ci_runs_the_tests_and_the_linters():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    lines = [line.partition("#")[0].strip() for line in script.read_text().splitlines()]
    assert {"make coverage", "make lint", "set -euo pipefail"} <= set(lines)
    plan = subprocess.run(["make", "-n", "coverage", "lint"], cwd=ROOT, capture_output=True, text=True, check=True)
    commands = plan.stdout.splitlines()
    assert sum("pytest" in line for line in commands) == 2, "all but the browser's, and the browser's: each once"
    assert all("--cov" in line for line in commands if "pytest" in line)
    for command in ("coverage report", "ruff check", "ruff format --check", "pyright"):
        assert any(command in line for line in commands), command
    plain = subprocess.run(["make", "-n", "test"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "--cov" not in plain.stdout


def test_types_are_checked_strictly_and_lines_are_covered():
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    assert tools["pyright"]["typeCheckingMode"] == "strict"
    assert set(tools["coverage"]["run"]["source"]) == {"zoo", "compress", "ui"}
    assert tools["coverage"]["report"]["fail_under"] >= 90


def test_our_own_warnings_are_errors():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    first, *rest = settings["filterwarnings"]
    assert first == "error"
    ours = [rule for rule in rest if re.search(r":(app|bench|compress|tests|ui|zoo)\b", rule) or rule.count(":") < 3]
    assert not ours, "only other people's modules may warn"


@pytest.mark.skipif(not APP.is_file(), reason="there is no app.py yet")
def test_the_app_starts_without_the_heavy_packages():
    heavy = (
        "torch",
        "transformers",
        "openvino",
        "onnxruntime",
        "onnx",
        "nncf",
        "neural_compressor",
        "aimet_torch",
        "datasets",
        "mcp",
    )
    code = f"import sys, app; print([name for name in {heavy} if name in sys.modules])"
    code += "; from importlib.util import find_spec; find_spec('mcp').name"  # it is there for who wants a tool
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_recipes_are_listed_without_what_takes_long_to_import():
    heavy = ("huggingface_hub", "httpx2", "torch", "transformers", "onnxruntime", "onnx", "datasets", "gradio")
    code = "import sys; from compress.__main__ import app; app(['list'], standalone_mode=False)"
    code += f"; print([name for name in {heavy} if name in sys.modules], file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]" and "length_adaptive_tiny" in done.stdout


def test_the_catalog_is_read_without_torch():
    code = "import sys; from zoo import catalog, card, latency; catalog.bundled(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
