"""The types of task: what all tasks of a type have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class TaskType:
    """What all tasks of a type have in common. What reads, asks and scores them is `compress.tasks.<noun>`.

    Attributes:
        name: as the key `task` of an entry and the key `head` of a stored graph have it.
        title: as people call it.
        noun: what its examples are called; also names the module in `compress.tasks` and the class there.
        ending: how transformers ends the names of its models.
        pipeline: what the Hub calls it.
        padded: tokens that papers pad its inputs to.
        layers: linear layers of the head, as the model and the graph name them, the one that gives the logits last.
        outputs: of a graph; several share out the values of the last layer.
        reads: "every" token, which each has logits; the "first" alone; or all, "pooled" to a vector.
        values: numbers that the last layer gives, where these are not the labels of the task; 0 where there is none.
        spread: what the logits of an input are a distribution over: the "labels", of each token or of the input; its
            "tokens", for each output; "each" value by itself, as several labels that may hold; or "nothing", as plain
            values.
        by_name: a checkpoint is of this type only if its `finetuning_task` says so, since it has another type's head.
        has_articles: data come in articles with titles, in SQuAD's format, with a bundled sample; else in rows with
            labels, some of which can be held out.
        has_spans: what is learned is a span of the input, to which attention can be guided.
        compared: inputs that two engines are compared on; where only one token of an input has logits, more.
    """

    name: str
    title: str
    noun: str
    ending: str
    pipeline: str
    padded: int
    layers: tuple[str, ...]
    outputs: tuple[str, ...] = ("logits",)
    reads: str = "first"
    values: int | None = None
    spread: str = "labels"
    by_name: bool = False
    has_articles: bool = False
    has_spans: bool = False
    compared: int = 64

    def split(self, logits: Any) -> list[Any]:
        """Logits of the model as the outputs of its graph."""
        return [logits] if len(self.outputs) == 1 else [logits[..., i] for i in range(len(self.outputs))]

    @property
    def per_token(self) -> bool:
        """Whether every token has logits."""
        return self.reads == "every"

    @property
    def has_labels(self) -> bool:
        """Whether the head gives the labels of a task, or its score."""
        return self.values is None


QUESTIONS = TaskType(
    "qa",
    "question answering",
    "questions",
    "ForQuestionAnswering",
    "question-answering",
    padded=384,
    layers=("qa_outputs",),
    outputs=("start_logits", "end_logits"),
    reads="every",
    values=2,
    spread="tokens",
    has_articles=True,
    has_spans=True,
    compared=4,
)
TEXTS = TaskType(
    "classification",
    "classification",
    "texts",
    "ForSequenceClassification",
    "text-classification",
    padded=128,
    layers=("dense", "classifier"),
)
TOKENS = TaskType(
    "tokens",
    "token classification",
    "sentences",
    "ForTokenClassification",
    "token-classification",
    padded=128,
    layers=("tags",),
    reads="every",
    compared=4,
)
RANKING = TaskType(
    "ranking",
    "ranking",
    "queries",
    "ForSequenceClassification",
    "text-ranking",
    padded=256,
    layers=("dense", "classifier"),
    by_name=True,
    compared=16,
)
EMBEDDINGS = TaskType(
    "embeddings",
    "sentence embeddings",
    "pairs",
    "Model",
    "sentence-similarity",
    padded=128,
    layers=(),
    outputs=("embedding",),
    reads="pooled",
    values=0,
    compared=4,
    spread="nothing",
)
TASK_TYPES = {kind.name: kind for kind in (QUESTIONS, RANKING, TEXTS, TOKENS, EMBEDDINGS)}
HEAD_LAYERS = tuple(dict.fromkeys(layer for kind in TASK_TYPES.values() for layer in kind.layers))  # of all heads
