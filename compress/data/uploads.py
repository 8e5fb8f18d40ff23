"""People's own data: a file of questions, or of texts with labels -> parts to learn from, to choose by and to report
on, as recipes read them, or the line that is wrong."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from compress.data import own_texts, tables
from compress.data.places import Place, Steps
from compress.data.squad import Example, load_squad
from compress.data.tables import text_of
from compress.data.texts import TextExample, load_texts
from zoo.errors import UserError
from zoo.files import write_json, write_text
from zoo.settings import get_settings
from zoo.tasks import QUESTIONS, TEXTS, Task, find_task

MAX_BYTES, MAX_EXAMPLES = 50_000_000, 200_000
PARTS = {"train": 0.8, "validation": 0.1, "evaluation": 0.1}
KINDS = {".json": "SQuAD JSON", **tables.KINDS}
COLUMNS = ("question", "context", "answer")
NEEDED = "Every question needs `question`, `context` and `answer`; `answer_start`, `id` and `title` may stand beside."
GUIDE = "significance_weight"  # of the answer, which texts have not
OF_QUESTIONS = ("titles", "validation_titles", "evaluation_titles")
One = TypeVar("One", Example, TextExample)


@dataclass(frozen=True)
class Upload:
    """What became of a file.

    Attributes:
        name: of the folder that it is stored in.
        task: of `zoo.tasks`, for which it was read.
        examples: questions or texts.
        distinct: passages, or texts that differ.
        impossible: questions without an answer.
        parts: files by role, as `compress.data.squad.load_squad` or `compress.data.texts.load_texts` take them.
        notices: what was decided on the way, in sentences.
    """

    name: str
    task: str
    examples: int
    distinct: int
    impossible: int
    parts: dict[str, Path]
    notices: list[str] = field(default_factory=list)

    @property
    def told(self) -> str:
        """What it holds, in a sentence."""
        task = find_task(self.task)
        if task.type.has_articles:
            what, by = f"{self.examples:,} questions about {self.distinct:,} passages", "passage"
            what += f", {self.impossible:,} of them without an answer" if self.impossible else ""
        else:
            what, by = f"{self.examples:,} texts for {task.title}, {self.distinct:,} of them different", "text"
        return f"{what}: split by {by} into parts to learn from, to choose by and to report on."


def folder() -> Path:
    """Where uploaded data are kept."""
    return get_settings().home / "uploads"


def wanted(task: str) -> str:
    """What a file for a task has to hold, in a few sentences."""
    about = find_task(task)
    form = _form_of(about)
    return f"{about.title}: {', '.join(form.kinds.values())}. {form.wanted(about)}"


def accept(path: str | Path, name: str = "", task: str = "squad") -> Upload:
    """Reads a file of questions or texts, checks every line of it, and stores it in parts that share none.

    Args:
        path: the file; its ending, or that of `name`, says what it is.
        name: what the person calls it.
        task: of `zoo.tasks`; says which columns and labels there are.

    Returns:
        What was stored; the same file again is stored once.

    Raises:
        UserError: the file is too large, of no known kind, empty, or wrong; the message names the line.
    """
    path, about = Path(path), find_task(task)
    file = Path(name or path.name).name
    form, suffix = _form_of(about), Path(file).suffix.lower()
    kinds = form.kinds
    if suffix not in kinds:
        raise UserError(f"{file}: give a file that ends in {', '.join(kinds)}, not {suffix or 'without an ending'}.")
    if path.stat().st_size > MAX_BYTES:
        raise UserError(f"{file} is larger than {MAX_BYTES // 1_000_000} MB. Split it, or give a Hub data set.")
    text = tables.decode(path.read_bytes(), file)
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", Path(file).stem).strip("-")[:40] or "own"
    return form.store(text, file, suffix, about, f"{stem}-{digest}" if form.shared else f"{stem}-{about.name}-{digest}")


def _store_questions(text: str, file: str, suffix: str, task: Task, stem: str) -> Upload:
    notices: list[str] = []
    if suffix == ".json":
        read = _from_json(text, file, notices)
    else:
        rows = tables.read_rows(text, file, suffix, COLUMNS, NEEDED)
        read = (_example(row, f"{file}, line {line}", line, notices) for line, row in rows)
    examples = list(_bounded(read, file))
    if not examples:
        raise UserError(f"{file} holds no questions. {NEEDED}")
    cut, distinct = divide(examples, _passage, "These questions are about {} passages")
    parts = {role: folder() / stem / f"{role}.json" for role in cut}
    for role, chosen in cut.items():
        write_json(parts[role], to_squad(chosen))
        load_squad(parts[role])  # what is stored is read as the recipes will read it
    impossible = sum(e.impossible for e in examples)
    return Upload(stem, task.name, len(examples), distinct, impossible, parts, _count(notices))


def _store_texts(text: str, file: str, suffix: str, task: Task, stem: str) -> Upload:
    needed = own_texts.wanted(task)
    rows = tables.read_rows(text, file, suffix, (*task.columns, "label"), needed)
    read = (own_texts.example(task, row, f"{file}, line {line}", line) for line, row in rows)
    examples = list(_bounded(read, file))
    if not examples:
        raise UserError(f"{file} holds no texts. {needed}")
    cut, distinct = divide(examples, own_texts.identity, "These are {} different texts")
    parts = {role: folder() / stem / f"{role}.jsonl" for role in cut}
    for role, chosen in cut.items():
        write_text(parts[role], own_texts.to_lines(task, chosen))
        load_texts(task, parts[role])
    return Upload(stem, task.name, len(examples), distinct, 0, parts, own_texts.remarks(task, examples))


@dataclass(frozen=True)
class Form:
    """What people's files for a type of task look like.

    Attributes:
        kinds: what the endings of file names mean.
        wanted: says what a file for a task has to hold.
        store: reads, checks and stores a file: its text, its name, its ending, the task, the folder's name.
        shared: what is stored serves all tasks of the type.
    """

    kinds: Mapping[str, str]
    wanted: Callable[[Task], str]
    store: Callable[[str, str, str, Task, str], Upload]
    shared: bool = False


FORMS = {
    QUESTIONS.name: Form(KINDS, lambda _task: NEEDED, _store_questions, shared=True),
    TEXTS.name: Form(tables.KINDS, own_texts.wanted, _store_texts),
}


def _form_of(task: Task) -> Form:
    if task.type.name not in FORMS:
        raise UserError(f"Files for {task.type.title} cannot be uploaded: give a data set of the Hub.")
    return FORMS[task.type.name]


def divide(examples: Sequence[One], key: Callable[[One], str], fault: str) -> tuple[dict[str, list[One]], int]:
    """To train on, to choose by and to report on: by `key`, so that none is in two parts; the same every time.

    Args:
        examples: questions or texts.
        key: of an example, what no two parts share.
        fault: begins the error, with `{}` for how many keys there are.

    Returns:
        Examples by role, and how many keys there are.

    Raises:
        UserError: fewer than three keys.
    """
    order = sorted({key(e) for e in examples}, key=lambda text: hashlib.sha256(text.encode()).digest())
    if len(order) < len(PARTS):
        raise UserError(
            f"{fault.format(len(order))}; at least {len(PARTS)} are needed, since training, choosing and reporting may "
            "share none."
        )
    last = max(1, round(PARTS["evaluation"] * len(order)))
    middle = max(1, round(PARTS["validation"] * len(order)))
    roles = ["train"] * (len(order) - last - middle) + ["validation"] * middle + ["evaluation"] * last
    role_of = dict(zip(order, roles, strict=True))
    parts: dict[str, list[One]] = {role: [] for role in PARTS}
    for example in examples:
        parts[role_of[key(example)]].append(example)
    return parts, len(order)


def assignments(upload: Upload, base: Any) -> list[str]:
    """The stored parts as `--set` takes them, as far as a recipe has such keys.

    Args:
        upload: of `accept`.
        base: the recipe that is to be changed.
    """
    values = {"task": upload.task, **{role: str(path) for role, path in upload.parts.items()}}
    values |= {**dict.fromkeys(OF_QUESTIONS), "version_2": upload.impossible > 0}
    keys = type(base.dataset).model_fields
    changes = [f"dataset.{key}={json.dumps(value)}" for key, value in values.items() if key in keys]
    if base.dataset.type.has_spans and not find_task(upload.task).type.has_spans:
        guided = [name for name in ("finetune", "length_drop") if hasattr(getattr(base, name, None), GUIDE)]
        changes += [f"{name}.{GUIDE}=0" for name in guided]
    return changes


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


def _bounded(examples: Iterable[One], name: str) -> Iterator[One]:
    """Not too many, and no two of one id."""
    ids: set[str] = set()
    for count, example in enumerate(examples, 1):
        if count > MAX_EXAMPLES:
            raise UserError(f"{name} holds more than {MAX_EXAMPLES:,} questions or texts. Take fewer.")
        free = example.id
        while free in ids:
            free += f"-{count}"
        ids.add(free)
        yield replace(example, id=free)


def _passage(example: Example) -> str:
    return " ".join(example.context.split())


def _from_json(text: str, name: str, notices: list[str]) -> Iterator[Example]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{name}, line {error.lineno}: this is no JSON ({error.msg}).") from error
    except RecursionError as error:
        raise UserError(f"{name}: this JSON is nested too deeply.") from error
    yield from _walk(value, text, name, notices)


def _walk(value: object, text: str, name: str, notices: list[str]) -> Iterator[Example]:
    if isinstance(value, list):
        for number, row in enumerate(value, 1):
            yield _example(row, Place(name, text, (number - 1,), f"item {number}"), number, notices)
        return
    number = 0
    for i, article in enumerate(_list(value, "data", Place(name, text, ()))):
        for j, paragraph in enumerate(_list(article, "paragraphs", Place(name, text, ("data", i)))):
            here: Steps = ("data", i, "paragraphs", j)
            for k, qa in enumerate(_list(paragraph, "qas", Place(name, text, here))):
                number += 1
                row = {"context": paragraph.get("context"), "title": article.get("title"), **_object(qa)}
                yield _example(row, Place(name, text, (*here, "qas", k), f"question {number}"), number, notices)


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(holder: object, key: str, place: Place) -> list[Any]:
    value = _object(holder).get(key)
    if not isinstance(value, list):
        raise UserError(
            f"{place}: there is no list “{key}” here. SQuAD format is "
            '{"data": [{"title", "paragraphs": [{"context", "qas": [{"id", "question", "answers"}]}]}]}; '
            "a list of objects with `question`, `context` and `answer` will do too."
        )
    return value


def _example(row: Any, place: str | Place, number: int, notices: list[str]) -> Example:
    """A question from a row; `place` begins what is said about it."""
    question, context = (text_of(row, key, place, NEEDED) for key in ("question", "context"))
    answers = [_locate(a, context, place, notices) for a in _answers(row, place)]
    title, key = row.get("title"), row.get("id")
    name = str(key).strip() if isinstance(key, str | int) and str(key).strip() else f"q{number}"
    return Example(name, question, context, answers, title.strip() if isinstance(title, str) else "", not answers)


def _answers(row: dict[str, Any], place: str | Place) -> list[tuple[Any, Any]]:
    """(text, start or None) of each answer; none where the question has none."""
    answers = row.get("answers", row.get("answer"))
    if isinstance(answers, dict) and isinstance(answers.get("text"), list):  # as Hub data sets hold them
        starts = answers.get("answer_start") or [None] * len(answers["text"])
        if not isinstance(starts, list) or len(starts) != len(answers["text"]):
            raise UserError(f"{place}: “answers” has not one answer_start for each text.")
        return list(zip(answers["text"], starts, strict=True))
    if isinstance(answers, dict):
        answers = [answers]
    if answers is None or answers == "":
        if "answer" in row or "answers" in row or row.get("is_impossible") is True:
            return []
        raise UserError(f"{place}: there is no “answer”; leave it empty where the passage has none. {NEEDED}")
    if isinstance(answers, str):
        return [(answers, row.get("answer_start"))]
    if isinstance(answers, list):
        pairs: list[Any] = [
            (a.get("text"), a.get("answer_start")) if isinstance(a, dict) else (a, None) for a in answers
        ]
        return [pair for i, pair in enumerate(pairs) if pair not in pairs[:i]]
    raise UserError(f"{place}: “answers” is neither text nor a list. {NEEDED}")


def _locate(answer: tuple[Any, Any], context: str, place: str | Place, notices: list[str]) -> dict[str, Any]:
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
