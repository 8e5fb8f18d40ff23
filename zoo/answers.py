"""From logits to answers: the best spans of a passage, "no answer" by the convention of SQuAD 2, and labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
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
    """A class that a text may be of, with its logit and its probability; a regression's only one holds the score.

    `index` is its place among the classifier's outputs.
    """

    name: str
    index: int
    score: float
    probability: float


def find_labels(logits: np.ndarray, names: Sequence[str]) -> list[Label]:
    """The labels of one text, from likely to unlikely.

    Args:
        logits: `[labels]`.
        names: of the labels, in the order of the logits.
    """
    scores = np.asarray(logits, dtype=np.float64)
    weights = np.exp(scores - scores.max())
    order = np.argsort(-scores, kind="stable")
    return [Label(str(names[int(i)]), int(i), float(scores[i]), float(weights[i] / weights.sum())) for i in order]


def find_answers(
    context: str,
    windows: Sequence[Window],
    start_logits: Sequence[np.ndarray],
    end_logits: Sequence[np.ndarray],
    n_best: int = 20,
    max_answer_tokens: int = 30,
    no_answer: bool = False,
    null_threshold: float = 0.0,
) -> list[Answer]:
    """The best answers to one question, over all windows of its passage.

    The search is exact: every span of at most `max_answer_tokens` tokens competes, not only those that begin at one of
    the best starts. A span seen by several windows counts once, with its best score.

    Args:
        context: the passage that the windows' offsets point into.
        windows: the windows of this one example, each with `offsets` (None outside the passage).
        start_logits: one array [T] a window, T at least the window's length; padding after it is ignored.
        end_logits: likewise.
        n_best: how many answers are kept.
        max_answer_tokens: the longest answer, in tokens.
        no_answer: whether "no answer" competes. Its score is the lowest, over the windows, of the two logits at [CLS].
        null_threshold: "no answer" wins if its score is above the best span's by more than this.

    Returns:
        The answers from best to worst, at most `n_best`; empty where no span is valid and `no_answer` is off.
    """
    best: dict[tuple[int, int], float] = {}
    null_score = np.inf
    for window, start, end in zip(windows, start_logits, end_logits, strict=True):
        start, end = np.asarray(start, dtype=np.float64), np.asarray(end, dtype=np.float64)
        null_score = min(null_score, float(start[0] + end[0]))
        for span, score in _best_spans(window.offsets, start, end, n_best, max_answer_tokens):
            best[span] = max(score, best.get(span, -np.inf))

    answers = [Answer(context[a:b], a, b, score) for (a, b), score in best.items()]
    if no_answer and windows:
        answers.append(Answer("", -1, -1, null_score))

    def rank(answer: Answer) -> tuple[float, bool, int, int]:
        is_null = answer.start < 0
        return -answer.score + null_threshold * is_null, is_null, answer.start, answer.end

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
    seen: set[tuple[int, int]] = set()
    for size in (4 * n_best, len(scores)):
        chosen = np.arange(len(scores))
        if size < len(scores):
            chosen = np.flatnonzero(scores >= np.partition(scores, -size)[-size])
        for row in chosen[np.lexsort((j[chosen], i[chosen], -scores[chosen]))]:
            span = int(i[row]), int(j[row])
            if span not in seen:
                seen.add(span)
                yield span, float(scores[row])
            if len(seen) == n_best:
                return
        if size >= len(scores):
            return


def _with_probabilities(answers: list[Answer]) -> list[Answer]:
    if not answers:
        return []
    scores = np.array([answer.score for answer in answers])
    weights = np.exp(scores - scores.max())
    return [replace(a, probability=float(w)) for a, w in zip(answers, weights / weights.sum(), strict=True)]
