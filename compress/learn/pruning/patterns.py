"""What is pruned together: single weights, blocks, N of every M inputs, whole channels, whole heads.

A linear layer's weight is a matrix `[outputs, inputs]`. In NxM, N counts outputs and M inputs, as in neural-compressor:
a block of `4x1` is the weights of four neighbouring outputs for one input. In N:M, of every M neighbouring inputs of an
output N are pruned.

With `channelx1` and `1xchannel` what goes is a channel on both of its sides, or it could not be removed: the output of
`expand` and the input of `contract` that it becomes, ranked by the mean score of its row and its column. Taken from one
side only, a channel leaves the other side's weights behind. The residual stream ties all other outputs and inputs
together, so the attention is left alone, unless whole heads are asked for (`prune.heads`): the rows of query, key and
value and the columns of project, ranked together. The two names mean the same here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from compress.learn.pruning.schedules import is_progressive
from zoo.checkpoints import head_size, normalized
from zoo.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from compress.recipe.training_groups import Prune
    from zoo.modeling import LengthAdaptiveModel

OPERATORS = ("query", "key", "value", "project", "expand", "contract")
ATTENTION, FEED = OPERATORS[:4], OPERATORS[4:]
CHANNELS = ("channelx1", "1xchannel")
Shapes = dict[str, tuple[int, int]]


@dataclass(frozen=True)
class Part:
    """A matrix that units have weights in: its operator's name, its (outputs, inputs), and a unit's block in it."""

    name: str
    shape: tuple[int, int]
    block: tuple[int, int]

    def fold(self, values: Tensor) -> Tensor:
        """A value a weight, `[outputs, inputs]` -> `[units, weights of a unit]`."""
        (rows, columns), (n, m) = self.shape, self.block
        return values.reshape(rows // n, n, columns // m, m).transpose(1, 2).reshape(-1, n * m)

    def unfold(self, values: Tensor) -> Tensor:
        """A value a unit, `[units]` -> the same for each of its weights, `[outputs, inputs]`."""
        (rows, columns), (n, m) = self.shape, self.block
        return values.reshape(rows // n, 1, columns // m, 1).expand(-1, n, -1, m).reshape(rows, columns)


@dataclass(frozen=True)
class Units:
    """Units of one layer that are alike: each is kept or pruned as a whole, in all of its parts.

    Attributes:
        name: of the operator, or of what its parts are together.
        parts: the matrices; a unit has the same number in all of them.
        limit: (N, M): of every M neighbouring units at most N may go.
        even: every layer loses the same number of them.
    """

    name: str
    parts: tuple[Part, ...]
    limit: tuple[int, int] | None = None
    even: bool = False

    @property
    def count(self) -> int:
        (rows, columns), (n, m) = self.parts[0].shape, self.parts[0].block
        return (rows // n) * (columns // m)

    @property
    def weights(self) -> int:
        """Weights of one unit."""
        return sum(part.block[0] * part.block[1] for part in self.parts)

    def score(self, scores: Mapping[str, Tensor]) -> Tensor:
        """Mean score of every unit's weights, `[units]`."""
        return sum(part.fold(scores[part.name]).sum(1) for part in self.parts) / self.weights  # type: ignore[return-value]


def shapes_of(source: LengthAdaptiveModel | Mapping[str, Any]) -> Shapes:
    """(outputs, inputs) of the linear layers in the encoder, by name, of a model or a checkpoint's `config.json`."""
    config = config_of(source)
    hidden, inner, heads = config["hidden_size"], config["intermediate_size"], config["num_attention_heads"]
    mixed = heads * head_size(config)
    sizes = dict.fromkeys(ATTENTION[:3], (mixed, hidden))
    sizes |= {"project": (hidden, mixed), "expand": (inner, hidden), "contract": (hidden, inner)}
    return {f"layers.{i}.{name}": size for i in range(config["num_hidden_layers"]) for name, size in sizes.items()}


def config_of(source: LengthAdaptiveModel | Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of a model or of a checkpoint, in BERT's words."""
    return normalized(dict(source) if isinstance(source, Mapping) else source.config)


def units_of(shapes: Shapes, heads: int, settings: Prune) -> list[Units]:
    """What can go under these settings.

    Args:
        shapes: of all linear layers, see `shapes_of`.
        heads: attention heads of a layer.
        settings: pattern, approach and exclusions.

    Raises:
        UserError: the pattern does not fit a layer or the approach, or nothing is left to prune.
    """
    for pattern in settings.excluded:
        if not any(fnmatchcase(name, pattern) for name in shapes):
            raise UserError(
                f"prune.excluded: no layer is called {pattern!r}. They are called {next(iter(shapes))} and so on, "
                f"with the ends {', '.join(OPERATORS)}."
            )
    chosen = {name: s for name, s in shapes.items() if not any(fnmatchcase(name, glob) for glob in settings.excluded)}
    pattern = settings.pattern
    if settings.approach == "pattern_lock":
        units = [Units(name, (Part(name, shape, (1, 1)),)) for name, shape in chosen.items()]
    elif pattern in CHANNELS:
        units = _channels(chosen, heads, settings.heads)
    else:
        units = _blocks(chosen, pattern)
    if not units:
        why = "A channel goes from expand and contract at once: exclude neither or both." if pattern in CHANNELS else ""
        raise UserError(f"Nothing is left to prune: prune.excluded names too many layers. {why}".strip())
    if is_progressive(settings.approach) and units[0].weights == 1:
        raise UserError(
            f"{settings.approach} moves the weights of a block to zero one after another, and pattern {pattern} has no "
            f"blocks. Choose a pattern such as 4x1 or channelx1, or the approach "
            f"{settings.approach.removesuffix('_progressive')}."
        )
    return units


def _blocks(chosen: Shapes, pattern: str) -> list[Units]:
    limit = None
    if ":" in pattern:
        n, m = map(int, pattern.split(":"))
        limit, block, divided = (n, m), (1, 1), (1, m)
    else:
        n, m = map(int, pattern.split("x"))
        block = divided = (n, m)
    units: list[Units] = []
    for name, shape in chosen.items():
        for size, by, what in zip(shape, divided, ("outputs", "inputs"), strict=True):
            if size % by:
                raise UserError(
                    f"Pattern {pattern} does not fit {name}: its {size} {what} cannot be divided by {by}. "
                    "Choose another pattern, or name the layer in prune.excluded."
                )
        units.append(Units(name, (Part(name, shape, block),), limit))
    return units


def _channels(chosen: Shapes, heads: int, with_heads: bool) -> list[Units]:
    units: list[Units] = []
    for layer in dict.fromkeys(name.rpartition(".")[0] for name in chosen):
        expand, contract = (f"{layer}.{name}" for name in FEED)
        if expand in chosen and contract in chosen:
            inner, hidden = chosen[expand]
            parts = (Part(expand, (inner, hidden), (1, hidden)), Part(contract, (hidden, inner), (hidden, 1)))
            units.append(Units(f"{layer}.channels", parts))
        attention = [f"{layer}.{name}" for name in ATTENTION]
        if with_heads and all(name in chosen for name in attention):
            inner, hidden = chosen[attention[0]]
            size = inner // heads
            units.append(Units(f"{layer}.heads", tuple(_head(attention, inner, hidden, size)), even=True))
    return units


def _head(names: Sequence[str], inner: int, hidden: int, size: int) -> list[Part]:
    *inward, outward = names
    return [
        *(Part(name, (inner, hidden), (size, hidden)) for name in inward),
        Part(outward, (hidden, inner), (hidden, size)),
    ]
