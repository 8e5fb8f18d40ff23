"""The named endpoints for gradio's client and for MCP: models are asked, timed and listed, and jobs looked up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypedDict, TypeVar, cast

import gradio as gr

from ui import budget as scales
from ui import people
from ui.desk import Desk
from ui.events import explain
from ui.reading import kind_of
from ui.replies import (
    Asking,
    describe_answers,
    describe_choice,
    describe_row,
    describe_tags,
    describe_verdict,
    reply_of,
)
from ui.schemas import (
    HIDDEN,
    AnswerReply,
    ClassifyReply,
    EmbedReply,
    FrontReply,
    JobReply,
    MeasureReply,
    ModelReply,
    Ranking,
    RankReply,
    TagReply,
    Unit,
)
from ui.typed import publish
from zoo import library
from zoo.answers import NoAnswer, Reply
from zoo.catalog import Entry
from zoo.embed import MAX_LINES, TextEmbedder
from zoo.engines import DEFAULT_ENGINE
from zoo.errors import UserError
from zoo.features import clean_text
from zoo.lengths import Choice

T = TypeVar("T")


class Budget(TypedDict):
    """What picks a point of a front."""

    value: float | None
    unit: Unit


def add_endpoints(desk: Desk, default: str, classifiers: tuple[str, str], device: dict[str, Any]) -> None:
    """Add the endpoints to the Blocks that is open.

    Args:
        desk: what they share with the page.
        default: the model for questions where a caller names none.
        classifiers: the same for one text and for two; may be empty.
        device: the queue of whatever runs a model.
    """

    def answer(
        question: str,
        passage: str,
        model: str = default,
        budget: float | None = None,
        unit: Unit = "macs",
        engine: str = DEFAULT_ENGINE,
        no_answer: bool | None = None,
        null_threshold: float | None = None,
        compare: bool = False,
    ) -> AnswerReply:
        """Answer a question from a passage within a budget of compute.

        Args:
            question: In words.
            passage: The text that holds the answer.
            no_answer: Whether the model may say that there is none; left out, as it was trained.
            null_threshold: In logits: "no answer" wins if its score is above the best span's by more than this.

        Returns:
            Answers with their places in the passage, best first, and what was computed for them.
        """

        def work() -> AnswerReply:
            _check(desk.entry(model), "answer")
            wanted = NoAnswer(no_answer, null_threshold)
            entry, choice = _pick(desk, model, engine, {"value": budget, "unit": unit}, (question, passage))
            asked = Asking(engine, (question, passage), choice, compare, wanted)
            said = reply_of(desk, entry, asked, describe_answers)
            return cast(AnswerReply, said)

        return _speak(work)

    def classify(
        first: str,
        second: str = "",
        model: str = "",
        budget: float | None = None,
        unit: Unit = "macs",
        engine: str = DEFAULT_ENGINE,
        compare: bool = False,
    ) -> ClassifyReply:
        """Classify a text, or a pair of texts, or score a pair, within a budget.

        Args:
            first: The text.
            second: The other text of a pair, for models that read pairs.
            model: As for `answer`; left out, the bundled one: for sentiment, or of two texts for entailment.

        Returns:
            Labels with probabilities, likely ones first, or a score.
        """

        def work() -> ClassifyReply:
            name = model or classifiers[bool(second.strip())]
            if not name:
                raise UserError("No classifier is bundled for that: name a model, as a folder or a Hub id.")
            _check(desk.entry(name), "classify")
            entry, choice = _pick(desk, name, engine, {"value": budget, "unit": unit}, (first, second))
            return cast(
                ClassifyReply, reply_of(desk, entry, Asking(engine, (first, second), choice, compare), describe_verdict)
            )

        return _speak(work)

    def label(
        text: str,
        model: str,
        budget: float | None = None,
        unit: Unit = "macs",
        engine: str = DEFAULT_ENGINE,
        compare: bool = False,
    ) -> TagReply:
        """Label the words of a text within a budget: names, places, personal data.

        Args:
            text: The text.

        Returns:
            Labelled words with their places; with `compare`, `shared` has how many full length found too, and all.
        """

        def work() -> TagReply:
            _check(desk.entry(model), "label")
            entry, choice = _pick(desk, model, engine, {"value": budget, "unit": unit}, (text, ""))
            return cast(TagReply, reply_of(desk, entry, Asking(engine, (text, ""), choice, compare), describe_tags))

        return _speak(work)

    def embed(
        texts: list[str],
        model: str,
        budget: float | None = None,
        unit: Unit = "macs",
        engine: str = DEFAULT_ENGINE,
    ) -> EmbedReply:
        """Make vectors of texts, whose cosine says how alike the texts are, within a budget.

        Args:
            texts: Up to 200 of them.

        Returns:
            A vector for every text, in their order.
        """

        def work() -> EmbedReply:
            _check(desk.entry(model), "embed")
            if unit == "ms":
                raise UserError("A budget in ms is for one input of a known length: give it in macs, speedup or loss.")
            clean, notices = _clean(texts, "text")
            entry, choice = _pick(desk, model, engine, {"value": budget, "unit": unit}, ("", ""))
            embedder = cast(TextEmbedder, desk.model(entry, engine))
            vectors = embedder.embed(clean, choice.point.config)
            return {"vectors": vectors.tolist(), "point": describe_choice(choice), "notices": notices}

        return _speak(work)

    def rank(
        query: str,
        passages: list[str],
        model: str,
        budget: float | None = None,
        unit: Unit = "macs",
        engine: str = DEFAULT_ENGINE,
        compare: bool = False,
    ) -> RankReply:
        """Rank passages for a query, by a model that ranks or by the likeness of embeddings, within a budget.

        Args:
            query: What is looked for.
            passages: Up to 200 texts to sort.

        Returns:
            The passages with their scores, the best first; `index` is the place in what was given.
        """

        def work() -> RankReply:
            _check(desk.entry(model), "rank")
            clean, notices = _clean(passages, "passage")
            pair = (query, "\n".join(" ".join(text.split()) for text in clean))
            entry, choice = _pick(desk, model, engine, {"value": budget, "unit": unit}, pair)

            def describe(reply: Reply) -> Ranking:
                found = [(passages[one.index], one) for one in reply.matches]
                return {"matches": [{"text": text, "index": one.index, "score": one.score} for text, one in found]}

            said = cast(RankReply, reply_of(desk, entry, Asking(engine, pair, choice, compare), describe))
            return {**said, "notices": [*notices, *said["notices"]]}

        return _speak(work)

    def measure(
        question: str,
        passage: str = "",
        model: str = default,
        budget: float | None = None,
        unit: Unit = "macs",
        engine: str = DEFAULT_ENGINE,
    ) -> MeasureReply:
        """Time an input at a budget against full length on the same engine and fp32 PyTorch, in turn. Milliseconds.

        Args:
            question: For a classifier the text; to rank, the query.
            passage: For a classifier the other text of a pair; to rank, the passages, one a line.

        Returns:
            Timings and speed-ups with the machine that they are of; `disturbed` says that it was busy.
        """

        def work() -> MeasureReply:
            pair = (question, passage)
            entry, choice = _pick(desk, model, engine, {"value": budget, "unit": unit}, pair)
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
                "point": describe_choice(choice),
                "tokens": measured.tokens,
                "disturbed": measured.disturbed,
                "machine": measured.machine,
                "gpus": measured.gpus,
            }

        return _speak(work)

    def front(model: str = default) -> FrontReply:
        """The searched length configurations of a model, with what each costs and scores.

        Returns:
            The points as in its front.json; null where it has none.
        """

        def work() -> FrontReply:
            entry = desk.entry(model)
            return cast(FrontReply, {"model": entry.name, "front": entry.front.to_dict() if entry.front else None})

        return _speak(work)

    for endpoint in (answer, classify, label, embed, rank, measure):
        publish(endpoint, **device)
    publish(front, queue=False)


def add_look_ups() -> None:
    """Add `models` and `jobs` to the Blocks that is open. They read what this machine knows, and start nothing."""

    def models(profile: gr.OAuthProfile | None, text: str = "") -> list[ModelReply]:
        """List the models of the zoo that are known here: bundled, results of jobs, what was last seen on the Hub.

        Args:
            text: To be found in the name, the task, the method or the base model; left out, all.

        Returns:
            A row for each model, with its size, its score and its latency where these are known.
        """

        def work() -> list[ModelReply]:
            person = people.who(profile)
            table = library.listing(library.Query(text, owner=None if person.trusted else person.name))
            return [describe_row(row) for row in table.rows]

        return _speak(work)

    def jobs(profile: gr.OAuthProfile | None, limit: int = 100) -> list[JobReply]:
        """List the jobs that compress models, newest first; on a Space those of the person who has signed in.

        Args:
            limit: At most so many, up to 1000.

        Returns:
            Each with its state and stage, and with why it failed or what it waits for.
        """

        def work() -> list[JobReply]:
            table = people.jobs_of(people.who(profile), max(1, min(int(limit), 1000)))
            rows = ({key: value for key, value in job.to_dict().items() if key not in HIDDEN} for job in table)
            return [cast(JobReply, row) for row in rows]

        return _speak(work)

    publish(models, queue=False)
    publish(jobs, queue=False)


def _pick(desk: Desk, model: str, engine: str, budget: Budget, texts: tuple[str, str]) -> tuple[Entry, Choice]:
    """The entry, and the point of its front within a budget; without one the point that the page opens at."""
    entry = desk.entry(model)
    unit, value = budget["unit"], budget["value"]
    if value is None:
        if unit != "macs":
            raise UserError(
                f"A unit needs a budget in it, one of {', '.join(scales.UNITS)}: give one, or leave it out."
            )
        unit, value = "loss", scales.DEFAULT_LOSS
    full_ms = desk.full_ms(entry, engine, *texts, now=True) if unit == "ms" and entry.front else None
    return entry, desk.choose(entry, unit, value, full_ms)


def _clean(texts: list[str], what: str) -> tuple[list[str], list[str]]:
    """Texts as models read them, and what a reader should know of that.

    Raises:
        UserError: there are none, or too many, or one is empty.
    """
    if not 0 < len(texts) <= MAX_LINES:
        raise UserError(f"These are {len(texts)} {what}s: give 1 to {MAX_LINES}.")
    clean = [clean_text(text) for text in texts]
    for number, (text, _) in enumerate(clean, 1):
        if not text.strip():
            raise UserError(f"The {what} number {number} is empty.")
    return [text for text, _ in clean], [notice for _, notice in clean if notice]


def _check(entry: Entry, endpoint: str) -> None:
    """Refuses an entry that another endpoint is for."""
    kind = kind_of(entry)
    if endpoint not in kind.endpoints:
        names = " or ".join(kind.endpoints)
        where = f"ask it by the endpoint {names}" if names else "there is no endpoint for that"
        raise UserError(f"{entry.name} {kind.does}: {where}.")


def _speak(work: Callable[[], T]) -> T:
    try:
        return work()
    except Exception as error:
        raise gr.Error(explain(error), print_exception=False) from None
