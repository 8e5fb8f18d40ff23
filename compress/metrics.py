"""How good answers are: exact match and F1 as SQuAD 1.1 and 2.0 define them (arXiv 1606.05250, 1806.03822)."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence

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
