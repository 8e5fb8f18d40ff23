"""People's own texts with labels: a row of their table -> an example of the task, or what is wrong with it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from compress.data.cells import length, listed, prose, repetition, share
from compress.data.examples import TextExample
from compress.data.intake import Intake
from compress.data.places import Place, Spot
from compress.data.sheets import Role
from compress.data.tables import Columns, Row, is_nan, text_of
from zoo.errors import UserError
from zoo.tasks import Task, is_number, spelled

HIDDEN = -1  # the Hub's label of rows whose label is kept secret
GOLD, DISAGREED = "gold_label", "-"  # SNLI's and MultiNLI's own column, and the label where annotators had no majority
NO_MAJORITY = "texts have the label “-”, on which annotators did not agree: they were left out, as is usual"
OTHERS = {  # what people call a column beside its own name
    # of GLUE's own files: MNLI, QQP, MRPC, STS-B; and of data for embeddings
    "label": ("gold_label", "is_duplicate", "quality", "score", "similarity", "similarity_score", "relatedness_score"),
    "premise": ("sentence1",),
    "hypothesis": ("sentence2",),
    "sentence": ("text",),
    "sentence1": ("#1 string", "text1", "anchor", "query", "text", "first"),
    "sentence2": ("#2 string", "text2", "positive", "answer", "second"),
}
GUESSES = {  # the same where a task is a person's own, likely names first
    "text": (
        "sentence", "review", "content", "body", "comment", "message", "tweet", "document", "utterance", "question",
        "description", "title", "input", "text_a", "sentence1",
    ),
    "label": (
        "labels", "gold_label", "class", "category", "rating", "stars", "sentiment", "intent", "topic", "emotion",
        "target", "score", "y", "tags",
    ),
    "second": ("text_b", "text2", "sentence2"),
}  # fmt: skip
SECOND = "second"  # our name of the other text of a pair, where a task is a person's own
BETWEEN = re.compile(r"\s*[|;,]\s*")  # several labels in a cell
MOST_LABELS = 1000
YES, NO = {"true", "yes"}, {"false", "no", ""}  # beside 1 and 0


def wanted(task: Task) -> str:
    """What a row holds, in two sentences."""
    names = ", ".join(f"`{name}`" for name in task.columns)
    if task.unlabelled:
        first, second = task.columns
        return (
            f"Every row needs {names} and `label`, a number that says how alike they are; `id` may stand beside. Pairs "
            f"without `label`, which belong together, and texts without `{second}`, under `{first}` alone, can be "
            "learned from."
        )
    return f"Every row needs {names} and `label`; `id` may stand beside. The label is {_choices(task)}."


def columns_of(task: Task, intake: Intake | None = None) -> Columns:
    """The columns of a task's rows, those of labels as a person maps them."""
    known = GUESSES if task.is_open else OTHERS
    labels = intake.indicators if intake and intake.indicators else ["label"]
    others = {column: known[column] for column in (*task.columns, *labels) if column in known}
    reserved = {*task.columns, *labels}
    free = {column: [name for name in names if name not in reserved] for column, names in others.items()}
    hint = " Say what yours are called: --column text=YOURS --column label=YOURS (dataset.columns)." * task.is_open
    needed = task.columns[:1] if task.unlabelled else (*task.columns, *labels)
    return Columns(needed, free, wanted(task) + hint)


def roles(task: Task) -> list[Role]:
    """What a row of the task holds, as it is guessed from a file's columns."""

    def labels(values: Sequence[Any]) -> float:
        return share([label_of(task, value) is not None for value in values])

    known = GUESSES if task.is_open else OTHERS
    free = task.is_open and not task.regression
    last = Role("label", known["label"], repetition if free else labels, task.unlabelled, True, task.several)
    texts = [
        Role(name, known.get(name, ()), length if task.is_open else prose, task.unlabelled and place > 0)
        for place, name in enumerate(task.columns)
    ]
    pair = [Role(SECOND, known[SECOND], optional=True, takes=_are_texts)] if SECOND in task.more else []
    return [*texts, *pair, last]


def settled(task: Task, mapping: Mapping[str, str]) -> Task:
    """An open task with the columns that a person's mapping names: one text, or a pair.

    Raises:
        UserError: the mapping names a column that the task does not have.
    """
    task.refuse_unknown(mapping)
    columns = (*task.columns, SECOND) if mapping.get(SECOND) and SECOND not in task.columns else task.columns
    return task.with_labels(task.labels, columns)


def labels_in(rows: Iterable[Row], task: Task, intake: Intake) -> list[str]:
    """The labels that rows have, by name: numbers in their order, names by the alphabet.

    Labels that a person's mapping names come by these names.
    """
    if intake.indicators:
        return intake.indicators
    names, labels = _named(intake), set[str]()
    for row in rows:
        label = row.value.get("label") if isinstance(row.value, dict) else None
        each = several_of(label) if task.several else [label]
        labels |= {_name(one, names) for one in each if not _is_hidden(one) and not _is_disputed(one, task, row)}
    if all(_number(label) is not None for label in labels):
        return sorted(labels, key=lambda label: (_number(label), label))
    return sorted(labels, key=lambda label: (label.casefold(), label))


def names_for(labels: Iterable[str], intake: Intake) -> list[str]:
    """Labels of data by the names that a person has for them."""
    names = _named(intake)
    return list(dict.fromkeys(names.get(label, label) for label in labels))


def checked(labels: Sequence[str], task: Task, name: str) -> list[str]:
    """The labels, if there are enough to tell apart.

    Raises:
        UserError: there is none, or one alone.
    """
    if len(labels) < (1 if task.several else 2):
        has = f"one label alone, {labels[0]}" if labels else "no labels"
        raise UserError(
            f"{name} has {has}: nothing can be told apart. Take other data, or say which column has the labels: "
            "--column label=YOURS (dataset.columns)."
        )
    if len(labels) > MOST_LABELS:
        raise UserError(
            f"{name} has {len(labels):,} different labels, which is more than {MOST_LABELS}: is the right column read? "
            "Say which one has the labels, --column label=YOURS, or take the task score where they are numbers."
        )
    return list(labels)


def several_of(label: object) -> list[Any]:
    """The labels of a cell that may hold several: a list, also as JSON, or with `|`, `;` or `,` between them."""
    if isinstance(label, str):
        entries = listed(label)
        return entries if entries is not None else [part for part in BETWEEN.split(_unframed(label.strip())) if part]
    if isinstance(label, list | tuple):
        return list(label)
    return [] if label is None else [label]


def _unframed(text: str) -> str:
    return text.strip("[]") if text.startswith("[") else text


def _is_hidden(label: object) -> bool:
    return label is None or (isinstance(label, str) and not label.strip()) or is_nan(label)  # -1 is one like any other


def _is_disputed(label: object, task: Task, row: Row) -> bool:
    """Whether annotators did not agree on a label; a person's own may be called "-", too."""
    return label == DISAGREED and (not task.is_open or row.theirs.get("label", "").lower() == GOLD)


def _name(label: object, names: Mapping[str, str]) -> str:
    """A label as text: 3.0, as pandas writes a column with gaps, is 3."""
    text = str(int(label)) if isinstance(label, float) and label.is_integer() else str(label).strip()
    return names.get(text, text)


def _number(label: str) -> float | None:
    try:
        return float(label)
    except ValueError:
        return None


def examples(task: Task, rows: Iterable[Row], intake: Intake) -> Iterator[TextExample]:
    """Texts of the rows of a table, in their order, without those on whose label people did not agree.

    Args:
        task: which classifies or scores.
        rows: of `compress.data.tables.read_rows`, or of the Hub.
        intake: hears what was left out; with `complete`, every text and label has to be there, and a text without an id
            is named by its line, else by its number in the order of the rows.

    Raises:
        UserError: what is wrong with a row; the message names the line.
    """
    order = enumerate(rows)

    def make(one: tuple[int, Row]) -> TextExample | None:
        return _example(task, one[1], one[1].number if intake.complete else one[0], intake)

    return intake.each(order, make)


def _example(task: Task, row: Row, number: int, intake: Intake) -> TextExample | None:
    needed, value = wanted(task), _gathered(row, intake)
    row = row._replace(value=value)
    if column := _unread(task, value, intake):
        intake.note(
            f"The column “{column}” was not read: each text was read by itself. `--column second={column}` "
            "(dataset.columns) reads pairs, and `--column second=` says that there are none."
        )
    columns = task.columns
    if task.unlabelled and isinstance(value, dict):
        columns = columns[: 2 if columns[1] in value else 1]
    texts = [text_of(value, column, row.place, needed, intake.complete) for column in columns]
    label = value.get("label")
    if task.labels and _is_disputed(label, task, row):
        intake.repairs[NO_MAJORITY] += 1
        return None
    key = next((value[name] for name in ("id", "idx") if isinstance(value.get(name), str | int)), "")
    second = texts[1] if len(texts) > 1 else None
    return TextExample(str(key).strip() or str(number), texts[0], second, _label(task, row, needed, intake))


def _are_texts(values: Sequence[Any]) -> bool:
    """Whether every cell of a column is a text with a letter in it."""
    return all(isinstance(value, str) and any(c.isalpha() for c in value) for value in values)


def _unread(task: Task, value: object, intake: Intake) -> str | None:
    """A column that may hold the second text of a pair, where single texts are read and nobody has said so."""
    if SECOND not in task.more or SECOND in (*task.columns, *intake.columns) or not isinstance(value, dict):
        return None
    taken = {name.lower() for name in intake.columns.values()}
    likely = {SECOND, *GUESSES[SECOND]} - taken
    return next((key for key, cell in value.items() if key.lower() in likely and _are_texts([cell])), None)


def _gathered(row: Row, intake: Intake) -> Any:
    """What a row holds; where its labels are in columns of 0 and 1, with these as a list."""
    value = row.value
    if not intake.indicators or not isinstance(value, dict):
        return value
    return {**value, "label": [name for name in intake.indicators if _holds(value.get(name), name, row.place)]}


def _holds(cell: object, name: str, place: Place | Spot) -> bool:
    """Whether a label holds, by its column of 0 and 1; a blank is 0."""
    text = "" if cell is None or is_nan(cell) else str(cell).strip().lower()
    if text in YES | NO:
        return text in YES
    number = _number(text)
    if number not in (0, 1):
        raise UserError(
            f"{place}: “{name}” is “{text[:40]}”, and the column of a label has 1 where it holds and 0 where it does "
            "not. Correct it."
        )
    return number == 1


def _label(task: Task, row: Row, needed: str, intake: Intake) -> int | float | tuple[int, ...] | None:
    label = row.value.get("label")
    if task.several:
        return _several(task, row, intake)
    if task.unlabelled and "label" not in row.value:
        return None
    if is_nan(label):
        raise UserError(f"{row.place}: the label is NaN, as pandas writes what is missing. It is {_choices(task)}.")
    minus = (not isinstance(label, bool) and label == HIDDEN) or label == str(HIDDEN)
    hidden = label is None or (minus and not task.is_open)
    if hidden and not intake.complete and "label" in row.value:
        return None
    if label is None or (isinstance(label, str) and not label.strip()):
        hint = "" if intake.complete else " Write -1 where it is not known."
        raise UserError(f"{row.place}: there is no label. {needed}{hint}")
    number = label_of(task, _name(label, _named(intake)) if task.is_open and not task.regression else label)
    if number is None:
        raise UserError(f"{row.place}: the label “{str(label)[:40]}” is not {_choices(task)}. Correct it.")
    return number


def _named(intake: Intake) -> dict[str, str]:
    return {value: name for name, value in intake.values.items()}


def _several(task: Task, row: Row, intake: Intake) -> tuple[int, ...]:
    """The numbers of the labels that hold; none is an answer, too."""
    if "label" not in row.value:
        raise UserError(f"{row.place}: there is no column of labels. {wanted(task)}")
    numbers = list[int]()
    for label in several_of(row.value["label"]):
        number = label_of(task, _name(label, _named(intake)))
        if number is None:
            raise UserError(f"{row.place}: the label “{str(label)[:40]}” is not {_choices(task)}. Correct it.")
        numbers.append(int(number))
    return tuple(sorted(set(numbers)))


def label_of(task: Task, label: object) -> int | float | None:
    """A label, in the data's numbers or the task's names, as the task's number; None for another.

    Names are the same in capitals, and with blanks or hyphens for underscores.
    """
    if isinstance(label, bool) or not isinstance(label, str | int | float):
        return None
    if isinstance(label, str) and not task.regression:
        if task.is_open and label in task.labels:  # a person's labels may differ by capitals alone
            return task.labels.index(label)
        names = [spelled(name) for name in task.labels]
        if spelled(label) in names:
            return names.index(spelled(label))
    try:
        number = float(label)
    except (ValueError, OverflowError):
        return None  # `nan` fits no scale and is no class
    if task.regression:
        low, high = task.scale
        return number if low <= number <= high and math.isfinite(number) else None
    if task.is_open and all(is_number(name) for name in task.labels):  # they are names, and no places from 0 on
        return next((place for place, name in enumerate(task.labels) if float(name) == number), None)
    return int(number) if number.is_integer() and 0 <= number < len(task.labels) else None


def identity(example: TextExample) -> str:
    """What makes a text, or a pair, the same as another: all but blanks and the label."""
    return "\n".join(" ".join(text.split()) for text in (example.first, example.second) if text is not None)


def remarks(task: Task, examples: Iterable[TextExample]) -> list[str]:
    """What people may not know of their texts: labels that none has, and texts that have several."""
    labels: dict[str, set[Any]] = {}
    for one in examples:
        labels.setdefault(identity(one), set()).add(one.label)
    present = set().union(*labels.values())
    if task.several:
        present = set().union(*present)
    absent = [name for number, name in enumerate(task.labels) if number not in present]
    sentences = [f"No text has the label {' or '.join(absent)}."] if absent else []
    several = sum(len(numbers) > 1 for numbers in labels.values())
    return sentences + ([f"{several:,} texts stand more than once, with different labels."] if several else [])


def to_lines(task: Task, examples: Sequence[TextExample]) -> str:
    """Examples as JSON lines, as `compress.data.texts.load_texts` takes them."""
    rows = [
        {"id": e.id, **dict(zip(task.columns, (e.first, e.second), strict=False)), "label": _written(task, e.label)}
        for e in examples
    ]
    if task.unlabelled:  # what is not there has no column
        rows = [{key: value for key, value in row.items() if value is not None} for row in rows]
    return "".join(json.dumps(row) + "\n" for row in rows)


def _written(task: Task, label: Any) -> Any:
    """A label as a file has it: a person's own by their names, so that the file says what they are."""
    if not task.is_open or task.regression or label is None:
        return label
    return [task.labels[i] for i in label] if task.several else task.labels[label]


def _choices(task: Task) -> str:
    if task.regression and math.isinf(task.scale[0]):
        return "a number"
    if task.regression:
        low, high = task.scale
        return f"a number from {low:g} to {high:g}"
    if task.is_open:
        some = ", ".join(task.labels[:12]) + (", …" if len(task.labels) > 12 else "")
        choice = f"of {some}" if some else "that you choose"
        return f"any number of labels {choice}" if task.several else f"one {choice}"
    return " or ".join(f"{number} ({name})" for number, name in enumerate(task.labels))
