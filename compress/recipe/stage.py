"""A step of a recipe, and what it gets to work with."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from compress.progress import Progress
from zoo.catalog import checkpoint_of
from zoo.checkpoints import lacks_names, read_config

if TYPE_CHECKING:
    from compress.recipe.kind import Kind

R_co = TypeVar("R_co", covariant=True, bound="Kind")


@dataclass
class StageContext(Generic[R_co]):
    """What a stage works with: its recipe, its folder, its progress, and what the stages before it left.

    Attributes:
        recipe: with the settings' paths filled in.
        root: the run's folder.
        folder: `root/<stage>`; what it holds is this stage's own, from an interrupted run too.
        progress: to be told of every step.
        inputs: folders of the finished stages before.
        stated: the recipe as it was written, for what a card says: no path of this machine in it.
    """

    recipe: R_co
    root: Path
    folder: Path
    progress: Progress
    inputs: dict[str, Path] = field(default_factory=dict)
    stated: R_co = cast("R_co", None)

    def __post_init__(self) -> None:
        if not self.stated:
            self.stated = self.recipe

    @property
    def first(self) -> bool:
        """Whether this is the first process of a `torchrun`, which alone writes; also without one."""
        return is_first()


def is_first() -> bool:
    """Whether this is the first process of a `torchrun`, or runs without one."""
    return int(os.environ.get("RANK", "0")) == 0


def holds(condition: str, recipe: Kind) -> bool:
    """Whether a condition holds for a recipe: a key that is set, `not` and a key that is not, or a key, ` != ` and a
    value that it has not; always if empty."""
    negated = condition.startswith("not ")
    key, _, other = condition.removeprefix("not ").partition(" != ")
    value: Any = recipe
    for name in filter(None, key.split(".")):
        value = getattr(value, name)
    return not condition or (value != other if other else bool(value) != negated)


@dataclass(frozen=True)
class Stage:
    """A step of a recipe.

    Attributes:
        target: `module:function`, imported when it runs; the function takes a StageContext and returns facts for JSON.
        parts: keys of the recipe that decide what comes out.
        spread: every process of a `torchrun` takes part; else the first alone.
        also: further keys that decide, each where a condition holds (see `holds`) and it is not as by default.
        only_if: key of the recipe; where it is false, or has the value behind ` != `, a run has no such stage.
        packs: it leaves entries for the catalogue.
        checkpoint: it leaves one of the model that the recipe makes, unless it had nothing to do.
        mark: what stands for the target in the fingerprints of finished work, so that a function can move; by default
            the target.
    """

    target: str
    parts: tuple[str, ...]
    spread: bool = False
    also: tuple[tuple[str, str], ...] = ()
    only_if: str = ""
    checkpoint: bool = False
    packs: bool = False
    mark: str = ""

    def load(self) -> Callable[[StageContext[Any]], dict[str, Any]]:
        """The function that does it; the one door through which heavy packages come in."""
        module, _, name = self.target.partition(":")
        return getattr(importlib.import_module(module), name)


def float_checkpoint(ctx: StageContext[Any]) -> tuple[Path, bool]:
    """The float checkpoint that the run has trained or taken, and whether others can find it (see `source_of`)."""
    for name, stage in reversed(ctx.recipe.stages.items()):
        if stage.checkpoint and name in ctx.inputs and (ctx.inputs[name] / "model.safetensors").is_file():
            return ctx.inputs[name], False
    return source_of(ctx.recipe)


def source_of(recipe: Kind) -> tuple[Path, bool]:
    """The float checkpoint's folder, and whether others can find it: a bundled entry or a Hub id, not a folder.

    One that does not name its labels is none to stand beside a model that does: their answers could not be compared.
    """
    folder = checkpoint_of(recipe.model)
    return folder, not Path(recipe.model).expanduser().is_dir() and not lacks_names(read_config(folder))
