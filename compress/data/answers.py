"""The answers of a question, as people write them, and where they stand in its passage."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from compress.data.intake import Intake
from compress.data.places import Place, Spot
from compress.data.tables import is_nan
from zoo.errors import UserError

Answer = tuple[Any, Any]  # its text, and where it is said to begin
FARTHEST = 2**31  # no text is longer
FLAGS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False, "": None}
LABELLED = ("answers", "answer")
TWICE = "answers without answer_start stand more than once in their passage: the first place was taken"
ALIKE = "answers differed from their passage in outer blanks or in capitals: they were read as they stand there"
BYTES = "answers had answer_start counted in bytes: it was counted anew in characters"
UNITS = "answers had answer_start counted in UTF-16 units: it was counted anew in characters"
MARKED = "questions are marked is_impossible and have answers: they were read as questions without one"
PLAUSIBLE = "questions have plausible_answers alone: they were read as questions without an answer"


def answers_of(row: dict[str, Any], context: str, place: Place | Spot, needed: str, intake: Intake) -> list[Any]:
    """A question's answers as `{"text", "answer_start"}`; none where the passage has none.

    Args:
        row: with `answers` or `answer`, and perhaps `is_impossible`.
        context: the passage.
        place: begins what is said about it.
        needed: ends it.
        intake: hears what was mended.

    Raises:
        UserError: there is no answer and nothing says so, or one that does not stand in the passage.
    """
    impossible, answers = _flag(row.get("is_impossible"), place), _pairs(row, place, needed)
    if answers is None:
        if "plausible_answers" in row:
            intake.repairs[PLAUSIBLE] += 1
        elif not impossible:
            raise UserError(f"{place}: there is no “answer”; leave it empty where the passage has none. {needed}")
        return []
    if impossible:
        if any(isinstance(text, str) and text.strip() for text, _ in answers):
            intake.repairs[MARKED] += 1
        return []
    if impossible is False and not answers:
        raise UserError(f"{place}: is_impossible is false, but there is no answer. Write the answer, or true.")
    return [_located(text, start, context, place, intake) for text, start in answers]


def _flag(value: object, place: Place | Spot) -> bool | None:
    """What `is_impossible` says, which tables write as text; None where it says nothing."""
    if value is None or is_nan(value):
        return None
    key = str(value).strip().casefold()
    if key not in FLAGS:
        raise UserError(f"{place}: is_impossible is {str(value)[:40]!r}. Write true or false.")
    return FLAGS[key]


def _pairs(row: dict[str, Any], place: Place | Spot, needed: str) -> list[Answer] | None:
    """Text and start of each answer; none where the question has none, None where nothing tells."""
    key = next((key for key in LABELLED if key in row), None)
    answers = row[key] if key else None
    if is_nan(answers):
        raise UserError(f"{place}: “{key}” is NaN, as pandas writes what is missing. Leave it empty for “no answer”.")
    if answers is None or answers == "":
        return [] if key else None
    if isinstance(answers, str):
        return [(answers, row.get("answer_start"))]
    if isinstance(answers, dict) and isinstance(answers.get("text"), list):  # as Hub data sets hold them
        texts: list[Any] = answers["text"]
        starts = answers.get("answer_start") or [None] * len(texts)
        if not isinstance(starts, list) or len(starts) != len(texts):
            raise UserError(f"{place}: “answers” has not one answer_start for each text.")
        return list(zip(texts, starts, strict=True))
    if isinstance(answers, dict):
        answers = [answers]
    if not isinstance(answers, list):
        raise UserError(f"{place}: “answers” is neither text nor a list. {needed}")
    return [(a.get("text"), a.get("answer_start")) if isinstance(a, dict) else (a, None) for a in answers]


def _located(text: object, start: object, context: str, place: Place | Spot, intake: Intake) -> dict[str, Any]:
    """An answer at its place, exactly as it stands in the passage."""
    if not isinstance(text, str) or not text.strip():
        raise UserError(
            f"{place}: an answer has no text. Write the answer, or where the passage has none an empty list of "
            "answers and is_impossible."
        )
    if start is None or start == "" or is_nan(start):
        at = context.find(text)
        if at < 0:
            return _alike(re.compile(re.escape(text.strip()), re.IGNORECASE).search(context), text, place, intake)
        if context.find(text, at + 1) >= 0:
            intake.repairs[TWICE] += 1
        return {"text": text, "answer_start": at}
    at = _number(start)
    if at is not None and context.startswith(text, at):
        return {"text": text, "answer_start": at}
    if at is not None and not context.isascii():
        for count, what in COUNTS:
            here = count(context, at)
            if here is not None and context.startswith(text, here):
                intake.repairs[what] += 1
                return {"text": text, "answer_start": here}
    if at is not None:
        pattern = re.compile(re.escape(text.strip()), re.IGNORECASE)
        leading = len(text) - len(text.lstrip())
        blanks = len(context) - at - len(context[at:].lstrip())
        for begin in (at, at + leading, at + blanks):
            if match := pattern.match(context, begin):
                return _alike(match, text, place, intake)
    where = context.find(text)
    hint = f"It stands at {where}: correct answer_start" if where >= 0 else "Copy it from the passage"
    raise UserError(
        f"{place}: the answer “{text[:60]}” does not stand at character {start} of the passage. {hint}, or leave "
        "answer_start out where it is not known."
    )


def _alike(match: re.Match[str] | None, text: str, place: Place | Spot, intake: Intake) -> dict[str, Any]:
    """What stands in the passage for an answer that differs in outer blanks or in capitals."""
    if match is None:
        raise UserError(f"{place}: the answer “{text[:60]}” does not stand in the passage. Copy it from there.")
    intake.repairs[ALIKE] += 1
    return {"text": match.group(), "answer_start": match.start()}


def _number(start: object) -> int | None:
    """A place in a text, which pandas writes as 10.0; None for what is none."""
    if isinstance(start, bool) or not isinstance(start, int | float | str):
        return None
    try:
        number = float(start)
        return int(number) if 0 <= number <= FARTHEST and number.is_integer() else None
    except (ValueError, OverflowError):
        return None


def _of_encoding(encoding: str, size: int) -> Callable[[str, int], int | None]:
    """Turns a number of code units of an encoding into one of characters; None in the middle of a character."""

    def count(context: str, at: int) -> int | None:
        try:
            return len(context.encode(encoding)[: at * size].decode(encoding))
        except UnicodeError:
            return None

    return count


COUNTS: Sequence[tuple[Callable[[str, int], int | None], str]] = (
    (_of_encoding("utf-8", 1), BYTES),
    (_of_encoding("utf-16-le", 2), UNITS),
)
