"""The command line as the documents have it: `python -m tests.docs_kit` writes it, `tests/test_readme.py` holds it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from typer.main import get_command

from bench.__main__ import app as bench
from compress.__main__ import app as compress
from zoo.__main__ import app as zoo

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "docs" / "command-line.md"
HEAD = """# The command line

Written by `python -m tests.docs_kit` from what `--help` says. After `pip install .` each command is `budget-zoo zoo …`
or `budget-zoo compress …` too; the benchmarks need a copy of the repository.
"""


def reference() -> str:
    """Every command with its arguments and options."""
    parts = [HEAD]
    for name, app in (("zoo", zoo), ("compress", compress), ("bench", bench)):
        group: Any = get_command(app)
        parts += [f"## `python -m {name}`", group.help]
        for command in sorted(group.commands):
            parts += _command(f"python -m {name} {command}", group.commands[command])
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _command(words: str, command: Any) -> list[str]:
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    options = [one for one in command.params if one.param_type_name == "option" and one.name != "help"]
    usage = " ".join(one.name.upper() if one.required else f"[{one.name.upper()}]" for one in arguments)
    shown = f"### `{words} {usage}`" if usage else f"### `{words}`"
    lines = [f"* `{one.name.upper()}`: {_line(one.help)}" for one in arguments]
    lines += [f"* `{', '.join((*one.opts, *one.secondary_opts))}`: {_line(one.help)}" for one in options]
    return [shown, re.sub(r"\s+", " ", command.help or ""), *(["\n".join(lines)] if lines else [])]


def _line(text: str | None) -> str:
    return re.sub(r"\s+", " ", text or "").strip() or "see above"


if __name__ == "__main__":
    REFERENCE.write_text(reference(), encoding="utf-8")
