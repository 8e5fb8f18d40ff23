"""Sentences whose words have labels (names, places, personal data): how they are read, asked and scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from torch import Tensor

from compress.data import tagged
from compress.data.examples import TaggedExample
from compress.data.intake import Intake
from compress.data.names import OWN
from compress.data.squad import Example
from compress.tasks.heads import HEAR, Outputs, check_stated
from compress.tasks.labelled import Labelled
from compress.tasks.losses import plain, token_loss
from compress.tasks.metrics import entity_scores
from compress.tasks.samples import IGNORED, Loss, Sample
from compress.tasks.subject import About, Asked, Reading, Tell
from zoo.catalog import checkpoint_of
from zoo.checkpoints import head_of, labels_of, most_tokens, read_config
from zoo.engines.base import Engine
from zoo.errors import UserError
from zoo.features import Tokenizer, Window
from zoo.lengths import Lengths
from zoo.tag import OUTSIDE, by_sentence, first_tokens, predict, spans_of, windows_of
from zoo.tasks import TASKS, TOKENS, Task, are_unnamed, find_task

Pairs = tuple[tuple[str, str], ...]


class Sentences(Labelled[TaggedExample]):
    """Sentences whose words have labels."""

    def __init__(self, task: Task, reading: Reading, recipe: About | None = None):
        super().__init__(task, reading, recipe)
        if recipe is not None and (recipe.trains or tuple(self.labels or ()) != task.labels):
            self.labels = None  # they are the data's, see `settled`, which a checkpoint need not have

    @classmethod
    def settled(cls, task: Task, recipe: About) -> Task:
        """With the labels of the data to train on; where nothing is trained, of the model.

        They are in the order that the model has them, where it has the same; a recipe may name them, too.
        """
        data, theirs = recipe.dataset, _labels_of_model(str(getattr(recipe, "model", "")))
        if not recipe.trains:
            if not (theirs or data.labels):
                raise UserError(
                    f"The model does not say what its labels are called, and nothing is trained here. {HEAR}."
                )
            return task.with_labels(theirs or data.labels or ())
        source, split = None if data.train == OWN else str(data.train), task.split("train")
        path = Path(source or "").expanduser()
        stamp = path.stat().st_mtime_ns if source and path.is_file() else 0
        pairs = tuple(data.columns.items()), tuple(data.label_values.items())
        labels = _labels_of_data(task, source, split, stamp, data.skip, *pairs)
        if len(labels) < 2:
            raise UserError(f"All words to train on have the one label {', '.join(labels)}: there is nothing to learn.")
        if set(labels) <= set(data.labels or ()):
            labels = data.labels or ()
        same = task.with_labels(labels).order_of(theirs or ()) is not None
        return task.with_labels(theirs if theirs and same else labels)

    @classmethod
    def task_of(cls, entry: str, config: Mapping[str, Any], asked: Asked) -> Task:
        name, own = asked.task or config.get("finetuning_task"), labels_of(dict(config))
        task = find_task(name) if name and (asked.task or name in TASKS) else TASKS["tokens"]
        if task.type is not TOKENS and asked.task:
            raise UserError(f"{entry} labels tokens: name a task of token labels, or leave --task out.")
        if task.type is not TOKENS or not (task.is_open or task.may_have(own) or asked.task):
            task = TASKS["tokens"]
        if task.is_open:
            task = task.with_labels(asked.labels or own)
        if asked.labels:
            if len(asked.labels) != len(own):
                raise UserError(f"{entry} has {len(own)} outputs, and --labels names {len(asked.labels)}.")
            check_stated(task, config, asked.labels)
        elif task.order_of(own) is None or are_unnamed(own):
            raise UserError(f"{entry} gives {', '.join(own)[:200]}, which are no labels of {task.title}. {HEAR}.")
        return task

    def read(self, source: str, intake: Intake | None = None) -> list[TaggedExample]:
        named = None if source == OWN else source
        return tagged.load_sentences(self.task, named, self.task.split("evaluation"), intake)

    def rows_of(self, source: str, split: str, intake: Intake) -> list[TaggedExample]:
        return tagged.load_sentences(self.task, None if source == OWN else source, self.task.split(split), intake)

    def windows(self, tokenizer: Tokenizer, examples: Sequence[TaggedExample]) -> list[Window]:
        return windows_of(tokenizer, [e.words for e in examples], self.reading.max_length, self.reading.stride)

    def samples(self, tokenizer: Tokenizer, examples: Sequence[TaggedExample]) -> list[Sample]:
        """Windows with a label at the first token of every word, in the window where it will be read.

        Raises:
            UserError: there are no sentences, or a label is none of the task's.
        """
        if not examples:
            raise UserError("There are no sentences to learn from. Take other data.")
        windows, places = self.windows(tokenizer, examples), {name: i for i, name in enumerate(self.task.labels)}
        if unknown := sorted({tag for e in examples for tag in e.tags} - set(places)):
            raise UserError(f"The sentences to learn from have labels that {self.task.title} has not: {unknown[0]}.")
        rows: list[Sample] = []
        for example, own in zip(examples, by_sentence(windows, len(examples)), strict=True):
            parts = [windows[i] for i in own]
            labels = [[IGNORED] * len(window.input_ids) for window in parts]
            for word, (number, place) in first_tokens(parts).items():
                labels[number][place] = places[example.tags[word]]
            rows += [
                Sample(window, label=tuple(each), key=f"{example.id}@{number}")
                for number, (window, each) in enumerate(zip(parts, labels, strict=True))
            ]
        return rows

    def loss(self, significance_weight: float = 0.0, bounds: Sequence[float] = ()) -> Loss:
        return plain(self.loss_of)

    def loss_of(self, logits: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        return token_loss(logits, batch["label"])

    def score(
        self,
        engine: Engine,
        tokenizer: Tokenizer,
        examples: Sequence[TaggedExample],
        config: Lengths | None = None,
        progress: Tell | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> dict[str, float]:
        if not examples:
            raise UserError("There are no sentences to evaluate on. Take other data.")
        names = self._names(settings)
        self._compare(examples)
        reading = most_tokens(dict(settings or {}), self.reading.max_length), self.reading.stride
        sentences = predict(engine, tokenizer, [e.words for e in examples], config, reading, progress)
        said: list[list[str]] = []
        for example, words in zip(examples, sentences, strict=True):
            if words and len(next(iter(words.values()))) != len(names):
                raise UserError(
                    f"This model has {len(next(iter(words.values())))} outputs a token, {self.task.title} has "
                    f"{len(names)} labels. Choose a model that was trained for it."
                )
            tags = {word: names[int(logits.argmax())] for word, logits in words.items()}
            said.append([tags.get(word, OUTSIDE) for word in range(len(example.words))])
        return entity_scores(said, [e.tags for e in examples])

    def _names(self, settings: Mapping[str, Any] | None) -> list[str]:
        """The task's labels in the order of a model's outputs."""
        labels = list(self.task.labels)
        if settings is None:
            return labels
        order = Outputs(self.task, self.labels).order(labels_of(dict(settings)))
        if order is None:
            raise UserError(f"The outputs {', '.join(labels_of(dict(settings)))} have no names. {HEAR}.")
        names = [OUTSIDE] * len(labels)
        for label, place in zip(labels, order, strict=True):
            names[place] = label
        return names

    def _compare(self, examples: Sequence[TaggedExample]) -> None:
        """Says which of the data's kinds the model does not know.

        Raises:
            UserError: it knows none of them.
        """
        theirs = {kind for e in examples for kind, _, _ in spans_of(e.tags)}
        ours = {kind for label in self.task.labels for kind, _, _ in spans_of([label])}
        if theirs and not theirs & ours:
            raise UserError(
                f"The data have {', '.join(sorted(theirs))[:200]}, the model knows {', '.join(sorted(ours))[:200]}: "
                "nothing can be compared. Say by dataset.label_values which label is which, or take other data."
            )
        if unknown := sorted(theirs - ours):
            self.remark(f"The model does not know kinds of the data, which count as missed: {', '.join(unknown)}.")

    def passages(self, examples: Sequence[TaggedExample]) -> list[Example]:
        return [Example(e.id, "", tagged.identity(e)) for e in examples]

    def remarks(self, n: int) -> dict[str, str]:
        task = self.task
        remarks = ["an entity counts if its words and its kind are right (as seqeval counts by default)", *self.noted]
        if n < task.rows:
            remarks.append(f"{n:,} sentences were scored, the task's own data have {task.rows:,}")
        return {"remark": "; ".join(remarks)}


def _labels_of_model(model: str) -> list[str]:
    """The labels of a checkpoint that labels tokens; empty for others, and for those that name none."""
    config = read_config(checkpoint_of(model)) if model else {}
    try:
        labels = labels_of(config) if head_of(config) is TOKENS else []
    except UserError:
        return []
    return [] if are_unnamed(labels) else labels


@lru_cache(maxsize=8)
def _labels_of_data(
    task: Task, source: str | None, split: str, _stamp: int, skip: bool, columns: Pairs, values: Pairs
) -> tuple[str, ...]:
    """All labels of the data to train on; `_stamp` tells a file from what it was before."""
    intake = Intake(skip=skip, columns=dict(columns), values=dict(values))
    return tuple(tagged.labels_in(tagged.load_sentences(task, source, split, intake)))
