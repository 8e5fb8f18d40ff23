"""Tables that people bring, as CSV, TSV or JSON Lines: rows, each with the line that it begins in."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from typing import Any

from compress.data.places import Place
from zoo.errors import UserError

KINDS = {".jsonl": "JSON Lines", ".csv": "CSV", ".tsv": "TSV"}
MAX_FIELD = 100_000


def decode(raw: bytes, name: str) -> str:
    """A file's bytes as text, without a byte order mark.

    Raises:
        UserError: no UTF-8, or a NUL; the message names the line.
    """
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise UserError(f"{name}, line {line}: this is not UTF-8 text. Save the file as UTF-8.") from error
    if "\0" in text:
        raise UserError(f"{name}, line {text[: text.index(chr(0))].count(chr(10)) + 1}: a NUL stands here. Remove it.")
    return text


def read_rows(text: str, name: str, suffix: str, columns: Sequence[str], needed: str) -> Iterator[tuple[int, Any]]:
    """The rows of a table, as (line, row); lines without anything are left out.

    Args:
        text: of the file.
        name: what people call the file.
        suffix: of `KINDS`.
        columns: which CSV and TSV must have; the objects of JSON Lines are given as they are.
        needed: ends what is said about a missing column.

    Raises:
        UserError: no JSON, no CSV, a column that is missing or stands twice, or cells too many or too few; the message
            names the line.
    """
    return _objects(text, name) if suffix == ".jsonl" else _cells(text, name, suffix, columns, needed)


def text_of(row: Any, key: str, place: str | Place, needed: str) -> str:
    """The text under a key of a row; `place` begins what is said about it.

    Raises:
        UserError: the row is no object, or there is no text, or one that is too long or cannot be stored.
    """
    if not isinstance(row, dict):
        raise UserError(f"{place}: an object is wanted here. {needed}")
    value = row.get(key)
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{place}: there is no text under “{key}”. {needed}")
    if len(value) > MAX_FIELD:
        raise UserError(f"{place}: “{key}” is longer than {MAX_FIELD:,} characters. Shorten it.")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{place}: “{key}” holds half a character, a lone surrogate. Remove it.") from error
    return value


def _cells(text: str, name: str, suffix: str, columns: Sequence[str], needed: str) -> Iterator[tuple[int, Any]]:
    first = text.partition("\n")[0]
    between = "\t" if suffix == ".tsv" else max((",", ";", "\t"), key=first.count)
    table = csv.reader(io.StringIO(text), delimiter=between, strict=True)
    head: list[str] | None = None
    begins = 1
    try:
        for cells in table:
            line, begins = begins, table.line_num + 1
            if not any(cell.strip() for cell in cells):
                continue
            if head is None:
                head = [cell.strip().lower() for cell in cells]
                for count, fault in ((0, "there is no column"), (2, "there is more than one column")):
                    wrong = [key for key in columns if min(head.count(key), 2) == count]
                    if wrong:
                        raise UserError(f"{name}, line {line}: {fault} {' or '.join(wrong)}. {needed}")
            elif len(cells) != len(head):
                raise UserError(
                    f"{name}, line {line}: {len(cells)} cells under {len(head)} columns. "
                    f"Put text with {'tabs' if between == chr(9) else 'commas'} or line breaks in double quotes."
                )
            else:
                yield line, dict(zip(head, cells, strict=True))
    except csv.Error as error:
        raise UserError(f"{name}, line {begins}: this is no {KINDS[suffix]} ({error}). Check the quotes.") from error


def _objects(text: str, name: str) -> Iterator[tuple[int, Any]]:
    for line, row in enumerate(text.split("\n"), 1):
        if row.strip():
            try:
                yield line, json.loads(row)
            except (ValueError, RecursionError) as error:
                raise UserError(f"{name}, line {line}: this is no JSON ({error}). Write one object a line.") from error
