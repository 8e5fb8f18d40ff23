"""People's own questions: SQuAD JSON, JSON Lines or CSV -> a SQuAD-format file, or the line that is wrong."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from compress.data import Example, load_squad
from zoo.errors import UserError
from zoo.files import write_json
from zoo.settings import get_settings

MAX_BYTES, MAX_QUESTIONS, MAX_FIELD = 50_000_000, 200_000, 100_000
PARTS = {"train": 0.8, "validation": 0.1, "evaluation": 0.1}
KINDS = {".json": "SQuAD JSON", ".jsonl": "JSON Lines", ".csv": "CSV"}
NEEDED = "Every question needs `question`, `context` and `answer`; `answer_start`, `id` and `title` may stand beside."


@dataclass(frozen=True)
class Upload:
    """What became of a file: `parts` are SQuAD-format files by role, `notices` what was decided on the way."""

    name: str
    questions: int
    passages: int
    impossible: int
    parts: dict[str, Path]
    notices: list[str] = field(default_factory=list)


def folder() -> Path:
    """Where uploaded questions are kept."""
    return get_settings().home / "uploads"


def accept(path: str | Path, name: str = "") -> Upload:
    """Reads a file of questions, checks every line of it, and stores it in parts that share no passage.

    Args:
        path: the file; its ending, or that of `name`, says what it is.
        name: what the person calls it.

    Returns:
        What was stored; the same file again is stored once.

    Raises:
        UserError: the file is too large, of no known kind, empty, or wrong; the message names the line.
    """
    path = Path(path)
    called = Path(name or path.name).name
    suffix = Path(called).suffix.lower()
    if suffix not in KINDS:
        raise UserError(f"{called}: give a file that ends in {', '.join(KINDS)}, not {suffix or 'without an ending'}.")
    if path.stat().st_size > MAX_BYTES:
        raise UserError(f"{called} is larger than {MAX_BYTES // 1_000_000} MB. Split it, or give a Hub data set.")
    text = _decode(path.read_bytes(), called)
    notices: list[str] = []
    read = {".json": _from_json, ".jsonl": _from_lines, ".csv": _from_csv}[suffix]
    examples = list(_bounded(read(text, called, notices), called))
    if not examples:
        raise UserError(f"{called} holds no questions. {NEEDED}")
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", Path(called).stem).strip("-")[:40] or "questions"
    stem = f"{stem}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    parts = {}
    for role, chosen in divide(examples).items():
        parts[role] = folder() / stem / f"{role}.json"
        write_json(parts[role], to_squad(chosen))
        load_squad(parts[role])  # what is stored is read as the recipes will read it
    passages = len({e.context for e in examples})
    return Upload(stem, len(examples), passages, sum(e.impossible for e in examples), parts, _count(notices))


def divide(examples: Sequence[Example]) -> dict[str, list[Example]]:
    """To train on, to choose by and to report on: by passage, so that none is in two parts; the same every time.

    Raises:
        UserError: fewer than three passages.
    """
    order = sorted({e.context for e in examples}, key=lambda text: hashlib.sha256(text.encode()).digest())
    if len(order) < len(PARTS):
        raise UserError(
            f"These questions are about {len(order)} passages; at least {len(PARTS)} are needed, since training, "
            "choosing and reporting may share none."
        )
    last = max(1, round(PARTS["evaluation"] * len(order)))
    middle = max(1, round(PARTS["validation"] * len(order)))
    cuts = {"train": order[: -last - middle], "validation": order[-last - middle : -last], "evaluation": order[-last:]}
    found = {}
    for role, contexts in cuts.items():
        inside = set(contexts)
        found[role] = [e for e in examples if e.context in inside]
    return found


def to_squad(examples: Sequence[Example]) -> dict[str, Any]:
    """Examples in SQuAD format, v2.0 where some have no answer."""
    articles: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for e in examples:
        row = {"id": e.id, "question": e.question, "answers": e.answers, "is_impossible": e.impossible}
        articles.setdefault(e.title, {}).setdefault(e.context, []).append(row)
    data = [
        {"title": title, "paragraphs": [{"context": context, "qas": rows} for context, rows in passages.items()]}
        for title, passages in articles.items()
    ]
    return {"version": "v2.0" if any(e.impossible for e in examples) else "1.1", "data": data}


def _decode(raw: bytes, name: str) -> str:
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise UserError(f"{name}, line {line}: this is not UTF-8 text. Save the file as UTF-8.") from error
    if "\0" in text:
        raise UserError(f"{name}, line {text[: text.index(chr(0))].count(chr(10)) + 1}: a NUL stands here. Remove it.")
    return text


def _bounded(examples: Iterator[Example], name: str) -> Iterator[Example]:
    """Not too many, and no two of one id."""
    known: set[str] = set()
    for count, example in enumerate(examples, 1):
        if count > MAX_QUESTIONS:
            raise UserError(f"{name} holds more than {MAX_QUESTIONS:,} questions. Take fewer.")
        yield replace(example, id=f"{example.id}-{count}") if example.id in known else example
        known.add(example.id)


def _from_csv(text: str, name: str, notices: list[str]) -> Iterator[Example]:
    first = text.partition("\n")[0]
    table = csv.reader(io.StringIO(text), delimiter=";" if first.count(";") > first.count(",") else ",", strict=True)
    head: list[str] | None = None
    begins = 1
    try:
        for cells in table:
            line, begins = begins, table.line_num + 1
            if not any(cell.strip() for cell in cells):
                continue
            if head is None:
                head = [cell.strip().lower() for cell in cells]
                missing = [key for key in ("question", "context", "answer") if key not in head]
                if missing:
                    raise UserError(f"{name}, line {line}: there is no column {' or '.join(missing)}. {NEEDED}")
            elif len(cells) != len(head):
                raise UserError(
                    f"{name}, line {line}: {len(cells)} cells under {len(head)} columns. "
                    "Put text with commas or line breaks in double quotes."
                )
            else:
                yield _example(dict(zip(head, cells, strict=True)), f"{name}, line {line}", line, notices)
    except csv.Error as error:
        raise UserError(f"{name}, line {begins}: this is no CSV ({error}). Check the quotes.") from error


def _from_lines(text: str, name: str, notices: list[str]) -> Iterator[Example]:
    for line, row in enumerate(text.split("\n"), 1):
        if not row.strip():
            continue
        try:
            value = json.loads(row)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{name}, line {line}: this is no JSON ({error}). Write one object a line.") from error
        yield _example(value, f"{name}, line {line}", line, notices)


def _from_json(text: str, name: str, notices: list[str]) -> Iterator[Example]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{name}, line {error.lineno}: this is no JSON ({error.msg}).") from error
    except RecursionError as error:
        raise UserError(f"{name}: this JSON is nested too deeply.") from error
    try:
        yield from _walk(value, text, name, notices)
    except UserError:
        # Slower, and only to say in which line.
        for _ in _walk(_decode_with_places(text), text, name, []):
            pass
        raise


def _walk(value: Any, text: str, name: str, notices: list[str]) -> Iterator[Example]:
    if isinstance(value, list):
        for number, row in enumerate(value, 1):
            yield _example(row, f"{name}, line {_line(text, row) or '?'} (item {number})", number, notices)
        return
    number = 0
    for article in _list(value, "data", name, text):
        for paragraph in _list(article, "paragraphs", name, text):
            for qa in _list(paragraph, "qas", name, text):
                number += 1
                line = _line(text, qa) or _line(text, paragraph) or "?"
                row = {"context": paragraph.get("context"), "title": article.get("title"), **_object(qa)}
                yield _example(row, f"{name}, line {line} (question {number})", number, notices)


class _Node(dict):
    """An object of a JSON file, and where it begins."""

    at = 0


def _decode_with_places(text: str) -> Any:
    """JSON whose objects remember where they begin."""
    from json import decoder, scanner

    def parse_object(start: tuple[str, int], *rest: Any) -> tuple[Any, int]:
        value, end = decoder.JSONObject(start, *rest)  # pyright: ignore[reportAttributeAccessIssue]
        node = _Node(value)
        node.at = start[1] - 1
        return node, end

    reader: Any = json.JSONDecoder()
    reader.parse_object = parse_object
    reader.scan_once = scanner.py_make_scanner(reader)  # pyright: ignore[reportAttributeAccessIssue]
    return reader.decode(text)


def _line(text: str, node: Any) -> int | None:
    return text.count("\n", 0, node.at) + 1 if isinstance(node, _Node) else None


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(holder: Any, key: str, name: str, text: str) -> list[Any]:
    value = _object(holder).get(key)
    if not isinstance(value, list):
        raise UserError(
            f"{name}, line {_line(text, holder) or 1}: there is no list “{key}” here. SQuAD format is "
            '{"data": [{"title", "paragraphs": [{"context", "qas": [{"id", "question", "answers"}]}]}]}; '
            "a list of objects with `question`, `context` and `answer` will do too."
        )
    return value


def _example(row: Any, place: str, number: int, notices: list[str]) -> Example:
    """A question from a row; `place` begins what is said about it."""
    if not isinstance(row, dict):
        raise UserError(f"{place}: an object is wanted here. {NEEDED}")
    question, context = (_text(row, key, place) for key in ("question", "context"))
    answers = [_locate(a, context, place, notices) for a in _answers(row, place)]
    title, key = row.get("title"), row.get("id")
    named = str(key).strip() if isinstance(key, str | int) and str(key).strip() else f"q{number}"
    return Example(named, question, context, answers, title.strip() if isinstance(title, str) else "", not answers)


def _text(row: dict[str, Any], key: str, place: str) -> str:
    value = row.get(key)
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{place}: there is no text under “{key}”. {NEEDED}")
    if len(value) > MAX_FIELD:
        raise UserError(f"{place}: “{key}” is longer than {MAX_FIELD:,} characters. Shorten it.")
    return value


def _answers(row: dict[str, Any], place: str) -> list[tuple[Any, Any]]:
    """(text, start or None) of each answer; none where the question has none."""
    found = row.get("answers", row.get("answer"))
    if isinstance(found, dict) and isinstance(found.get("text"), list):  # as Hub data sets hold them
        starts = found.get("answer_start") or [None] * len(found["text"])
        if not isinstance(starts, list) or len(starts) != len(found["text"]):
            raise UserError(f"{place}: “answers” has not one answer_start for each text.")
        return list(zip(found["text"], starts, strict=True))
    if isinstance(found, dict):
        found = [found]
    if found is None or found == "":
        if "answer" in row or "answers" in row or row.get("is_impossible") is True:
            return []
        raise UserError(f"{place}: there is no “answer”; leave it empty where the passage has none. {NEEDED}")
    if isinstance(found, str):
        return [(found, row.get("answer_start"))]
    if isinstance(found, list):
        pairs: list[Any] = [(a.get("text"), a.get("answer_start")) if isinstance(a, dict) else (a, None) for a in found]
        return [pair for i, pair in enumerate(pairs) if pair not in pairs[:i]]
    raise UserError(f"{place}: “answers” is neither text nor a list. {NEEDED}")


def _locate(answer: tuple[Any, Any], context: str, place: str, notices: list[str]) -> dict[str, Any]:
    text, start = answer
    if not isinstance(text, str) or not text:
        raise UserError(f"{place}: an answer has no text. {NEEDED}")
    if start is None or start == "":
        at = context.find(text)
        if at < 0:
            raise UserError(f"{place}: the answer “{text[:60]}” does not stand in the passage. Copy it from there.")
        if context.find(text, at + 1) >= 0:
            notices.append("without answer_start stand more than once in their passage: the first place was taken")
        return {"text": text, "answer_start": at}
    try:
        at = int(start)
    except (TypeError, ValueError):
        at = -1
    if isinstance(start, bool) or at < 0 or context[at : at + len(text)] != text:
        raise UserError(f"{place}: the answer “{text[:60]}” does not stand at character {start} of the passage.")
    return {"text": text, "answer_start": at}


def _count(notices: list[str]) -> list[str]:
    return [f"{notices.count(text):,} answers {text}." for text in dict.fromkeys(notices)]
