"""Words with labels in lines: CoNLL's columns with or without names, and tables with a word or a sentence a row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import islice
from typing import NamedTuple

from compress.data.cells import items
from compress.data.examples import TaggedExample
from compress.data.intake import Intake
from compress.data.places import Spot
from compress.data.tables import records
from compress.data.tags import (
    DOCUMENT,
    NEEDED,
    SENTENCE,
    SENTENCES,
    TAG,
    TAGS,
    WORD,
    WORDS,
    Reader,
    are_tags,
    is_tag,
)  # fmt: skip
from zoo.errors import UserError

SAMPLE = 1000  # lines by which the columns are told apart
KNOWN = {
    TAG: (TAG, *TAGS),
    WORD: (WORD, *WORDS, SENTENCE, "text"),  # the last two where a row holds a sentence
    SENTENCE: (*SENTENCES, SENTENCE),
}


class Line(NamedTuple):
    """A line of the file, or a record of its table: its number, and its cells, none between sentences."""

    number: int
    cells: list[str]


class Lines:
    """A file of words with labels.

    Args:
        text: of the file.
        suffix: says whether it is CSV, or has tabs or blanks between its columns.
        intake: which columns a person names, by their names or their numbers; hears what was decided.

    Attributes:
        names: of the columns, in small letters; none where the file names none.
        width: how many there are.

    Raises:
        UserError: a column that a person names is not there.
    """

    def __init__(self, text: str, suffix: str, intake: Intake):
        self._text, self._suffix, self._intake = text, suffix, intake
        self._between = "\t" if "\t" in text else None
        trial = replace(intake, skip=True, repairs=Counter(), notes=[])  # what is wrong is told when all is read
        first = [line.cells for line in islice(filter(_is_word, self._all(trial)), SAMPLE)]
        self.width = len(first[0]) if first else 0
        head = [cell.lower() for cell in first[0]] if first else []
        self.names = head if head and self._are_names(head, first) else []
        self._sample = first[1:] if self.names else first

    @cached_property
    def places(self) -> dict[str, int]:
        """Places of words, of labels and perhaps of what changes with a sentence, by our names of these columns."""
        said = {ours: self._place(theirs) for ours, theirs in self._intake.columns.items() if theirs}
        places = self._guess(said)
        for ours, place in places.items():
            other = next(name for name in places if places[name] == place)
            if other != ours and self.width > 1:
                raise UserError(
                    f"{self._intake.name}: `{other}` and `{ours}` are one column, “{self.key(place)}”: name another "
                    "for one of them."
                )
        return places

    def key(self, place: int) -> str:
        """What a person names a column by: its name, or its number where it has none or shares it with one before."""
        name = self.names[place] if self.names else ""
        return name if name and self.names.index(name) == place else str(place + 1)

    @property
    def keys(self) -> dict[str, str]:
        """How to show each column, by its name, or by its number with the first of what it holds."""
        keys = [self.key(i) for i in range(self.width)]
        held = [", ".join(cells[i] for cells in self._sample[:3] if i < len(cells)) for i in range(self.width)]
        return {key: key if key in self.names else f"{key} ({words})" for key, words in zip(keys, held, strict=True)}

    def sentences(self, read: Reader) -> Iterator[TaggedExample]:
        """The sentences; of one with a wrong line nothing is left where wrong lines are left out."""
        if self.names and self._suffix != ".csv":
            self._intake.note(f"The first line was read as the names of columns: {', '.join(self.names)}.")
        wide = any(len(tags) > 1 and len(tags) == len(words) for words, tags in map(self._items, self._sample))
        for group in self._groups(wide):
            words, tags, wrong = list[str](), list[str](), False
            for line in group:
                try:
                    more = self._pair(line, read, wide)
                except UserError as error:
                    wrong = True
                    self._intake.fault(error)
                else:
                    words.extend(more[0])
                    tags.extend(more[1])
            first = group[0].number
            if wrong:
                continue
            try:
                example = read.example(str(first), list(words), tags, self._spot(first))
            except UserError as error:
                self._intake.fault(error)
            else:
                yield from [example] if example else []

    def _pair(self, line: Line, read: Reader, wide: bool) -> tuple[list[str], list[str]]:
        """What a line holds: a word and its label, or those of a sentence."""
        cells, place = line.cells, self._spot(line.number)
        if len(cells) != self.width or self.width < 2:
            columns = f"{len(cells)} column{'s' * (len(cells) != 1)} here"
            columns += f", {self.width} in the first line" * (len(cells) != self.width)
            raise UserError(f"{place}: {columns}. {NEEDED}")
        words, tags = self._items(cells) if wide else ([cells[self.places[name]]] for name in (WORD, TAG))
        return words, [read.tag(tag, place) for tag in tags]

    def _items(self, cells: Sequence[str]) -> tuple[list[str], list[str]]:
        words, tags = (items(cells[at]) if at < len(cells) else [] for at in (self.places[WORD], self.places[TAG]))
        return words, tags

    def _groups(self, wide: bool) -> Iterator[list[Line]]:
        """The lines of each sentence: to an empty line, to the next document, or to where its name changes."""
        group, name = list[Line](), ""
        of_name = self.places.get(SENTENCE)
        for line in self._body():
            if not line.cells or line.cells[0] == DOCUMENT:
                if group:
                    yield group
                group = []
                continue
            if line.cells[0].startswith("#") and not group and len(line.cells) != self.width:
                continue  # a comment, as in Universal Dependencies
            now = line.cells[of_name] if of_name is not None and of_name < len(line.cells) else ""
            if group and (wide or (now and now != name)):
                yield group
                group = []
            name = now or name
            group.append(line)
        if group:
            yield group

    def _body(self) -> Iterator[Line]:
        """All lines but the one that names the columns."""
        skipped = not self.names
        for line in self._all(self._intake):
            if not skipped and _is_word(line):
                skipped = True
            else:
                yield line

    def _all(self, intake: Intake) -> Iterator[Line]:
        if self._suffix == ".csv":
            for number, cells in records(self._text, self._suffix, intake):
                stripped = [cell.strip("\ufeff ") for cell in cells]
                yield Line(number, stripped if any(stripped) else [])
            return
        for number, line in enumerate(self._text.split("\n"), 1):
            yield Line(number, self._cells(line))

    def _cells(self, line: str) -> list[str]:
        line = line.strip("\r\n\ufeff ")
        if not line.strip():
            return []
        if self._between and self._between in line:
            return [cell.strip() for cell in line.split(self._between)]
        return line.split()

    def _are_names(self, head: list[str], first: list[list[str]]) -> bool:
        """Whether the first line names the columns: it has names that people use, or that this person says; or labels
        stand below something that is none."""
        said = [theirs.lower() for theirs in self._intake.columns.values()]
        if any(name in head and not name.isdecimal() for name in said):
            return True
        if all(any(name in head for name in names) for names in ((WORD, *WORDS), (TAG, *TAGS))):
            return True
        below = [[cells[i] for cells in first[1:] if i < len(cells)] for i in range(len(head))]
        tags = [i for i, values in enumerate(below) if are_tags(values)]
        if tags:
            return not any(is_tag(first[0][i]) for i in tags)
        return self._suffix == ".csv" and not any(is_tag(cell) or cell.isdecimal() for cell in first[0])

    def _guess(self, said: dict[str, int]) -> dict[str, int]:
        """By their names; else first the word and last its label, but where labels stand first.

        Args:
            said: what a person names, which is no other's place.
        """
        found = dict(said)
        for ours, known in KNOWN.items():
            if ours in said or (ours == SENTENCE and SENTENCE in self._intake.columns):
                continue
            places = [self.names.index(name) for name in known if name in self.names]
            if free := [place for place in places if place not in found.values()]:
                found[ours] = free[0]
        columns = [[cells[i] for cells in self._sample if i < len(cells)] for i in range(self.width)]
        turned = self.width > 1 and are_tags(columns[0]) and not are_tags(columns[-1])
        rest = [i for i in range(self.width) if i not in found.values()] or [0]
        tag = found.setdefault(TAG, rest[0] if turned else rest[-1])
        found.setdefault(WORD, next((i for i in rest if i != tag), 0))
        return found

    def _place(self, theirs: str) -> int:
        name = theirs.strip().lower()
        if name in self.names:
            return self.names.index(name)
        if name.isdecimal() and 0 < int(name) <= max(1, self.width):
            return int(name) - 1
        if self.names or name.isdecimal():
            columns = ", ".join(self.names) or f"1 to {self.width}"
            raise UserError(f"{self._intake.name} has no column “{theirs[:40]}”: its columns are {columns}.")
        raise UserError(
            f"{self._intake.name} has columns without names: say by dataset.columns which number they have, as "
            f"{{{WORD}: '1', {TAG}: '4'}}."
        )

    def _spot(self, number: int) -> Spot:
        return Spot(f"{self._intake.name}, line {number}")


def _is_word(line: Line) -> bool:
    return bool(line.cells) and not line.cells[0].startswith(("#", DOCUMENT))
