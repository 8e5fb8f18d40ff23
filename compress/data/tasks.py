"""What a model can be trained for: where the data are, which columns they have, and what counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from zoo.errors import UserError

ENTAILMENT = ("entailment", "neutral", "contradiction")
XNLI_LANGUAGES = ("ar", "bg", "de", "el", "en", "es", "fr", "hi", "ru", "sw", "th", "tr", "ur", "vi", "zh")


@dataclass(frozen=True)
class Task:
    """A task, as data.

    Attributes:
        name: as recipes spell it.
        columns: of the text, or of both texts of a pair.
        labels: names of the classes in the order of the data's numbers; none for a score and for questions.
        metrics: names in what `compress.tasks.metrics.task_scores` gives; `primary` is the one to choose by.
        regression: the label is a number within `scale`.
        hub: Hub id of the data, with `config`, the name of the subset.
        train_split, validation_split: of the Hub.
        remark: what to say beside its figures.
        title: as people write it.
        rows: texts in the validation set that the published figures are on; 0 where that does not matter.
        beside: another task on whose data a model of this one is reported, too.
    """

    name: str
    columns: tuple[str, ...]
    labels: tuple[str, ...]
    metrics: tuple[str, ...]
    primary: str
    regression: bool = False
    hub: str = "nyu-mll/glue"
    config: str | None = None
    train_split: str = "train"
    validation_split: str = "validation"
    scale: tuple[float, float] = (0.0, 5.0)
    remark: str = ""
    title: str = ""
    rows: int = 0
    beside: str = ""

    @property
    def is_questions(self) -> bool:
        """Question answering: see `compress.data.squad`, not `compress.data.texts`."""
        return self.name.startswith("squad")

    @property
    def outputs(self) -> int:
        """Outputs of a classifier's head."""
        return 1 if self.regression else len(self.labels)

    def order_of(self, names: Sequence[str]) -> list[int] | None:
        """Places of the task's labels among a checkpoint's, which may come in another order; None if it has others.

        Labels without names of their own (`LABEL_0`) are taken to be in the task's order.
        """
        if len(names) != self.outputs:
            return None
        mine, theirs = [label.casefold() for label in self.labels], [name.casefold() for name in names]
        if self.regression or theirs == [f"label_{i}" for i in range(len(theirs))]:
            return list(range(len(theirs)))
        return [theirs.index(label) for label in mine] if sorted(mine) == sorted(theirs) else None


def _glue(name: str, columns: tuple[str, ...], labels: tuple[str, ...], *metrics: str, **more) -> Task:
    """A GLUE task; the first metric is the one to choose by."""
    return Task(name, columns, labels, metrics, metrics[0], **{"config": name, **more})


_PAIR = ("sentence1", "sentence2")

TASKS = {
    task.name: task
    for task in (
        _glue("cola", ("sentence",), ("unacceptable", "acceptable"), "matthews", title="CoLA", rows=1043),
        _glue("sst2", ("sentence",), ("negative", "positive"), "accuracy", title="SST-2", rows=872),
        _glue("mrpc", _PAIR, ("not_equivalent", "equivalent"), "f1", "accuracy", title="MRPC", rows=408),
        _glue("stsb", _PAIR, (), "pearson", "spearman", regression=True, title="STS-B", rows=1500),
        _glue(
            "qqp",
            ("question1", "question2"),
            ("not_duplicate", "duplicate"),
            "f1",
            "accuracy",
            title="QQP",
            rows=40_430,
        ),
        _glue(
            "mnli",
            ("premise", "hypothesis"),
            ENTAILMENT,
            "accuracy",
            validation_split="validation_matched",
            remark="MultiNLI, accuracy on genres that were trained on",
            title="MNLI, matched",
            rows=9815,
            beside="mnli_mm",
        ),
        _glue(
            "mnli_mm",
            ("premise", "hypothesis"),
            ENTAILMENT,
            "accuracy",
            config="mnli",
            validation_split="validation_mismatched",
            remark="MultiNLI, accuracy on genres that were not trained on",
            title="MNLI, mismatched",
            rows=9832,
        ),
        _glue("qnli", ("question", "sentence"), ("entailment", "not_entailment"), "accuracy", title="QNLI", rows=5463),
        _glue("rte", _PAIR, ("entailment", "not_entailment"), "accuracy", title="RTE", rows=277),
        *(
            Task(
                f"xnli_{language}",
                ("premise", "hypothesis"),
                ENTAILMENT,
                ("accuracy",),
                "accuracy",
                hub="facebook/xnli",
                config=language,
                remark="CC BY-NC 4.0: for evaluation, not for training what is published",
                title=f"XNLI ({language})",
            )
            for language in XNLI_LANGUAGES
        ),
        Task("squad", ("question", "context"), (), ("f1", "em"), "f1", hub="rajpurkar/squad", title="SQuAD 1.1"),
        Task("squad_v2", ("question", "context"), (), ("f1", "em"), "f1", hub="rajpurkar/squad_v2", title="SQuAD 2.0"),
    )
}


def find_task(name: str) -> Task:
    """The task of this name; `xnli` is the English one.

    Raises:
        UserError: there is none.
    """
    key = name.strip().lower().replace("-", "_").replace(":", "_")
    key = {"xnli": "xnli_en", "sts_b": "stsb", "sst_2": "sst2"}.get(key, key)
    if key not in TASKS:
        known = [task for task in TASKS if not task.startswith("xnli")]
        raise UserError(
            f"There is no task {name[:40]!r}: choose one of {', '.join(known)}, or xnli_ with a language, for example "
            "xnli_de."
        )
    return TASKS[key]
