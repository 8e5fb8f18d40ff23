"""Who is trained, and where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from torch import nn

from compress.progress import Progress
from compress.recipe.groups import Training
from compress.recipe.kind import Trained
from compress.recipe.stage import StageContext
from compress.tasks.samples import Sample
from zoo.catalog import checkpoint_of
from zoo.features import Tokenizer, load_tokenizer

M_co = TypeVar("M_co", bound=nn.Module, covariant=True)


@dataclass(frozen=True)
class Student(Generic[M_co]):
    """A model to train, the tokenizer that it reads with, and the labelled windows that it learns from.

    Attributes:
        groups: of windows that come in one batch, by their places in `data`; none where every window comes by itself.
    """

    model: M_co
    tokenizer: Tokenizer
    data: Sequence[Sample]
    groups: Sequence[Sequence[int]] = ()


@dataclass(frozen=True)
class Workplace:
    """Where a student is trained.

    Attributes:
        training: what all trainings of the recipe share.
        folder: for checkpoints and for what comes out; its name makes the seed of the training its own.
        progress: hears of every step.
        first: whether this process writes; under `torchrun` all of them hold the same weights.
    """

    training: Training
    folder: Path
    progress: Progress
    first: bool = True

    @classmethod
    def of(cls, ctx: StageContext[Trained]) -> Workplace:
        """That of a stage."""
        return cls(ctx.recipe.training, ctx.folder, ctx.progress, ctx.first)


def tokenizer_of(model: str, tokenizer: str | None = None) -> Tokenizer:
    """The tokenizer that a recipe reads with: its own, else that of its checkpoint."""
    return load_tokenizer(checkpoint_of(tokenizer or model))
