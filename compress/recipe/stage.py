"""A step of a recipe, and what it gets to work with."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from compress.progress import Progress
from zoo.catalog import checkpoint_of


@dataclass
class StageContext:
    """What a stage gets: the recipe, where to write, where to tell, and what the stages before it left.

    Attributes:
        recipe: with the settings' paths filled in.
        root: the run's folder.
        folder: `root/<stage>`; what it holds is this stage's own, from an interrupted run too.
        progress: to be told of every step.
        inputs: folders of the finished stages before.
    """

    recipe: Any
    root: Path
    folder: Path
    progress: Progress
    inputs: dict[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Stage:
    """A step of a recipe.

    Attributes:
        target: `module:function`, imported when it runs; the function takes a StageContext and returns facts for JSON.
        parts: keys of the recipe that decide what comes out.
        spread: every process of a `torchrun` takes part; else the first alone.
        only_if: key of the recipe; where it is false, a run has no such stage.
    """

    target: str
    parts: tuple[str, ...]
    spread: bool = False
    only_if: str = ""

    def load(self) -> Callable[[StageContext], dict[str, Any]]:
        module, _, name = self.target.partition(":")
        return getattr(importlib.import_module(module), name)


# Stages that leave a checkpoint, the last one first.
TRAININGS = ("aware", "lock", "train", "average", "length_drop", "finetune")


def trained_in(ctx: Any) -> tuple[Path, bool]:
    """The float checkpoint that the run has trained or taken, and whether others can find it (see `source_of`)."""
    for stage in TRAININGS:
        if stage in ctx.inputs and (ctx.inputs[stage] / "model.safetensors").is_file():  # an idle one leaves none
            return ctx.inputs[stage], False
    return source_of(ctx.recipe)


def source_of(recipe: Any) -> tuple[Path, bool]:
    """The float checkpoint's folder, and whether others can find it: a bundled entry or a Hub id, not a folder."""
    return checkpoint_of(recipe.model), not Path(recipe.model).expanduser().is_dir()
