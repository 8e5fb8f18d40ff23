"""The named endpoints: `answer`, `classify`, `tag`, `match`, `measure`, `front`; `models` and `jobs` look things up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any, TypeVar

import gradio as gr
from gradio.events import api

from ui import people
from ui.desk import Desk
from ui.events import explain
from ui.reading import kind_of
from zoo import library
from zoo.answers import Answer, Reply
from zoo.catalog import Entry
from zoo.engines import DEFAULT_ENGINE
from zoo.errors import UserError
from zoo.lengths import Choice
from zoo.shelf import Row

T = TypeVar("T")


def add_endpoints(desk: Desk, default: str, classifier: str, device: dict[str, Any]) -> None:
    """Add the endpoints to the Blocks that is open.

    Args:
        desk: what they share with the page.
        default: the model for questions where a caller names none.
        classifier: the same for texts; may be empty.
        device: the queue of whatever runs a model.
    """

    def answer(
        question: str,
        passage: str,
        model: str = default,
        budget: float = 100.0,
        unit: str = "macs",
        engine: str = DEFAULT_ENGINE,
        no_answer: bool | None = None,
    ) -> dict[str, Any]:
        """Answer a question from a passage within a budget; the full-length answer beside it.

        `no_answer` lets the model say that there is none, or not; by default as it was trained.
        `unit` is "macs" (percent), "ms", "speedup" or "loss" (points of its metric); `engine` is one of the entry's.
        """

        def work() -> dict[str, Any]:
            _check(desk.entry(model), "answer")
            entry, choice = _pick(desk, model, engine, budget, unit, question, passage)
            reply = desk.ask(entry, engine, question, passage, choice.point.config, no_answer)
            full, in_float = desk.reference(entry, engine, question, passage, no_answer)
            return {
                "answers": [_describe_answer(a) for a in reply.answers],
                "no_answer": reply.no_answer,
                "full_length": {"answers": [_describe_answer(a) for a in full.answers], "fp32": in_float},
                "same": reply.agrees(full),
                "point": _describe_choice(choice),
                "tokens": reply.tokens,
                "macs_ratio": reply.macs_ratio,
                "notices": reply.notices,
            }

        return _speak(work)

    def classify(
        first: str,
        second: str = "",
        model: str = classifier,
        budget: float = 100.0,
        unit: str = "macs",
        engine: str = DEFAULT_ENGINE,
    ) -> dict[str, Any]:
        """Classify a text, or a pair of texts, or score a pair, within a budget; what full length says beside it.

        `second` is for models that read pairs; `unit` and `engine` as for `answer`.
        """

        def work() -> dict[str, Any]:
            if not model:
                raise UserError("No classifier is bundled: name a model, as a folder or a Hub id.")
            _check(desk.entry(model), "classify")
            entry, choice = _pick(desk, model, engine, budget, unit, first, second)
            return _both(desk, entry, engine, (first, second), choice, _describe_verdict)

        return _speak(work)

    def tag(
        text: str,
        model: str,
        budget: float = 100.0,
        unit: str = "macs",
        engine: str = DEFAULT_ENGINE,
    ) -> dict[str, Any]:
        """Label the words of a text within a budget: names, places, personal data; what full length says beside it.

        `unit` and `engine` as for `answer`. `shared` counts the labelled spans that both have, and all.
        """

        def work() -> dict[str, Any]:
            _check(desk.entry(model), "tag")
            entry, choice = _pick(desk, model, engine, budget, unit, text, "")
            return _both(desk, entry, engine, (text, ""), choice, _describe_tags)

        return _speak(work)

    def match(
        text: str,
        lines: str,
        model: str,
        budget: float = 100.0,
        unit: str = "macs",
        engine: str = DEFAULT_ENGINE,
    ) -> dict[str, Any]:
        """Compare a text with lines by embeddings, or rank passages for a query; what full length says beside it.

        `lines` has a text on each line; `unit` and `engine` as for `answer`.
        """

        def work() -> dict[str, Any]:
            _check(desk.entry(model), "match")
            entry, choice = _pick(desk, model, engine, budget, unit, text, lines)
            reply = desk.ask(entry, engine, text, lines, choice.point.config)
            full, in_float = desk.reference(entry, engine, text, lines)
            return {
                "matches": _describe_matches(reply),
                "full_length": {"matches": _describe_matches(full), "fp32": in_float},
                "same": reply.agrees(full),
                "point": _describe_choice(choice),
                "tokens": sum(reply.tokens),
                "macs_ratio": reply.macs_ratio,
                "notices": reply.notices,
            }

        return _speak(work)

    def measure(
        question: str,
        passage: str,
        model: str = default,
        budget: float = 100.0,
        unit: str = "macs",
        engine: str = DEFAULT_ENGINE,
    ) -> dict[str, Any]:
        """Time an input at a budget against full length on the same engine and fp32 PyTorch, in turn. Milliseconds.

        For a classifier `question` is the text and `passage` the second one of a pair.
        """

        def work() -> dict[str, Any]:
            entry, choice = _pick(desk, model, engine, budget, unit, question, passage)
            measured = desk.measure(entry, engine, question, passage, choice.point.config)
            return {
                "timings": {
                    name: {"p50_ms": t.p50_ms, "p90_ms": t.p90_ms, "p99_ms": t.p99_ms, "n": t.n, "samples": t.samples}
                    for name, t in measured.timings.items()
                },
                "speedups": {
                    name: {"ratio": ratio, "low": low, "high": high}
                    for name, (ratio, low, high) in measured.speedups.items()
                },
                "point": _describe_choice(choice),
                "tokens": measured.tokens,
                "disturbed": measured.disturbed,
                "machine": measured.machine,
                "gpus": measured.gpus,
            }

        return _speak(work)

    def front(model: str = default) -> dict[str, Any]:
        """The searched points of a model, as in its front.json; `null` where it has none."""

        def work() -> dict[str, Any]:
            entry = desk.entry(model)
            return {"model": entry.name, "front": entry.front.to_dict() if entry.front else None}

        return _speak(work)

    api(answer, api_name="answer", **device)
    api(classify, api_name="classify", **device)
    api(tag, api_name="tag", **device)
    api(match, api_name="match", **device)
    api(measure, api_name="measure", **device)
    api(front, api_name="front", queue=False)


def add_look_ups() -> None:
    """Add `models` and `jobs` to the Blocks that is open. They read what this machine knows, and start nothing."""

    def models(profile: gr.OAuthProfile | None, text: str = "") -> list[dict[str, Any]]:
        """The models of the zoo that are known here: bundled, results of jobs, and what was last seen on the Hub."""

        def work() -> list[dict[str, Any]]:
            person = people.who(profile)
            table = library.listing(library.Query(text, owner=None if person.trusted else person.name))
            return [describe_row(row) for row in table.rows]

        return _speak(work)

    def jobs(profile: gr.OAuthProfile | None, limit: int = 100) -> list[dict[str, Any]]:
        """The jobs, newest first, as `python -m compress jobs --json` tells them; on a Space the signed-in person's."""

        def work() -> list[dict[str, Any]]:
            table = people.jobs_of(people.who(profile), max(1, min(int(limit), 1000)))
            hidden = ("folder", "process")  # paths and process ids of this machine
            return [{key: value for key, value in job.to_dict().items() if key not in hidden} for job in table]

        return _speak(work)

    api(models, api_name="models", queue=False)
    api(jobs, api_name="jobs", queue=False)


def _pick(
    desk: Desk, model: str, engine: str, value: float, unit: str, question: str, passage: str
) -> tuple[Entry, Choice]:
    entry = desk.entry(model)
    full_ms = desk.full_ms(entry, engine, question, passage, now=True) if unit == "ms" and entry.front else None
    return entry, desk.choose(entry, unit, value, full_ms)


def _check(entry: Entry, endpoint: str) -> None:
    """Refuses an entry that another endpoint is for."""
    kind = kind_of(entry)
    if kind.endpoint != endpoint:
        where = f"ask it by the endpoint {kind.endpoint}" if kind.endpoint else "there is no endpoint for that"
        raise UserError(f"{entry.name} {kind.does}: {where}.")


def _both(
    desk: Desk,
    entry: Entry,
    engine: str,
    texts: tuple[str, str],
    choice: Choice,
    describe: Callable[[Reply], dict[str, Any]],
) -> dict[str, Any]:
    """What a model says of one or two texts at a choice, and at full length."""
    reply = desk.ask(entry, engine, *texts, choice.point.config)
    full, in_float = desk.reference(entry, engine, *texts)
    return {
        **describe(reply),
        "full_length": {**describe(full), "fp32": in_float},
        "same": reply.agrees(full),
        **({"shared": reply.shared_tags(full)} if reply.tags is not None else {}),
        "point": _describe_choice(choice),
        "tokens": sum(reply.tokens),
        "macs_ratio": reply.macs_ratio,
        "notices": reply.notices,
    }


def _describe_tags(reply: Reply) -> dict[str, Any]:
    return {"entities": [asdict(tag) for tag in reply.tags or []]}


def _describe_answer(answer: Answer) -> dict[str, Any]:
    return {
        "text": answer.text,
        "start": int(answer.start),
        "end": int(answer.end),
        "score": float(answer.score),
        "probability": float(answer.probability),
    }


def _describe_matches(reply: Reply) -> list[dict[str, Any]]:
    return [{"text": one.text, "index": one.index, "score": one.score} for one in reply.matches]


def _describe_verdict(reply: Reply) -> dict[str, Any]:
    labels = [{"label": one.name, "probability": one.probability, "score": one.score} for one in reply.labels]
    said = [one.name for one in reply.chosen]
    return {"labels": labels, "chosen": said, "multi_label": reply.several, "score": reply.score}


def _describe_choice(choice: Choice) -> dict[str, Any]:
    point = choice.point
    values = {key: value for key, value in point.to_dict().items() if value is None or value == value}
    metric = next(iter(point.metrics), None)
    scored = {"metric": metric, "score": point.score if metric else None}
    return {**values, **scored, "message": choice.message, "binding": choice.binding}


def describe_row(row: Row) -> dict[str, Any]:
    """What the endpoint `models` tells of a row: no folders of this machine."""
    keys = ("name", "origin", "title", "task", "method", "base_model", "parameters", "bytes", "score", "metric")
    return {key: getattr(row, key) for key in (*keys, "p50_ms", "int8", "license", "url")}


def _speak(work: Callable[[], T]) -> T:
    try:
        return work()
    except Exception as error:
        raise gr.Error(explain(error), print_exception=False) from None
