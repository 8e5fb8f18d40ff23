"""Label tokens: features -> engine -> spans of the text, each with its label (names, places, personal data)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np

from zoo.answers import Reply, Tag
from zoo.checkpoints import labels_of, most_tokens
from zoo.engines.base import Engine
from zoo.errors import UserError
from zoo.features import Span, Tokenizer, Window, clean_text, make_parts, words_in
from zoo.lengths import Lengths
from zoo.opened import Describer, Inputs, logits_of_all
from zoo.tasks import TOKENS

MAX_LENGTH, STRIDE = 384, 64  # tokens of a window of a long text, and those that neighbours share
OUTSIDE = "O"


class TokenTagger(Describer):
    """An entry on an engine, ready for texts whose words it labels."""

    task = TOKENS.name
    refusal = "not for labelling tokens. Choose a token-classification model."

    @cached_property
    def names(self) -> list[str]:
        """The labels in the order of the logits."""
        return labels_of(self.config)

    @cached_property
    def max_length(self) -> int:
        """The most tokens of a window."""
        return most_tokens(self.config, MAX_LENGTH)

    def described(self, inputs: Inputs, logits: list[np.ndarray], reply: Reply) -> Reply:
        """The labelled spans of the text; a long one is read in overlapping windows."""
        text, rows = inputs.texts[0], word_logits(inputs.windows, logits)
        words = whole_words(inputs.windows, words_in(text), [*rows])
        return replace(reply, tags=find_tags(text, words, [*rows.values()], self.names))

    def prepare(self, first: str, second: str | None) -> Inputs:
        text, notice = clean_text(first)
        if not text.strip():
            raise UserError("There is no text to label: write one, or pick an example.")
        if (second or "").strip():
            raise UserError(f"{self.entry.name} reads one text: leave the second one empty.")
        windows = make_parts(self.tokenizer, [text], [words_in(text)], self.max_length, STRIDE)
        notices = [notice] if notice else []
        if len(windows) > 1:
            notices.append(f"The text is long: it was read in {len(windows)} overlapping windows.")
        return Inputs((text,), windows, notices)


def first_tokens(windows: Sequence[Window]) -> dict[int, tuple[int, int]]:
    """Where each word of one text is read, by its number, in order: the window, and the place of the first token.

    Models are trained on the first token of a word. One that stands in several windows is read where it has most around
    it; one of which no token is left (a blank of an odd kind) is not read.
    """
    best: dict[int, tuple[int, int, int]] = {}
    for number, window in enumerate(windows):
        last = len(window.words) - 1
        seen: set[int] = set()
        for place, word in enumerate(window.words):
            if word is None or word in seen:
                continue
            seen.add(word)
            around = min(place, last - place)
            if word not in best or around > best[word][0]:
                best[word] = around, number, place
    return {word: best[word][1:] for word in sorted(best)}


def word_logits(windows: Sequence[Window], logits: Sequence[np.ndarray]) -> dict[int, np.ndarray]:
    """The logits of each word of one text, `[labels]`, by the word's number, in order, see `first_tokens`."""
    return {word: logits[number][place] for word, (number, place) in first_tokens(windows).items()}


def whole_words(windows: Sequence[Window], words: Sequence[Span], numbers: Sequence[int]) -> list[Span]:
    """Places of the words of one text that are read, each together with those behind it that its tokens cover.

    A token may hold several characters of a script without blanks, each of them a word: it is read for all of them.

    Args:
        windows: of the text.
        words: places of all its words.
        numbers: of those that are read, in order, see `first_tokens`.
    """
    reach: dict[int, int] = {}
    for window in windows:
        for word, place in zip(window.words, window.offsets, strict=True):
            if word is not None and place:
                reach[word] = max(reach.get(word, 0), place[1])
    places: list[Span] = []
    for number, after in zip(numbers, [*numbers[1:], len(words)], strict=True):
        last = number
        while last + 1 < after and words[last + 1][0] < reach[number]:
            last += 1
        places.append((words[number][0], words[last][1]))
    return places


def by_sentence(windows: Sequence[Window], count: int) -> list[list[int]]:
    """Places of the windows of each of so many sentences."""
    places: list[list[int]] = [[] for _ in range(count)]
    for i, window in enumerate(windows):
        places[window.example].append(i)
    return places


def find_tags(text: str, words: Sequence[Span], logits: Sequence[np.ndarray], names: Sequence[str]) -> list[Tag]:
    """Spans of the text: neighbouring words of one entity together, in their order.

    Labels are read as IOB has them (`B-PER` begins, `I-PER` goes on, `O` is nothing); those without a mark go on where
    the word before has the same. What is said is cut from the text: what stands between two words stays.

    Args:
        text: whose words they are.
        words: their places.
        logits: of each word, `[labels]`.
        names: of the labels.
    """
    if not words:
        return []
    scores = np.stack(logits).astype(np.float64)
    chances = np.exp(scores - scores.max(1, keepdims=True))
    chances /= chances.sum(1, keepdims=True)
    best = chances.argmax(1)
    groups: list[tuple[str, int, int, list[float]]] = []
    for kind, first, last in spans_of([names[int(i)] for i in best]):
        groups.append((kind, first, last, [float(chances[i, best[i]]) for i in range(first, last + 1)]))
    return [
        Tag(text[words[first][0] : words[last][1]], words[first][0], words[last][1], kind, sum(chance) / len(chance))
        for kind, first, last, chance in groups
    ]


def spans_of(labels: Sequence[str]) -> list[tuple[str, int, int]]:
    """The entities in a sequence of labels: kind, first and last word. As conlleval and seqeval count by default.

    A new one begins at `B-` and `S-`, where the kind changes, and after `E-`, `S-` and `O`. `M-` of BMES is an `I-`.
    """
    spans: list[tuple[str, int, int]] = []
    kind_before, mark_before = "", OUTSIDE
    for place, label in enumerate(labels):
        mark, kind = _parted(label)
        if mark != OUTSIDE:
            if mark in "BS" or mark_before in ("O", "E", "S", "L", "U") or kind != kind_before or mark == "U":
                spans.append((kind, place, place))
            else:
                spans[-1] = (kind, spans[-1][1], place)
        kind_before, mark_before = kind, mark
    return spans


def _parted(label: str) -> tuple[str, str]:
    """`B-PER` -> ("B", "PER"); what BMES calls the middle, and a label without a mark, goes on like an `I`."""
    if label in (OUTSIDE, ""):
        return OUTSIDE, ""
    mark, dash, kind = label.partition("-")
    if dash and mark == "M":
        return "I", kind
    return (mark, kind) if dash and mark in ("B", "I", "E", "S", "L", "U") else ("I", label)


def predict(
    engine: Engine,
    tokenizer: Tokenizer,
    sentences: Sequence[Sequence[str]],
    config: Lengths | None = None,
    reading: tuple[int, int] = (MAX_LENGTH, STRIDE),
    progress: Callable[[int, int], None] | None = None,
) -> list[dict[int, np.ndarray]]:
    """Logits of the words of many sentences, by the words' numbers, see `word_logits`.

    Args:
        engine: a loaded model.
        tokenizer: its tokenizer.
        sentences: their words; a long one is read in overlapping windows.
        config: length configuration; None for full length.
        reading: tokens of a window, special ones included, and those that neighbours share.
        progress: called with (windows done, windows in all).
    """
    windows = windows_of(tokenizer, sentences, *reading)
    logits = logits_of_all(engine, windows, config, progress)
    return [
        word_logits([windows[i] for i in own], [logits[i] for i in own]) for own in by_sentence(windows, len(sentences))
    ]


def windows_of(
    tokenizer: Tokenizer, sentences: Sequence[Sequence[str]], max_length: int = MAX_LENGTH, stride: int = STRIDE
) -> list[Window]:
    """Windows of sentences that come in words: they are written with a blank between two."""
    texts, places = list[str](), list[list[Span]]()
    for words in sentences:
        spans, at = list[Span](), 0
        for word in words:
            spans.append((at, at + len(word)))
            at += len(word) + 1
        texts.append(" ".join(words))
        places.append(spans)
    return make_parts(tokenizer, texts, places, max_length, stride)
