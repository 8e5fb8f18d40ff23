"""What a model can be made for: the tasks, with their data, columns, labels and metrics."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from zoo.errors import UserError
from zoo.task_types import EMBEDDINGS, QUESTIONS, RANKING, TEXTS, TOKENS, TaskType

ENTAILMENT = ("entailment", "neutral", "contradiction")
LOST = -1e4  # logit of a padded position
XNLI_LANGUAGES = ("ar", "bg", "de", "el", "en", "es", "fr", "hi", "ru", "sw", "th", "tr", "ur", "vi", "zh")


@dataclass(frozen=True)
class Task:
    """A task, as data.

    Attributes:
        name: as recipes spell it.
        columns: of the text, or of both texts of a pair.
        more: further columns that a row may have: what is learned, and other ways to write it; see `named`.
        labels: names of the classes in the order of the data's numbers; none for a score and for questions.
        metrics: names in what the evaluation of its type gives; `primary` is the one to choose by.
        regression: the label is a number within `scale`.
        hub: Hub id of the data, with `config`, the name of the subset.
        train_split, validation_split: of the Hub.
        reported_split: of the Hub, what is reported on and what published figures are on; by default
            `validation_split`, by which is chosen.
        remark: what to say beside its figures.
        title: as people write it.
        rows: texts in the validation set that the published figures are on; 0 where that does not matter.
        beside: another task on whose data a model of this one is reported, too.
        is_open: its labels are not known before: they are those of a person's data, or of a model; see `with_labels`.
        several: several of the labels may hold at once, or none.
        unlabelled: rows may come without a label, and without the second text, to learn from.
        examples: what its examples are called where they are other ones than most of its type's.
        type: what it has in common with others.
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
    reported_split: str = ""
    scale: tuple[float, float] = (0.0, 5.0)
    remark: str = ""
    title: str = ""
    rows: int = 0
    beside: str = ""
    is_open: bool = False
    several: bool = False
    unlabelled: bool = False
    examples: str = ""
    more: tuple[str, ...] = ("label",)
    type: TaskType = TEXTS

    def with_labels(self, labels: Sequence[str], columns: Sequence[str] = ()) -> Task:
        """The task with these labels, and with other columns where some are named."""
        return replace(self, labels=tuple(labels), columns=tuple(columns) or self.columns)

    @property
    def named(self) -> tuple[str, ...]:
        """Every column that a person can name: what the data of the task may have."""
        return *self.columns, *self.more, "id"

    def refuse_unknown(self, columns: Iterable[str]) -> None:
        """Refuses a mapping of columns that rows of the task do not have.

        Raises:
            UserError: there is such a one; the message names those that there are.
        """
        if unknown := next((name for name in columns if name not in self.named), None):
            raise UserError(
                f"A row of {self.title or self.name} has no {unknown[:40]!r}: name one of "
                f"{', '.join(self.named)}, as --column {self.columns[0]}=YOURS (dataset.columns)."
            )

    @property
    def compared_as(self) -> TaskType:
        """Its type, as outputs are compared: each for itself where several labels may hold."""
        return replace(self.type, spread="each") if self.several else self.type

    def split(self, part: str) -> str:
        """The Hub's split to learn from ("train"), to choose by ("validation") or to report on ("evaluation")."""
        reported = self.reported_split or self.validation_split
        return {"train": self.train_split, "validation": self.validation_split, "evaluation": reported}[part]

    @property
    def noun(self) -> str:
        """What its examples are called; also names the module in `compress.tasks` and the class there."""
        return self.examples or self.type.noun

    @property
    def outputs(self) -> int:
        """Outputs of a classifier's head."""
        return 1 if self.regression else len(self.labels)

    def order_of(self, names: Sequence[str]) -> list[int] | None:
        """Places of the task's labels among a checkpoint's, which may come in another order and in any case.

        Returns:
            None for other labels, and for those without names of their own (`LABEL_0`), which tell no order.
        """
        if len(names) != self.outputs:
            return None
        if self.regression:
            return [0]
        if sorted(self.labels) == sorted(names):  # a person's labels may differ by capitals alone
            return [list(names).index(label) for label in self.labels]
        mine, theirs = [spelled(label) for label in self.labels], [spelled(name) for name in names]
        return [theirs.index(label) for label in mine] if sorted(set(mine)) == sorted(theirs) else None

    def may_have(self, names: Sequence[str]) -> bool:
        """Whether these can be the task's labels: named so, in some order, or as many without names."""
        return self.order_of(names) is not None or (len(names) == self.outputs and are_unnamed(names))


def are_unnamed(labels: Sequence[str]) -> bool:
    """Whether labels are numbers only, as transformers writes them where nobody names any (`LABEL_0`)."""
    return all(re.fullmatch(r"((label|class)_?)?\d+", spelled(label)) for label in labels)


def is_number(label: str) -> bool:
    """Whether a label is written as a number."""
    return re.fullmatch(r"[+-]?\d+(\.\d+)?", label.strip()) is not None


def spelled(label: str) -> str:
    """A label as it is compared: in small letters, with underscores for blanks and hyphens."""
    return re.sub(r"[\s_-]+", "_", label.strip().casefold())


def _glue(
    name: str, columns: tuple[str, ...], labels: tuple[str, ...], *metrics: str, config: str = "", **more: Any
) -> Task:
    """A GLUE task; the first metric is the one to choose by."""
    return Task(name, columns, labels, metrics, metrics[0], config=config or name, **more)


def _tagging(name: str, hub: str, *kinds: str, **more: Any) -> Task:
    """Labels of tokens; those of entities of these kinds, in the order that the Hub's data sets have."""
    labels = ("O", *(f"{mark}-{kind}" for kind in kinds for mark in "BI")) if kinds else ()
    metrics = ("f1", "precision", "recall")
    return Task(
        name, ("tokens", "ner_tags"), labels, metrics, metrics[0], hub=hub, more=("sentence",), type=TOKENS, **more
    )


_PAIR = ("sentence1", "sentence2")
_IOB = (
    ("PER", "ORG", "LOC", "MISC"),
    ("corporation", "creative-work", "group", "location", "person", "product"),
)

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
                reported_split="test",
                rows=5010,
                remark="CC BY-NC 4.0: for evaluation, not for training what is published",
                title=f"XNLI ({language})",
            )
            for language in XNLI_LANGUAGES
        ),
        *(
            Task(
                name,
                ("question", "context"),
                (),
                ("f1", "em"),
                "f1",
                hub=f"rajpurkar/{name}",
                title=t,
                more=("answer", "answers", "answer_start", "is_impossible", "title"),
                type=QUESTIONS,
            )
            for name, t in (("squad", "SQuAD 1.1"), ("squad_v2", "SQuAD 2.0"))
        ),
        _glue(
            "embeddings",
            _PAIR,
            (),
            "spearman",
            "pearson",
            config="stsb",
            regression=True,
            scale=(-math.inf, math.inf),
            title="STS-B, cosine of embeddings",
            unlabelled=True,
            type=EMBEDDINGS,
        ),
        *(
            Task(
                name,
                ("query", "passages"),
                (),
                ("recall_at_1", "mrr_at_10", "ndcg_at_10") if kind is EMBEDDINGS else ("mrr_at_10", "ndcg_at_10"),
                "recall_at_1" if kind is EMBEDDINGS else "mrr_at_10",
                regression=True,
                hub="rajpurkar/squad",
                title=title,
                remark=remark,
                examples=noun,
                more=("relevant", "passage", "label", "positive", "negative", "gains"),
                type=kind,
            )
            for name, noun, kind, title, remark in (
                ("search", "searches", EMBEDDINGS, "Search", "each query against all passages of its data"),
                ("ranking", "queries", RANKING, "Ranking", ""),
            )
        ),
        _tagging("tokens", "", title="Token labels", is_open=True),
        _tagging("conll2003", "eriktks/conll2003", *_IOB[0], title="CoNLL-2003", rows=3453, reported_split="test"),
        _tagging("wnut_17", "leondz/wnut_17", *_IOB[1], title="WNUT 2017", rows=1287, reported_split="test"),
    )
}


_OPEN: dict[str, Any] = {"columns": ("text",), "more": ("label", "second"), "labels": (), "hub": "", "is_open": True}
TASKS.update(
    (task.name, task)
    for task in (
        Task("labels", metrics=("accuracy", "macro_f1"), primary="accuracy", title="Labels of your own", **_OPEN),
        Task(
            "several",
            metrics=("micro_f1", "macro_f1", "mean_ap"),
            primary="micro_f1",
            title="Several labels of your own at once",
            several=True,
            **_OPEN,
        ),
        Task(
            "score",
            metrics=("pearson", "spearman"),
            primary="pearson",
            title="A score of your own",
            regression=True,
            scale=(-math.inf, math.inf),
            **_OPEN,
        ),
    )
)


def find_task(name: str) -> Task:
    """The task of this name; `xnli` is the English one.

    Raises:
        UserError: there is none.
    """
    key = name.strip().lower().replace("-", "_").replace(":", "_")
    key = {"xnli": "xnli_en", "sts_b": "stsb", "sst_2": "sst2"}.get(key, key)
    if key not in TASKS:
        names = [task for task in TASKS if not task.startswith("xnli")]
        raise UserError(
            f"There is no task {name[:40]!r}: choose one of {', '.join(names)}, or xnli_ with a language, for example "
            "xnli_de."
        )
    return TASKS[key]
