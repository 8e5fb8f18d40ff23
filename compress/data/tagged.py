"""Sentences whose words have labels: CoNLL's columns, CSV, JSON lines of lists, or a data set of the Hub."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from compress.data import hub_sets, tags
from compress.data.cells import listed, share
from compress.data.examples import TaggedExample
from compress.data.intake import Intake
from compress.data.places import Place, Spot
from compress.data.sheets import Role, Sheet, of_table
from compress.data.tables import OBJECTS, WORDS, Columns, Row, is_table, read_rows, read_text, suffix_of
from compress.data.tags import NEEDED, TAG, WORD, Reader
from compress.data.texts import check_ids, file_in
from compress.data.word_lines import Lines
from zoo.errors import UserError
from zoo.tasks import TOKENS, Task

KINDS = {
    **WORDS,
    ".txt": "CoNLL",
    ".tsv": "CoNLL",
    ".jsonl": "JSON Lines",
    ".json": "JSON",
    ".csv": "CSV",
}  # endings of files of such sentences
COLUMNS = Columns((WORD, TAG), {WORD: tags.WORDS, TAG: tags.TAGS}, NEEDED)
ROLES = (
    Role(WORD, tags.WORDS, lambda values: share([_are_words(listed(value)) for value in values])),
    Role(TAG, tags.TAGS, lambda values: share([_are_tags(listed(value)) for value in values])),
)


def load_sentences(
    task: Task, source: str | Path | None, split: str | None = None, intake: Intake | None = None
) -> list[TaggedExample]:
    """Reads sentences with labels.

    Args:
        task: which labels tokens; one that is open takes whatever labels there are.
        source: a file in CoNLL's columns, of CSV or of JSON lines; a folder that holds `<split>.jsonl` or the like; or
            a Hub data set, see `compress.data.hub_sets.Source`. None for the task's own data set.
        split: of a folder or a Hub data set; None for the task's validation split.
        intake: names columns and labels, and hears what was left out; without one the log does.

    Raises:
        UserError: not found, no network, words and labels that do not fit each other (the message names the line), a
            label that a closed task does not have, or no sentences.
    """
    if task.type is not TOKENS:
        raise UserError(f"{task.name} is {task.type.title}: it has no sentences whose words have labels.")
    split = split or task.validation_split
    hears, intake = intake is not None, intake or Intake()
    name = str(source or task.hub)
    if not name:
        raise UserError(f"{task.title} has no data of its own: name a file or a data set of the Hub. {NEEDED}")
    intake.name = intake.name or name
    path = Path(name).expanduser()
    if path.is_dir() or path.is_file() or is_table(path) or path.is_absolute():
        path = file_in(path, task, split, KINDS) if path.is_dir() else path
        intake.name = str(path)
        examples = list(from_file(task, path, intake))
    else:
        of_hub = hub_sets.Source.parse(name)
        data = hub_sets.open_set(of_hub, of_hub.split or split, task.config)
        examples = list(_of_rows(task, COLUMNS.rename(data.rows, intake), intake, data.names))
    if not examples:
        raise intake.nothing(f"{name} ({split}) has no sentences. {NEEDED}")
    check_ids([example.id for example in examples], name)
    if not hears:
        intake.log()
    return examples


def from_file(task: Task, path: Path, intake: Intake, suffix: str | None = None) -> Iterator[TaggedExample]:
    """The sentences of a file.

    Args:
        task: which labels tokens.
        path: of the file.
        intake: names it, and hears what was mended.
        suffix: says what the file is where its own name does not.
    """
    suffix = suffix or suffix_of(path)
    text = read_text(path, intake)
    if suffix in OBJECTS:
        return _of_rows(task, read_rows(text, suffix, COLUMNS, intake), intake)
    return Lines(text, suffix, intake).sentences(Reader(task, intake))


def sheet(path: Path) -> Sheet | None:
    """The columns of a file of such sentences; None where there are none to tell apart."""
    suffix = suffix_of(path)
    if suffix in OBJECTS:
        return of_table(path, lambda _held: ROLES)
    intake = Intake(path.name, skip=True)
    try:
        lines = Lines(read_text(path, intake), suffix, intake)
    except UserError:
        return None
    keys = lines.keys
    of_sentence = [Role(tags.SENTENCE, tags.SENTENCES, optional=True)] if len(keys) > len(ROLES) else []
    roles = (*ROLES, *of_sentence)
    guess = {name: lines.key(place) for name, place in lines.places.items()}
    return Sheet(keys, roles, guess) if len(keys) > 1 else None


def labels_in(examples: Iterable[TaggedExample]) -> list[str]:
    """All labels, `O` first, then in the order of the alphabet with `B-` and `I-` of one kind together."""
    labels = {tag for example in examples for tag in example.tags}

    def order(label: str) -> tuple[bool, str, str]:
        mark, dash, kind = label.partition("-")
        return label != "O", kind if dash else label, mark

    return sorted(labels, key=order)


def identity(example: TaggedExample) -> str:
    """What makes a sentence the same as another: its words."""
    return " ".join(" ".join(example.words).split())


def remarks(examples: Sequence[TaggedExample]) -> list[str]:
    """What people may like to check of their sentences."""
    labels, several = labels_in(examples), dict[str, set[tuple[str, ...]]]()
    for example in examples:
        several.setdefault(identity(example), set()).add(example.tags)
    count = sum(len(tags) > 1 for tags in several.values())
    sentences = [f"The labels are {', '.join(labels)}."]
    return sentences + ([f"{count:,} sentences stand more than once, with different labels."] if count else [])


def to_lines(examples: Sequence[TaggedExample]) -> str:
    """Examples as JSON lines, as `load_sentences` takes them."""
    rows = ({"id": e.id, WORD: e.words, TAG: e.tags} for e in examples)
    return "".join(json.dumps(row) + "\n" for row in rows)


def _are_words(found: list[Any] | None) -> bool:
    return bool(found) and all(isinstance(one, str) and not tags.is_tag(one) for one in found or ())


def _are_tags(found: list[Any] | None) -> bool:
    return bool(found) and all(tags.is_tag(one) or isinstance(one, int) for one in found or ())


def _of_rows(
    task: Task, rows: Iterable[Row], intake: Intake, of_hub: dict[str, tuple[str, ...]] | None = None
) -> Iterator[TaggedExample]:
    theirs = intake.columns.get(TAG, TAG)
    names = next((names for key in (theirs, *COLUMNS.others[TAG], TAG) if (names := (of_hub or {}).get(key))), ())
    read = Reader(task, intake, names)

    def make(row: Row) -> TaggedExample | None:
        if not isinstance(row.value, dict):
            raise UserError(f"{row.place}: an object is wanted here. {NEEDED}")
        value: dict[str, Any] = row.value
        words, raw = (_list_of(value, key, row.place) for key in (WORD, TAG))
        labels = [read.tag(tag, row.place) for tag in raw]
        key = value.get("id")
        return read.example(str(key) if isinstance(key, str | int) else str(row.number), words, labels, row.place)

    return intake.each(rows, make)


def _list_of(value: dict[str, Any], key: str, place: Place | Spot) -> list[Any]:
    items = value.get(key)
    if not isinstance(items, list | tuple):
        raise UserError(f"{place}: there is no list “{key}” here. {NEEDED}")
    return list(items)
