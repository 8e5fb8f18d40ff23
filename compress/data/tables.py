"""Tables that people bring, as CSV, TSV, JSON or JSON Lines: rows, each with the line that it begins in."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from compress.data import glue
from compress.data.decoding import decode
from compress.data.intake import Intake
from compress.data.places import Document, Place, Spot
from zoo.errors import UserError

KINDS = {
    ".json": "JSON",
    ".jsonl": "JSON Lines",
    ".csv": "CSV",
    ".tsv": "TSV",
    ".txt": "Unicode Text (tabs)",
}
WORDS = {".conll": "CoNLL", ".iob": "IOB", ".iob2": "IOB", ".bio": "IOB"}  # a word a line, which are no tables
OBJECTS = (".json", ".jsonl")
IDS = ("id", "idx")  # what rows are called by, whatever their task
MAX_FIELD, MAX_COLUMNS = 100_000, 10_000
QUOTED = re.compile(r'"(?:[^"]|"")*"')  # a cell of CSV
REREAD = 4  # times that the lines of a table with broken quotes may be read again, all in all


class Row(NamedTuple):
    """A row of a table: its number, or that of its line, its place, what it holds, and `theirs`, what the source calls
    a column, by our name of it, where it was given another."""

    number: int
    place: Place | Spot
    value: Any
    theirs: Mapping[str, str] = {}


@dataclass(frozen=True)
class Columns:
    """What a row has to hold.

    Attributes:
        names: of the columns that a table must have.
        others: by a column's name what else people call it.
        needed: ends what is said about a missing column.
    """

    names: Sequence[str]
    others: Mapping[str, Sequence[str]]
    needed: str

    def renamed(
        self, keys: Sequence[str], intake: Intake, elsewhere: Callable[[], Collection[str]] = tuple
    ) -> dict[str, str]:
        """What columns are to be called that go by another name; a column of the right name goes before others.

        Capitals make no difference, unless two columns differ by them alone.

        Args:
            keys: what the columns are called.
            intake: which of them a person names, an empty name for none; hears what was guessed.
            elsewhere: what other rows have, in small letters, where a row may lack a column.

        Raises:
            UserError: a column that a person names is nowhere.
        """
        lower = {key.lower(): key for key in keys} | {key: key for key in keys}
        many = intake.indicators
        self._refuse_twice(intake)
        one = {column: theirs for column, theirs in intake.columns.items() if column != "label" or not many}
        stated = {column: lower.get(theirs, lower.get(theirs.lower())) for column, theirs in one.items()}
        stated |= {name: lower.get(name, lower.get(name.lower())) for name in many}
        absent = [one.get(column, column) for column, key in stated.items() if key is None and one.get(column, column)]
        if absent and (set(absent) & {*many} or not {name.lower() for name in absent} <= {*elsewhere()}):
            raise UserError(f"{intake.name} has no column “{absent[0]}”: its columns are {', '.join(keys)[:300]}.")
        names = {key: f"({key})" for key in keys if key in stated}  # its name is another's now
        names |= {key: column for column, key in stated.items() if key is not None}
        for column in {*self.names, *self.others, *IDS} - {*keys, *stated}:
            if column in lower and lower[column] not in names:
                names[lower[column]] = column
        for column, others in self.others.items():
            free = (lower[key] for key in others if key in lower and lower[key] not in names)
            if column not in {*keys, *stated, *names.values()} and (other := next(free, None)):
                names[other] = column
                intake.note(f"“{other}” was read as `{column}`.")
        return names

    def rename(
        self, rows: Iterable[Row], intake: Intake, elsewhere: Callable[[], Collection[str]] = tuple
    ) -> Iterator[Row]:
        """Rows under our names for their columns, see `renamed`; what is no object stays as it is."""
        headers: dict[tuple[str, ...], dict[str, str]] = {}
        for row in rows:
            if isinstance(row.value, dict):
                keys = tuple(map(str, row.value))
                if keys not in headers:
                    headers[keys] = self.renamed(keys, intake, elsewhere)
                if names := headers[keys]:
                    value = {names.get(key, key): cell for key, cell in row.value.items()}
                    row = row._replace(value=value, theirs=_turned(names))
            yield row

    @staticmethod
    def _refuse_twice(intake: Intake) -> None:
        ours = dict[str, str]()
        for column, theirs in ((column, theirs) for column, theirs in intake.columns.items() if theirs):
            other = ours.setdefault(theirs.lower(), column)
            if other != column:
                raise UserError(f"“{theirs}” was named for both `{other}` and `{column}`: name another column for one.")


ANY = Columns((), {}, "")  # whatever a table has


def _turned(names: Mapping[str, str]) -> dict[str, str]:
    return {column: key for key, column in names.items()}


def suffix_of(path: str | Path) -> str:
    """The ending of a file's name that says what kind of table it is, in small letters."""
    return Path(path).suffix.lower()


def is_table(source: str | Path) -> bool:
    """Whether a source is a file of a kind that is read here, by its name."""
    return suffix_of(source) in {*KINDS, *WORDS}


def read_text(path: Path, intake: Intake) -> str:
    """The text of a file.

    Raises:
        UserError: it cannot be read, or is no text.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror or error}. Check the path.") from error
    return decode(raw, intake, by_lines=suffix_of(path) != ".json")


def read_rows(text: str, suffix: str, columns: Columns, intake: Intake) -> Iterator[Row]:
    """The rows of a table; lines without anything are left out.

    Args:
        text: of the file.
        suffix: of `KINDS`.
        columns: which CSV and TSV must have; the objects of JSON are given as they are, but for other names.
        intake: names the file, and hears what was decided.

    Raises:
        UserError: no JSON, no CSV, a column that is missing or stands twice, or cells too many or too few; the message
            names the line.
    """
    if suffix in WORDS:
        raise UserError(
            f"{intake.name} holds words with labels, a word a line: choose a task of token labels for it, or give "
            f"{', '.join(KINDS)}."
        )
    if suffix not in OBJECTS:
        yield from _cells(text, suffix, columns, intake)
        return
    rows = _objects(text, suffix, columns, intake)
    yield from columns.rename(rows, intake, cache(lambda: _keys(text, suffix, intake)))


def text_of(row: object, key: str, place: Place | Spot, needed: str, complete: bool = True) -> str:
    """The text under a key of a row.

    Args:
        row: what should be an object.
        key: of the text.
        place: begins what is said about it.
        needed: ends it.
        complete: the text may be neither blank nor too long.

    Raises:
        UserError: the row is no object, or there is no text, or one that is too long or cannot be stored.
    """
    if not isinstance(row, dict):
        raise UserError(f"{place}: an object is wanted here. {needed}")
    value = row.get(key)
    if is_nan(value):
        raise UserError(f"{place}: “{key}” is NaN, as pandas writes what is missing. Write the text. {needed}")
    if not isinstance(value, str) or (complete and not value.strip()):
        raise UserError(f"{place}: there is no text under “{key}”. {needed}")
    if complete and len(value) > MAX_FIELD:
        raise UserError(f"{place}: “{key}” is longer than {MAX_FIELD:,} characters. Shorten it.")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{place}: “{key}” holds half a character, a lone surrogate. Remove it.") from error
    return value


def is_nan(value: object) -> bool:
    """Whether a value is JSON's NaN, which pandas writes for what is missing."""
    return isinstance(value, float) and math.isnan(value)


def records(text: str, suffix: str, intake: Intake) -> Iterator[tuple[int, list[str]]]:
    """The records of CSV or TSV, the first of which may name columns, each with the number of its first line."""
    lines = list(io.StringIO(text))
    begin, between = _between(lines, suffix)
    _check_width(lines[begin : begin + 1], between, intake)
    return _records(lines, begin, _dialect(between, False), suffix, intake)


def _cells(text: str, suffix: str, columns: Columns, intake: Intake) -> Iterator[Row]:
    lines = list(io.StringIO(text))
    begin, between = _between(lines, suffix)
    _check_width(lines[begin : begin + 1], between, intake)
    rows = [line.rstrip("\r\n").split("\t") for line in lines[begin:] if line.strip()] if between == "\t" else []
    head = _head(rows[0]) if rows else []
    bare = glue.is_bare(head, columns.names)
    archived = bare or glue.is_own(head, map(len, rows))
    literal = _is_literal(rows)
    if literal or (archived and '"' in text):
        why = "since some of them have no second one" if literal else "as in all of GLUE's own files"
        intake.note(f"Double quotes were read as part of the text, {why}.")
    names, theirs = _names(glue.BARE, Spot(f"{intake.name}, line 1"), columns, intake) if bare else (None, {})
    for line, cells in _records(lines, begin, _dialect(between, literal or archived), suffix, intake):
        if not any(cell.strip() for cell in cells):
            continue
        if names is None:
            names, theirs = _names(cells, Spot(f"{intake.name}, line {line}"), columns, intake)
        elif archived and len(cells) < len(names):
            intake.repairs["lines of GLUE's file lack cells: they were left out, as by the Hub's version"] += 1
        elif len(cells) != len(names):
            intake.fault(
                UserError(
                    f"{intake.name}, line {line}: {len(cells)} cells under {len(names)} columns. "
                    f"Put text with {'tabs' if between == chr(9) else 'commas'} or line breaks in double quotes."
                )
            )
        else:
            yield Row(line, Spot(f"{intake.name}, line {line}"), dict(zip(names, cells, strict=True)), theirs)


def _between(lines: Sequence[str], suffix: str) -> tuple[int, str]:
    """The number of the first line to read, and what stands between cells: as Excel's `sep=;` says, or most often."""
    first = next((number for number, line in enumerate(lines) if line.strip()), 0)
    head = lines[first] if lines else ""
    delimiter = head.strip().strip('"')
    if delimiter.lower().startswith("sep=") and len(delimiter) == 5:
        return first + 1, delimiter[4]
    if head.strip("\r\n").lower() == "sep=\t":
        return first + 1, "\t"
    usual = ("\t", ",", ";") if suffix in (".tsv", ".txt") else (",", ";", "\t")
    return first, max(usual, key=head.count)


def _check_width(first: Sequence[str], between: str, intake: Intake) -> None:
    """Refuses a table whose first line has more columns than one that people make."""
    columns = max((line.count(between) + 1 for line in first), default=0)
    if columns > MAX_COLUMNS:
        raise UserError(
            f"{intake.name}, line 1: {columns:,} columns, over the limit of {MAX_COLUMNS:,}. Leave those out that "
            "are not read, or check what stands between cells."
        )


def _dialect(between: str, literal: bool) -> type[csv.Dialect]:
    """How lines are cut into cells."""

    class Cells(csv.excel):
        delimiter, strict = between, True
        quoting = csv.QUOTE_NONE if literal else csv.QUOTE_MINIMAL

    return Cells


def _is_literal(rows: Sequence[Sequence[str]]) -> bool:
    """Whether double quotes in a table with tabs are characters like all others, as in the files of GLUE.

    So it is where a cell begins with a quote that does not end it, though its line and the next have all their cells,
    and no cell has what only quoting writes: a doubled quote, a tab or a line break.

    Args:
        rows: the lines, cut at every tab; none where something else stands between cells.
    """
    literal = False
    for row, after in zip(rows, [*rows[1:], *rows[-1:]], strict=True):
        begun = [cell for cell in row if cell.startswith('"')]
        whole = [cell for cell in begun if QUOTED.fullmatch(cell)]
        if any('""' in cell[1:-1] for cell in whole):
            return False
        if len(whole) < len(begun):
            if {len(row), len(after)} != {len(rows[0])}:
                return False
            literal = True
    return literal


def _records(
    lines: Sequence[str], begin: int, dialect: type[csv.Dialect], suffix: str, intake: Intake
) -> Iterator[tuple[int, list[str]]]:
    """The records of CSV, each with the number of its first line.

    After one whose quotes are wrong, reading goes on in the line after its first: it may have swallowed others.
    """
    budget = REREAD * len(lines)
    while begin < len(lines):
        first, rest = begin, (lines[at] for at in range(begin, len(lines)))
        table = csv.reader(rest, dialect=dialect)
        try:
            for cells in table:
                yield begin + 1, cells
                begin = first + table.line_num
            return
        except csv.Error as error:
            fault = UserError(
                f"{intake.name}, line {begin + 1}: this is no {KINDS.get(suffix, 'CSV')} ({error}). Check the quotes."
            )
            budget -= first + table.line_num - begin
            if budget < 0:
                raise UserError(f"{fault} Too many lines have wrong quotes to leave them out.") from error
            intake.fault(fault)
            begin += 1


def _head(cells: Sequence[str]) -> list[str]:
    """The cells of a table's first row, as columns are compared."""
    return [cell.strip().strip("\ufeff").lower() for cell in cells]


def _names(cells: Sequence[str], place: Spot, columns: Columns, intake: Intake) -> tuple[list[str], Mapping[str, str]]:
    """The columns of a table, by its first row, and what it calls those itself that have another name now."""
    head = _head(cells)
    renamed = columns.renamed(head, intake)
    head = [renamed.get(name, name) for name in head]
    for count, fault in ((0, "there is no column"), (2, "there is more than one column")):
        wrong = [key for key in columns.names if min(head.count(key), 2) == count]
        if wrong:
            raise UserError(f"{place}: {fault} {' or '.join(wrong)}. {columns.needed}")
    return head, _turned(renamed)


def _values(text: str, columns: Columns, intake: Intake) -> Iterator[Row]:
    """The items of a JSON list, or of the list `data` of an object, or the object itself."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":  # JSON Lines, which pandas and datasets write under this name, too
            yield from _lines(text, intake)
            return
        raise UserError(f"{intake.name}, line {error.lineno}: this is no JSON ({error.msg}).") from error
    except RecursionError as error:
        raise UserError(f"{intake.name}: this JSON is nested too deeply.") from error
    except ValueError as error:  # a number of thousands of digits
        raise UserError(f"{intake.name}: this JSON cannot be read ({error}). Correct the number.") from error
    top = Place(Document(intake.name, text))
    if isinstance(value, dict) and "data" in value:
        value, top = value["data"], top.inside("data")
        if not isinstance(value, list):
            raise UserError(f"{top}: there is no list “data” here. {columns.needed}")
    items = value if isinstance(value, list) else [value]
    for number, item in enumerate(items, 1):
        place = top.inside(number - 1, what=f"item {number}") if value is items else top
        yield Row(number, place, item)


def _objects(text: str, suffix: str, columns: Columns, intake: Intake) -> Iterator[Row]:
    return _values(text, columns, intake) if suffix == ".json" else _lines(text, intake)


def _keys(text: str, suffix: str, intake: Intake) -> set[str]:
    """What the objects of a file call their columns, in small letters, each of which some rows may lack."""
    rows = _objects(text, suffix, ANY, Intake(intake.name, skip=True))
    return {str(key).lower() for row in rows if isinstance(row.value, dict) for key in row.value}


def _lines(text: str, intake: Intake) -> Iterator[Row]:
    for number, line in enumerate(text.split("\n"), 1):
        line = line.strip("\ufeff")  # stands inside, too, where files were put together
        if line.strip():
            place = Spot(f"{intake.name}, line {number}")
            try:
                value = json.loads(line)
            except (ValueError, RecursionError) as error:
                intake.fault(UserError(f"{place}: this is no JSON ({error}). Write one object a line."))
                continue
            yield Row(number, place, value)
