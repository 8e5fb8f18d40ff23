"""What the outcome of a recipe's stage depends on: keys of the recipe, the stage before, and what those keys name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from compress.data.tables import is_table
from compress.recipe.kind import Kind
from compress.recipe.place import Keys, Mark, marked, places
from compress.recipe.stage import Stage, holds
from zoo.errors import UserError
from zoo.files import read_json, sha256

VERSION = 1  # part of every hash: raise it when old stages no longer fit, as when a default changes
# Keys that stages named later: as by default they leave no trace in a hash.
ADDED = ("dataset.columns", "dataset.label_values", "dataset.skip", "distill.labels")
WEIGHTS = (".safetensors", ".bin", ".onnx")


@dataclass(frozen=True)
class Inputs:
    """What a stage works with, in hashes: the keys of its recipe with the stage before, and by path what they name."""

    inputs: str
    contents: dict[str, str]

    @classmethod
    def of(cls, recipe: Kind, ready: Kind, stage: Stage, before: str) -> Inputs:
        """Of a stage of a recipe.

        Args:
            recipe: as it was written.
            ready: with the settings' paths filled in.
            before: hash of what the stage before has left.
        """
        return cls(fingerprint(recipe, stage, before), contents(ready, stage))

    def are_in(self, file: Path) -> bool:
        """Whether this file tells of a stage with these inputs. What is gone does not undo what was made of it."""
        facts = read_json(file) if file.is_file() else {}
        contents = facts.get("contents") or {}
        same = all(contents.get(name, content) == content for name, content in self.contents.items())
        return facts.get("inputs") == self.inputs and same

    def to_dict(self) -> dict[str, Any]:
        """As `are_in` finds them in a file."""
        return asdict(self)


def fingerprint(recipe: Kind, stage: Stage, before: str) -> str:
    """A hash of what a stage's outcome depends on: its parts of the recipe and the stage before.

    Only what differs from the defaults counts, so that a key that a later version adds does not undo finished work.
    """
    text = json.dumps([VERSION, stage.mark or stage.target, _parts(recipe, stage), before], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def contents(recipe: Kind, stage: Stage) -> dict[str, str]:
    """By path of this machine that a stage's parts of a recipe name, a hash of the file, or of the weights in a folder.

    A path alone does not say what a stage worked with: a model may have been trained anew, a file been edited. Folders
    of texts are known by their path alone.

    Args:
        recipe: with the settings' paths filled in.
        stage: of the recipe's kind.
    """
    hashes = {}
    for name in _names(recipe, stage):
        with suppress(OSError, RuntimeError, ValueError):  # no path at all, or unreadable: the stage says so
            path = Path(name).expanduser()
            files = [path] if path.is_file() else sorted(file for file in path.glob("*") if file.suffix in WEIGHTS)
            if files:
                text = "".join(f"{file.name} {sha256(file)} " for file in files)
                hashes[name] = hashlib.sha256(text.encode()).hexdigest()
    return hashes


def check_places(recipe: Kind, stages: Mapping[str, Stage]) -> None:
    """Tells at once of a file or a folder that is not there, which a later stage would miss after hours of training.

    What is trained on is read first of all, or, as by dynamic quantization, not at all.

    Raises:
        UserError: a stage's parts of the recipe name one.
    """
    for name, stage in stages.items():
        for place in _names(recipe, stage, but=("dataset", "train")):
            path = Path(place)
            with suppress(RuntimeError):  # `~name` of nobody here: it is not there
                path = path.expanduser()
            local = path.is_absolute() or place.startswith((".", "~")) or is_table(path)
            if local and not path.exists():
                raise UserError(f"There is no {place}, which stage {name} of the recipe needs. Correct its name there.")


def _names(recipe: Kind, stage: Stage, but: Keys = ()) -> Iterator[str]:
    """The models and data that a stage's parts of a recipe name."""
    data: dict[str, Any] = {}
    for part, value in _parts(recipe, stage).items():
        *groups, last = part.split(".")
        here = data
        for group in groups:
            here = here.setdefault(group, {})
        here[last] = value | here.get(last, {}) if isinstance(value, dict) else value
    return (name for keys, name in places(type(recipe), data) if keys != but)


def _parts(recipe: Kind, stage: Stage) -> dict[str, Any]:
    """The part of the recipe that decides what the stage makes, defaults left out."""
    data, idle = recipe.model_dump(mode="json", exclude_defaults=True), set(marked(type(recipe), Mark.IDLE))
    learned = recipe.dataset.learned_from()
    parts: dict[str, Any] = {"dataset": learned} if "dataset.train" in stage.parts and "task" in learned else {}
    also = [key for key, condition in stage.also if holds(condition, recipe)]
    for part in (*stage.parts, *also):
        value: Any = {**data, "dataset": learned} if part == "dataset" and stage.spread else data
        for key in part.split("."):
            value = value.get(key, {})
        if isinstance(value, dict):
            value = {key: inner for key, inner in value.items() if f"{part}.{key}" not in idle}
        if value or (part in stage.parts and part not in ADDED):
            parts[part] = value
    return parts
