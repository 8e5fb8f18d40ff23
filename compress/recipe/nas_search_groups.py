"""What recipes of the kind `nas` say about the latency table, the predictor and the search; `groups` has the rest."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from compress.recipe.groups import Group, Share

Mode = Literal["onnxruntime_int8", "openvino_int8", "torch_dynamic_int8", "onnxruntime_fp32", "torch_fp32"]


class LatencyTable(Group):
    """How long encoders of the space take on this machine, measured with made-up weights."""

    table: str | None = Field(
        default=None, description="a table made on this machine before (its file); null: one is measured"
    )
    modes: list[Mode] = Field(
        default=["onnxruntime_int8"],
        min_length=1,
        description="engines and number formats to measure; torch_dynamic_int8 is what the paper measured",
    )
    rows: int = Field(default=1000, ge=20, le=1_000_000, description="encoders that are measured in each mode, at most")
    tokens: int = Field(default=128, ge=2, le=512, description="tokens of the input")
    batch: int = Field(default=1, ge=1, le=1024, description="inputs at once")
    threads: int | None = Field(default=None, ge=1, description="threads of the engine; null: BUDGET_ZOO_THREADS")
    rounds: int = Field(default=20, ge=3, le=10_000, description="calls of which the median is taken")
    warmup: int = Field(default=3, ge=1, le=1000, description="calls before, not counted")
    seconds: float = Field(default=0.6, gt=0, le=3600, description="time for a row: a slow encoder gets fewer calls")
    noise: float = Field(
        default=0.15,
        gt=0,
        description="a row is measured again where its quartiles lie further apart than this share of the median",
    )
    retries: int = Field(default=2, ge=0, le=100, description="so often at most")
    turns: int = Field(
        default=4,
        ge=0,
        le=100,
        description="in the end rows that are far slower than others of like sizes are measured again, so often at "
        "most, and the fastest counts: other programs only ever slow down",
    )
    seed: int = Field(default=0, ge=0, description="the same seed measures the same encoders in the same order")
    workers: int = Field(
        default=1, ge=1, le=1024, description="machines of a Ray cluster that measure, all alike; 1: this one alone"
    )


class LatencyPredictor(Group):
    """What tells the latency of any encoder of the space, learned from the table; never falls as a size rises."""

    basis: Literal["auto", "physics", "hinges", "steps"] = Field(
        default="auto",
        description="what latency is a sum of: multiplications and memory alone, bent where caches end, or with jumps "
        "too; auto: what predicts rows best that it has not seen",
    )
    held_out: float = Field(default=0.1, gt=0, le=0.5, description="share of the table that the error is told on")
    seed: int = Field(default=0, ge=0, description="which rows those are")


class ArchSearch(Group):
    """Two stages: encoders within the latency limit by the predictor, then evolution by their score on the task."""

    limit_ms: float | None = Field(
        default=None, gt=0, description="latency limit in milliseconds; null: limit_share says it"
    )
    limit_share: float = Field(
        default=0.5, gt=0, le=1, description="latency limit as a share of what the largest encoder of the space takes"
    )
    band: list[float] = Field(
        default=[0.85, 1.0], description="candidates take between these shares of the limit, by the predictor"
    )
    mode: Mode = Field(default="onnxruntime_int8", description="whose latency is limited; a mode of the table")
    approach: Literal["ptq", "fp"] = Field(
        default="ptq", description="score candidates quantized to int8 (ptq), or in float (fp)"
    )
    scoring: Literal["inside", "finetune"] = Field(
        default="inside",
        description="score candidates with the tuned supernet's weights (minutes), or fine-tune each, as in the paper",
    )
    strategy: Literal["evolution", "random"] = Field(default="evolution", description="how candidates are picked")
    population: int = Field(default=25, ge=2, le=10_000, description="candidates of the first generation, at random")
    generations: int = Field(default=3, ge=0, le=10_000, description="generations after the first")
    children: int = Field(default=25, ge=1, le=10_000, description="new candidates a generation")
    parents: int = Field(default=25, ge=1, le=10_000, description="the best so far, of which children are made")
    mutation_prob: Share = Field(
        default=0.25, description="probability that a child has another depth; twice that for widths"
    )
    fresh: Share = Field(default=0.5, description="share of the children that are drawn at random instead")
    max_examples: int | None = Field(
        default=1000, ge=1, description="score on so many examples, drawn at random; null: all"
    )
    calibration_samples: int = Field(
        default=16, ge=1, le=100_000, description="for ptq: training windows that each candidate is calibrated on"
    )
    verify: int = Field(default=3, ge=1, le=100, description="measure the latency of so many of the best")
    seed: int = Field(default=0, ge=0, description="the same seed finds the same encoder")

    @model_validator(mode="after")
    def _band_fits(self) -> ArchSearch:
        if len(self.band) != 2 or not 0 <= self.band[0] < self.band[1] <= 1:
            raise ValueError("band has two shares of the limit, the smaller first, none above 1")
        return self
