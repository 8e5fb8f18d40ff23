"""GLUE's archives as they unpack: what their folders and files are called, and which columns these have.

Nothing in them is quoted: a double quote is a character of the text, as in the Hub's version of the same data.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from zoo.tasks import Task

FOLDERS = {
    "cola": "CoLA",
    "sst2": "SST-2",
    "mrpc": "MRPC",
    "stsb": "STS-B",
    "qqp": "QQP",
    "mnli": "MNLI",
    "qnli": "QNLI",
    "rte": "RTE",
}  # by the name of the subset on the Hub
TEST_OF_MRPC = "msr_paraphrase_test"  # Microsoft's own, with labels; it has no file of the pairs that GLUE validates on
# By the Hub's name of a split, what files without an ending of their own are called, in the order of preference.
_SPLITS = {
    "train": ("msr_paraphrase_train",),
    "validation": ("dev", TEST_OF_MRPC),
    "validation_matched": ("dev_matched", "dev"),
    "validation_mismatched": ("dev_mismatched",),
}
_PARSED = [f"sentence{i}_{kind}parse" for kind in ("binary_", "") for i in (1, 2)]
_PAIR = ["sentence1", "sentence2"]


class Layout(NamedTuple):
    """The columns of an archive's labelled files.

    Attributes:
        first, last: of them; between stand the labels of several annotators, `label1` and on, if there are any.
        ragged: some lines are broken in two.
    """

    first: tuple[str, ...]
    last: tuple[str, ...]
    ragged: bool = False


# SST-2's (sentence, label) are anybody's, and there is no double quote in them.
LAYOUTS = (
    Layout(("quality", "#1 id", "#2 id"), ("#1 string", "#2 string")),  # MRPC
    Layout(("index", "genre", "filename", "year", "old_index", "source1", "source2", *_PAIR), ("score",)),  # STS-B
    Layout(("id", "qid1", "qid2", "question1", "question2"), ("is_duplicate",), ragged=True),  # QQP
    Layout(("index", "promptid", "pairid", "genre", *_PARSED, *_PAIR), ("gold_label",)),  # MNLI
    Layout(("index", "captionid", "pairid", *_PARSED, *_PAIR), ("gold_label",)),  # SNLI
    Layout(("index", "question", "sentence"), ("label",)),  # QNLI
    Layout(("index", *_PAIR), ("label",)),  # RTE
)
BARE = ("source", "label", "original", "sentence")  # CoLA's columns, which its files do not name


def names_of(split: str) -> tuple[str, ...]:
    """What the archives call the file of a split, without its ending."""
    return _SPLITS.get(split, ())


def folders_of(task: Task) -> Iterator[str]:
    """What the archives call the folder of a task's data, if they have it."""
    if name := FOLDERS.get(task.config or ""):
        yield name


def is_own(head: Sequence[str], cells: Iterable[int]) -> bool:
    """Whether a table is one of the archives' files, not one of the same columns that a spreadsheet has written.

    Args:
        head: its columns, in small letters.
        cells: how many each of its lines has between tabs, the first among them.
    """
    layout = next((layout for layout in LAYOUTS if _has(layout, tuple(head))), None)
    if layout is None:
        return False
    return all(count == len(head) or (layout.ragged and count < len(head)) for count in cells)


def _has(layout: Layout, columns: tuple[str, ...]) -> bool:
    first, last, _ = layout
    labels = columns[len(first) : -len(last)]
    return columns == (*first, *labels, *last) and all(name == f"label{i}" for i, name in enumerate(labels, 1))


def is_bare(cells: Sequence[str], wanted: Sequence[str]) -> bool:
    """Whether the first line of a table is one of CoLA's: it has no names, and a sentence with a label is wanted."""
    return (
        len(cells) == len(BARE)
        and set(wanted) == {"sentence", "label"}
        and cells[1] in ("0", "1")
        and cells[2] in ("", "*")
    )
