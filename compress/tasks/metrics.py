"""How good answers and labels are: exact match and F1 as SQuAD defines them (arXiv 1606.05250, 1806.03822), and what
GLUE reports (arXiv 1804.07461)."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from zoo.tasks import Task

_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize_answer(text: str) -> str:
    """Lower case, without ASCII punctuation, articles and surplus blanks.

    Example:
        >>> normalize_answer("The  Eiffel-Tower!")
        'eiffeltower'
    """
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(prediction: str, answer: str) -> float:
    """1 if both are the same after normalization, else 0."""
    return float(normalize_answer(prediction) == normalize_answer(answer))


def f1(prediction: str, answer: str) -> float:
    """Harmonic mean of precision and recall over words, 0 to 1; nothing matches nothing and only that."""
    said, true = normalize_answer(prediction).split(), normalize_answer(answer).split()
    if not said or not true:
        return float(said == true)
    same = (Counter(said) & Counter(true)).total()
    return 2 * same / (len(said) + len(true))


def squad_scores(predictions: Mapping[str, str], references: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """Scores a data set; the best of a question's answers counts.

    Args:
        predictions: text by question id, "" for "no answer"; a question that is left out counts as wrong.
        references: right answers by question id; an empty list where the passage holds none (SQuAD 2).

    Returns:
        `exact_match` and `f1` in points of 100 and `total`; where some question has no answer also `HasAns_exact`,
        `HasAns_f1`, `HasAns_total` and `NoAns_...` likewise (a group without questions scores 0).

    Raises:
        ValueError: there are no references.
    """
    if not references:
        raise ValueError("there are no questions to score")
    rows, second = [], not all(references.values())
    for name, answers in references.items():
        # SQuAD 2 takes an answer of nothing but articles and punctuation for none; SQuAD 1.1 takes it as it is.
        true = [answer for answer in answers if normalize_answer(answer) or not second] or [""]
        said = predictions.get(name)
        scores = [(exact_match(said, a), f1(said, a)) for a in true] if said is not None else [(0.0, 0.0)]
        rows.append((bool(answers), max(em for em, _ in scores), max(f for _, f in scores)))
    found = {"exact_match": _mean(row[1] for row in rows), "f1": _mean(row[2] for row in rows), "total": len(rows)}
    if second:
        for group, wanted in (("HasAns", True), ("NoAns", False)):
            part = [row for row in rows if row[0] == wanted]
            found |= {
                f"{group}_exact": _mean(row[1] for row in part),
                f"{group}_f1": _mean(row[2] for row in part),
                f"{group}_total": len(part),
            }
    return found


def _mean(values) -> float:
    values = list(values)
    return 100 * sum(values) / len(values) if values else 0.0


def task_scores(task: Task, predictions: Any, labels: Any) -> dict[str, float]:
    """Scores a task's predictions.

    Args:
        task: of `zoo.tasks`.
        predictions: numbers of classes, or scores for a regression, `[examples]`.
        labels: likewise, what is right.

    Returns:
        The task's metrics in points of 100, and `n`.

    Raises:
        ValueError: there is nothing to score, or as many predictions as labels there are not.
    """
    said, true = np.asarray(predictions), np.asarray(labels)
    if not true.size or said.shape != true.shape:
        raise ValueError(f"{said.shape} predictions do not fit {true.shape} labels")
    return {**{name: 100 * METRICS[name](said, true) for name in task.metrics}, "n": int(true.size)}


def accuracy(said: np.ndarray, true: np.ndarray) -> float:
    """Share of right classes, 0 to 1."""
    return float(np.mean(said == true))


def class_f1(said: np.ndarray, true: np.ndarray) -> float:
    """F1 of class 1 of two, 0 to 1; 0 where nobody names it."""
    hit = np.sum((said == 1) & (true == 1))
    named = np.sum(said == 1) + np.sum(true == 1)
    return float(2 * hit / named) if named else 0.0


def matthews(said: np.ndarray, true: np.ndarray) -> float:
    """Matthews' correlation of two classifications, -1 to 1; 0 where one of them names a single class."""
    classes = np.union1d(said, true)
    one, other = ((part[:, None] == classes).astype(np.float64) for part in (said, true))
    return _correlation(one, other)


def pearson(said: np.ndarray, true: np.ndarray) -> float:
    """Pearson's correlation, -1 to 1; 0 where one side is constant."""
    return _correlation(said.astype(np.float64)[:, None], true.astype(np.float64)[:, None])


def spearman(said: np.ndarray, true: np.ndarray) -> float:
    """Spearman's correlation of ranks, -1 to 1; equal values share their mean rank."""
    return pearson(_ranks(said), _ranks(true))


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Covariance of `[n, columns]`, summed over columns, over the geometric mean of both variances."""
    if not np.ptp(one, 0).any() or not np.ptp(other, 0).any():
        return 0.0
    one, other = one - one.mean(0), other - other.mean(0)
    return float(np.sum(one * other) / np.sqrt(np.sum(one**2) * np.sum(other**2)))


def _ranks(values: np.ndarray) -> np.ndarray:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (ends - (counts - 1) / 2)[place]


METRICS = {"accuracy": accuracy, "f1": class_f1, "matthews": matthews, "pearson": pearson, "spearman": spearman}
