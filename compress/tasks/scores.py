"""A model on a data set -> its scores, what it computed for them, and whether it may be scored there at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from compress.data.squad import Example
from compress.tasks.metrics import squad_scores
from zoo.checkpoints import normalized
from zoo.errors import UserError
from zoo.features import make_windows
from zoo.lengths import PAPER_TOKENS, LengthConfig, Shape, macs

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
