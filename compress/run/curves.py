"""Curves of a run in Trackio, beside `progress.jsonl`; its page shows runs side by side. The package is optional."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from compress.recipe.kind import Kind, reports_to

PROJECT = "budget-zoo"
Report = Callable[[str, int, Mapping[str, float]], None]  # of a stage's step: its figures


@contextmanager
def curves(recipe: Kind, root: Path, first: bool = True) -> Generator[Report | None]:
    """What takes the figures of a run while it lasts; None where the recipe wants no curves, or another process tells.

    A run that goes on is the same run there, under the name of its folder.
    """
    if not first or reports_to(recipe) == "none":
        yield None
        return
    trackio = import_module("trackio")
    trackio.init(project=PROJECT, name=root.name, config=recipe.model_dump(mode="json"), resume="allow")

    def report(stage: str, step: int, figures: Mapping[str, float]) -> None:
        trackio.log({f"{stage}/{name}": value for name, value in figures.items()} | {f"{stage}/step": step})

    try:
        yield report
    finally:
        trackio.finish()
