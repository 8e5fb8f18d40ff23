"""What `pip install .` gives, and that nothing on the way to the page wants what only Linux has."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import house_kit as house
from ui import command

ROOT = Path(__file__).parents[1]
PACKAGES = ("zoo", "compress", "ui", "bench")
LARGE = 2**20
# What Windows has not, macOS has not, or both.
ABSENT_MODULES = {"fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "syslog", "posix", "readline"}
ABSENT = {
    "os": {
        *("fork", "forkpty", "killpg", "getpgid", "setpgid", "setsid", "getuid", "geteuid", "getgid", "nice", "chown"),
        *("sched_getaffinity", "sched_setaffinity", "getloadavg", "statvfs", "mkfifo", "uname", "wait3", "wait4"),
    },
    "signal": {"SIGKILL", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGSTOP", "SIGCONT", "SIGALRM", "alarm", "pause"},
}


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The package, built and installed from a copy of the repository in which large files hold nothing."""

    def copy(source: str, target: str) -> str:
        if os.path.getsize(source) > LARGE:
            Path(target).touch()
            return target
        return shutil.copyfile(source, target)

    copied, target = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("installed")
    for name in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, copied / name, copy_function=copy, ignore=ignored)
    for name in ("pyproject.toml", "requirements.txt", "README.md", "LICENSE"):
        shutil.copyfile(ROOT / name, copied / name)
    words = ["install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--no-compile"]
    done = subprocess.run(
        [sys.executable, "-m", "pip", *words, "--target", target, copied], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return target


def call(installed: Path, *words: str) -> str:
    env = {**os.environ, "PYTHONPATH": str(installed), "COLUMNS": "120"}
    done = subprocess.run(
        [sys.executable, installed / "bin" / "budget-zoo", *words],
        capture_output=True,
        text=True,
        env=env,
        cwd=installed,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_file_of_the_program_is_installed(installed):
    for name in PACKAGES:
        paths = [path.relative_to(ROOT) for path in (ROOT / name).rglob("*") if path.is_file()]
        wanted = {path for path in paths if "__pycache__" not in path.parts}
        assert len(wanted) > 10 and {path for path in wanted if not (installed / path).is_file()} == set()


def test_it_brings_the_command_and_asks_for_what_is_required(installed):
    (metadata,) = installed.glob("budget_zoo-*.dist-info/METADATA")
    asked = {
        re.split(r"[\[<>=~!; ]", line)[1] for line in metadata.read_text().splitlines() if line[:13] == "Requires-Dist"
    }
    assert asked == house.required(ROOT / "requirements.txt")
    said = call(installed, "--help")
    assert all(name in said for name in ("compress", "zoo", "bench", "--port", "--install-completion"))


def test_its_commands_are_those_of_python_m(installed):
    assert re.search(r"^  length_adaptive +\w", call(installed, "compress", "list"), re.MULTILINE)


def test_a_shell_completes_commands_of_the_folders(monkeypatch, capsys):
    for words, wanted in (("compress s", {"show", "submit", "sensitivity"}), ("", {"compress", "zoo", "bench"})):
        monkeypatch.setenv("_BUDGET_ZOO_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", f"budget-zoo {words}")
        monkeypatch.setenv("COMP_CWORD", str(len(f"budget-zoo {words}".split(" ")) - 1))
        monkeypatch.setattr(sys, "argv", ["budget-zoo"])
        with pytest.raises(SystemExit) as end:
            command.main()
        assert end.value.code == 0 and set(capsys.readouterr().out.split()) == wanted


def test_the_page_takes_its_address_from_the_command(monkeypatch):
    given = []
    monkeypatch.setattr("ui.serve.main", given.append)
    for words in (["--host", "0.0.0.0", "--port", "80"], []):
        monkeypatch.setattr(sys, "argv", ["budget-zoo", *words])
        with pytest.raises(SystemExit) as end:
            command.main()
        assert end.value.code == 0
    assert given == [["--host", "0.0.0.0", "--port", "80"], []]


def test_the_container_runs_as_an_ordinary_user_and_copies_what_is_there():
    text = (ROOT / "spaces" / "Dockerfile").read_text(encoding="utf-8")
    lines = [line.split() for line in text.replace("\\\n", " ").splitlines() if line and line[0] != "#"]
    copied = [word for words in lines if words[0] == "COPY" for word in words[1:-1] if not word.startswith("--")]
    assert set(PACKAGES) <= set(copied) and all((ROOT / name).exists() for name in copied)
    kinds = [words[0] for words in lines]
    assert lines[kinds.index("USER")] == ["USER", "zoo"] and kinds.index("USER") < kinds.index("CMD")
    assert "pip" not in " ".join(" ".join(words) for words in lines[: kinds.index("USER")])
    assert lines[-1] == ["CMD", '["budget-zoo"]']


def unguarded(tree: ast.Module) -> list[str]:
    """What a module imports, or takes of `os` and `signal`, that other systems have not, where nobody asked first."""
    tried = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.Try) and any("ImportError" in ast.dump(each) for each in node.handlers)
        for statement in node.body
        for inner in ast.walk(statement)
    }
    asked = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If | ast.IfExp) and "'hasattr'" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    found: list[str] = []
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and not node.level:
            found += [
                f"{node.module}.{one.name}" for one in node.names if one.name in ABSENT.get(node.module or "", ())
            ]
            names = [node.module or ""]
        if id(node) not in tried:
            found += [name for name in names if name.split(".")[0] in ABSENT_MODULES]
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and id(node) not in asked:
            found += [f"{node.value.id}.{node.attr}"] if node.attr in ABSENT.get(node.value.id, ()) else []
    return found


def test_nothing_wants_what_only_linux_has():
    words = re.compile(rf"\b({'|'.join(ABSENT_MODULES | ABSENT['os'] | ABSENT['signal'])})\b")
    named = {name: path for name, path in house.modules().items() if words.search(path.read_text(encoding="utf-8"))}
    assert {"compress.jobs.launchers", "zoo.settings"} <= set(named)
    assert {name: wrong for name, path in named.items() if (wrong := unguarded(house.tree(path)))} == {}


def test_what_only_linux_has_is_seen():
    code = "import fcntl, os, signal\nfrom os import fork\nos.killpg(1, signal.SIGKILL)\n"
    assert unguarded(ast.parse(code)) == ["fcntl", "os.fork", "os.killpg", "signal.SIGKILL"]
    guarded = (
        "try:\n    import resource\nexcept ImportError:\n    resource = None\nif hasattr(os, 'fork'):\n    os.fork()\n"
    )
    assert unguarded(ast.parse(guarded)) == []


def test_the_page_is_built_where_linux_is_not():
    """Others' modules are loaded first: they are told apart from ours by their own tests on these systems."""
    code = f"""
import builtins, gradio, pymoo, numpy, os, psutil, signal, sys, threading, typer, multiprocessing
taken = builtins.__import__
def take(name, globals=None, *rest, **named):
    given = globals
    ours = str((given or {{}}).get("__name__", "")).split(".")[0] in {(*PACKAGES, "app")}
    if ours and name.split(".")[0] in {ABSENT_MODULES}:
        raise ImportError(name)
    return taken(name, given, *rest, **named)
builtins.__import__ = take
for module, names in ((os, {ABSENT["os"]}), (signal, {ABSENT["signal"]})):
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
import app, compress.__main__, zoo.__main__
app.build()
from compress.jobs.launchers import Local
print("built", sys.platform)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=250)
    assert done.stdout.split()[:1] == ["built"], done.stderr
