"""Texts to classify: from JSON lines, a folder of them, or the Hub."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from compress.data import squad as data
from zoo.errors import UserError
from zoo.safety import check_repo_id
from zoo.tasks import TEXTS, Task

E = TypeVar("E")  # an example
HIDDEN = -1  # the Hub's label of rows whose label is kept secret


@dataclass(frozen=True)
class TextExample:
    """A text, or a pair of texts; `label` is the class's number or a score, None where nobody tells."""

    id: str
    first: str
    second: str | None = None
    label: int | float | None = None


def load_texts(task: Task, source: str | Path | None = None, split: str | None = None) -> list[TextExample]:
    """Reads a task's texts.

    Args:
        task: of `zoo.tasks`, one that classifies or scores.
        source: a file of JSON lines, whose columns are those of the Hub's data set; a folder that holds
            `<split>.jsonl`, in itself or in `<subset>/`; or a Hub id, with `:split` behind it where another split is
            meant. None for the task's own data set on the Hub.
        split: of a folder or a Hub data set; None for the task's validation split.

    Returns:
        Examples in the order of the source. Ids are the column `id` or `idx`, else the number of the row.

    Raises:
        UserError: not found, no network, a column that is missing or of another kind, a label that the task does not
            have (the message names the place), two rows of one id, or no rows.
    """
    if task.type is not TEXTS:
        raise UserError(f"{task.name} is {task.type.title}: its data are SQuAD-format files, not rows of text.")
    split = split or task.validation_split
    text, path = str(source or task.hub), Path(source or task.hub).expanduser()
    if path.suffix in (".csv", ".tsv"):
        raise UserError(f"{path} is no file of JSON lines. `run` and `submit` take CSV and TSV by --data.")
    if path.is_dir():
        rows = _lines(_file_in(path, task, split))
    elif path.is_file() or path.suffix in (".jsonl", ".json") or path.is_absolute():
        rows = _lines(path)
    else:
        name, _, stated = text.partition(":")
        split = stated or split
        rows = _hub_rows(name, task, split)
    examples = [_example(task, row, number, place) for number, (place, row) in enumerate(rows)]
    if not examples:
        raise UserError(f"{text} ({split}) has no rows. Take other data.")
    name, times = Counter(example.id for example in examples).most_common(1)[0]
    if times > 1:
        raise UserError(f"{text} has {times} rows of the id {name[:40]!r}. Make ids unique, or leave the column out.")
    return examples


def has_split(source: str | Path, task: Task) -> bool:
    """Whether a folder holds the task's own validation split, not one that stands in for it."""
    folder = Path(source).expanduser()
    places = (folder, folder / (task.config or task.name))
    return any((place / f"{task.validation_split}.jsonl").is_file() for place in places)


def draw(examples: Sequence[E], limit: int | None, seed: int = 0) -> list[E]:
    """So many of the examples, drawn at random, in the order of the source; all of them for None."""
    if limit is None or limit >= len(examples):
        return list(examples)
    return [examples[i] for i in sorted(random.Random(seed).sample(range(len(examples)), limit))]


def passages(examples: Iterable[TextExample]) -> list[data.Example]:
    """The examples as `compress.data.squad` and `refuse_overlap` tell passages apart: both texts."""
    return [data.Example(e.id, "", e.first if e.second is None else f"{e.first}\n{e.second}") for e in examples]


def fingerprint(examples: Iterable[TextExample]) -> set[str]:
    """What identifies the texts, as `compress.data.squad.fingerprint` does: a pair is known only as a pair."""
    return data.fingerprint(passages(examples))


def _file_in(folder: Path, task: Task, split: str) -> Path:
    """`<split>.jsonl` in a folder; `validation.jsonl` serves for both validation splits of MNLI."""
    subset = task.config or task.name
    names = [split, *(["validation"] if split.startswith("validation_") else [])]
    for place in (folder, folder / subset):
        for name in names:
            if (place / f"{name}.jsonl").is_file():
                return place / f"{name}.jsonl"
    raise UserError(
        f"{folder} holds neither {names[-1]}.jsonl nor {subset}/{names[-1]}.jsonl. "
        "Give the folder of the task's data, or a .jsonl file."
    )


def _lines(path: Path) -> Iterator[tuple[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror or error}. Check the path.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text ({error}). Save it as JSON lines in UTF-8.") from error
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield f"{path}, line {number}", json.loads(line)
            except ValueError as error:
                raise UserError(f"{path}, line {number} is not valid JSON ({error}). Correct the line.") from error


def _hub_rows(name: str, task: Task, split: str) -> Iterator[tuple[str, Any]]:
    name = check_repo_id(name)
    try:
        import datasets

        rows: Any = datasets.load_dataset(name, task.config, split=split)
    except Exception as error:  # the library raises dozens of kinds, for no network, no such name, no such split
        raise UserError(
            f"The data set {name} ({task.config}, {split}) could not be loaded: "
            f"{(str(error) or repr(error)).splitlines()[0]}. Check the name and the network, or give a .jsonl file."
        ) from error
    for number, row in enumerate(rows):
        yield f"{name}, {task.config}, {split}, row {number}", row


def _example(task: Task, row: Any, number: int, place: str) -> TextExample:
    texts = []
    for column in task.columns:
        if not isinstance(row, dict) or not isinstance(row.get(column), str):
            columns = ", ".join(f"“{name}”" for name in (*task.columns, "label"))
            raise UserError(f"{place} has no text “{column}”: {task.name} has the columns {columns}.")
        texts.append(row[column])
    name = row.get("id", row.get("idx"))
    name = number if name is None else name
    return TextExample(str(name), texts[0], texts[1] if len(texts) > 1 else None, _label(task, row, place))


def _label(task: Task, row: dict[str, Any], place: str) -> int | float | None:
    if "label" not in row:
        raise UserError(f"{place} has no “label”: write the number of the class, or -1 where it is not known.")
    label = row["label"]
    if label is None or label == HIDDEN:
        return None
    number = isinstance(label, (int, float)) and not isinstance(label, bool) and math.isfinite(label)
    if task.regression:
        low, high = task.scale
        if not number or not low <= label <= high:
            raise UserError(
                f"{place}: the label {str(label)[:40]!r} is no number from {low:g} to {high:g}. Correct it."
            )
        return float(label)
    if not number or label != int(label) or not 0 <= label < len(task.labels):
        classes = ", ".join(f"{i} ({name})" for i, name in enumerate(task.labels))
        raise UserError(f"{place}: the label {str(label)[:40]!r} is none of {classes}. Correct it.")
    return int(label)
