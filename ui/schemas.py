"""What the named endpoints return, as types: gradio's clients and MCP's read them from here."""

from __future__ import annotations

from typing import Any, Literal, TypedDict

# As `zoo.lengths.UNITS`; a type is read before the program runs, so that the words stand here too.
Unit = Literal["macs", "ms", "speedup", "loss"]


class Span(TypedDict):
    """An answer; no answer where `start` is -1."""

    text: str
    start: int
    end: int
    score: float
    probability: float


class PointReply(TypedDict):
    """The point of the front that a budget picked, what was said about that, and what bound the choice."""

    fractions: list[float]
    macs_ratio: float
    metrics: dict[str, float]
    p50_ms: float | None
    metric: str | None
    score: float | None
    message: str | None
    binding: str


class Asked(TypedDict):
    """What every reply of a model says beside its words; `same` as full length, if they were compared."""

    same: bool | None
    point: PointReply
    tokens: int
    macs_ratio: float
    notices: list[str]


class Answers(TypedDict):
    """Answers, best first."""

    answers: list[Span]
    no_answer: bool


class FullAnswer(Answers):
    """Full length, in fp32 where there are such weights."""

    fp32: bool


class AnswerReply(Answers):
    """Answers at a budget and, if they were compared, at full length."""

    full_length: FullAnswer | None
    same: bool | None
    point: PointReply
    tokens: list[int]
    macs_ratio: float
    notices: list[str]


class LabelReply(TypedDict):
    """A class, likely ones first."""

    label: str
    probability: float
    score: float


class Verdict(TypedDict):
    """Labels, or a score where the model has one output."""

    labels: list[LabelReply]
    chosen: list[str]
    multi_label: bool
    score: float | None


class FullVerdict(Verdict):
    """Full length, in fp32 where there are such weights."""

    fp32: bool


class ClassifyReply(Asked, Verdict):
    """What a classifier says at a budget and at full length."""

    full_length: FullVerdict | None


class Entity(TypedDict):
    """Labelled words: `text[start:end]`."""

    text: str
    start: int
    end: int
    label: str
    probability: float


class Entities(TypedDict):
    """The labelled words of a text, in its order."""

    entities: list[Entity]


class FullEntities(Entities):
    """Full length, in fp32 where there are such weights."""

    fp32: bool


class TagReply(Asked, Entities):
    """Labelled words at a budget and at full length; `shared` has how many both found, and all."""

    full_length: FullEntities | None
    shared: list[int] | None


class MatchReply(TypedDict):
    """A passage, its place among those given, and how well it fits."""

    text: str
    index: int
    score: float


class Ranking(TypedDict):
    """Passages, the best first."""

    matches: list[MatchReply]


class FullRanking(Ranking):
    """Full length, in fp32 where there are such weights."""

    fp32: bool


class RankReply(Asked, Ranking):
    """The order at a budget and at full length."""

    full_length: FullRanking | None


class EmbedReply(TypedDict):
    """A vector a text, in their order."""

    vectors: list[list[float]]
    point: PointReply
    notices: list[str]


class TimingReply(TypedDict):
    """Milliseconds of single calls."""

    p50_ms: float
    p90_ms: float
    p99_ms: float
    n: int
    samples: list[float]


class SpeedUp(TypedDict):
    """How many times as fast the budget is, with the ends of its 95 % interval."""

    ratio: float
    low: float
    high: float


class MeasureReply(TypedDict):
    """Timings by `budget`, `full` and `float`, taken in turn on this machine."""

    timings: dict[str, TimingReply]
    speedups: dict[str, SpeedUp]
    point: PointReply
    tokens: list[int]
    disturbed: bool
    machine: dict[str, Any]
    gpus: dict[str, str]


class FrontPoint(TypedDict):
    """A length configuration with its cost and what it scores."""

    fractions: list[float]
    macs_ratio: float
    metrics: dict[str, float]
    p50_ms: float | None


class FrontFile(TypedDict):
    """As in front.json."""

    full: FrontPoint
    points: list[FrontPoint]
    dominated: list[FrontPoint]
    measured_on: dict[str, Any]


class FrontReply(TypedDict):
    """The searched points of a model; None where it has none."""

    model: str
    front: FrontFile | None


class ModelReply(TypedDict):
    """A model of the zoo; `score` in points of 100 by `metric`, of `n` examples; `p50_ms` as `timed` says."""

    name: str
    origin: str
    title: str
    task: str
    method: str
    base_model: str
    parameters: int | None
    bytes: int | None
    score: float | None
    metric: str
    n: int | None
    p50_ms: float | None
    tokens: int | None
    timed: str
    int8: bool
    license: str
    url: str


HIDDEN = ("folder", "process")  # of a job: paths and process ids of this machine


class JobReply(TypedDict):
    """A job; times in seconds since 1970."""

    id: str
    name: str
    kind: str
    model: str
    owner: str
    launcher: str
    state: str
    reason: str
    stage: str | None
    step: int
    total: int
    eta_s: float | None
    created: float
    started: float | None
    ended: float | None
    published: str | None
    attempt: int
    starts: int
    queued: float | None
