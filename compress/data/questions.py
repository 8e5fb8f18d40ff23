"""Rows of questions, flat or in SQuAD's articles and paragraphs -> examples, or what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from compress.data.answers import answers_of
from compress.data.examples import Example
from compress.data.intake import Intake
from compress.data.places import Place, Spot
from compress.data.sheets import Held, Role
from compress.data.tables import Columns, Row, text_of
from zoo.errors import UserError

NEEDED = (
    "Every question needs `question`, `context` and `answer`; `answer_start`, `id` and `title` may stand beside. In "
    "SQuAD format the passages have them: data, paragraphs, context and qas."
)
COLUMNS = Columns(("question", "context", "answer"), {"context": ("passage", "paragraph")}, NEEDED)
ROLES = (Role("question"), Role("context", COLUMNS.others["context"]), Role("answer", optional=True))
HOLDERS = {
    "data": "version",
    "paragraphs": "title",
    "qas": "context",
}  # a list of what, and what its holder says of all of it


def examples(rows: Iterable[Row], intake: Intake) -> Iterator[Example]:
    """Questions of the rows of a table or of a JSON file, in their order.

    Args:
        rows: of `compress.data.tables.read_rows`: questions, paragraphs with `qas`, or articles with `paragraphs`.
        intake: hears what was mended; with `skip`, what is wrong is left out.

    Raises:
        UserError: what is wrong with a question; the message names the line.
    """
    return intake.each(_flat(rows, intake), lambda row: example(row, intake))


def roles(held: Held) -> Sequence[Role]:
    """What a row holds; nothing where rows are articles or paragraphs, or say their answers in the format of SQuAD."""
    return () if any(key in held for key in (*HOLDERS, "answers")) else ROLES


def example(row: Row, intake: Intake) -> Example:
    """The question of a flat row.

    Raises:
        UserError: it has no question or no passage, or its answer does not stand there.
    """
    value, place = row.value, row.place
    question, context = (text_of(value, key, place, NEEDED, intake.complete) for key in ("question", "context"))
    if not context.strip():
        raise UserError(f"{place}: there is no text under “context”. {NEEDED}")
    answers = answers_of(value, context, place, NEEDED, intake)
    title, key = value.get("title"), value.get("id")
    name = str(key).strip() if isinstance(key, str | int) and str(key).strip() else f"q{row.number}"
    return Example(name, question, context, answers, title.strip() if isinstance(title, str) else "", not answers)


def _flat(rows: Iterable[Row], intake: Intake) -> Iterator[Row]:
    """The questions of articles and paragraphs, numbered over the whole file; rows of a table as they are."""
    number = 0
    for row in rows:
        for one in _inside(row.value, row.place, {}, intake):
            number += 1
            if one.value is row.value:
                yield row
            else:
                yield Row(number, one.place.inside(what=f"question {number}"), one.value)


def _inside(value: Any, place: Place | Spot, common: dict[str, Any], intake: Intake) -> Iterator[Row]:
    """What an article, a paragraph or a question holds."""
    is_holder = isinstance(value, dict) and "question" not in value
    key = next((key for key in HOLDERS if is_holder and key in value), None)
    if key is None:
        yield Row(0, place, {**common, **value} if common and isinstance(value, dict) else value)
        return
    items = value[key]
    if not isinstance(items, list):
        intake.fault(UserError(f"{place}: there is no list “{key}” here. {NEEDED}"))
        return
    common = {**common, **{name: value[name] for name in HOLDERS.values() if name in value}}
    for step, item in enumerate(items):
        yield from _inside(item, place.inside(key, step, what=""), common, intake)
