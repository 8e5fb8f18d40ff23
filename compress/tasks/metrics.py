"""How good answers, labels and rankings are: exact match and F1 as SQuAD defines them (arXiv 1606.05250, 1806.03822),
what GLUE reports (arXiv 1804.07461), F1 of entities as CoNLL counts them (arXiv cs/0306050), and what BEIR reports
(arXiv 2104.08663)."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats
from sklearn.metrics import average_precision_score, f1_score

from zoo.tag import spans_of
from zoo.tasks import Task

Values = npt.NDArray[np.generic]
_f1_score: Any = f1_score  # whose types allow a word alone for what a number may be
_average_precision: Any = average_precision_score
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
    words, right = normalize_answer(prediction).split(), normalize_answer(answer).split()
    if not words or not right:
        return float(words == right)
    common = (Counter(words) & Counter(right)).total()
    return 2 * common / (len(words) + len(right))


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
    rows: list[tuple[bool, float, float]] = []  # has an answer, exact match, F1
    is_second = not all(references.values())
    for name, answers in references.items():
        # SQuAD 2 takes an answer of nothing but articles and punctuation for none; SQuAD 1.1 takes it as it is.
        right = [answer for answer in answers if normalize_answer(answer) or not is_second] or [""]
        text = predictions.get(name)
        best = (0.0, 0.0)
        if text is not None:
            best = max(exact_match(text, a) for a in right), max(f1(text, a) for a in right)
        rows.append((bool(answers), *best))
    scores = {"exact_match": _percent(row[1] for row in rows), "f1": _percent(row[2] for row in rows)}
    scores["total"] = len(rows)
    if is_second:
        for group, has_answer in (("HasAns", True), ("NoAns", False)):
            part = [row for row in rows if row[0] == has_answer]
            scores[f"{group}_exact"] = _percent(row[1] for row in part)
            scores[f"{group}_f1"] = _percent(row[2] for row in part)
            scores[f"{group}_total"] = len(part)
    return scores


def entity_scores(predictions: Sequence[Sequence[str]], labels: Sequence[Sequence[str]]) -> dict[str, float]:
    """F1, precision and recall of entities, over all kinds together: one is right if its words and its kind are.

    Entities are counted as conlleval does, and as the package seqeval does by default, see `zoo.tag.spans_of`.

    Args:
        predictions: labels of every sentence's words, `B-PER` for example.
        labels: likewise, what is right.

    Returns:
        In points of 100: `f1`, `precision`, `recall`, 0 where nothing was to be found or said; and `n`, sentences.

    Raises:
        ValueError: there is nothing to score, or sentences are not of the same words.
    """
    if not labels or [len(one) for one in predictions] != [len(one) for one in labels]:
        raise ValueError(f"the labels of {len(predictions)} sentences do not fit those of {len(labels)}")
    hits = ours = theirs = 0
    for mine, right in zip(predictions, labels, strict=True):
        one, other = set(spans_of(mine)), set(spans_of(right))
        hits, ours, theirs = hits + len(one & other), ours + len(one), theirs + len(other)
    return {
        "f1": 200 * hits / (ours + theirs) if ours + theirs else 0.0,
        "precision": 100 * hits / ours if ours else 0.0,
        "recall": 100 * hits / theirs if theirs else 0.0,
        "n": len(labels),
    }


def _percent(values: Iterable[float]) -> float:
    """The mean in points of 100; 0 of nothing."""
    numbers = list(values)
    return 100 * sum(numbers) / len(numbers) if numbers else 0.0


def task_scores(task: Task, predictions: npt.ArrayLike, labels: npt.ArrayLike) -> dict[str, float]:
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
    ours, right = np.asarray(predictions), np.asarray(labels)
    if not right.size or ours.shape != right.shape:
        raise ValueError(f"{ours.shape} predictions do not fit {right.shape} labels")
    return {**{name: 100 * METRICS[name](ours, right) for name in task.metrics}, "n": int(right.size)}


def several_scores(task: Task, logits: npt.NDArray[np.floating[Any]], labels: npt.ArrayLike) -> dict[str, float]:
    """Scores labels of which several may hold: one holds where its logit is above 0, likelier than not.

    Args:
        task: with `micro_f1`, `macro_f1` and `mean_ap`, the mean over labels of average precision (scikit-learn's).
        logits: `[examples, labels]`.
        labels: 1 where a label holds, else 0, likewise. A label that no example has counts in no mean precision.

    Returns:
        The task's metrics in points of 100, and `n`.
    """
    right = np.asarray(labels).astype(int)
    said, present = (logits > 0).astype(int), right.any(0)
    values = {
        "micro_f1": float(_f1_score(right, said, average="micro", zero_division=0)),
        "macro_f1": float(_f1_score(right, said, average="macro", zero_division=0)),
        "mean_ap": float(_average_precision(right[:, present], logits[:, present], average="macro"))
        if present.any()
        else 0.0,
    }
    return {**{name: 100 * values[name] for name in task.metrics}, "n": len(right)}


def macro_f1(predictions: Values, labels: Values) -> float:
    """Mean over all classes that either side has of F1, 0 to 1."""
    return float(_f1_score(labels, predictions, average="macro", zero_division=0))


def accuracy(predictions: Values, labels: Values) -> float:
    """Share of right classes, 0 to 1."""
    return float(np.mean(predictions == labels))


def class_f1(predictions: Values, labels: Values) -> float:
    """F1 of class 1 of two, 0 to 1; 0 where neither side has that class."""
    hits = np.sum((predictions == 1) & (labels == 1))
    positives = np.sum(predictions == 1) + np.sum(labels == 1)
    return float(2 * hits / positives) if positives else 0.0


def matthews(predictions: Values, labels: Values) -> float:
    """Matthews' correlation of two classifications, -1 to 1; 0 where one of them has a single class.

    Of more than two classes it is Gorodkin's R_K: the correlation of both in one-hot columns, each about its mean.
    """
    classes = np.union1d(predictions, labels)
    columns = ((part[:, None] == classes).astype(np.float64) for part in (predictions, labels))
    return pearson(*((part - part.mean(0)).ravel() for part in columns))


def pearson(predictions: Values, labels: Values) -> float:
    """Pearson's correlation, -1 to 1; 0 where one side is constant."""
    if not np.ptp(predictions) or not np.ptp(labels):
        return 0.0
    result: Any = stats.pearsonr(predictions.astype(np.float64), labels.astype(np.float64))
    return float(result.statistic)


def spearman(predictions: Values, labels: Values) -> float:
    """Spearman's correlation of ranks, -1 to 1; equal values share their mean rank."""
    return pearson(stats.rankdata(predictions), stats.rankdata(labels))


def ranking_scores(
    names: Sequence[str], scores: Sequence[npt.ArrayLike], gains: Sequence[npt.ArrayLike]
) -> dict[str, float]:
    """Scores the order in which passages come; of equal scores the less relevant passage counts as the earlier one.

    Args:
        names: of `RANKED`.
        scores: of each query's passages.
        gains: how relevant each of them is, 0 for not at all.

    Returns:
        The metrics in points of 100, each a mean over queries, and `n`.

    Raises:
        ValueError: there are no queries, or one without a relevant passage.
    """
    if not scores:
        raise ValueError("there is nothing to score")
    rows = list[npt.NDArray[np.float64]]()
    for said, right in zip(scores, gains, strict=True):
        ours, worth = np.asarray(said, np.float64), np.asarray(right, np.float64)
        if not (worth > 0).any():
            raise ValueError("a query has no relevant passage")
        rows.append(worth[np.lexsort((worth, -ours))])
    return {**{name: _percent(RANKED[name](row) for row in rows) for name in names}, "n": len(rows)}


def recall(ranked: npt.NDArray[np.float64], most: int) -> float:
    """Share of the relevant passages among the first ones; `ranked` holds gains in the order that was said."""
    return float((ranked[:most] > 0).sum() / (ranked > 0).sum())


def reciprocal_rank(ranked: npt.NDArray[np.float64], most: int) -> float:
    """1 / place of the first relevant passage, 0 where that is not among the first ones."""
    places = np.flatnonzero(ranked[:most] > 0)
    return float(1 / (places[0] + 1)) if len(places) else 0.0


def ndcg(ranked: npt.NDArray[np.float64], most: int) -> float:
    """Discounted cumulative gain of the first ones, as a share of that of the best order."""
    discounts = 1 / np.log2(np.arange(2, min(most, len(ranked)) + 2))
    best = -np.sort(-ranked)
    return float((ranked[:most] * discounts).sum() / (best[:most] * discounts).sum())


RANKED: dict[str, Callable[[npt.NDArray[np.float64]], float]] = {
    "recall_at_1": partial(recall, most=1),
    "mrr_at_10": partial(reciprocal_rank, most=10),
    "ndcg_at_10": partial(ndcg, most=10),
}
METRICS = {
    "accuracy": accuracy,
    "macro_f1": macro_f1,
    "f1": class_f1,
    "matthews": matthews,
    "pearson": pearson,
    "spearman": spearman,
}
