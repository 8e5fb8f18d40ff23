"""Groups of keys of the recipe `length_adaptive`: fine-tuning, LengthDrop, and the search for lengths."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from compress.recipe.groups import Epochs, Group, Learning, Share
from compress.recipe.place import Mark, Place


class Attending(Learning):
    """A training of a length-adaptive model."""

    attention_dropout: float = Field(
        default=0.0, ge=0, lt=1, description="dropout of attention in training; on a CPU it costs half the speed"
    )


class Finetune(Attending):
    """Fine-tuning at full length."""

    apply: bool = Field(default=True, description="fine-tune `model` first; false: it is fine-tuned for the task")
    significance_weight: float = Field(
        default=0.0,
        ge=0,
        le=100,
        description="weight of the loss that asks, where length_drop may drop tokens, for attention to the answer",
    )


class LengthDrop(Attending):
    """LengthDrop training with the sandwich rule and in-place distillation."""

    apply: bool = Field(
        default=True, description="train with LengthDrop; false: lengths are searched for the checkpoint as it is"
    )
    epochs: Epochs = 5
    num_sandwich: int = Field(
        default=2, ge=0, le=16, description="random sub-models a step, beside largest and smallest"
    )
    length_drop_ratio_bound: float | list[float] = Field(
        default=0.2,
        description="share of the tokens that a layer may drop: one for all, or one for each of drop_layers",
    )
    layer_dropout_prob: float = Field(
        default=0.2, ge=0, lt=1, description="probability that a layer is skipped in training"
    )
    drop_layers: list[int] | None = Field(
        default=None, description="layers, from 0, that may drop tokens; null: every one"
    )
    significance: Literal["attention", "learned"] = Field(
        default="attention",
        description="how tokens are ranked: by attention received, or by scorers that learn the last layers' attention",
    )
    significance_weight: float = Field(
        default=0.0, ge=0, le=100, description="weight of the loss that asks for attention to, or scores of, the answer"
    )
    scorer_steps: int = Field(
        default=200, ge=0, le=1_000_000, description="steps before any token is dropped, in which scorers learn"
    )
    pooled: Literal["restored", "left", "mapped"] | None = Field(
        default=None,
        description="of embeddings: which tokens a vector is made of, restored: all, each with its last state, "
        "left: those that were never dropped, or mapped: all, a dropped one's state brought to the last layer by a "
        "matrix that is learned; null: as the model says, which is restored where it says nothing",
    )
    full_every: int = Field(
        default=1,
        ge=1,
        le=1000,
        description="one step of so many runs the largest and the smallest sub-model, too; in the others the random "
        "ones learn from distill's teacher alone, at less than half the cost",
    )
    neighbours: int = Field(
        default=1,
        ge=1,
        le=64,
        description="of embeddings: so many texts that are most alike are learned from together; 1: as they come",
    )

    @model_validator(mode="after")
    def _bounds_fit(self) -> LengthDrop:
        bounds, layers = self.length_drop_ratio_bound, self.drop_layers
        if not all(0 <= b < 1 for b in (bounds if isinstance(bounds, list) else [bounds])):
            raise ValueError("length_drop_ratio_bound lies in 0 to 1, 1 excluded")
        if layers is not None and (not layers or layers != sorted(set(layers)) or layers[0] < 0):
            raise ValueError("drop_layers are different layers in rising order, counted from 0")
        if isinstance(bounds, list) and len(bounds) != len(layers or []):
            raise ValueError("length_drop_ratio_bound, as a list, has one number for each of drop_layers")
        return self


class Search(Group):
    """The evolutionary search for length configurations, scored on the quantized model."""

    iterations: int = Field(default=30, ge=0, le=10_000, description="generations after the starting one")
    population: int = Field(default=20, ge=2, le=10_000, description="configurations that survive a generation")
    mutations: int = Field(default=30, ge=0, le=10_000, description="new configurations a generation by mutation")
    crossovers: int = Field(default=30, ge=0, le=10_000, description="new configurations a generation by averaging two")
    mutation_prob: Share = Field(default=0.5, description="probability that a mutation changes a layer")
    objective: Literal["macs", "latency"] = Field(
        default="macs", description="what to minimise: compute, or latency measured on this machine"
    )
    lower_ratio: float | list[float] | None = Field(
        default=None,
        description="share that each drop layer drops in the cheapest start; null: length_drop_ratio_bound",
    )
    start: Annotated[Place | None, Mark.OF_MODEL] = Field(
        default=None, description="a folder, bundled entry or Hub id from whose front the search starts, too"
    )
    max_questions: int | None = Field(
        default=None, ge=1, description="score on so many questions or texts, drawn at random; null: all"
    )
    points: int = Field(
        default=20, ge=2, le=1000, description="points of the front to keep, spread evenly over the cost"
    )
    seed: int = Field(default=0, ge=0, description="the same seed gives the same front")
    workers: Annotated[int, Mark.IDLE] = Field(
        default=1, ge=1, le=1024, description="configurations scored at once, on a Ray cluster; 1: here, in turn"
    )
