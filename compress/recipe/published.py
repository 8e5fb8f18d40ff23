"""What the five systems published, as their documents and papers state it: shown beside what a recipe gives here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from zoo.metrics import metric_name
from zoo.tasks import TASKS

HEAD = ("published for", "by recipe", "task", "metric", "full precision", "compressed")


@dataclass(frozen=True)
class Published:
    """A published result.

    Attributes:
        system: whose, with the model it is of.
        kind: of recipe here; `recipe`: the one that ships with its settings.
        task: one of `zoo.tasks`.
        metric: key of `zoo.metrics`.
        full: in full precision, None where the source names none.
        small: compressed.
        note: what else is stated.
    """

    system: str
    kind: str
    recipe: str
    task: str
    metric: str
    full: float | None
    small: float
    note: str = ""

    @property
    def cells(self) -> tuple[str, ...]:
        """A row of the table that `HEAD` stands over."""
        task = TASKS[self.task].title
        small = f"{self.small:.2f}" + (f" {self.note}" if self.note else "")
        full = "" if self.full is None else f"{self.full:.2f}"
        return self.system, f"`{self.recipe}`", task, metric_name(self.metric), full, small


def _glue(task: str, metric: str, full: float, small: float) -> Published:
    return Published("AIMET, MiniLM-L12", "aimet_w8a8", f"minilm_w8a8_{task}", task, metric, full, small)


def _nncf(model: str, recipe: str, task: str, metric: str, full: float, small: float) -> Published:
    return Published(f"NNCF, {model}", "nncf", recipe, task, metric, full, small)


def _sparse(model: str, recipe: str, f1: float, note: str) -> Published:
    system = f"Prune Once for All, {model}"
    return Published(system, "prune_once", recipe, "squad", "f1", None, f1, f"with {note}, before quantization")


PUBLISHED = (
    Published(
        "QuaLA-MiniLM, L6", "length_adaptive", "length_adaptive", "squad", "f1", 88.58, 87.68, "at a speed-up of 8.8"
    ),
    _glue("cola", "matthews", 57.78, 55.58),
    _glue("sst2", "accuracy", 92.32, 92.20),
    _glue("mrpc", "f1", 89.01, 88.21),
    _glue("stsb", "pearson", 88.73, 88.68),
    _glue("qqp", "accuracy", 90.70, 90.62),
    _glue("mnli", "accuracy", 85.04, 84.59),
    _glue("qnli", "accuracy", 91.52, 90.72),
    _glue("rte", "accuracy", 70.76, 70.40),
    _glue("squad", "f1", 90.47, 89.70),
    _sparse("DistilBERT", "prune_once_distilbert", 85.82, "85 % zeros"),
    _sparse("BERT-base", "prune_once_bert", 88.42, "85 % zeros"),
    _nncf("BERT-base Chinese", "nncf_xnli_zh", "xnli_zh", "accuracy", 77.68, 77.02),
    _nncf("BERT-large", "nncf_squad", "squad", "f1", 93.21, 92.48),
    _nncf("BERT-large", "nncf_squad", "squad", "em", 87.20, 85.95),
    _nncf("RoBERTa-large", "nncf_mnli", "mnli", "accuracy", 90.60, 89.25),
    _nncf("RoBERTa-large", "nncf_mnli", "mnli_mm", "accuracy", 90.10, 88.90),
)
GLUE_MEANS = (83.23, 82.63)  # of AIMET's eight columns, as its document states them


def figures_for(facts: Mapping[str, Any]) -> list[Published]:
    """What was published for the kind of recipe and the task of an entry.

    Args:
        facts: of its `entry.json`; anybody may have written them.
    """
    provenance, metrics = facts.get("provenance"), facts.get("metrics")
    if not isinstance(provenance, Mapping) or not isinstance(metrics, Mapping):
        return []
    title = metrics.get("metric")
    # Of a task that is reported beside another, such as MNLI's mismatched pairs, the metrics stand under its name.
    tasks = {name for name, task in TASKS.items() if task.title == title or isinstance(metrics.get(name), Mapping)}
    return [one for one in PUBLISHED if one.kind == provenance.get("recipe") and one.task in tasks]


def remark(facts: Mapping[str, Any]) -> str:
    """What was published for the kind of recipe and the task of an entry, in a sentence; empty where nothing was.

    Args:
        facts: as of `figures_for`.
    """
    parts = [
        f"{one.system}: {metric_name(one.metric)} "
        + (f"{one.full:.2f} in full precision, " if one.full is not None else "")
        + f"{one.small:.2f} compressed{f' {one.note}' if one.note else ''}"
        for one in figures_for(facts)
    ]
    return f"Published for this method and task: {'; '.join(parts)}." if parts else ""
