"""How every benchmark reports: a table and the machine on the screen, its figures in a file where one is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from zoo.files import write_json
from zoo.latency import machine

Json = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="also write the figures as JSON")]


def report(text: str, path: Path | None = None, figures: object = None) -> None:
    """Prints a table and the machine that it was measured on, and writes `figures` where `path` names a file."""
    typer.echo(text)
    typer.echo(f"\n{json.dumps(machine())}")
    if path:
        write_json(path, figures)
