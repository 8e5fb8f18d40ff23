"""Sentences whose words have labels: CoNLL's columns, JSON lines of lists, or a data set of the Hub."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from compress.data import hub_sets
from compress.data.examples import TaggedExample
from compress.data.intake import Intake
from compress.data.places import Place, Spot
from compress.data.tables import OBJECTS, WORDS, Columns, Row, is_table, read_rows, read_text, suffix_of
from compress.data.texts import check_ids, file_in
from zoo.errors import UserError
from zoo.tasks import TOKENS, Task

TABLES = (".csv",)
KINDS = {
    **WORDS,
    ".txt": "CoNLL",
    ".tsv": "CoNLL",
    ".jsonl": "JSON Lines",
    ".json": "JSON",
}  # endings of files of such sentences
WORD, TAG = "tokens", "ner_tags"
NEEDED = (
    f"A file in columns has a word a line, first the word and last its label, and an empty line after each sentence; "
    f"JSON Lines have an object a sentence, its words as the list `{WORD}` and a label for each as the list `{TAG}`."
)
COLUMNS = Columns((WORD, TAG), {WORD: ("words",), TAG: ("tags", "labels", "ner")}, NEEDED)
DOCUMENT = "-DOCSTART-"
MAX_WORDS = 20_000


class Column(NamedTuple):
    """Places of word and label among the cells of a line; None for the last one."""

    word: int
    tag: int | None


def load_sentences(
    task: Task, source: str | Path | None, split: str | None = None, intake: Intake | None = None
) -> list[TaggedExample]:
    """Reads sentences with labels.

    Args:
        task: which labels tokens; one that is open takes whatever labels there are.
        source: a file in CoNLL's columns or of JSON lines; a folder that holds `<split>.jsonl` or the like; or a Hub
            data set, see `compress.data.hub_sets.Source`. None for the task's own data set.
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
        examples = list(_of_rows(task, _renamed(data.rows, intake), intake, data.names))
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
    if suffix in TABLES:
        raise UserError(f"{intake.name} is a table. Give sentences whose words have labels otherwise: {NEEDED}")
    text = read_text(path, intake)
    if suffix in OBJECTS:
        return _of_rows(task, read_rows(text, suffix, COLUMNS, intake), intake)
    return _of_lines(task, text, intake)


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


def _renamed(rows: Iterable[Row], intake: Intake) -> Iterator[Row]:
    """Rows of the Hub under our names for their columns."""
    for row in rows:
        names = COLUMNS.renamed(list(row.value), intake)
        yield row._replace(value={names.get(key, key): cell for key, cell in row.value.items()})


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
        tags = [read.tag(tag, row.place) for tag in raw]
        key = value.get("id")
        return read.example(str(key) if isinstance(key, str | int) else str(row.number), words, tags, row.place)

    return intake.each(rows, make)


def _list_of(value: dict[str, Any], key: str, place: Place | Spot) -> list[Any]:
    items = value.get(key)
    if not isinstance(items, list | tuple):
        raise UserError(f"{place}: there is no list “{key}” here. {NEEDED}")
    return list(items)


def _of_lines(task: Task, text: str, intake: Intake) -> Iterator[TaggedExample]:
    """The sentences of a file in columns; of one with a wrong line nothing is left where wrong lines are left out."""
    column, read = _column(intake), Reader(task, intake)
    lines = text.split("\n")
    between = "\t" if any("\t" in line for line in lines) else None
    width = next((len(_cells(line, between)) for line in lines if _is_word(line)), 0)
    words, tags, first, wrong = list[Any](), list[str](), 0, False
    for number, line in enumerate([*lines, ""], 1):
        cells = _cells(line, between)
        if not cells or cells[0] == DOCUMENT:
            if words and not wrong:
                try:
                    example = read.example(str(first), words, tags, Spot(f"{intake.name}, line {first}"))
                except UserError as error:
                    intake.fault(error)
                else:
                    yield from [example] if example else []
            words, tags, first, wrong = [], [], 0, False
            continue
        if cells[0].startswith("#") and not words and len(cells) != width:
            continue  # a comment, as in Universal Dependencies
        first = first or number
        try:
            words.append(cells[column.word])
            place = Spot(f"{intake.name}, line {number}")
            tags.append(read.tag(cells[-1 if column.tag is None else column.tag], place))
            if len(cells) != width or width < 2:
                raise IndexError
        except UserError as error:
            wrong = True
            intake.fault(error)
        except IndexError:
            wrong = True
            columns = f"{len(cells)} column{'s' * (len(cells) != 1)}"
            intake.fault(
                UserError(
                    f"{intake.name}, line {number}: {columns} here"
                    + (f", {width} in the first line. " if len(cells) != width else ". ")
                    + NEEDED
                )
            )


def _cells(line: str, between: str | None) -> list[str]:
    line = line.strip("\r\n\ufeff ")
    if not line.strip():
        return []
    return [cell.strip() for cell in line.split(between)] if between and between in line else line.split()


def _is_word(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip("\ufeff").startswith(("#", DOCUMENT))


def _column(intake: Intake) -> Column:
    """Which columns a person names, by their numbers."""
    places = dict[str, int | None]({WORD: 0, TAG: None})
    for name, number in intake.columns.items():
        if name not in places or not number.strip().isdecimal() or not int(number):
            raise UserError(
                f"{intake.name} has columns without names: say by dataset.columns which number they have, as "
                f"{{{WORD}: '1', {TAG}: '4'}}."
            )
        places[name] = int(number) - 1
    return Column(places[WORD] or 0, places[TAG])


class Reader:
    """Reads words and their labels.

    Args:
        task: whose labels they are, where they are settled.
        intake: what the data have for a label, as a person says.
        names: of numbers, as a data set of the Hub says.
    """

    def __init__(self, task: Task, intake: Intake, names: Sequence[str] = ()):
        self.intake = intake
        self._names = names or task.labels
        self._is_closed = bool(task.labels) and not task.is_open
        self._known = {label.casefold(): label for label in task.labels}
        self._stated = {theirs: label for label, theirs in intake.values.items()}
        self._guessed = not names and task.is_open

    def example(self, key: str, words: list[Any], tags: list[str], place: Place | Spot) -> TaggedExample | None:
        """A sentence whose labels have names; None for one without words, and for the mark between documents.

        Raises:
            UserError: words and labels do not fit each other.
        """
        if not words or words == [DOCUMENT]:
            return None
        if len(words) != len(tags):
            raise UserError(f"{place}: {len(words)} words have {len(tags)} labels. Give every word one.")
        if len(words) > MAX_WORDS:
            raise UserError(f"{place}: a sentence of more than {MAX_WORDS:,} words. Put empty lines between sentences.")
        if wrong := [word for word in words if not isinstance(word, str)]:
            raise UserError(f"{place}: “{str(wrong[0])[:40]}” is no word. {NEEDED}")
        return TaggedExample(key, tuple(words), tuple(tags))

    def tag(self, tag: object, place: Place | Spot) -> str:
        """The name of a label, which may be a number.

        Raises:
            UserError: it has no name, or is none of the task's.
        """
        text = str(tag).strip() if isinstance(tag, str | int) and not isinstance(tag, bool) else ""
        if text in self._stated:
            return self._stated[text]
        if text.isdecimal() and text not in self._known:
            if int(text) >= len(self._names):
                raise UserError(
                    f"{place}: the label {text} is a number, and nothing says what it stands for. Say it for all by "
                    "dataset.label_values, as {O: '0', B-PER: '1'}."
                )
            if self._guessed:
                self.intake.note(f"Numbers were read as the model's labels: {', '.join(self._names)}.")
            text = self._names[int(text)]
        if not text or "*" in text or any(c.isspace() for c in text):
            raise UserError(
                f"{place}: “{str(tag)[:40]}” is no label. Write O, or a kind with B- and I- before it, as in B-PER."
            )
        label = self._known.get(text.casefold())
        if label is None and self._is_closed:
            raise UserError(f"{place}: the label “{text[:40]}” is none of {', '.join(self._known.values())}.")
        return label or text
