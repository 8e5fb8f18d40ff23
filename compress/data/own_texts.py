"""People's own texts with labels: a row of their table -> an example of the task, or what is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from compress.data.tables import text_of
from compress.data.texts import TextExample
from zoo.errors import UserError
from zoo.tasks import Task


def wanted(task: Task) -> str:
    """What a row holds, in two sentences."""
    names = ", ".join(f"`{name}`" for name in task.columns)
    return f"Every row needs {names} and `label`; `id` may stand beside. The label is {_choices(task)}."


def example(task: Task, row: Any, place: str, line: int) -> TextExample:
    """An example from a row.

    Args:
        task: which classifies or scores.
        row: of `compress.data.tables.read_rows`.
        place: begins what is said about the row.
        line: names the example where it has no id of its own.

    Raises:
        UserError: a text that is missing or empty, or a label that is missing or not the task's.
    """
    needed = wanted(task)
    texts = [text_of(row, column, place, needed) for column in task.columns]
    key = next((row[name] for name in ("id", "idx") if isinstance(row.get(name), str | int)), "")
    label = row.get("label")
    if label is None or (isinstance(label, str) and not label.strip()):
        raise UserError(f"{place}: there is no label. {needed}")
    number = label_of(task, label)
    if number is None:
        raise UserError(f"{place}: the label “{str(label)[:40]}” is not {_choices(task)}. Correct it.")
    return TextExample(str(key).strip() or str(line), texts[0], texts[1] if len(texts) > 1 else None, number)


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
        return None
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
