"""What the outcome of a recipe's stage depends on: keys of the recipe, the stage before, and what those keys name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.recipe.kind import Kind
from compress.recipe.place import Keys, places
from zoo.errors import UserError
from zoo.files import sha256

if TYPE_CHECKING:
    from compress.recipe.stage import Stage

VERSION = 1  # part of every hash: raise it when old stages no longer fit, as when a default changes
WEIGHTS = (".safetensors", ".bin", ".onnx")
IRRELEVANT = {  # keys that do not change what comes out
    "training": {"checkpoint_minutes"},
    "search": {"workers"},
    "generate_data": {"workers"},
    "latency_table": {"workers"},
}


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
    found = {}
    for name in _names(recipe, stage):
        with suppress(OSError, RuntimeError, ValueError):  # no path at all, or unreadable: the stage says so
            path = Path(name).expanduser()
            files = [path] if path.is_file() else sorted(file for file in path.glob("*") if file.suffix in WEIGHTS)
            if files:
                text = "".join(f"{file.name} {sha256(file)} " for file in files)
                found[name] = hashlib.sha256(text.encode()).hexdigest()
    return found


def same(facts: dict[str, Any], mark: str, held: dict[str, str]) -> bool:
    """Whether a stage worked with these inputs. What is no longer there does not undo what was made of it."""
    known = facts.get("contents") or {}
    return facts.get("inputs") == mark and all(known.get(name, found) == found for name, found in held.items())


def check_places(recipe: Kind, stages: Mapping[str, Stage]) -> None:
    """Tells at once of a file or a folder that is not there, which a later stage would miss after hours of training.

    What is trained on is read first of all, or, as by dynamic quantization, not at all.

    Raises:
        UserError: a stage's parts of the recipe name one.
    """
    for name, stage in stages.items():
        for place in _names(recipe, stage, but=("dataset", "train")):
            path = Path(place)
            with suppress(RuntimeError):  # nobody's home: it is not there
                path = path.expanduser()
            local = path.is_absolute() or place.startswith((".", "~")) or path.suffix in (".json", ".jsonl")
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
    """What of a recipe decides what comes out of a stage, less what is as by default."""
    data = recipe.model_dump(mode="json", exclude_defaults=True)
    if stage.spread:
        data["dataset"] = recipe.dataset.learned_from()
    parts: dict[str, Any] = {}
    if "dataset.train" in stage.parts and "task" in recipe.dataset.learned_from():
        parts["dataset"] = recipe.dataset.learned_from()
    for part in stage.parts:
        value: Any = data
        for key in part.split("."):
            value = value.get(key, {})
        if isinstance(value, dict):
            value = {key: inner for key, inner in value.items() if key not in IRRELEVANT.get(part, ())}
        parts[part] = value
    return parts
