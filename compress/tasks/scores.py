"""A model on a data set -> its scores, what it computed for them, and whether it may be scored there at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from compress.data.squad import Example, fingerprint
from compress.tasks.metrics import squad_scores
from zoo.checkpoints import normalized
from zoo.errors import UserError
from zoo.files import read_json, write_json
from zoo.lengths import PAPER_TOKENS, LengthConfig, Shape, macs

TRAINED_ON = "trained_on.json"
CHUNK = 1024  # questions between two signs of progress


class Lengths(Protocol):
    """What an engine needs of a configuration."""

    def tokens(self, count: int) -> tuple[int, ...]: ...


Predict = Callable[[list[Example], Any], list[str]]  # questions and a configuration (None: full length) -> texts


@dataclass(frozen=True)
class PaddedLengths:
    """The papers' accounting: token counts for inputs padded to `total`, of which most drop nothing but padding.

    A padding token never wins over a real one, so an input of `count` real tokens keeps the smaller of the two.
    """

    lengths: tuple[int, ...]
    total: int = PAPER_TOKENS

    @classmethod
    def of(cls, config: LengthConfig, total: int = PAPER_TOKENS) -> PaddedLengths:
        return cls(config.tokens(total), total)

    def tokens(self, count: int) -> tuple[int, ...]:
        return tuple(min(count, length) for length in self.lengths)

    def macs_ratio(self, shape: Shape) -> float:
        """Share of the MACs of the full model on the same padded input."""
        return macs(shape, self.total, self.lengths) / macs(shape, self.total)


def evaluate(
    predict: Predict,
    examples: Sequence[Example],
    config: Lengths | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, float]:
    """Scores answers.

    Args:
        predict: gives a text for every question, "" for "no answer".
        examples: with their answers.
        config: handed to `predict`.
        progress: called with (questions done, questions in all).

    Returns:
        `f1` and `em` in points of 100, `n`; on SQuAD 2 also `HasAns_f1` and the like (see `squad_scores`).

    Raises:
        UserError: there are no questions, or two share an id.
    """
    if not examples:
        raise UserError("There are no questions to evaluate on.")
    references = {e.id: [answer["text"] for answer in e.answers] for e in examples}
    if len(references) < len(examples):
        raise UserError("Several questions of the evaluation set share an id. Make the ids unique.")
    predictions: dict[str, str] = {}
    size = CHUNK if progress else len(examples)
    for at in range(0, len(examples), size):
        part = list(examples[at : at + size])
        predictions |= {e.id: text for e, text in zip(part, predict(part, config), strict=True)}
        if progress:
            progress(len(predictions), len(examples))
    scores = squad_scores(predictions, references)
    return {"f1": scores.pop("f1"), "em": scores.pop("exact_match"), "n": scores.pop("total"), **scores}


def token_counts(tokenizer: Any, examples: Sequence[Example], max_length: int = 384, stride: int = 128) -> list[int]:
    """Real tokens of every window that the examples are read in."""
    from zoo.features import make_windows

    windows = make_windows(tokenizer, [e.question for e in examples], [e.context for e in examples], max_length, stride)
    return [len(window.input_ids) for window in windows]


def macs_share(shape: Shape, counts: Iterable[int], config: Lengths) -> float:
    """Share of the unpadded full-length model's MACs over inputs of these real token counts."""
    counts = list(counts)
    return sum(macs(shape, n, config.tokens(n)) for n in counts) / sum(macs(shape, n) for n in counts)


def drop_layers_of(config: dict[str, Any]) -> list[int]:
    """Layers at which a checkpoint may drop tokens, from its `config.json`."""
    return list(config.get("length_drop_layers") or range(normalized(config)["num_hidden_layers"]))


def effective(config: LengthConfig, drop_layers: Sequence[int]) -> LengthConfig:
    """What the model makes of a configuration: a layer at which nothing may be dropped keeps what it is given.

    Raises:
        UserError: the configuration is for fewer layers than the model drops at.
    """
    if drop_layers and max(drop_layers) >= len(config.fractions):
        raise UserError(f"{config} is for {len(config.fractions)} layers, the model has more. Write one a layer.")
    fractions, now = [], 1.0
    for layer, fraction in enumerate(config.fractions):
        now = fraction if layer in drop_layers else now
        fractions.append(now)
    return LengthConfig(tuple(fractions))


def save_fingerprints(path: Path, found: set[str], **facts: Any) -> None:
    """Stores which passages a model learned from; `path` is `trained_on.json` of a run or an entry."""
    what = "the first 12 hexadecimal digits of the SHA-1 of every passage trained on"
    write_json(path, {"what": what, **facts, "contexts": sorted(found)})


def load_fingerprints(folder: Path) -> set[str]:
    """The passages that the model in `folder` learned from; empty where nothing is known."""
    path = folder / TRAINED_ON
    if not path.is_file():
        return set()
    contexts = read_json(path).get("contexts")
    if not isinstance(contexts, list):
        raise UserError(f"{path} holds no list of passages. Restore it, or run the recipe again.")
    return set(contexts)


def refuse_overlap(
    known: set[str], examples: Sequence[Example], what: str = "the data to report on", why: str = "were trained on"
) -> None:
    """Stops a score on passages that the model knows.

    Args:
        known: fingerprints, see `compress.data.squad.fingerprint`.
        examples: what is to be scored.
        what, why: for the message.

    Raises:
        UserError: some passage is in both.
    """
    shared = fingerprint(examples) & known
    if shared:
        raise UserError(f"{len(shared)} passages of {what} {why}: a score there would mean little. Take other data.")


def trained_on(ctx: Any) -> set[str]:
    """The passages that a run's model learned from.

    Those of its starting checkpoint, of its teacher and of the ones it was averaged with are included, where these
    tell. The training data are read once and kept in the run's folder. A recipe that trains nothing adds none.
    """
    from compress.learn.finetune import checkpoint_of
    from compress.tasks.subject import subject_of

    path, data = ctx.root / TRAINED_ON, ctx.recipe.dataset
    learns, subject = ctx.recipe.trains, subject_of(ctx.recipe)
    source = {"source": data.train, "titles": data.titles} if learns else {"source": ctx.recipe.model}
    distill = getattr(ctx.recipe, "distill", None)
    teacher = distill.teacher if distill and distill.apply else None
    if teacher:
        source["teacher"] = teacher
    if learns and not subject.task.is_questions:
        source |= {"task": data.task, "kept_out": [data.validation, data.evaluation]}
    if not path.is_file() or any(read_json(path).get(key) != value for key, value in source.items()):
        found = load_fingerprints(checkpoint_of(ctx.recipe.model))
        found |= load_fingerprints(checkpoint_of(teacher)) if teacher else set()
        found |= subject.everything_learned() if learns else set()
        save_fingerprints(path, found, **source)
    averaged = load_fingerprints(ctx.inputs["average"]) if "average" in ctx.inputs else set()
    return load_fingerprints(ctx.root) | averaged
