"""Texts to classify: from JSON lines, a folder of them, or the Hub."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from compress.data import glue, hub_sets, own_texts
from compress.data import squad as data
from compress.data.examples import TextExample
from compress.data.intake import Intake
from compress.data.tables import KINDS, Row, is_table, read_rows, read_text, suffix_of
from zoo.errors import UserError
from zoo.tasks import EMBEDDINGS, TEXTS, Task

E = TypeVar("E")  # an example


def load_texts(
    task: Task, source: str | Path | None = None, split: str | None = None, intake: Intake | None = None
) -> list[TextExample]:
    """Reads a task's texts.

    Args:
        task: of `zoo.tasks`, one that classifies or scores.
        source: a file of JSON lines, CSV, TSV or JSON, whose columns are those of the Hub's data set; a folder that
            holds `<split>.jsonl` or the like, in itself or in `<subset>/`, or is as GLUE's archives unpack, see
            `compress.data.glue`; or a Hub data set, see `compress.data.hub_sets.Source`. None for the task's own data
            set on the Hub.
        split: of a folder or a Hub data set; None for the task's validation split.
        intake: hears what was mended and left out; without one the log does.

    Returns:
        Examples in the order of the source. Ids are the column `id` or `idx`, else the number of the row.

    Raises:
        UserError: not found, no network, a column that is missing or of another kind, a label that the task does not
            have (the message names the place), two rows of one id, or no rows.
    """
    if task.type not in (TEXTS, EMBEDDINGS):
        raise UserError(f"{task.name} is {task.type.title}: its data are SQuAD-format files, not rows of text.")
    split = split or task.validation_split
    hears, intake = intake is not None, intake or Intake()
    text = str(source or task.hub)
    examples = list(own_texts.examples(task, _rows(task, source, split, intake), intake))
    if not examples:
        raise intake.nothing(f"{text} ({split}) has no rows. Take other data.")
    check_ids([example.id for example in examples], text)
    if not hears:
        intake.log()
    return examples


def labels_in(task: Task, source: str | Path, split: str, intake: Intake) -> list[str]:
    """The names of the labels that data have, see `own_texts.labels_in`; a data set's own of the Hub in its order.

    Args:
        task: one whose labels are open.
        source, split: see `load_texts`.
        intake: with the person's mapping of columns and labels.
    """
    text = str(source)
    if not _is_place(Path(text).expanduser()):
        of_hub, intake.name = hub_sets.Source.parse(text), intake.name or text
        hub_set = hub_sets.open_set(of_hub, of_hub.split or split)
        if labels := hub_set.names_under("label", own_texts.columns_of(task, intake), intake):
            return own_texts.names_for(labels, intake)
    return own_texts.labels_in(_rows(task, source, split, intake), task, intake)


def settled_by_file(task: Task, path: Path, intake: Intake, suffix: str) -> Task:
    """An open task with the labels and columns of a person's file.

    Args:
        task: one whose labels are open.
        path, intake, suffix: see `from_file`.

    Raises:
        UserError: the file has no label, or one alone where one of several is to be told.
    """
    task = own_texts.settled(task, intake.columns)
    if task.regression:
        return task
    trial = replace(intake, skip=True, repairs=Counter(), notes=[])  # what is wrong is told when the file is read
    rows = read_rows(read_text(path, trial), suffix, own_texts.columns_of(task, trial), trial)
    return task.with_labels(own_texts.checked(own_texts.labels_in(rows, task, trial), task, intake.name))


def _rows(task: Task, source: str | Path | None, split: str, intake: Intake) -> Iterator[Row]:
    """The rows of a source, their columns by the task's names."""
    text, path = str(source or task.hub), Path(source or task.hub).expanduser()
    if not text:
        raise UserError(
            f"{task.title} needs data: name a file, a folder or a data set of the Hub. If the model was trained for a "
            "known task, name it, for example --task sst2."
        )
    intake.name = intake.name or text
    if _is_place(path):
        path = file_in(path, task, split) if path.is_dir() else path
        intake.name = str(path)
        if split == "validation" and path.stem == glue.TEST_OF_MRPC:
            intake.note("There is no dev.tsv: the test set of MRPC was read for the validation set.")
        return read_rows(read_text(path, intake), suffix_of(path), own_texts.columns_of(task, intake), intake)
    of_hub = hub_sets.Source.parse(text)
    return _of_hub(of_hub, task, of_hub.split or split, intake)


def _is_place(path: Path) -> bool:
    """Whether a source is on this machine, or was meant to be."""
    return path.is_dir() or path.is_file() or is_table(path) or path.is_absolute()


def from_file(task: Task, path: Path, intake: Intake, suffix: str | None = None) -> Iterator[TextExample]:
    """The texts of a file.

    Args:
        task: which classifies or scores.
        path: of the file.
        intake: names it, and hears what was mended.
        suffix: says what the file is where its own name does not.
    """
    text = read_text(path, intake)
    rows = read_rows(text, suffix or suffix_of(path), own_texts.columns_of(task, intake), intake)
    return own_texts.examples(task, rows, intake)


def check_ids(ids: Sequence[str], source: str) -> None:
    """Refuses data of which two rows have one id."""
    name, times = Counter(ids).most_common(1)[0]
    if times > 1:
        raise UserError(f"{source} has {times} rows of the id {name[:40]!r}. Make ids unique, or leave the column out.")


def has_split(source: str | Path, task: Task) -> bool:
    """Whether a folder holds the task's own validation split, not one that stands in for it."""
    folder, names = Path(source).expanduser(), [task.validation_split]
    names += [name for name in glue.names_of(task.validation_split) if name.startswith("dev_")]
    return any(path.is_file() for name in names for path in _places(folder, task, name))


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


def _places(folder: Path, task: Task, split: str, kinds: Iterable[str] = KINDS) -> Iterator[Path]:
    """Where a folder may hold a split, under a name that a file of it may have."""
    for place in (folder, folder / (task.config or task.name), *(folder / name for name in glue.folders_of(task))):
        for suffix in (".jsonl", *(kind for kind in kinds if kind != ".jsonl")):
            yield place / f"{split}{suffix}"


def file_in(folder: Path, task: Task, split: str, kinds: Iterable[str] = KINDS) -> Path:
    """The file of a split in a folder; `validation.jsonl` serves for both validation splits of MNLI, and what GLUE's
    archives call it, `dev.tsv`, for what the Hub calls `validation`."""
    names = [split, *(["validation"] if split.startswith("validation_") else [])]
    for path in (path for name in (*names, *glue.names_of(split)) for path in _places(folder, task, name, kinds)):
        if path.is_file():
            return path
    subset = task.config or task.name
    archived = "".join(f", nor {name}/{glue.names_of(split)[0]}.tsv of GLUE's archive" for name in glue.folders_of(task)
                       if glue.names_of(split) and split != "train")  # fmt: skip
    raise UserError(
        f"{folder} holds neither {names[-1]}.jsonl nor {subset}/{names[-1]}.jsonl{archived}. "
        "Give the folder of the task's data, or a file."
        + " If the model was trained for a known task, name it, for example --task sst2."
        * task.is_open
    )


def _of_hub(source: hub_sets.Source, task: Task, split: str, intake: Intake) -> Iterator[Row]:
    """The rows of a data set, with its labels in the task's order."""
    of_hub, columns = hub_sets.open_set(source, split, task.config), own_texts.columns_of(task, intake)
    labels = of_hub.names_under("label", columns, intake)
    theirs, order = [name.casefold() for name in labels], None
    if theirs and task.labels and not task.is_open and theirs != list(task.labels):
        if len(theirs) != len(task.labels):
            raise UserError(
                f"{source} has the labels {', '.join(labels)[:200]}, and {task.name} has "
                f"{', '.join(task.labels)}. Take another data set or task."
            )
        if sorted(theirs) == sorted(task.labels):
            order = [task.labels.index(name) for name in theirs]
        else:
            intake.note(f"Its labels {', '.join(labels)} were read as {', '.join(task.labels)}.")
    for row in columns.rename(of_hub.rows, intake):
        value = dict(row.value)
        label = value.get("label")
        if task.is_open and label is not None:
            value["label"] = _by_name(label, labels)
        if order and isinstance(label, int) and 0 <= label < len(order):
            value["label"] = order[label]
        yield row._replace(value=value)


def _by_name(label: Any, names: Sequence[str]) -> Any:
    """A number, or each of a list, by its name; what has none as it is."""
    if isinstance(label, list):
        return [_by_name(one, names) for one in label]
    return names[label] if isinstance(label, int) and 0 <= label < len(names) else label
