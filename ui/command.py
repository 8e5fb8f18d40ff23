"""`budget-zoo`: the page, and `budget-zoo compress|zoo|bench …` for what `python -m` of these names does."""

from __future__ import annotations

import os
import runpy
import sys
from importlib import import_module
from typing import cast

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

NAME = "budget-zoo"
PARTS = {
    "compress": "Make models smaller and faster, by recipes.",
    "zoo": "The models that there are: find, ask, pull and publish them.",
    "bench": "This program beside what one would use instead.",
}
COMPLETING = "_BUDGET_ZOO_COMPLETE"  # how a shell asks what could come next
LINE = ("COMP_WORDS", "_TYPER_COMPLETE_ARGS")  # and what it has so far: bash, and the others


class Parts(TyperGroup):
    """The command lines of the folders, each loaded when it is called or completed."""

    def list_commands(self, ctx: object) -> list[str]:
        """Their names."""
        return [*PARTS]

    def get_command(self, ctx: object, cmd_name: str) -> TyperCommand | TyperGroup | None:
        """One of them: with all that it knows where a shell completes a line that has it, else with its sentence."""
        if cmd_name not in PARTS:
            return None
        if cmd_name in " ".join(os.environ.get(name, "") for name in LINE).split():
            return cast(TyperGroup, get_command(import_module(f"{cmd_name}.__main__").app))
        return TyperCommand(cmd_name, help=PARTS[cmd_name])


app = typer.Typer(cls=Parts, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def page(
    host: str | None = typer.Option(None, help="address that the page listens on"),
    port: int | None = typer.Option(None, help="and the port"),
) -> None:
    """Open the page, or with one of the commands do from the command line what it does."""
    serve = import_module("ui.serve").main  # gradio takes seconds, which no other command waits for
    given = {"--host": host, "--port": port}
    serve([word for name, value in given.items() if value is not None for word in (name, str(value))])


def main() -> None:
    """What the console script calls."""
    words = sys.argv[1:]
    if words and words[0] in PARTS and COMPLETING not in os.environ:
        sys.argv = [f"{NAME} {words[0]}", *words[1:]]
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    else:
        app(prog_name=NAME)
