"""Which encoders there are to choose from: layers, width, feed-forward width and heads of a sub-network.

As in AutoTinyBERT (Yin et al., arXiv 2107.13686) every layer has the same sizes and a sub-network is the leading slice
of the largest one's weights. As in Bigger&Faster queries are as wide as hidden states. The size of a head is that of
the checkpoint everywhere, so that a narrower attention is the first heads as they are, and transformers loads what is
cut out as a plain BERT.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, astuple, dataclass, fields, replace
from itertools import product
from typing import Any

from compress.recipe.nas_groups import SearchSpace
from zoo.checkpoints import head_size, is_widened, normalized
from zoo.errors import UserError
from zoo.families import family_of
from zoo.lengths import Shape, macs

GENES = ("layers", "hidden", "intermediate")  # what varies; heads and qkv follow from hidden


@dataclass(frozen=True, order=True)
class Arch:
    """Sizes of an encoder; `qkv` is the width of its queries, keys and values, over all heads.

    Raises:
        UserError: a size is not positive, or heads do not divide a width.
    """

    layers: int
    hidden: int
    intermediate: int
    heads: int
    qkv: int

    def __post_init__(self):
        if any(type(size) is not int or size < 1 for size in astuple(self)):
            raise UserError(f"Sizes of an encoder are whole numbers from 1 on, not {astuple(self)}.")
        for name, width in (("queries", self.qkv), ("hidden states", self.hidden)):
            if width % self.heads:
                raise UserError(
                    f"{self.heads} heads do not divide {name} of width {width}: take a multiple of {self.heads}, or "
                    "another number of heads."
                )

    @property
    def head_size(self) -> int:
        return self.qkv // self.heads

    @property
    def key(self) -> str:
        """A name, as in `l6-h384-f1536-a12`; queries are told where they are not as wide as hidden states."""
        name = f"l{self.layers}-h{self.hidden}-f{self.intermediate}-a{self.heads}"
        return name if self.qkv == self.hidden else f"{name}-q{self.qkv}"

    @classmethod
    def parse(cls, key: str) -> Arch:
        """The sizes that `key` names.

        Raises:
            UserError: it names none.
        """
        match = re.fullmatch(r"l(\d+)-h(\d+)-f(\d+)-a(\d+)(?:-q(\d+))?", key.strip())
        if not match:
            raise UserError(f"{key!r} names no architecture: write for example l6-h384-f1536-a12.")
        layers, hidden, inner, heads, qkv = (int(n) if n else 0 for n in match.groups())
        return cls(layers, hidden, inner, heads, qkv or hidden)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Arch:
        """The sizes of a checkpoint, from its `config.json`."""
        config = normalized(config)
        heads = config["num_attention_heads"]
        return cls(
            config["num_hidden_layers"],
            config["hidden_size"],
            config["intermediate_size"],
            heads,
            heads * head_size(config),
        )

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Arch:
        """What `to_json` wrote.

        Raises:
            UserError: a size is missing or is no number.
        """
        try:
            return cls(**{field.name: data[field.name] for field in fields(cls)})
        except (KeyError, TypeError) as error:
            raise UserError(f"{str(data)[:100]} are no sizes of an encoder.") from error

    def to_json(self) -> dict[str, int]:
        return asdict(self)

    def features(self) -> tuple[float, ...]:
        """The sizes as numbers in the order of the fields: what a latency predictor sees."""
        return tuple(float(size) for size in astuple(self))

    def macs(self, tokens: int) -> float:
        """Multiplications of the encoder on one input of so many tokens."""
        return macs(Shape(self.layers, self.hidden, self.intermediate, attention=self.qkv), tokens)

    def __str__(self) -> str:
        return self.key


@dataclass(frozen=True)
class Space:
    """All encoders of these numbers of layers and widths, with heads of one size.

    Raises:
        UserError: a list is empty or not rising, or heads of `head_size` do not divide a width.
    """

    layers: tuple[int, ...]
    hidden: tuple[int, ...]
    intermediate: tuple[int, ...]
    head_size: int

    def __post_init__(self):
        if self.head_size < 1:
            raise UserError("The size of a head is 1 at least.")
        for name in GENES:
            sizes = getattr(self, name)
            if not sizes or any(type(size) is not int or size < 1 for size in sizes):
                raise UserError(f"The space needs whole numbers from 1 on for {name}, not {list(sizes)}.")
            if list(sizes) != sorted(set(sizes)):
                raise UserError(f"The space names the sizes of {name} once each, in rising order, not {list(sizes)}.")
        uneven = [size for size in self.hidden if size % self.head_size]
        if uneven:
            raise UserError(
                f"Heads of size {self.head_size} do not divide a width of {uneven[0]}: take multiples of "
                f"{self.head_size}, such as {max(1, round(uneven[0] / self.head_size)) * self.head_size}."
            )

    @classmethod
    def spanned(
        cls,
        layers: Sequence[int],
        hidden: Sequence[int],
        intermediate: Sequence[int],
        head_size: int,
        step: int = 64,
    ) -> Space:
        """The space between bounds: every depth, every whole number of heads, feed-forward widths `step` apart.

        Args:
            layers, hidden, intermediate: smallest and largest, both included.
            head_size: of every head.
            step: between feed-forward widths; the largest is always one of them.

        Raises:
            UserError: a bound is wrong; see the class.
        """
        for name, bounds in (("layers", layers), ("hidden", hidden), ("intermediate", intermediate)):
            if len(bounds) != 2 or bounds[0] > bounds[1]:
                raise UserError(f"The space needs two numbers for {name}, the smaller one first, not {list(bounds)}.")
        for width in hidden:
            if head_size < 1 or width % head_size:
                raise UserError(f"Heads of size {head_size} do not divide a width of {width}: take a multiple.")
        return cls(
            tuple(range(layers[0], layers[1] + 1)),
            tuple(range(hidden[0], hidden[1] + 1, head_size)),
            tuple(sorted({*range(intermediate[0], intermediate[1], step), intermediate[1]})),
            head_size,
        )

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Space:
        """What `to_json` wrote.

        Raises:
            UserError: it is something else.
        """
        try:
            return cls(head_size=data["head_size"], **{name: tuple(data[name]) for name in GENES})
        except (KeyError, TypeError) as error:
            raise UserError(f"{str(data)[:100]} is no search space.") from error

    def to_json(self) -> dict[str, Any]:
        return {**{name: list(getattr(self, name)) for name in GENES}, "head_size": self.head_size}

    def arch(self, layers: int, hidden: int, intermediate: int) -> Arch:
        """The encoder of these sizes, whose heads fill its width."""
        return Arch(layers, hidden, intermediate, max(1, hidden // self.head_size), hidden)

    @property
    def largest(self) -> Arch:
        return self.arch(self.layers[-1], self.hidden[-1], self.intermediate[-1])

    @property
    def smallest(self) -> Arch:
        return self.arch(self.layers[0], self.hidden[0], self.intermediate[0])

    def __contains__(self, arch: object) -> bool:
        return (
            isinstance(arch, Arch)
            and all(getattr(arch, name) in getattr(self, name) for name in GENES)
            and arch == self.arch(arch.layers, arch.hidden, arch.intermediate)
        )

    def __iter__(self) -> Iterator[Arch]:
        """All encoders, the smallest first."""
        return (self.arch(*sizes) for sizes in product(*(getattr(self, name) for name in GENES)))

    def __len__(self) -> int:
        return len(self.layers) * len(self.hidden) * len(self.intermediate)

    def sample(self, chance: random.Random) -> Arch:
        """An encoder at random, each size drawn by itself."""
        return self.arch(*(chance.choice(getattr(self, name)) for name in GENES))

    def neighbours(self, arch: Arch, steps: int = 1) -> list[Arch]:
        """The encoders that differ from `arch` in one size, by at most `steps` places of its list."""
        return [other for name in GENES for other in self.moved(arch, name, steps)]

    def moved(self, arch: Arch, name: str, steps: int = 1) -> list[Arch]:
        """The encoders that differ from `arch` in the size `name` alone, by at most `steps` places of its list."""
        sizes, sizes_of = getattr(self, name), {gene: getattr(arch, gene) for gene in GENES}
        at = sizes.index(sizes_of[name])
        near = sizes[max(0, at - steps) : at + steps + 1]
        return [self.arch(**{**sizes_of, name: size}) for size in near if size != sizes_of[name]]

    def nearest(self, arch: Arch) -> Arch:
        """The encoder of the space whose sizes are closest to those of `arch`, each by itself."""
        sizes = {name: min(getattr(self, name), key=lambda s, n=name: abs(s - getattr(arch, n))) for name in GENES}
        return self.arch(**sizes)

    def within(self, **limits: Sequence[int]) -> Space:
        """The part of the space with sizes of these names between a smallest and a largest."""
        sizes = {
            name: tuple(s for s in getattr(self, name) if low <= s <= high) for name, (low, high) in limits.items()
        }
        return replace(self, **sizes)

    def check(self, config: dict[str, Any], name: str = "the checkpoint") -> None:
        """Makes sure that every encoder of the space can be cut out of a checkpoint.

        Args:
            config: its `config.json`.
            name: what a message calls it.

        Raises:
            UserError: it is too small, its heads have another size, or its family computes what could not be cut out.
        """
        family = family_of(config.get("model_type"))
        if family.peculiarity:
            raise UserError(
                f"{name[:1].upper()}{name[1:]} is of the family {family.title}, of which no encoders can be cut: "
                f"{family.peculiarity}. Take a BERT, RoBERTa or DistilBERT checkpoint."
            )
        if normalized(config).get("hidden_act", "gelu") != "gelu":
            raise UserError(
                f"{name[:1].upper()}{name[1:]} has the activation {normalized(config)['hidden_act']}; encoders are cut "
                "and timed with gelu only. Take a BERT, RoBERTa or DistilBERT checkpoint that has it."
            )
        if is_widened(normalized(config)):
            raise UserError(
                f"{name[:1].upper()}{name[1:]} has embeddings that are narrower than its layers; encoders are cut with "
                "embeddings of their own width. Take a BERT, RoBERTa or DistilBERT checkpoint."
            )
        own, most = Arch.from_config(config), self.largest
        for gene, what in (("layers", "layers"), ("hidden", "hidden width"), ("intermediate", "feed-forward width")):
            if getattr(most, gene) > getattr(own, gene):
                raise UserError(
                    f"The search space goes up to {getattr(most, gene)} as the {what}, {name} has "
                    f"{getattr(own, gene)}. Make the space smaller, or take a checkpoint of this space."
                )
        if own.head_size != self.head_size:
            raise UserError(
                f"The search space has heads of size {self.head_size}, {name} has heads of size {own.head_size}. "
                "Take a checkpoint of this space, or make a space for this one."
            )


def space_of(bounds: SearchSpace, config: dict[str, Any]) -> Space:
    """The space that a recipe's bounds span for a checkpoint with this `config.json`.

    Raises:
        UserError: its heads do not divide the widths, or it is too small.
    """
    space = Space.spanned(bounds.layers, bounds.hidden, bounds.intermediate, head_size(config), bounds.step)
    space.check(config)
    return space
