"""The accuracy criterion: quantize all, and return operators to float until no more is lost than may be.

First each of the most sensitive operators goes back alone, then more and more of them at once, those first that helped
most. That no quantized model meets the criterion is a result, too: the best that was found, and by how much it fails.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from compress.int8 import sensitivity
from compress.int8.graph import Calibrated, ReadWindows, store_graph
from compress.int8.rounding import matching, operators
from compress.progress import Progress
from compress.recipe.groups import Quantize
from compress.recipe.kind import Kind
from compress.recipe.layout import CRITERION
from compress.recipe.training_groups import Criterion
from compress.tasks.subjects import examples_to_choose, subject_of
from zoo import engines
from zoo.checkpoints import read_config
from zoo.engines.base import Engine
from zoo.features import load_tokenizer
from zoo.files import Archive, write_json
from zoo.settings import get_settings

REPORT = CRITERION


@dataclass(frozen=True)
class Trial:
    """A quantized model that was scored; `loss` as the criterion counts it."""

    kept_float: tuple[str, ...]
    score: float
    loss: float
    holds: bool


@dataclass(frozen=True)
class Outcome:
    """The best trial, and all of them in the order in which they were made."""

    best: Trial
    trials: list[Trial]
    float_score: float

    @property
    def holds(self) -> bool:
        return self.best.holds


@dataclass(frozen=True)
class Scorer:
    """How models are scored, in points of 100.

    Attributes:
        quantized: scores the int8 model in a folder.
        exact: scores the float checkpoint.
        metric: what the points are called.
        n: questions or sentences scored on.
    """

    quantized: Callable[[Path], float]
    exact: Callable[[], float]
    metric: str
    n: int


def loss_of(criterion: Criterion, score: float, float_score: float) -> float:
    """What is lost against float: a share of its score, or points."""
    lost = float_score - score
    return lost / max(float_score, 1e-9) if criterion.relative else lost


def meet(
    criterion: Criterion,
    score: Callable[[tuple[str, ...]], float],
    float_score: float,
    order: Callable[[], Sequence[str]],
    progress: Callable[[int, int], None] | None = None,
) -> Outcome:
    """Looks for a quantized model that the criterion holds for.

    Args:
        criterion: of a recipe.
        score: of the model in which these operators stay float.
        float_score: of the float model.
        order: operators, the most sensitive first; asked for where quantizing all is too much.
        progress: called with (trials done, trials at most).

    Returns:
        The first trial that holds, else the one with the best score, of two alike the one with less in float.
    """
    trials: list[Trial] = []

    def attempt(floats: tuple[str, ...]) -> Trial:
        points = score(floats)
        lost = loss_of(criterion, points, float_score)
        trials.append(Trial(floats, points, lost, lost <= criterion.tolerable_loss))
        if progress:
            progress(len(trials), criterion.max_trials)
        return trials[-1]

    def search() -> Trial | None:
        if (first := attempt(())).holds:
            return first
        rest = criterion.max_trials - 1
        if not rest:
            return None
        names = list(order())
        alone: dict[str, float] = {}
        for name in names[: (rest + 1) // 2]:
            if (one := attempt((name,))).holds:
                return one
            alone[name] = one.score
        ranked = sorted(alone, key=lambda name: -alone[name]) + names[len(alone) :]
        for count in range(2, len(ranked) + 1):
            if len(trials) == criterion.max_trials:
                break
            if (more := attempt(tuple(ranked[:count]))).holds:
                return more
        return None

    best = search() or max(trials, key=lambda trial: (trial.score, -len(trial.kept_float)))
    return Outcome(best, trials, float_score)


class Quantizable(Protocol):
    """A checkpoint that is ready to be quantized, in one way or several."""

    def store(self, out: Path, keep_float: Sequence[str] = ()) -> dict[str, Any]:
        """Writes it with these operators in float into a folder, beside those that the recipe names; facts of it."""
        ...

    def sensitivities(self) -> sensitivity.Report:
        """How much each operator suffers from eight bits."""
        ...

    def floats(self) -> Sequence[str]:
        """Operators that stay in float in any case."""
        ...


@dataclass(frozen=True)
class Own:
    """A checkpoint of this program's own encoder, calibrated.

    Attributes:
        ready: the checkpoint.
        settings: how it is quantized.
        read: reads what sensitivities are measured on, where they are asked for.
    """

    ready: Calibrated
    settings: Quantize
    read: ReadWindows

    def store(self, out: Path, keep_float: Sequence[str] = ()) -> dict[str, Any]:
        return store_graph(self.ready, out, self.settings, keep_float)

    def sensitivities(self) -> sensitivity.Report:
        windows = self.read(self.ready.tokenizer)[: sensitivity.WINDOWS]
        return sensitivity.measure(self.ready, self.settings, windows)

    def floats(self) -> Sequence[str]:
        return matching(operators(self.ready.model), self.settings.keep_float or ())


def within(
    criterion: Criterion, model: Quantizable, scorer: Scorer, folder: Path, progress: Progress
) -> dict[str, Any]:
    """Stores the graph that meets a criterion, or the best one, and `criterion.json` with all trials.

    Args:
        criterion: of the recipe.
        model: the checkpoint, calibrated.
        scorer: scores a quantized model.
        folder: of the stage; its `trials.jsonl` holds what was scored before an interruption.
        progress: hears of every trial.

    Returns:
        As `Quantizable.store`, with `criterion`: whether it holds, scores and trials.
    """
    archive, draft = Archive(folder / "trials.jsonl"), folder / "draft"
    report: dict[str, Any] = {}

    def archived(key: str, score: Callable[[], float]) -> float:
        row = archive.get(key)
        if row is None:
            archive.add(key, row := {"score": score()})
        return row["score"]

    def score(floats: tuple[str, ...]) -> float:
        def fresh() -> float:
            model.store(draft, floats)
            return scorer.quantized(draft)

        return archived(" ".join(["int8", *floats]), fresh)

    def order() -> list[str]:
        progress.note("the loss is too large: measuring which products are sensitive")
        sensitivities = model.sensitivities()
        report["sensitivity"] = sensitivities.to_dict()
        already = model.floats()
        return [row.name for row in sensitivities.rows if row.name not in already]

    float_score = archived("float", scorer.exact)
    outcome = meet(criterion, score, float_score, order, progress.update)
    best = outcome.best
    facts = model.store(folder, best.kept_float)
    summary = {
        "holds": outcome.holds,
        "metric": scorer.metric,
        "n": scorer.n,
        "float_score": float_score,
        "score": best.score,
        "loss": best.loss,
        "tolerable_loss": criterion.tolerable_loss,
        "relative": criterion.relative,
        "returned": list(best.kept_float),
    }
    report["kept_float"] = facts["kept_float"]
    trials = [asdict(trial) for trial in outcome.trials]
    write_json(folder / REPORT, {**summary, "trials": trials, **report})
    if not outcome.holds:
        progress.note(
            f"no quantized model lost {criterion.tolerable_loss:g} or less: the best of {len(trials)} lost "
            f"{best.loss:.3g}"
        )
    return {**facts, "criterion": {**summary, "trials": len(trials)}}


def answering(recipe: Kind, checkpoint: Path, most: int, progress: Progress) -> Scorer:
    """Scores by the task's metric on at most so many questions or texts, drawn at random with the recipe's seed.

    Which, says `compress.tasks.subjects.examples_to_choose`.

    Args:
        recipe: the task and its data, engine and threads.
        checkpoint: the float model.
        most: questions or texts at most.
        progress: to be told where they are also reported on.

    Raises:
        UserError: what the recipe says to choose by is also reported on.
    """
    subject, threads = subject_of(recipe), recipe.evaluate.threads or get_settings().threads
    examples = examples_to_choose(recipe, progress)
    examples = random.Random(f"{recipe.seed}/criterion").sample(examples, min(len(examples), most))

    def score(engine: Engine, folder: Path) -> float:
        settings = read_config(folder)
        return subject.score(engine, load_tokenizer(folder), examples, settings=settings)[subject.primary]

    def exact() -> float:
        return score(engines.open_float(checkpoint, threads), checkpoint)

    def quantized(folder: Path) -> float:
        return score(engines.open_graph(folder, threads, recipe.evaluate.engine), folder)

    return Scorer(quantized, exact, subject.primary, len(examples))
