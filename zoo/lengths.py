"""Length configurations, what they cost, and the front from which a budget picks one."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from zoo.checkpoints import embedding_size, head_size, is_mapped, is_widened, normalized
from zoo.errors import UserError
from zoo.families import FAMILIES
from zoo.files import read_json, write_json
from zoo.metrics import METRIC_NAMES, metric_name
from zoo.significance import is_learned
from zoo.sizes import MOST
from zoo.tasks import QUESTIONS, TEXTS

UNITS = ("macs", "ms", "speedup", "loss")
MOST_POINTS, MOST_LAYERS, LARGEST_FIGURE = 2000, MOST["num_hidden_layers"], 1e12  # of a front's file
STATED = ("num_hidden_layers", "hidden_size", "intermediate_size")  # sizes without which no cost is known
PAPER_TOKENS = QUESTIONS.padded  # the papers give their lengths at this input size
TEXT_TOKENS = TEXTS.padded  # and those for GLUE's texts at this one


class Lengths(Protocol):
    """What an engine needs of a configuration: how many tokens go on after each layer, of so many."""

    def tokens(self, count: int) -> tuple[int, ...]: ...


@dataclass(frozen=True)
class LengthConfig:
    """For every layer the fraction of an input's real tokens that goes on after it.

    Example:
        >>> LengthConfig.parse("(315, 251, 242, 159, 142, 33)").tokens(384)
        (315, 251, 242, 159, 142, 33)

    Raises:
        UserError: a fraction lies outside (0, 1] or is larger than the one before it.
    """

    fractions: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.fractions:
            raise UserError("A length configuration needs one number a layer, for example 1, 1, 0.8, 0.5, 0.5, 0.3.")
        if any(not 0 < f <= 1 for f in self.fractions):
            raise UserError(f"Lengths are fractions of the tokens, above 0 and at most 1: {self}.")
        if any(b > a for a, b in zip(self.fractions, self.fractions[1:], strict=False)):
            raise UserError(f"A later layer cannot keep more tokens than an earlier one: {self}.")

    @classmethod
    def full(cls, layers: int) -> LengthConfig:
        """Nothing is dropped."""
        return cls((1.0,) * layers)

    @classmethod
    def from_absolute(cls, lengths: Sequence[int], total: int = PAPER_TOKENS) -> LengthConfig:
        """The papers' form: token counts at `total` tokens."""
        return cls(tuple(length / total for length in lengths))

    @classmethod
    def parse(cls, text: str, total: int = PAPER_TOKENS) -> LengthConfig:
        """Reads `(315, 251, ...)` (token counts at `total`) or `1.0, 0.8, ...` (fractions). Nothing is evaluated.

        Raises:
            UserError: the text is neither.
        """
        body = re.fullmatch(r"\s*[(\[]?([\d\s.,]+?),?\s*[)\]]?\s*", text)
        parts = [part.strip() for part in body[1].split(",")] if body else []
        if not parts or not all(re.fullmatch(r"\d+(\.\d+)?|\.\d+", part) for part in parts):
            raise UserError(
                f"{text[:80]!r} is no length configuration: write (315, 251, 242, 159, 142, 33) or 1, 0.8, 0.5."
            )
        numbers = [float(part) for part in parts]
        return cls.from_absolute([int(n) for n in numbers], total) if max(numbers) > 1 else cls(tuple(numbers))

    def tokens(self, count: int) -> tuple[int, ...]:
        """How many of `count` real tokens go on after each layer: at least 2 (or all of fewer), never more than before.

        The fraction counts the tokens that entered the model, not those that the layer before let through.
        """
        return tuple(min(count, max(2, round(f * count))) for f in self.fractions)

    def absolute(self, total: int = PAPER_TOKENS) -> str:
        """The papers' form, for people."""
        return "(" + ", ".join(map(str, self.tokens(total))) + ")"

    @property
    def is_full(self) -> bool:
        return self.fractions[-1] == 1

    def __str__(self) -> str:
        return "(" + ", ".join(f"{f:.3g}" for f in self.fractions) + ")"


@dataclass(frozen=True)
class Shape:
    """The sizes that decide an encoder's cost."""

    layers: int
    hidden: int
    intermediate: int
    counts_positions: bool = False
    attention: int | None = None  # width of all heads together, where some were removed
    embedding: int | None = None  # width of embeddings that are brought to that of the layers
    rotary: bool = False  # layers as ModernBERT's
    scored: bool = False  # a scorer ranks the tokens of a layer that drops some
    mapped: bool = False  # a shortcut brings the states of those that a layer drops to the last one

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Shape:
        """The sizes that a `config.json` states.

        Raises:
            UserError: it does not.
        """
        config, family = normalized(config), FAMILIES.get(str(config.get("model_type")))
        if absent := [key for key in STATED if not isinstance(config.get(key), int)]:
            raise UserError(f"config.json does not say {', '.join(absent)} of this model. Restore the file.")
        return cls(
            config["num_hidden_layers"],
            config["hidden_size"],
            config["intermediate_size"],
            family is not None and family.counts_tokens,
            config["num_attention_heads"] * head_size(config) if "attention_head_size" in config else None,
            embedding_size(config) if family is not None and is_widened(config) else None,
            family is not None and family.rotary,
            is_learned(config),
            is_mapped(config),
        )


def macs(shape: Shape, tokens: int, lengths: Sequence[int] | None = None) -> int:
    """Multiply-accumulates of one forward pass of one input with a question-answering head.

    The formula counts what torchprofile counts in the published tables: matrix products, layer norms, the head and
    position ids that count the tokens, as RoBERTa's do (QuaLA-MiniLM, arXiv 2210.17114,
    `evo_search/parents-iter30.tsv`), and scorers and shortcuts where tokens are dropped.

    Args:
        shape: the encoder.
        tokens: tokens that enter.
        lengths: tokens that go on after each layer; None keeps all.
    """
    h, f, a = shape.hidden, shape.intermediate, shape.attention or shape.hidden
    total = tokens * h + 2 * tokens * h + (2 * tokens if shape.counts_positions else 0)
    if e := shape.embedding:
        total += tokens * e * h + tokens * (e - h)  # and the norm of embeddings is as wide as they are
    before = tokens
    if shape.rotary:  # no norm before the first attention; one at the end, one in the head, whose dense matrix is here
        total += tokens * h + tokens * h * h
    for after in lengths or (tokens,) * shape.layers:
        if shape.rotary:  # a gate is a third matrix; windows save nothing, since all products are computed and masked
            total += after * h * f + (before * h * (h + 1) if after < before else 0)  # and the head at each drop
        if shape.scored and after < before:
            total += scorer_macs(before, h, a)
        total += h * h if shape.mapped and after < before else 0
        total += 4 * before * h * a + 2 * before * before * a + 2 * after * h * f + (before + after) * h
        before = after
    return total


def scorer_macs(tokens: int, hidden: int, mixed: int) -> int:
    """Multiply-accumulates of a `zoo.scorer.Scorer` for so many tokens."""
    return tokens * (3 * hidden + 2 * mixed) + hidden + mixed


def macs_ratio(shape: Shape, tokens: int, config: LengthConfig) -> float:
    """Share of the MACs of the unpadded, full-length model on an input of `tokens` real tokens."""
    return macs(shape, tokens, config.tokens(tokens)) / macs(shape, tokens)


@dataclass(frozen=True)
class Point:
    """A length configuration and what was measured of it.

    `macs_ratio` is a share of 1; `metrics` are points of 100 by key (see `zoo.metrics`), the one to choose by first.
    """

    config: LengthConfig
    macs_ratio: float
    metrics: dict[str, float]
    p50_ms: float | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def score(self) -> float:
        """Points of the metric to choose by."""
        return next(iter(self.metrics.values()))

    def to_dict(self) -> dict[str, Any]:
        fields = asdict(self)
        return {"fractions": list(fields.pop("config")["fractions"]), **fields.pop("extra"), **fields}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Point:
        """Reads `to_dict`, and the older form with `f1` and `em` beside the rest."""
        older = "metrics" not in data
        keys = ("fractions", "macs_ratio", "metrics", "p50_ms", *(("f1", "em") if older else ()))
        extra = {key: value for key, value in data.items() if key not in keys}
        metrics = {key: data[key] for key in ("f1", "em")} if older else dict(data["metrics"])
        if not metrics or any(key not in METRIC_NAMES for key in metrics):
            raise KeyError(f"metrics {sorted(metrics)}")
        fractions, share, took = data["fractions"], data["macs_ratio"], data.get("p50_ms")
        if not isinstance(fractions, list) or len(fractions) > MOST_LAYERS:
            raise TypeError(f"fractions are no list of at most {MOST_LAYERS}")
        numbers = [*fractions, share, *metrics.values(), *([] if took is None else [took])]
        if not all(map(_is_figure, numbers)) or not all(value is None or _is_figure(value) for value in extra.values()):
            raise TypeError("something is no finite number")
        if share <= 0 or (took is not None and took <= 0):
            raise TypeError("compute and latency are above 0")
        return cls(LengthConfig(tuple(fractions)), share, metrics, took, extra)


def _is_figure(value: object) -> bool:
    """Whether it is a number that can be compared and drawn."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST_FIGURE


def non_dominated(points: Sequence[Point], cost: Callable[[Point], float] = lambda p: p.macs_ratio) -> list[Point]:
    """The points for which no other is at most as costly and at least as good, cheapest first."""
    best: list[Point] = []
    for point in sorted(points, key=lambda p: (cost(p), -p.score)):
        if not best or point.score > best[-1].score:
            best.append(point)
    return best


@dataclass(frozen=True)
class Choice:
    """What a budget picked: the point, a message where the budget lies outside the front, and what bound the choice."""

    point: Point
    message: str | None
    binding: str


@dataclass(frozen=True)
class Front:
    """The searched points of one model.

    Attributes:
        full: the same int8 model with nothing dropped.
        points: non-dominated, cheapest first; `full` is among them only if it is one of them.
        dominated: searched and measured, but beaten; kept for the plot.
        measured_on: what the metric is of, task, data, split, n, engine, threads, CPU, date.
    """

    full: Point
    points: list[Point]
    measured_on: dict[str, Any] = field(default_factory=dict)
    dominated: list[Point] = field(default_factory=list)

    @classmethod
    def load(cls, path: Path) -> Front:
        """Reads `front.json`.

        Raises:
            UserError: the file is broken.
        """
        data = read_json(path)
        try:
            if len(data.get("points", [])) + len(data.get("dominated", [])) > MOST_POINTS:
                raise UserError(f"{path} has more than {MOST_POINTS:,} points. Make it anew with fewer.")
            points, dominated = ([Point.from_dict(p) for p in data.get(k, [])] for k in ("points", "dominated"))
            full = Point.from_dict(
                {"macs_ratio": 1.0, "fractions": [1.0] * len(points[0].config.fractions), **data["full"]}
            )
            if any(len(p.config.fractions) != len(full.config.fractions) for p in (*points, *dominated)):
                raise TypeError("its points are for different numbers of layers")
            if not isinstance(data.get("measured_on", {}), dict):
                raise TypeError("measured_on is no object")
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"{path} is no front: {error!r}. Make it anew with `python -m compress run`.") from error
        return cls(full, points, data.get("measured_on", {}), dominated)

    def to_dict(self) -> dict[str, Any]:
        return {
            "full": self.full.to_dict(),
            "points": [p.to_dict() for p in self.points],
            "dominated": [p.to_dict() for p in self.dominated],
            "measured_on": self.measured_on,
        }

    def save(self, path: Path) -> None:
        write_json(path, self.to_dict())

    @property
    def metric(self) -> str:
        """Key of the metric to choose by, `f1` for questions."""
        return next(iter(self.full.metrics))

    @property
    def everything(self) -> list[Point]:
        """The points that a budget can pick, cheapest first, full length last."""
        return [p for p in self.points if not p.config.is_full] + [self.full]

    def at(self, unit: str, value: float, full_ms: float | None = None) -> Choice:
        """The best point within a budget.

        Args:
            unit: "macs" (percent of the unpadded full model's MACs), "ms" (milliseconds), "speedup" (at least so many
                times as fast as int8 full length) or "loss" (points of `metric` that one is ready to lose against it).
            value: the budget in that unit.
            full_ms: what int8 full length takes on this machine; scales the stored latencies to it.

        Returns:
            The point; a message where the budget lies below or above the front and its end was taken.

        Raises:
            UserError: unknown unit, no number, or a latency budget for a front without latencies.
        """
        # Callers without a type checker may hand a text over.
        is_number = isinstance(value, (int, float))  # pyright: ignore[reportUnnecessaryIsInstance]
        if unit not in UNITS or not is_number or not math.isfinite(value):
            raise UserError(f"A budget is a number in one of {', '.join(UNITS)}: got {value!r} in {unit!r}.")
        points = self.everything
        if unit == "loss":
            metric = metric_name(self.metric)
            fit = [p for p in points if self.full.score - p.score <= value + 1e-9]
            if fit:
                best = min(fit, key=lambda p: p.macs_ratio)
                lost = max(0.0, self.full.score - best.score)
                return Choice(best, None, f"loses {lost:.2f} {metric} of {value:g} allowed")
            message = f"No point loses as little as {value:g} {metric}: showing the best."
            return Choice(max(points, key=lambda p: p.score), message, metric)
        cost, limit, name = self._scale(unit, value, full_ms)
        fit = [p for p in points if cost(p) <= limit + 1e-9]
        if not fit:
            cheapest = min(points, key=cost)
            return Choice(cheapest, f"Nothing is as cheap as {name}: showing the cheapest point of the front.", "front")
        best = max(fit, key=lambda p: (p.score, -p.macs_ratio))
        dearest = max(points, key=cost)
        message = None
        if limit > cost(dearest) + 1e-9:
            message = f"{name} is more than full length needs: showing the best point of the front."
        return Choice(best, message, name)

    def _scale(self, unit: str, value: float, full_ms: float | None) -> tuple[Callable[[Point], float], float, str]:
        if unit == "macs":
            return (lambda p: 100 * p.macs_ratio), value, f"{value:g} % of the MACs"
        stored = self.full.p50_ms
        if stored is None or any(p.p50_ms is None for p in self.points):
            raise UserError(
                "This front holds no latencies: choose a budget in percent of compute or in points of "
                f"{metric_name(self.metric)}."
            )
        scale = (full_ms or stored) / stored
        if unit == "ms":
            return (lambda p: (p.p50_ms or 0) * scale), value, f"{value:g} ms"
        if value <= 0:
            raise UserError("A speed-up is a number above 0, for example 1.5.")
        return (lambda p: (p.p50_ms or 0) * scale), stored * scale / value, f"a speed-up of {value:g}"


def ladder(config: dict[str, Any], budgets: Any) -> list[LengthConfig]:
    """Full length and, where the checkpoint was trained to drop tokens, evenly spaced steps down from it."""
    layers, drops = normalized(config)["num_hidden_layers"], config.get("length_drop_layers") or []
    configs = [LengthConfig.full(layers)]
    for step in range(1, budgets.points + 1 if drops else 1):
        share = 1 - budgets.drop * step / budgets.points
        fractions = np.cumprod([share if layer in drops else 1.0 for layer in range(layers)])
        configs.append(LengthConfig(tuple(float(k) for k in fractions.round(4))))
    return configs
