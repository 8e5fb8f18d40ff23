"""People's own data: a file of questions, or of texts or words with labels -> parts to learn from, to choose by and to
report on, as recipes read them, or the line that is wrong."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from compress.data import own_texts, pairs, queries, tables, tagged, texts
from compress.data.examples import Example, QueryExample, TaggedExample, TextExample
from compress.data.intake import Intake
from compress.data.questions import NEEDED, roles
from compress.data.sheets import Sheet, of_table
from compress.data.squad import from_file, load_squad
from compress.data.tags import NEEDED as NEEDED_OF_WORDS
from zoo.errors import UserError
from zoo.files import sha256, write_json, write_text
from zoo.settings import get_settings
from zoo.tasks import EMBEDDINGS, QUESTIONS, RANKING, TEXTS, TOKENS, Task, find_task

MAX_BYTES, MAX_EXAMPLES = 50_000_000, 200_000
PARTS = {"train": 0.8, "validation": 0.1, "evaluation": 0.1}
GUIDE = "significance_weight"  # of the answer, which texts have not
OF_QUESTIONS = ("titles", "validation_titles", "evaluation_titles")
One = TypeVar("One", Example, TextExample, TaggedExample, QueryExample)


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
        labels, columns: of the task, as they were read.
    """

    name: str
    task: str
    examples: int
    distinct: int
    impossible: int
    parts: dict[str, Path]
    notices: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list[str])
    columns: list[str] = field(default_factory=list[str])

    @property
    def more(self) -> dict[str, Any]:
        """Further keys of a recipe's data: of an open task its labels, and that texts come in pairs."""
        if not find_task(self.task).is_open:
            return {}
        pair = {own_texts.SECOND: own_texts.SECOND} if own_texts.SECOND in self.columns else {}
        return {"labels": self.labels or None, "columns": pair}

    @property
    def told(self) -> str:
        """What it holds, in a sentence."""
        task = find_task(self.task)
        by = _form_of(task).unit
        if task.type.has_articles:
            what = f"{self.examples:,} questions about {self.distinct:,} passages"
            what += f", {self.impossible:,} of them without an answer" if self.impossible else ""
        else:
            what = f"{self.examples:,} {task.noun} for {task.title}, {self.distinct:,} of them different"
        return f"{what}: split by {by} into parts to learn from, to choose by and to report on."


def folder(owner: str = "") -> Path:
    """Where uploaded data are kept; on a Space those of each person apart, whose name may be any text."""
    root, settings = get_settings().home / "uploads", get_settings()
    return root / f"of-{hashlib.sha256(owner.encode()).hexdigest()[:16]}" if settings.on_space else root


def wanted(task: str) -> str:
    """What a file for a task has to hold, in a few sentences."""
    about = find_task(task)
    form = _form_of(about)
    return f"{about.title}: {', '.join(dict.fromkeys(form.kinds.values()))}. {form.wanted(about)}"


def sheet(path: str | Path, task: str) -> Sheet | None:
    """The columns of a file, and which is guessed to be what; None where it has none to tell apart.

    Raises:
        UserError: the file is too large, or of no known kind.
    """
    about = find_task(task)
    form, _ = _form_for(Path(path), Path(path).name, about)
    return form.sheet(about, Path(path))


def accept(
    path: str | Path,
    name: str = "",
    task: str = "squad",
    skip: bool = False,
    columns: Mapping[str, str] | None = None,
    values: Mapping[str, str] | None = None,
    owner: str = "",
) -> Upload:
    """Reads a file of questions or texts, checks every line of it, and stores it in parts that share none.

    Args:
        path: the file; its ending, or that of `name`, says what it is.
        name: what the person calls it.
        task: of `zoo.tasks`; says which columns and labels there are.
        skip: lines that are wrong are left out and counted; else the first of them is an error.
        columns: what the file calls a column, by our name of it, empty where it has none; others are guessed.
        values: what the file has for a label, by the label's name.
        owner: who gives it, see `folder`.

    Returns:
        What was stored; the same file again is stored once.

    Raises:
        UserError: the file is too large, of no known kind, empty, or wrong; the message names the line.
    """
    path, about = Path(path), find_task(task)
    about.refuse_unknown(columns or {})
    file = Path(name or path.name).name
    form, suffix = _form_for(path, file, about)
    intake = _paired(path, suffix, about, Intake(file, skip, columns or {}, values or {}, complete=True))
    said = [dict(intake.columns), dict(intake.values)]
    mapping = json.dumps(said, sort_keys=True) if any(said) else ""
    digest = hashlib.sha256((sha256(path) + mapping).encode()).hexdigest()[:8] if mapping else sha256(path)[:8]
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", Path(file).stem).strip("-")[:40] or "own"
    place = folder(owner) / (f"{stem}-{digest}" if form.shared else f"{stem}-{about.name}-{digest}")
    return form.store(path, suffix, about, place, intake)


def _store_questions(path: Path, suffix: str, task: Task, place: Path, intake: Intake) -> Upload:
    examples = list(_bounded(from_file(path, intake, suffix), intake.name))
    if not examples:
        raise intake.nothing(f"{intake.name} holds no questions. {NEEDED}")
    cut, distinct = divide(examples, _passage, "These questions are about {} passages")
    parts = {role: place / f"{role}.json" for role in cut}
    for role, chosen in cut.items():
        write_json(parts[role], to_squad(chosen))
        load_squad(parts[role])  # what is stored is read as the recipes will read it
    impossible = sum(e.impossible for e in examples)
    return Upload(place.name, task.name, len(examples), distinct, impossible, parts, intake.sentences)


def _store_texts(path: Path, suffix: str, task: Task, place: Path, intake: Intake) -> Upload:
    if task.is_open:
        task = texts.settled_by_file(task, path, intake, suffix)
    examples = list(_bounded(texts.from_file(task, path, intake, suffix), intake.name))
    if not examples:
        raise intake.nothing(f"{intake.name} holds no texts. {own_texts.wanted(task)}")
    cut, distinct = divide(examples, own_texts.identity, "These are {} different texts")
    parts = {role: place / f"{role}.jsonl" for role in cut}
    for role, chosen in cut.items():
        write_text(parts[role], own_texts.to_lines(task, chosen))
        texts.load_texts(task, parts[role])
    remarks = own_texts.remarks(task, examples)
    notices = [*intake.sentences, *remarks]
    return Upload(
        place.name, task.name, len(examples), distinct, 0, parts, notices, list(task.labels), list(task.columns)
    )


def _paired(path: Path, suffix: str, task: Task, intake: Intake) -> Intake:
    """The intake with the column of second texts that is guessed, as in the page, where nobody has said."""
    may_be = own_texts.SECOND in task.more and own_texts.SECOND not in intake.columns
    if not may_be or tables.suffix_of(path) != suffix:
        return intake
    sheet = of_table(path, lambda _held: own_texts.roles(task))
    column = sheet.guess.get(own_texts.SECOND) if sheet else None
    if not column or column.lower() in {theirs.lower() for theirs in intake.columns.values()}:
        return intake
    paired = replace(intake, columns={**intake.columns, own_texts.SECOND: column})
    paired.note(f"“{column}” was read as the second text of each pair: `--column second=` reads single texts.")
    return paired


def _store_sentences(path: Path, suffix: str, task: Task, place: Path, intake: Intake) -> Upload:
    examples = list(_bounded(tagged.from_file(task, path, intake, suffix), intake.name))
    if not examples:
        raise intake.nothing(f"{intake.name} holds no sentences. {NEEDED_OF_WORDS}")
    labels = list(task.labels) or tagged.labels_in(examples)
    if len(labels) < 2:
        raise UserError(f"{intake.name}: all words have the one label {labels[0]}. There is nothing to tell apart.")
    cut, distinct = divide(examples, tagged.identity, "These are {} different sentences")
    parts = {role: place / f"{role}.jsonl" for role in cut}
    for role, chosen in cut.items():
        write_text(parts[role], tagged.to_lines(chosen))
        tagged.load_sentences(task.with_labels(labels), parts[role])
    notices = [*intake.sentences, *tagged.remarks(examples)]
    return Upload(place.name, task.name, len(examples), distinct, 0, parts, notices, labels, list(task.columns))


def _store_pairs(path: Path, suffix: str, task: Task, place: Path, intake: Intake) -> Upload:
    examples = list(_bounded(pairs.from_file(task, path, intake, suffix), intake.name))
    if not examples:
        raise intake.nothing(f"{intake.name} holds no texts. {own_texts.wanted(task)}")
    cut, distinct = divide(examples, own_texts.identity, "These are {} different texts or pairs")
    parts = {role: place / f"{role}.jsonl" for role in cut}
    for role, chosen in cut.items():
        write_text(parts[role], own_texts.to_lines(task, chosen))
        pairs.load_pairs(task, str(parts[role]), role, Intake())
    return Upload(place.name, task.name, len(examples), distinct, 0, parts, intake.sentences)


def _store_queries(path: Path, suffix: str, task: Task, place: Path, intake: Intake) -> Upload:
    examples = list(_bounded(queries.from_file(path, intake, suffix), intake.name))
    group = queries.groups(examples)
    cut, distinct = divide(examples, lambda e: group[e.id], "These queries are about {} passages")
    parts = {role: place / f"{role}.jsonl" for role in cut}
    for role, chosen in cut.items():
        write_text(parts[role], queries.to_lines(chosen))
        queries.load_queries(str(parts[role]), role, Intake())
    return Upload(place.name, task.name, len(examples), distinct, 0, parts, intake.sentences)


@dataclass(frozen=True)
class Form:
    """What people's files for a type of task look like.

    Attributes:
        wanted: says what a file for a task has to hold.
        store: reads, checks and stores a file: its path, its ending, the task, the folder, and what hears of it.
        sheet: tells apart the columns of a file for a task; None where it has none.
        shared: what is stored serves all tasks of the type.
        kinds: what they are called, by their endings.
        unit: what is in one part alone.
    """

    wanted: Callable[[Task], str]
    store: Callable[[Path, str, Task, Path, Intake], Upload]
    sheet: Callable[[Task, Path], Sheet | None]
    shared: bool = False
    kinds: Mapping[str, str] = field(default_factory=lambda: tables.KINDS)
    unit: str = "text"


FORMS = {
    QUESTIONS.name: Form(
        lambda _task: NEEDED, _store_questions, lambda _task, path: of_table(path, roles), shared=True, unit="passage"
    ),
    TEXTS.name: Form(
        own_texts.wanted, _store_texts, lambda task, path: of_table(path, lambda _held: own_texts.roles(task))
    ),
    EMBEDDINGS.noun: Form(own_texts.wanted, _store_pairs, pairs.sheet, unit="pair"),
    **dict.fromkeys(
        (find_task("search").noun, RANKING.noun),
        Form(
            lambda _task: queries.NEEDED,
            _store_queries,
            lambda _task, path: of_table(path, queries.roles),
            unit="passage",
        ),
    ),
    TOKENS.name: Form(
        lambda _task: NEEDED_OF_WORDS,
        _store_sentences,
        lambda _task, path: tagged.sheet(path),
        kinds=tagged.KINDS,
        unit="sentence",
    ),
}


def endings() -> list[str]:
    """Of all files that are read here for some task."""
    return sorted({suffix for form in FORMS.values() for suffix in form.kinds})


def _form_of(task: Task) -> Form:
    form = FORMS.get(task.noun) or FORMS.get(task.type.name)
    if form is None:
        raise UserError(f"Files for {task.type.title} cannot be uploaded: give a data set of the Hub.")
    return form


def _form_for(path: Path, file: str, task: Task) -> tuple[Form, str]:
    """What a file for a task looks like, and its ending, before it is read: by its name and its size."""
    form, suffix = _form_of(task), tables.suffix_of(file)
    if suffix not in form.kinds:
        advice = "Spreadsheets and Parquet are saved as CSV for that." if ".csv" in form.kinds else form.wanted(task)
        raise UserError(
            f"{file}: give a file that ends in {', '.join(form.kinds)}, not {suffix or 'without an ending'}. {advice}"
        )
    if path.stat().st_size > MAX_BYTES:
        raise UserError(f"{file} is larger than {MAX_BYTES // 1_000_000} MB. Split it, or give a Hub data set.")
    return form, suffix


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
    values = {"task": upload.task, **{role: str(path) for role, path in upload.parts.items()}, **upload.more}
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
        try:
            json.dumps(vars(example), ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise UserError(f"{name}: number {count} holds half a character, a lone surrogate. Remove it.") from error
        free = example.id
        while free in ids:
            free += f"-{count}"
        ids.add(free)
        yield replace(example, id=free)


def _passage(example: Example) -> str:
    return " ".join(example.context.split())
