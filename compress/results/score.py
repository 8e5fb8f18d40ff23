"""An entry of the zoo on a data set: what `python -m compress evaluate` reports."""

from __future__ import annotations

import random
from typing import Any, NamedTuple

from compress.data.fingerprints import load_fingerprints
from compress.data.intake import Intake
from compress.data.own_texts import SECOND
from compress.progress import Progress
from compress.tasks.lengths import drop_layers_of, effective, macs_share, unheard
from compress.tasks.subject import Asked, Subject
from compress.tasks.subjects import kind_of, subject_for
from zoo import catalog
from zoo.abstaining import ABLE, KEY, threshold_in, with_threshold
from zoo.checkpoints import read_config
from zoo.devices import gpu_of
from zoo.engines import open_engine
from zoo.errors import UserError
from zoo.features import load_tokenizer
from zoo.latency import machine
from zoo.lengths import LengthConfig, Shape
from zoo.tasks import QUESTIONS, find_task

SEED = 0  # of the examples that are drawn: two scores on so many of them are on the same ones


def score_entry(
    name: str,
    source: str | Intake,
    budget: float | None = None,
    config: str | None = None,
    engine: str | None = None,
    max_questions: int | None = None,
    task: str | Asked | None = None,
) -> dict[str, Any]:
    """Scores an entry.

    Args:
        name: a bundled name, a folder or a Hub id.
        source: a file as `load_squad` and `load_texts` take it, a folder of a classifier's, a Hub id, `examples`, or
            `hub` for the task's own data; an `Intake` of that name says whether wrong lines are left out.
        budget: percent of the unpadded full-length model's MACs; picks a point of the entry's front.
        config: a length configuration instead; with neither, full length.
        engine: by default the entry's first.
        max_questions: score on so many, drawn at random.
        task: one of `zoo.tasks`, or what else a person says of it; by default what its checkpoint was trained for.

    Returns:
        `entry`, `task`, `eval_file`, `budget`, `config` (fractions), `macs_ratio` (over the real lengths of this data),
        the task's metrics in points of 100 (`em` of questions as `exact_match`), `n`, `engine`, `machine`, `notices`,
        and on SQuAD 2 `null_threshold` and the two groups' scores.

    Raises:
        UserError: no such entry, a task that is not its own, data that it was trained on, or both a budget and a
            configuration.
    """
    if budget is not None and config:
        raise UserError("Give either --budget or --config.")
    entry = catalog.find(name)
    seen = load_fingerprints(entry.folder)
    subject, settings, intake, examples = read_unseen(entry, source, seen, max_questions, SEED, task)
    chosen, notices = choose(entry, budget, config, subject.padded)
    runner, tokenizer = open_engine(engine or entry.engines[0], entry), load_tokenizer(entry.folder)
    lengths = chosen or LengthConfig.full(runner.layers)
    if len(lengths.fractions) != runner.layers:
        raise UserError(
            f"{entry.name} has {runner.layers} layers, but {lengths} is for {len(lengths.fractions)}. "
            "Write one length a layer."
        )
    asked, lengths = lengths, effective(lengths, drop_layers_of(settings))
    if config and (fixed := unheard(asked, lengths)):
        notices.append(fixed)
    with Progress(None, f"evaluate {entry.name}") as progress:
        scores = subject.score(runner, tokenizer, examples, lengths, progress.update, settings)
    counts = [len(window.input_ids) for window in subject.windows(tokenizer, examples)]
    if "em" in scores:
        scores["exact_match"] = scores.pop("em")
    return {
        "entry": entry.name,
        "task": subject.task.name,
        "eval_file": intake.name,
        "budget": budget,
        "config": list(lengths.fractions),
        "macs_ratio": macs_share(Shape.from_config(settings), counts, lengths),
        **scores,
        **({KEY: threshold_in(settings)} if subject.task.name == ABLE else {}),
        "engine": runner.name,
        "machine": {**machine(), **({"gpu": gpu} if (gpu := gpu_of(runner)) else {})},
        "notices": [
            *intake.sentences,
            *notices,
            *subject.noted,
            *([subject.task.remark] if subject.task.remark else []),
        ],
    }


class Unseen(NamedTuple):
    """What a model is scored on: a task, its examples, and how they were read.

    Attributes:
        settings: the model's `config.json`, with the threshold that a person asks for.
    """

    subject: Subject[Any]
    settings: dict[str, Any]
    intake: Intake
    examples: list[Any]


def read_unseen(
    entry: catalog.Entry, source: str | Intake, seen: set[str], limit: int | None, seed: int, task: str | Asked | None
) -> Unseen:
    """Examples that a model has not learned from.

    Args:
        entry: of the catalog.
        source, task: as `score_entry` has them.
        seen: fingerprints of what was learned from.
        limit: so many examples at most, drawn with `seed`.

    Raises:
        UserError: as `score_entry`.
    """
    settings = read_config(entry.folder)
    subject = subject_of_entry(entry, settings, task)
    intake = source if isinstance(source, Intake) else Intake(source)
    subject.task.refuse_unknown(intake.columns)
    if subject.task.is_open and SECOND in str(entry.metrics.get("columns")).split(", "):  # it learned from pairs
        intake.columns = {SECOND: SECOND, **intake.columns}
    examples = subject.read(intake.name, intake)
    subject.refuse_overlap(seen, examples)
    if limit and limit < len(examples):
        examples = random.Random(seed).sample(examples, limit)
    return Unseen(subject, with_threshold(settings, Asked.of(task).null_threshold), intake, examples)


def subject_of_entry(entry: catalog.Entry, settings: dict[str, Any], task: str | Asked | None = None) -> Subject[Any]:
    """What an entry is scored on.

    Args:
        entry: of the catalog.
        settings: its `config.json`.
        task: as asked for; None for its own.

    Raises:
        UserError: a classifier that does not say what it was trained for, a task that is not the entry's, or a
            threshold that is not heard.
    """
    asked = Asked.of(task)
    kind = kind_of(entry.type)
    if asked.task and find_task(asked.task).type.by_name:  # the head is that of another type
        kind = kind_of(find_task(asked.task))
    task_row = kind.task_of(entry.name, {**settings, "squad_v2": entry.no_answer}, asked)
    if asked.null_threshold is not None and task_row.name != ABLE:
        if task_row.type is not QUESTIONS:
            raise UserError(f"{entry.name} is for {entry.type.title}: “no answer” is for questions.")
        raise UserError(
            f"{entry.name} is scored on {task_row.title}, where “no answer” may not win, so that no threshold of it is "
            f"heard: name the task {ABLE} as well, or leave the threshold out."
        )
    return subject_for(task_row, kind.longest(task_row, settings), asked.labels)


def choose(
    entry: catalog.Entry, budget: float | None, config: str | None, total: int = 384
) -> tuple[LengthConfig | None, list[str]]:
    """The configuration that was asked for (None: full length), and what there is to say about it.

    Args:
        entry: of the catalog.
        budget, config: as `score_entry` has them.
        total: tokens that absolute lengths are given at.
    """
    if config:
        return LengthConfig.parse(config, total), []
    if budget is None:
        return None, []
    if entry.front is None:
        raise UserError(f"{entry.name} has no front to pick a budget from. Leave --budget out, or give --config.")
    choice = entry.front.at("macs", budget)
    return choice.point.config, [choice.message] if choice.message else []
