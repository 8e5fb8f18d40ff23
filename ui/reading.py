"""What a checkpoint reads, a question and a passage, a text or two, and how the page calls that; with examples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from ui.samples import GENERAL, SAMPLES
from zoo import catalog
from zoo.asking import open_entry
from zoo.catalog import Entry
from zoo.checkpoints import SIGMOID, labels_of
from zoo.classify import TextClassifier
from zoo.errors import UserError
from zoo.features import MAX_CONTEXT, MAX_QUESTION
from zoo.files import read_json
from zoo.opened import Opened
from zoo.tasks import EMBEDDINGS, QUESTIONS, RANKING, TASKS, TEXTS, TOKENS, Task, find_task

COMPARED = "Compare it with: one text, or several, a line each"
QA, CLASSIFICATION = QUESTIONS.name, TEXTS.name


class Kind(NamedTuple):
    """What the page calls what models of a type of task do.

    Attributes:
        name: to pick.
        does: of one of them, in a sentence.
        endpoints: that ask it.
    """

    name: str
    does: str
    endpoints: tuple[str, ...]


KINDS = {  # by use: what is bundled comes first, then what small encoders are taken for most
    QA: Kind("questions", "answers questions", ("answer",)),
    CLASSIFICATION: Kind("classify text", "classifies text", ("classify",)),
    EMBEDDINGS.name: Kind("likeness of texts", "compares texts by embeddings", ("embed", "rank")),
    RANKING.name: Kind("rank passages", "ranks passages", ("rank",)),
    TOKENS.name: Kind("label words", "labels words", ("label",)),
}


def kind_of(entry: Entry) -> Kind:
    """What an entry does, as the page calls it."""
    return KINDS.get(entry.task) or Kind(entry.type.title, f"is for {entry.type.title}", ())


class Sample(NamedTuple):
    """Something to try: what it is called, and both texts."""

    title: str
    first: str
    second: str = ""

    @property
    def label(self) -> str:
        return f"{self.title}: {self.first}"


@dataclass(frozen=True)
class Reading:
    """How the page shows what a checkpoint reads.

    Attributes:
        key: what is the same for checkpoints that read the same, so that a text can stay when another is picked.
        first, second: what the boxes are called; `second` is empty where only one text is read.
        optional: the second text may be left out.
        button: what the button says.
        scale: of the score that is given, None for labels and answers.
        most: characters of the first text.
        samples: to try.
        lines: that the boxes are high.
    """

    key: str
    first: str
    second: str
    samples: tuple[Sample, ...]
    optional: bool = False
    button: str = "Classify"
    scale: tuple[float, float] | None = None
    most: int = MAX_CONTEXT
    lines: tuple[int, int] = (3, 3)

    def is_whole(self, first: str | None, second: str | None) -> bool:
        """Whether there is something to run on."""
        return bool((first or "").strip()) and (not self.second or self.optional or bool((second or "").strip()))

    @property
    def texts(self) -> int | None:
        """How many texts are read; None for one or two."""
        return None if self.optional else 1 + bool(self.second)


def questions() -> Reading:
    """Of models that answer questions."""
    samples = tuple(Sample(e["title"], e["question"], e["context"]) for e in catalog.examples())
    return Reading(QA, "Question", "Passage", samples, button="Ask", most=MAX_QUESTION, lines=(1, 4))


def _sentences(_entry: Entry) -> Reading:
    """Of models that label words."""
    samples = tuple(Sample(*row) for row in SAMPLES[TOKENS.name])
    return Reading(TOKENS.name, "Text", "", samples, button="Label", lines=(6, 3))


def _likeness(_entry: Entry) -> Reading:
    """Of models that give embeddings."""
    samples = tuple(Sample(*row) for row in SAMPLES[EMBEDDINGS.name])
    return Reading(EMBEDDINGS.name, "Text", COMPARED, samples, button="Compare", scale=(0.0, 1.0), lines=(2, 5))


def _ranking(entry: Entry) -> Reading:
    """Of models that sort passages."""
    samples = tuple(Sample(*row) for row in SAMPLES[RANKING.name])
    scale = (0.0, 1.0) if entry.activation == SIGMOID else None
    return Reading(RANKING.name, "Query", "Passages, a line each", samples, button="Rank", scale=scale, lines=(2, 5))


def reading_of(entry: Entry) -> Reading:
    """What an entry reads."""
    return READINGS.get(entry.task, _texts)(entry)


def _texts(entry: Entry) -> Reading:
    """Of classifiers: by the task where that is known, by the columns that one was measured on, or anything."""
    task = task_of(entry)
    probability = (0.0, 1.0) if entry.activation == SIGMOID and len(entry.labels) == 1 else None
    if task:
        first, second = (*map(_say, task.columns), "")[:2]
        key = task.name if task.name in SAMPLES else "mnli"  # the other entailment tasks
        return Reading(
            key,
            first,
            second,
            tuple(Sample(*row) for row in SAMPLES[key]),
            button="Score" if task.regression else "Classify",
            scale=task.scale if task.regression else None,
        )
    columns = [column.strip() for column in str(entry.metrics.get("columns") or "").split(",") if column.strip()]
    if columns:
        first, second = (*map(_say, columns), "")[:2]
        samples = SAMPLES["mnli"] if second else GENERAL
        examples = tuple(Sample(*row) for row in samples)
        return Reading(f"columns:{first}:{second}", first, second, examples, scale=probability)
    examples = tuple(Sample(*row) for row in GENERAL)
    return Reading("texts", "Text", "Second text, for pairs", examples, optional=True, scale=probability)


READINGS: dict[str, Callable[[Entry], Reading]] = {
    QA: lambda _entry: questions(),
    TOKENS.name: _sentences,
    EMBEDDINGS.name: _likeness,
    RANKING.name: _ranking,
}


def task_of(entry: Entry) -> Task | None:
    """The text task that an entry was trained for: as it states, or the first that has its labels.

    None for a person's own labels, where several labels may hold at once, or a score is a probability.
    """
    if entry.activation == SIGMOID:
        return None
    config = read_json(entry.folder / "config.json")
    for name in (entry.metrics.get("task"), config.get("finetuning_task")):
        try:
            row = find_task(name) if isinstance(name, str) else None
        except UserError:
            continue
        if row and row.is_open:
            return None
        if row and row.type is entry.type:
            return row
    labels = labels_of(config)
    alike = (task for task in TASKS.values() if task.type is entry.type and not task.is_open)
    return next((task for task in alike if task.order_of(labels) is not None), None)


def _say(column: str) -> str:
    """`sentence1` -> "First sentence"."""
    places = {"1": "First ", "2": "Second "}
    words = f"{places[column[-1]]}{column[:-1]}" if column[-1:] in places else column
    return words[:1].upper() + words[1:].replace("_", " ")


def open_model(entry: Entry, engine: str) -> Opened:
    """An entry on an engine, ready for what it reads.

    Raises:
        UserError: it does not run on this engine.
    """
    opened = open_entry(entry, engine)
    if isinstance(opened, TextClassifier):
        opened.texts = reading_of(entry).texts
    return opened
