"""Labels of words: how they are written, and a sentence's words with theirs, or what is wrong with them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from compress.data.examples import TaggedExample
from compress.data.intake import Intake
from compress.data.places import Place, Spot
from zoo.errors import UserError
from zoo.tasks import Task

WORD, TAG, SENTENCE = "tokens", "ner_tags", "sentence"  # our names for the columns
WORDS = ("words", "token", "word", "form")
TAGS = ("tags", "labels", "ner", "tag", "label", "ner_tag", "entity", "iob")
SENTENCES = ("sentence #", "sentence_id", "sentence_idx", "sent_id", "sentence id")
NEEDED = (
    f"A file in columns has a word a line, first the word and last its label, and an empty line after each sentence; "
    f"JSON Lines have an object a sentence, its words as the list `{WORD}` and a label for each as the list `{TAG}`; "
    f"CSV has the columns `{WORD}` and `{TAG}`, a sentence a row, or a word a row beside its `{SENTENCE}`."
)
DOCUMENT = "-DOCSTART-"
MAX_WORDS, MAX_DIGITS = 20_000, 9
MARKED = re.compile(r"[BIOELSUM]-\S+")


def is_tag(value: object) -> bool:
    """Whether a value is written as labels of words mostly are: `O`, or a kind with a mark before it."""
    return isinstance(value, str) and (value == "O" or MARKED.fullmatch(value) is not None)


def are_tags(values: Sequence[object]) -> bool:
    """Whether all are labels by the way they are written, and not `O` alone."""
    return bool(values) and all(map(is_tag, values)) and set(values) != {"O"}


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
            has = "1 word has" if len(words) == 1 else f"{len(words)} words have"
            raise UserError(f"{place}: {has} {len(tags)} label{'s' * (len(tags) != 1)}. Give every word one.")
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
            if len(text) > MAX_DIGITS or int(text) >= len(self._names):
                raise UserError(
                    f"{place}: the label {text[:40]} is a number, and nothing says what it stands for. Say it for all "
                    "by dataset.label_values, as {O: '0', B-PER: '1'}."
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
