"""An entry of the zoo on a data set: what `python -m compress evaluate` reports."""

from __future__ import annotations

import random
from typing import Any

from compress.data import Example, load_squad
from compress.evaluation import drop_layers_of, effective, evaluate, load_fingerprints, macs_share, refuse_overlap
from compress.evaluation import token_counts as count_tokens
from compress.progress import Progress
from zoo import catalog
from zoo.errors import UserError
from zoo.files import read_json
from zoo.latency import machine
from zoo.lengths import LengthConfig


def score_entry(
    name: str,
    source: str,
    budget: float | None = None,
    config: str | None = None,
    engine: str | None = None,
    max_questions: int | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Scores an entry.

    Args:
        name: a bundled name, a folder or a Hub id.
        source: a SQuAD-format file, a Hub id or `examples`.
        budget: percent of the unpadded full-length model's MACs; picks a point of the entry's front.
        config: a length configuration instead; with neither, full length.
        engine: by default the entry's first.
        max_questions: score on so many, drawn at random.

    Returns:
        `entry`, `eval_file`, `budget`, `config` (fractions), `macs_ratio` (over the real lengths of this data),
        `exact_match`, `f1`, `n`, `engine`, `machine`, `notices`, and the two groups' scores on SQuAD 2.

    Raises:
        UserError: no such entry, data that it was trained on, or both a budget and a configuration.
    """
    from zoo.ask import QuestionAnswerer, predict

    if budget is not None and config:
        raise UserError("Give either --budget or --config.")
    entry = catalog.find(name)
    examples = load_squad(source, "validation")
    refuse_overlap(load_fingerprints(entry.folder), examples)
    if max_questions and max_questions < len(examples):
        examples = random.Random(seed).sample(examples, max_questions)
    chosen, notices = choose(entry, budget, config)
    answerer = QuestionAnswerer(entry, engine or entry.engines[0])
    chosen = effective(answerer.checked(chosen), drop_layers_of(read_json(entry.folder / "config.json")))

    with Progress(None, f"evaluate {entry.name}") as progress:

        def answer(part: list[Example], lengths: Any) -> list[str]:
            questions, contexts = [e.question for e in part], [e.context for e in part]
            found = predict(
                answerer.engine,
                answerer.tokenizer,
                questions,
                contexts,
                lengths,
                answerer.max_length,
                no_answer=answerer.no_answer,
            )
            return [prediction.text for prediction in found]

        scores = evaluate(answer, examples, chosen, progress.update)
    counts = count_tokens(answerer.tokenizer, examples, answerer.max_length)
    return {
        "entry": entry.name,
        "eval_file": source,
        "budget": budget,
        "config": list(chosen.fractions),
        "macs_ratio": macs_share(answerer.shape, counts, chosen),
        "exact_match": scores.pop("em"),
        **scores,
        "engine": answerer.engine.name,
        "machine": machine(),
        "notices": notices,
    }


def choose(entry: catalog.Entry, budget: float | None, config: str | None) -> tuple[LengthConfig | None, list[str]]:
    """The configuration that was asked for (None: full length), and what there is to say about it."""
    if config:
        return LengthConfig.parse(config), []
    if budget is None:
        return None, []
    if entry.front is None:
        raise UserError(f"{entry.name} has no front to pick a budget from. Leave --budget out, or give --config.")
    choice = entry.front.at("macs", budget)
    return choice.point.config, [choice.message] if choice.message else []
