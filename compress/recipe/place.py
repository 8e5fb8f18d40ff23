"""Keys of a recipe that name a model, a file or a folder, marked by their type and found by one walk."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

from pydantic import BaseModel

from compress.data.names import HELD_OUT, OWN
from compress.data.squad import BUNDLED
from compress.data.tables import is_table
from zoo import shelf
from zoo.catalog import MODELS
from zoo.errors import UserError
from zoo.safety import is_hub_id
from zoo.settings import get_settings

M = TypeVar("M", bound=BaseModel)
Keys = tuple[str | int, ...]


class Mark(Enum):
    """What the type of a key says about it beside its values."""

    PLACE = "names a model or data: a Hub id, something bundled, or a file or folder of this machine"
    IDLE = "changes nothing of what comes out"
    OF_MODEL = "belongs to the checkpoint that the recipe names: with another one it would be wrong"


Place = Annotated[str, Mark.PLACE]
NAMED_SET = re.compile(r"(?:\w[\w.-]*/){2}\w[\w.-]*(?::[\w.-]+)?")  # a configuration of a data set on the Hub
WORDS = {"", BUNDLED, OWN, HELD_OUT}  # name data wherever a recipe runs, whatever lies there under such a name


def group_of(annotation: object) -> type[BaseModel] | None:
    """The group of keys that a field of this type holds, None where it holds a value."""
    kinds = get_args(annotation) or (annotation,)
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)


def marked(model: type[BaseModel], mark: Mark, before: str = "") -> Iterator[str]:
    """The keys of a recipe whose type bears a mark, as `group.key`."""
    for key, field in model.model_fields.items():
        if group := group_of(field.annotation):
            yield from marked(group, mark, f"{before}{key}.")
        elif _bears(field.annotation, field.metadata, mark):
            yield before + key


def places(model: type[BaseModel], data: Mapping[str, Any]) -> Iterator[tuple[Keys, str]]:
    """What a recipe's keys and values, checked or not yet, name as a `Place`: where it stands, and the name."""
    for key in marked(model, Mark.PLACE):
        keys, value = key.split("."), data
        for part in keys:
            value = value.get(part) if isinstance(value, Mapping) else None
        if isinstance(value, str):
            yield tuple(keys), value
        elif isinstance(value, list | tuple):
            yield from (((*keys, i), name) for i, name in enumerate(value) if isinstance(name, str))


def on_disk(name: str) -> Path | None:
    """The file or folder of this machine that a `Place` names, None where it names none."""
    try:
        path = Path(name).expanduser()
        return path if name not in WORDS and path.exists() else None
    # Far too long, as a configuration written out, or nobody's `~name`.
    except (OSError, RuntimeError, ValueError):
        return None


def refuse_paths(model: type[BaseModel], data: Mapping[str, Any], uploads: Path) -> None:
    """On a Space the files and folders are the host's: a recipe may name none but what its owner has uploaded.

    Args:
        model: the kind of recipe.
        data: its keys and values, checked or not yet.
        uploads: the folder of the owner's uploads.

    Raises:
        UserError: it names another.
    """
    for keys, text in places(model, data):
        if text.lstrip().startswith("{") or text in WORDS:
            continue  # a configuration, written out
        if ".." not in text and Path(text).is_absolute() and Path(text).resolve().is_relative_to(uploads.resolve()):
            continue
        name = text.partition("@")[0] if is_hub_id(text) else text
        is_set = keys[0] == "dataset" and NAMED_SET.fullmatch(name) and not is_table(name)
        is_path = re.match(r"[/~.$\\]", name) or ".." in name or name.count("/") > 1 and not is_set or "\\" in name
        if is_path or on_disk(name) or on_disk(text):
            raise UserError(
                f"“{text[:80]}” is a path of this server. Take a Hub id, a bundled model or a file that you uploaded."
            )


def absolute(recipe: M) -> M:
    """The recipe with whole paths, so that it may run in another folder than the one it was written for."""
    return _replaced(recipe, lambda name: (path := on_disk(name)) and path.resolve())


def owned(recipe: M, owner: str) -> M:
    """The recipe of a person's job with the folders of the results that it names, which on a Space nobody else finds.

    Elsewhere every result is found by its name.

    Raises:
        UserError: it names somebody else's.
    """
    if not owner or not get_settings().on_space:
        return recipe
    bundled = {path.parent.name for path in MODELS.glob("*/entry.json")}
    mine = {name for _, name in places(type(recipe), recipe.model_dump()) if Path(name).name == name} - bundled - WORDS
    folders = {name: shelf.folder_of(name, owner) for name in mine}
    if theirs := [name for name, folder in folders.items() if not folder and shelf.is_taken(name)]:
        raise UserError(f"You have no result called {theirs[0]}. Take a Hub id, a bundled model or a result of yours.")
    return _replaced(recipe, folders.get) if any(folders.values()) else recipe


def _replaced(recipe: M, find: Callable[[str], Path | None]) -> M:
    """The recipe with the paths that are found for what it names."""
    data = recipe.model_dump()
    for (*groups, last), name in list(places(type(recipe), data)):
        if path := find(name):
            here: Any = data
            for group in groups:
                here = here[group]
            here[last] = str(path)
    return type(recipe).model_validate(data)


def _bears(annotation: object, metadata: Iterable[object], mark: Mark) -> bool:
    return mark in metadata or any(_bears(arg, getattr(arg, "__metadata__", ()), mark) for arg in get_args(annotation))
