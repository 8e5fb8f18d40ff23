"""People's own texts with labels: a row of their table -> an example of the task, or what is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence

from compress.data.examples import TextExample
from compress.data.intake import Intake
from compress.data.tables import Columns, Row, is_nan, text_of
from zoo.errors import UserError
from zoo.tasks import Task

HIDDEN = -1  # the Hub's label of rows whose label is kept secret
DISAGREED = "-"  # the label of SNLI's and MultiNLI's own files where annotators had no majority
NO_MAJORITY = "texts have the label “-”, on which annotators did not agree: they were left out, as is usual"
OTHERS = {  # what people call a column beside its own name
    "label": ("gold_label", "is_duplicate", "quality", "score"),  # of GLUE's own files: MNLI, QQP, MRPC, STS-B
    "premise": ("sentence1",),
    "hypothesis": ("sentence2",),
    "sentence": ("text",),
    "sentence1": ("#1 string",),
    "sentence2": ("#2 string",),
}


def wanted(task: Task) -> str:
    """What a row holds, in two sentences."""
    names = ", ".join(f"`{name}`" for name in task.columns)
    return f"Every row needs {names} and `label`; `id` may stand beside. The label is {_choices(task)}."


def columns_of(task: Task) -> Columns:
    """The columns of a task's rows."""
    others = {column: OTHERS[column] for column in (*task.columns, "label") if column in OTHERS}
    reserved = {*task.columns, "label"}
    free = {column: [name for name in names if name not in reserved] for column, names in others.items()}
    return Columns((*task.columns, "label"), free, wanted(task))


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
    needed, value = wanted(task), row.value
    texts = [text_of(value, column, row.place, needed, intake.complete) for column in task.columns]
    label = value.get("label")
    if label == DISAGREED and task.labels:
        intake.repairs[NO_MAJORITY] += 1
        return None
    key = next((value[name] for name in ("id", "idx") if isinstance(value.get(name), str | int)), "")
    second = texts[1] if len(texts) > 1 else None
    return TextExample(str(key).strip() or str(number), texts[0], second, _label(task, row, needed, intake))


def _label(task: Task, row: Row, needed: str, intake: Intake) -> int | float | None:
    label = row.value.get("label")
    if is_nan(label):
        raise UserError(f"{row.place}: the label is NaN, as pandas writes what is missing. It is {_choices(task)}.")
    hidden = label is None or (not isinstance(label, bool) and label == HIDDEN) or label == str(HIDDEN)
    if hidden and not intake.complete and "label" in row.value:
        return None
    if label is None or (isinstance(label, str) and not label.strip()):
        hint = "" if intake.complete else " Write -1 where it is not known."
        raise UserError(f"{row.place}: there is no label. {needed}{hint}")
    number = label_of(task, label)
    if number is None:
        raise UserError(f"{row.place}: the label “{str(label)[:40]}” is not {_choices(task)}. Correct it.")
    return number


def label_of(task: Task, label: object) -> int | float | None:
    """A label, in the data's numbers or the task's names, as the task's number; None for another.

    Names are the same in capitals, and with blanks or hyphens for underscores.
    """
    if isinstance(label, bool) or not isinstance(label, str | int | float):
        return None
    if isinstance(label, str) and not task.regression:
        name = "_".join(label.casefold().replace("-", " ").split())
        if name in task.labels:
            return task.labels.index(name)
    try:
        number = float(label)
    except (ValueError, OverflowError):
        return None  # `nan` fits no scale and is no class
    if task.regression:
        low, high = task.scale
        return number if low <= number <= high else None
    return int(number) if number.is_integer() and 0 <= number < len(task.labels) else None


def identity(example: TextExample) -> str:
    """What makes a text, or a pair, the same as another: all but blanks and the label."""
    return "\n".join(" ".join(text.split()) for text in (example.first, example.second) if text is not None)


def remarks(task: Task, examples: Iterable[TextExample]) -> list[str]:
    """What people may not know of their texts: labels that none has, and texts that have several."""
    labels: dict[str, set[int | float | None]] = {}
    for one in examples:
        labels.setdefault(identity(one), set()).add(one.label)
    present = set().union(*labels.values())
    absent = [name for number, name in enumerate(task.labels) if number not in present]
    sentences = [f"No text has the label {' or '.join(absent)}."] if absent else []
    several = sum(len(numbers) > 1 for numbers in labels.values())
    return sentences + ([f"{several:,} texts stand more than once, with different labels."] if several else [])


def to_lines(task: Task, examples: Sequence[TextExample]) -> str:
    """Examples as JSON lines, as `compress.data.texts.load_texts` takes them."""
    rows = [
        {"id": e.id, **dict(zip(task.columns, (e.first, e.second), strict=False)), "label": e.label} for e in examples
    ]
    return "".join(json.dumps(row) + "\n" for row in rows)


def _choices(task: Task) -> str:
    if task.regression:
        low, high = task.scale
        return f"a number from {low:g} to {high:g}"
    return " or ".join(f"{number} ({name})" for number, name in enumerate(task.labels))
