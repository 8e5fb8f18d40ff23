"""What models are scored by: keys as files hold them, and the names that people read. All are points of 100."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

FEW = 200  # examples; a score of fewer is marked as such, and comes behind all others
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


def metric_name(key: str) -> str:
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
    return ", ".join(f"{metric_name(key)} {value:.{digits}f}" for key, value in scores_of(scores).items())


def is_few(n: int | None) -> bool:
    """Whether a score of so many examples says little: a handful of other ones would have moved it by points."""
    return n is not None and n < FEW


def counted(n: int | None) -> str:
    """On how many examples something was scored, for people."""
    return "n not stated" if n is None else f"n = {n:,}{', few' if is_few(n) else ''}"


def scored(key: str, value: float, n: int | None, digits: int = 1) -> str:
    """A score as it is shown everywhere: `F1 82.7 (n = 10,570)`."""
    return f"{metric_name(key)} {value:.{digits}f} ({counted(n)})"


def whole(value: object) -> int | None:
    """A count as a file states it, None where it is none."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        return None
    return int(value) if 0 <= value < 2**62 else None


def timed_on(stamp: Mapping[str, Any]) -> str:
    """How a latency was measured, as far as its stamp says: tokens, threads, machine, and whether it was busy."""
    tokens, threads, cpu = (stamp.get(key) for key in ("latency_tokens", "threads", "cpu"))
    parts = [f"{tokens} tokens"] if whole(tokens) else []
    parts += [f"{threads} thread{'s' * (threads != 1)}"] if whole(threads) else []
    int8 = next((name for name, key in (("AMX", "amx"), ("VNNI", "vnni")) if stamp.get(key)), "")
    parts += [f"{str(cpu)[:80]}{f' with {int8}' if int8 else ''}"] if cpu else []
    busy = stamp.get("disturbed")
    parts += ["the machine was busy" if busy else "undisturbed"] if isinstance(busy, bool) else []
    return ", ".join(parts)
