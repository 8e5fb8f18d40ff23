"""What models say, as the named endpoints return it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import cast

from ui.desk import Desk
from ui.reading import QA
from ui.schemas import Answers, Entities, LabelReply, ModelReply, PointReply, Span, Verdict
from zoo.answers import AS_TRAINED, Answer, NoAnswer, Reply
from zoo.catalog import Entry
from zoo.lengths import Choice
from zoo.shelf import Row


def describe_tags(reply: Reply) -> Entities:
    """The labelled words of a reply."""
    return cast(Entities, {"entities": [asdict(tag) for tag in reply.tags or []]})


def describe_answers(reply: Reply) -> Answers:
    """The answers to a question."""
    return {"answers": [_describe_answer(answer) for answer in reply.answers], "no_answer": reply.no_answer}


def _describe_answer(answer: Answer) -> Span:
    return {
        "text": answer.text,
        "start": int(answer.start),
        "end": int(answer.end),
        "score": float(answer.score),
        "probability": float(answer.probability),
    }


def describe_verdict(reply: Reply) -> Verdict:
    """What a classifier says."""
    labels: list[LabelReply] = [
        {"label": one.name, "probability": one.probability, "score": one.score} for one in reply.labels
    ]
    said = [one.name for one in reply.chosen]
    return {"labels": labels, "chosen": said, "multi_label": reply.several, "score": reply.score}


def describe_choice(choice: Choice) -> PointReply:
    """The point that a budget picked."""
    point = choice.point
    metric = next(iter(point.metrics), None)
    return {
        "fractions": list(point.config.fractions),
        "macs_ratio": point.macs_ratio,
        "metrics": point.metrics,
        "p50_ms": point.p50_ms,
        "metric": metric,
        "score": point.score if metric else None,
        "message": choice.message,
        "binding": choice.binding,
    }


def describe_row(row: Row) -> ModelReply:
    """What the endpoint `models` tells of a row: no folders of this machine."""
    keys = ("name", "origin", "title", "task", "method", "base_model", "parameters", "bytes", "score", "metric", "n")
    keys += ("p50_ms", "tokens", "timed", "int8", "license", "url")
    return cast(ModelReply, {key: getattr(row, key) for key in keys})


@dataclass(frozen=True)
class Asking:
    """What is asked of an entry: on an engine, one or two texts, at a choice; with `compare` at full length too."""

    engine: str
    texts: tuple[str, str]
    choice: Choice
    compare: bool
    no_answer: NoAnswer = AS_TRAINED


def reply_of(
    desk: Desk, entry: Entry, asked: Asking, describe: Callable[[Reply], Mapping[str, object]]
) -> dict[str, object]:
    """What a model says; what full length says beside it is None where that was not asked."""
    reply = desk.ask(entry, asked.engine, *asked.texts, asked.choice.point.config, asked.no_answer)
    said: dict[str, object] = {
        **describe(reply),
        "point": describe_choice(asked.choice),
        "tokens": reply.tokens if entry.task == QA else sum(reply.tokens),
        "macs_ratio": reply.macs_ratio,
        "notices": reply.notices,
        "full_length": None,
        "same": None,
    }
    if reply.tags is not None:
        said["shared"] = None
    if asked.compare:
        full, in_float = desk.reference(entry, asked.engine, *asked.texts, asked.no_answer)
        said |= {"full_length": {**describe(full), "fp32": in_float}, "same": reply.agrees(full)}
        if reply.tags is not None:
            said["shared"] = list(reply.shared_tags(full))
    return said
