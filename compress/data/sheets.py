"""Which column of a person's file is what: the columns that it has, and a guess by their names and what they hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from compress.data import glue
from compress.data.intake import Intake
from compress.data.tables import ANY, read_rows, read_text, suffix_of
from zoo.errors import UserError

SAMPLE = 100  # rows by which columns are told apart
NUMBERS = ("id", "idx")  # of rows, which nothing is learned from
Held = Mapping[str, Sequence[Any]]  # by a column's name what its first rows hold


def _never(_values: Sequence[Any]) -> float:
    return 0.0


def _always(_values: Sequence[Any]) -> bool:
    return True


@dataclass(frozen=True)
class Role:
    """Something that a row of a task holds, for which a file has a column.

    Attributes:
        name: as `zoo.tasks.Task.named` has it.
        others: what else people call it, likely names first.
        fits: how well a column serves by what it holds, where no name tells; 0 for not at all.
        optional: a file may have no column for it.
        is_last: of columns that serve equally well the last is taken, else the first.
        several: several columns may hold it together.
        takes: whether what a column holds can be it at all, whatever the column is called.
    """

    name: str
    others: Sequence[str] = ()
    fits: Callable[[Sequence[Any]], float] = _never
    optional: bool = False
    is_last: bool = False
    several: bool = False
    takes: Callable[[Sequence[Any]], bool] = _always


@dataclass(frozen=True)
class Sheet:
    """A file that has columns to tell apart.

    Attributes:
        keys: how to show each column, by what a mapping calls it.
        roles: what a row of the task holds.
        guess: the file's columns by the roles' names, as far as they are guessed.
    """

    keys: dict[str, str]
    roles: Sequence[Role]
    guess: dict[str, str]


def of_table(path: Path, roles_of: Callable[[Held], Sequence[Role]]) -> Sheet | None:
    """The columns of CSV, TSV, JSON or JSON Lines; None where the file has none to tell apart.

    Args:
        path: of the file.
        roles_of: what a row holds, by what the columns do; nothing where the file is of no rows.
    """
    held = _held(path)
    roles = roles_of(held) if held else ()
    return Sheet({key: key for key in held}, roles, guessed(held, roles)) if roles else None


def guessed(held: Held, roles: Sequence[Role]) -> dict[str, str]:
    """Columns by the names of roles: by what they are called, then by what they hold."""
    free = {key.lower(): key for key in held if key.lower() not in NUMBERS}
    chosen = dict[str, str]()
    for names in ([role.name] for role in roles), ([*role.others] for role in roles):
        for role, known in zip(roles, names, strict=True):
            column = next((free[name] for name in known if name in free and role.takes(held[free[name]])), None)
            if column and role.name not in chosen:
                chosen[role.name] = free.pop(column.lower())
    for role in roles:
        rest = {key: role.fits(held[key]) for key in (reversed([*free.values()]) if role.is_last else free.values())}
        best = max(rest, key=lambda key: rest[key], default=None)
        if role.name not in chosen and best is not None and rest[best] > 0:
            chosen[role.name] = free.pop(best.lower())
    return {role.name: chosen[role.name] for role in roles if role.name in chosen}


def _held(path: Path) -> Held:
    """The first rows of a table, by column; nothing where it has not a table's shape."""
    intake = Intake(path.name, skip=True)
    try:
        rows = [row.value for row in islice(read_rows(read_text(path, intake), suffix_of(path), ANY, intake), SAMPLE)]
    except UserError:
        return {}
    objects = [row for row in rows if isinstance(row, dict)]
    keys = list(dict.fromkeys(str(key) for row in objects for key in row))
    if glue.is_bare(keys, ("sentence", "label")):
        return {}
    return {key: [row.get(key) for row in objects] for key in keys if key.strip()}
