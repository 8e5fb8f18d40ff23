"""The command line: `python -m compress run|list|show|evaluate`."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from zoo.errors import UserError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Make models smaller and faster, by recipes.",
)


@app.command()
def run(
    recipe: Annotated[
        str, typer.Argument(help="a shipped recipe's name, a YAML file, or the folder of an earlier run")
    ],
    folder: Annotated[Path, typer.Option(help="where the run lives; an interrupted one goes on there")],
    stage: Annotated[str | None, typer.Option(help="run this stage only")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="change a key: finetune.epochs=1")] = None,
) -> None:
    """Run a recipe, or one stage of it."""
    from compress.recipe import load
    from compress.run import run as run_recipe

    results = run_recipe(load(recipe, set_ or ()), folder, stage)
    for name, result in results.items():
        typer.echo(f"{name}: " + ", ".join(f"{key} {_short(value)}" for key, value in result.items()))


@app.command("list")
def list_() -> None:
    """List the recipes that ship with the program."""
    from compress.recipe import RECIPES, shipped

    for name in shipped():
        first = (RECIPES / f"{name}.yaml").read_text(encoding="utf-8").splitlines()[0]
        typer.echo(f"{name:28} {first.lstrip('# ')}")


@app.command()
def show(recipe: Annotated[str, typer.Argument(help="a shipped recipe's name or a YAML file")]) -> None:
    """Show every key of a recipe, with its value and its meaning."""
    from compress.recipe import describe, load

    typer.echo(describe(load(recipe)), nl=False)


@app.command()
def evaluate(
    entry: Annotated[str, typer.Option(help="a bundled name, a folder or a Hub id")],
    eval_file: Annotated[str, typer.Option(help="SQuAD-format JSON file, Hub id, or `examples`")],
    json_file: Annotated[Path, typer.Option("--json", help="where to write the scores")],
    budget: Annotated[float | None, typer.Option(help="percent of the unpadded full model's MACs")] = None,
    engine: Annotated[
        str | None, typer.Option(help="torch, onnxruntime or openvino; by default the entry's first")
    ] = None,
    config: Annotated[str | None, typer.Option(help='a length configuration: "(315, 251, 242, 159, 142, 33)"')] = None,
    max_questions: Annotated[
        int | None, typer.Option(min=1, help="score on so many questions, drawn at random")
    ] = None,
) -> None:
    """Score an entry on a SQuAD-format file that it was not trained on."""
    from compress.scoring import score_entry
    from zoo.files import write_json

    report = score_entry(entry, eval_file, budget, config, engine, max_questions)
    write_json(json_file, report)
    for notice in report["notices"]:
        typer.echo(notice, err=True)
    typer.echo(f"F1 {report['f1']:.2f}, EM {report['exact_match']:.2f} on {report['n']} questions")


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def main() -> None:
    """Runs a command; an error that people are meant to read is told without a traceback."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    for name in ("httpx", "datasets", "huggingface_hub"):
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        app()
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
