"""From logits to a reply: the best spans of a passage, "no answer" by the convention of SQuAD 2, labels, scores."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from zoo.errors import UserError
from zoo.tasks import QUESTIONS

if TYPE_CHECKING:
    from zoo.catalog import Entry
    from zoo.features import Window


@dataclass(frozen=True)
class Answer:
    """A span of the passage, `context[start:end] == text`; or no answer, `Answer("", -1, -1, ...)`.

    `score` is the sum of two logits; `probability` is a softmax over the answers that are returned together.
    """

    text: str
    start: int
    end: int
    score: float
    probability: float = 0.0


@dataclass(frozen=True)
class Label:
    """A class that a text may be of, with its logit and its probability.

    `index` is its place among the classifier's outputs.
    """

    name: str
    index: int
    score: float
    probability: float


@dataclass(frozen=True)
class Tag:
    """A labelled span of a text, `text[start:end] == text`; `probability` is the mean of its words'."""

    text: str
    start: int
    end: int
    label: str
    probability: float


@dataclass(frozen=True)
class Match:
    """A text that was compared with another: its place among those compared, and how well it fits.

    `score` is a cosine of embeddings (-1 to 1), or what a model that ranks says.
    """

    text: str
    index: int
    score: float


@dataclass(frozen=True)
class KeptWindow:
    """Which tokens of a window survived.

    Attributes:
        tokens: their text.
        spans: their places in the text that they are of; None for special tokens, and for a question's.
        kept: bool `[layers, tokens]`.
        parts: which of `Reply.texts` each is of, None as in `spans`; empty where there is one text only.
    """

    tokens: list[str]
    spans: Sequence[tuple[int, int] | None]
    kept: np.ndarray
    parts: Sequence[int | None] = ()


NO_LABEL, NO_TAG = "none of the labels", "nothing to label"
LISTED = 6  # labelled spans that are named in a line
CLOSE = 0.05  # scores that differ by less read the same


@dataclass(frozen=True)
class Reply:
    """What a model says of one input, whatever its task, and what was computed for it.

    Attributes:
        texts: those that spans are places in, as they were read: a passage, or a classifier's one or two.
        tokens: real tokens of every window.
        kept: which of them survived each layer, a window each.
        macs_ratio: share of the unpadded full model's MACs.
        notices: what was cut, removed or read in pieces.
        answers: of question answering, best first.
        labels: of classification, from likely to unlikely.
        several: several of the labels may hold at once, or none; each has a probability of its own.
        score: of a model with one output.
        tags: labelled spans of the text, in their order; None where words are not labelled.
        matches: texts[1:], which were compared with texts[0], the best first.
    """

    texts: tuple[str, ...]
    tokens: list[int]
    kept: list[KeptWindow]
    macs_ratio: float
    notices: list[str] = field(default_factory=list[str])
    answers: list[Answer] = field(default_factory=list[Answer])
    labels: list[Label] = field(default_factory=list[Label])
    score: float | None = None
    several: bool = False
    tags: list[Tag] | None = None
    matches: list[Match] = field(default_factory=list[Match])

    @property
    def chosen(self) -> list[Label]:
        """The labels that it says hold: the likeliest one, or, where several may, those that are likelier than not."""
        return [one for one in self.labels if one.probability > 0.5] if self.several else self.labels[:1]

    @property
    def best(self) -> Answer | Label | None:
        """The best answer or label; None for a score, and where nothing was answered."""
        return next(iter([*self.answers, *self.chosen]), None)

    @property
    def no_answer(self) -> bool:
        """Whether it says that the passage does not answer the question."""
        return bool(self.answers) and self.answers[0].start < 0

    @property
    def span(self) -> tuple[int, int] | None:
        """Where the best answer stands in the passage; labels and scores stand nowhere."""
        return (self.answers[0].start, self.answers[0].end) if self.answers and not self.no_answer else None

    @property
    def words(self) -> str:
        """The answer, the label, the score, what is labelled, or the text that fits best; empty for no answer."""
        if self.tags is not None:
            more = f", and {len(self.tags) - LISTED} more" if len(self.tags) > LISTED else ""
            return ", ".join(f"{tag.text} ({tag.label})" for tag in self.tags[:LISTED]) + more or NO_TAG
        if self.matches:
            best = self.matches[0]
            return f"{best.score:.2f}" if len(self.matches) == 1 else f"{best.score:.2f} · {best.text}"
        if self.score is not None:
            return f"{self.score:.2f}"
        if self.labels:
            return ", ".join(one.name for one in self.chosen) or NO_LABEL
        return self.answers[0].text if self.answers else ""

    @property
    def probability(self) -> float | None:
        """Of what it says; None for a score, for several labels at once, and where there is nothing."""
        return self.best.probability if self.best and len(self.chosen) < 2 else None

    def shared_tags(self, other: Reply) -> tuple[int, int]:
        """How many of the labelled spans of either reply both have, and how many there are."""
        mine, theirs = ({(tag.start, tag.end, tag.label) for tag in each.tags or ()} for each in (self, other))
        return len(mine & theirs), len(mine | theirs)

    def agrees(self, other: Reply) -> bool:
        """Whether the best answers are the same span, the labels the same, or the scores close; of several texts that
        were compared, whether the same one fits best."""
        if self.matches and other.matches:
            mine, theirs = self.matches[0], other.matches[0]
            alone = len(self.matches) == len(other.matches) == 1
            return abs(mine.score - theirs.score) < CLOSE if alone else mine.text == theirs.text
        if self.tags is not None and other.tags is not None:
            same, every = self.shared_tags(other)
            return same == every
        if self.labels and other.labels:
            mine, theirs = ({label.name.casefold() for label in each.chosen} for each in (self, other))
            return mine == theirs
        if self.score is not None and other.score is not None:
            return abs(self.score - other.score) < CLOSE
        if {self.score, other.score} != {None} or self.labels or other.labels or self.matches or other.matches:
            return False
        return self.span == other.span and bool(self.answers) == bool(other.answers)


@dataclass(frozen=True)
class NoAnswer:
    """What a person asks of "no answer"; what is None is as the entry has it.

    Attributes:
        allowed: it may win.
        threshold: it wins if its score is above the best span's by more than this, in logits.

    Raises:
        UserError: the threshold is no finite number, or one for what is not allowed.
    """

    allowed: bool | None = None
    threshold: float | None = None

    def __post_init__(self) -> None:
        if self.threshold is None:
            return
        if not is_threshold(self.threshold):
            raise UserError(f"The threshold of “no answer” is a number such as -1.5, not {self.threshold!r}.")
        if self.allowed is False:
            raise UserError("“No answer” is not allowed, so that no threshold of it is heard: leave one of both out.")

    def of(self, entry: Entry) -> NoAnswer:
        """The same for an entry, with nothing left open: where "no answer" may win, by what threshold, else None.

        Raises:
            UserError: the entry is not for questions, or may not say "no answer", and something of it was asked.
        """
        if entry.task != QUESTIONS.name:
            if self == AS_TRAINED:
                return self
            raise UserError(f"{entry.name} is for {entry.type.title}: “no answer” is for questions.")
        allowed = entry.no_answer if self.allowed is None else self.allowed
        if not allowed and self.threshold is not None:
            raise UserError(
                f"{entry.name} was not trained to say “no answer”, so that no threshold of it is heard: allow “no "
                "answer” as well, or leave the threshold out."
            )
        own = entry.null_threshold if self.threshold is None else self.threshold
        return NoAnswer(allowed, own if allowed else None)


AS_TRAINED = NoAnswer()


def is_threshold(value: object) -> bool:
    """Whether it is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def find_labels(logits: np.ndarray, names: Sequence[str], several: bool = False) -> list[Label]:
    """The labels of one text, from likely to unlikely.

    Args:
        logits: `[labels]`.
        names: of the labels, in the order of the logits.
        several: each label has a probability of its own; else one of them holds, and they add up to 1.
    """
    scores = np.asarray(logits, dtype=np.float64)
    weights = np.exp(scores - scores.max())
    chances = sigmoid(scores) if several else weights / weights.sum()
    order = np.argsort(-scores, kind="stable")
    return [Label(str(names[int(i)]), int(i), float(scores[i]), float(chances[i])) for i in order]


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)), without overflow."""
    return np.exp(-np.logaddexp(0.0, -np.asarray(logits, dtype=np.float64)))


def find_answers(
    context: str,
    windows: Sequence[Window],
    logits: Sequence[np.ndarray],
    n_best: int = 20,
    max_answer_tokens: int = 30,
    null_threshold: float | None = None,
) -> list[Answer]:
    """The best answers to one question, over all windows of its passage.

    The search is exact: every span of at most `max_answer_tokens` tokens competes, not only those that begin at one of
    the best starts. A span seen by several windows counts once, with its best score.

    Args:
        context: the passage that the windows' offsets point into.
        windows: the windows of this one example, each with `offsets` (None outside the passage).
        logits: of start and end, one array `[T, 2]` a window, T at least the window's length; padding after it is
            ignored.
        n_best: how many answers are kept.
        max_answer_tokens: the longest answer, in tokens.
        null_threshold: "no answer" wins if its score is above the best span's by more than this; None: it does not
            compete. Its score is the lowest, over the windows, of the two logits at [CLS].

    Returns:
        The answers from best to worst, at most `n_best`; empty where no span is valid and it does not compete.
    """
    best: dict[tuple[int, int], float] = {}
    null_score = np.inf
    for window, pairs in zip(windows, logits, strict=True):
        start, end = np.asarray(pairs, dtype=np.float64).T
        null_score = min(null_score, float(start[0] + end[0]))
        for span, score in _best_spans(window.offsets, start, end, n_best, max_answer_tokens):
            best[span] = max(score, best.get(span, -np.inf))

    answers = [Answer(context[a:b], a, b, score) for (a, b), score in best.items()]
    if null_threshold is not None and windows:
        answers.append(Answer("", -1, -1, null_score))

    def rank(answer: Answer) -> tuple[float, bool, int, int]:
        is_null = answer.start < 0
        return -answer.score + (null_threshold or 0.0) * is_null, is_null, answer.start, answer.end

    return _with_probabilities(sorted(answers, key=rank)[:n_best])


def _best_spans(
    offsets: Sequence[tuple[int, int] | None], start: np.ndarray, end: np.ndarray, n_best: int, longest: int
) -> Iterator[tuple[tuple[int, int], float]]:
    """The `n_best` different character spans of one window with their scores, best first."""
    inside = [i for i, offset in enumerate(offsets) if offset is not None]
    if not inside:
        return
    first, last = inside[0], inside[-1] + 1
    begins = np.array([offset[0] if offset else -1 for offset in offsets[first:last]])
    ends = np.array([offset[1] if offset else -1 for offset in offsets[first:last]])

    # Row i, column j: the span from token i to token i + j. Past the window the score is -inf, hence not finite.
    width = min(longest, last - first)
    tail = np.concatenate([end[first:last], np.full(width - 1, -np.inf)])
    with np.errstate(invalid="ignore"):
        scores = start[first:last, None] + np.lib.stride_tricks.sliding_window_view(tail, width)
    i, j = np.nonzero(np.isfinite(scores))
    scores, i, j = scores[i, j], begins[i], ends[i + j]
    valid = (i >= 0) & (j > i)
    scores, i, j = scores[valid], i[valid], j[valid]

    # Tokens may share characters (the bytes of an emoji do), so n_best different spans can take more than n_best rows.
    spans: set[tuple[int, int]] = set()
    for size in (4 * n_best, len(scores)):
        chosen = np.arange(len(scores))
        if size < len(scores):
            chosen = np.flatnonzero(scores >= np.partition(scores, -size)[-size])
        for row in chosen[np.lexsort((j[chosen], i[chosen], -scores[chosen]))]:
            span = int(i[row]), int(j[row])
            if span not in spans:
                spans.add(span)
                yield span, float(scores[row])
            if len(spans) == n_best:
                return
        if size >= len(scores):
            return


def _with_probabilities(answers: list[Answer]) -> list[Answer]:
    if not answers:
        return []
    scores = np.array([answer.score for answer in answers])
    weights = np.exp(scores - scores.max())
    return [replace(a, probability=float(w)) for a, w in zip(answers, weights / weights.sum(), strict=True)]
