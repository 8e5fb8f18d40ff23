"""What a machine of the Hub needs to run a recipe: the program, the recipe, and what of this machine it names."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from compress.children import PROJECT
from compress.recipe.kind import Kind
from compress.recipe.load import dump, expanded, validate
from compress.recipe.place import on_disk, places
from zoo import shelf
from zoo.catalog import MODELS, stated
from zoo.errors import UserError
from zoo.settings import get_settings

PARCEL = "parcel.zip"
THERE = "/tmp/budget-zoo"  # where it is unpacked
LOCK = "requirements.lock"
PACKAGES, FILES = ("compress", "zoo"), (LOCK, "LICENSE")


def pack(recipe: Kind, target: Path, root: Path = PROJECT) -> list[str]:
    """Writes the parcel: `program/`, `inputs/` and `run/recipe.yaml`, in which paths are those of the other machine.

    Args:
        recipe: as it was queued.
        target: the file to write.
        root: of the program.

    Returns:
        What of this machine goes along: names of the bundled or own models, and paths.

    Raises:
        UserError: this is an installation without the files that another machine needs.
    """
    if not (root / LOCK).is_file():
        raise UserError(
            f"{root} does not hold the whole program, so the Hub's machines cannot get it. Start from a copy of its "
            "repository."
        )
    recipe = expanded(recipe)
    data: dict[str, Any] = recipe.model_dump(mode="json")
    taken: dict[str, Path] = {}
    bundled: set[str] = set()
    for (*groups, last), name in list(places(type(recipe), data)):
        if Path(name).name == name and (MODELS / name / "entry.json").is_file():
            bundled |= {name, stated(MODELS / name).get("full_precision") or name}
            continue
        if (source := _here(name)) is None:
            continue
        taken[name] = source
        here: Any = data
        for group in groups:
            here = here[group]
        here[last] = f"{THERE}/inputs/{list(taken).index(name)}/{source.name}"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as parcel:
        for path in _program(root, bundled):
            parcel.write(path, f"program/{path.relative_to(root).as_posix()}")
        for number, source in enumerate(taken.values()):
            for path in _files(source):
                parcel.write(path, f"inputs/{number}/{path.relative_to(source.parent).as_posix()}")
        parcel.writestr("run/recipe.yaml", dump(validate(data)))
    return [*sorted(bundled), *taken]


def _here(name: str) -> Path | None:
    """The file or folder of this machine that a name of a recipe stands for, None where it is the Hub's or a word."""
    if path := on_disk(name):
        return path.resolve()
    return None if get_settings().on_space else shelf.folder_of(name)


def _program(root: Path, bundled: set[str]) -> Iterator[Path]:
    """The files of the program; of the models that it ships with, those of these names alone."""
    yield from (root / name for name in FILES if (root / name).is_file())
    for package in PACKAGES:
        for path in _files(root / package):
            _, *within = path.relative_to(root).parts
            is_of_model = within[:1] == ["models"] and len(within) > 2
            if path.suffix != ".pyc" and (not is_of_model or within[1] in bundled):
                yield path


def _files(source: Path) -> Iterator[Path]:
    if source.is_file():
        yield source
        return
    for path in sorted(source.rglob("*")):
        parts = path.relative_to(source).parts
        if path.is_file() and not any(part.startswith(".") or part == "__pycache__" for part in parts):
            yield path
