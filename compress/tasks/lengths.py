"""What a length configuration comes to in a model: where it takes effect, and the share of the MACs that is left."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zoo.checkpoints import normalized
from zoo.errors import UserError
from zoo.lengths import PAPER_TOKENS, LengthConfig, Lengths, Shape, macs


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


def macs_share(shape: Shape, counts: Iterable[int], config: Lengths) -> float:
    """Share of the unpadded full-length model's MACs over inputs of these real token counts."""
    counts = list(counts)
    return sum(macs(shape, n, config.tokens(n)) for n in counts) / sum(macs(shape, n) for n in counts)


def drop_layers_of(config: Mapping[str, Any]) -> list[int]:
    """Layers at which a checkpoint may drop tokens, from its `config.json`."""
    return list(config.get("length_drop_layers") or range(normalized(dict(config))["num_hidden_layers"]))


def unheard(asked: LengthConfig, real: LengthConfig) -> str:
    """What to say of layers at which a configuration drops and the model cannot; empty where it does all that is asked.

    Args:
        asked: a configuration.
        real: what the model makes of it, see `effective`.
    """
    layers = [str(i) for i, pair in enumerate(zip(asked.fractions, real.fractions, strict=True)) if pair[0] != pair[1]]
    if not layers:
        return ""
    many = "layers" if len(layers) > 1 else "layer"
    return (
        f"the model drops no tokens at {many} {', '.join(layers)} (counted from 0): what was asked for there was not "
        f"done, {real} was"
    )


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
