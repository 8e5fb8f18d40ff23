"""The command line of the zoo, called in this process."""

from __future__ import annotations

from typer.testing import CliRunner

from zoo.__main__ import app


def call(*words: object, answer: str = "") -> str:
    """What a command says; what it raises is raised.

    Args:
        words: of the command line.
        answer: what a person types.
    """
    result = CliRunner().invoke(app, [str(word) for word in words], input=answer, catch_exceptions=False)
    return result.output
