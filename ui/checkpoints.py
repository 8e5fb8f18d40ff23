"""The checkpoints that a person can pick everywhere: what ships with the program, and what their own jobs made."""

from __future__ import annotations

import time
from pathlib import Path

from ui import people
from ui.events import Checkpoint
from zoo import catalog, library
from zoo.shelf import Row


def results(person: people.Person | None = None) -> list[Row]:
    """The results that a person may see, newest names last; of whoever's event runs now where none is given."""
    person = person or people.present()
    query = library.Query(origin="local", owner=None if person.trusted else person.name)
    return [row for row in library.listing(query).rows if row.origin == "local"]


def own(person: people.Person | None = None) -> list[Checkpoint]:
    """These results to pick: title, name and task. Two of one title are told apart by their names."""
    rows = results(person)
    titles = [row.title or row.name for row in rows]
    return [
        [f"{title} ({row.name})" if titles.count(title) > 1 else title, row.name, row.task]
        for title, row in zip(titles, rows, strict=True)
    ]


def every(person: people.Person | None = None) -> list[Checkpoint]:
    """What is bundled, then a person's own."""
    return [*([entry.title, entry.name, entry.task] for entry in catalog.bundled()), *own(person)]


def name_of(folder: Path) -> str:
    """What the result in a folder is found by; its folder's name where it is in no list."""
    here = str(folder.resolve())
    return next((row.name for row in results() if row.folder == here), folder.name)


def stamped(names: list[str]) -> str:
    """Names for another tab, and a moment, so that the same names a second time are a change too."""
    return "\n".join([str(time.time_ns()), *names])


def unstamped(text: str | None) -> list[str]:
    """The names of `stamped`."""
    return (text or "").split("\n")[1:]
