"""What models are scored by: keys as files hold them, and the names that people read. All are points of 100."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

METRIC_NAMES = {
    "f1": "F1",
    "em": "EM",
    "precision": "Precision",
    "recall": "Recall",
    "accuracy": "Accuracy",
    "macro_f1": "Macro F1",
    "micro_f1": "Micro F1",
    "mean_ap": "Mean AP",
    "matthews": "Matthews",
    "pearson": "Pearson",
    "spearman": "Spearman",
    "recall_at_1": "Recall@1",
    "mrr_at_10": "MRR@10",
    "ndcg_at_10": "nDCG@10",
}
OTHER_KEYS = {"exact_match": "em", "matthews_correlation": "matthews", "pearsonr": "pearson", "spearmanr": "spearman"}


def shown(key: str) -> str:
    """The name of a metric for people; a key that is not known stands for itself."""
    return METRIC_NAMES.get(OTHER_KEYS.get(key, key), key)


def scores_of(facts: Mapping[str, Any]) -> dict[str, float]:
    """The metrics among what is stated of a model, in the order stated: the first is the one to choose by."""
    return {
        OTHER_KEYS.get(key, key): float(value)
        for key, value in facts.items()
        if OTHER_KEYS.get(key, key) in METRIC_NAMES and isinstance(value, int | float) and not isinstance(value, bool)
    }


def listed(scores: Mapping[str, float], digits: int = 2) -> str:
    """Scores in a line, `F1 75.93, EM 64.53` for example; what is no metric is left out."""
    return ", ".join(f"{shown(key)} {value:.{digits}f}" for key, value in scores_of(scores).items())
