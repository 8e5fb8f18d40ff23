"""The command line: `python -m bench latency --json FILE`."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

import typer

from bench import (
    distillation,
    embeddings,
    entries,
    families,
    growth,
    latency,
    load,
    nas,
    predictor,
    profile,
    prunings,
    quala,
    soak,
    sparse,
    tasks,
    texts,
    training,
)
from zoo.errors import sentence_of

BENCHMARKS = (
    latency,
    quala,
    profile,
    load,
    soak,
    growth,
    training,
    distillation,
    prunings,
    sparse,
    tasks,
    predictor,
    nas,
    entries,
    embeddings,
    texts,
    families,
)
LISTS = ("--batch", "--limits", "--modes", "--tokens")  # options that take several words

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="This program beside what one would use instead.",
)
for benchmark in BENCHMARKS:
    app.add_typer(benchmark.app)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a benchmark; returns 0, or 2 with a message where it cannot run.

    Raises:
        SystemExit: the arguments are wrong; the message says how.
    """
    try:
        app(repeated(sys.argv[1:] if arguments is None else arguments), prog_name="python -m bench")
    except Exception as error:
        if (said := sentence_of(error)) is None:
            raise
        print(said, file=sys.stderr)
        return 2
    except SystemExit as end:
        if end.code:
            raise
    return 0


def repeated(arguments: Sequence[str]) -> list[str]:
    """Arguments with the name of an option before each of its words: `--tokens 64 128` is typer's twice `--tokens`."""
    words: list[str] = []
    option = ""
    for word in arguments:
        if word.startswith("-"):
            option = word if word in LISTS else ""
        elif option and words[-1] != option:
            words.append(option)
        words.append(word)
    return words


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    sys.exit(main())
