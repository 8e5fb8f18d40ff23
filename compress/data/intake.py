"""How a file or a data set is read, and what became of its lines: what was mended, and what was left out."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeVar

from zoo.errors import UserError

log = logging.getLogger(__name__)
Row = TypeVar("Row")
One = TypeVar("One")


@dataclass
class Intake:
    """One reading of one source.

    Attributes:
        name: what people call the source; begins what is said about it.
        skip: lines that are wrong are left out and counted; else the first of them is an error.
        columns: what the source calls a column, by our name of it, as a person says; an empty name where it has none.
        values: what the source has for a label, by the label's name, as a person says.
        complete: every text and every label has to be there, and none is too long, as in data that people bring to
            learn from; else labels may be unknown, as in test sets.
        repairs: what was mended, and how often.
        notes: what holds for the source as a whole.
        left_out: how many lines, or questions, were wrong.
        first: what is wrong with the first of these.
    """

    name: str = ""
    skip: bool = False
    columns: Mapping[str, str] = field(default_factory=dict[str, str])
    values: Mapping[str, str] = field(default_factory=dict[str, str])
    complete: bool = False
    repairs: Counter[str] = field(default_factory=Counter[str])
    notes: list[str] = field(default_factory=list[str])
    left_out: int = 0
    first: str = ""

    @property
    def indicators(self) -> list[str]:
        """Columns of 0 and 1, one a label: `label` is mapped to all of them, with commas."""
        names = [name.strip() for name in self.columns.get("label", "").split(",")]
        return names if len(names) > 1 else []

    def fault(self, error: UserError) -> None:
        """A line is wrong: it is left out where that was asked for, else raised."""
        if not self.skip:
            raise error
        self.left_out += 1
        self.first = self.first or str(error)

    def note(self, sentence: str) -> None:
        """Says once what holds for the whole source."""
        if sentence not in self.notes:
            self.notes.append(sentence)

    def each(self, rows: Iterable[Row], make: Callable[[Row], One | None]) -> Iterator[One]:
        """What `make` makes of the rows; a row of which it makes None is left out by custom, without being wrong."""
        for row in rows:
            try:
                one = make(row)
            except UserError as error:
                self.fault(error)
            else:
                if one is not None:
                    yield one

    @property
    def sentences(self) -> list[str]:
        """All that people should hear about it."""
        counted = [f"{count:,} {what}." for what, count in self.repairs.items()]
        lost = [f"{self.left_out:,} wrong lines were left out; the first: {self.first}"] if self.left_out else []
        return [*self.notes, *counted, *lost]

    @property
    def counts(self) -> list[str]:
        """The same for a card: no text of the data, and no place on this machine."""
        counted = [f"{count:,} {what}" for what, count in self.repairs.items()]
        return [*counted, *([f"{self.left_out:,} wrong lines were left out"] if self.left_out else [])]

    def nothing(self, what: str) -> UserError:
        """The error of a source in which there is nothing to read.

        Args:
            what: is missing, and what to do, in a sentence or two.
        """
        return UserError(f"{what} {' '.join(self.sentences)}".rstrip())

    def log(self) -> None:
        """Says it in the log, once in a process, however often the source is read."""
        for sentence in self.sentences:
            _say(self.name, sentence)


@lru_cache(maxsize=1024)
def _say(name: str, sentence: str) -> None:
    log.info("%s: %s", name, sentence)
