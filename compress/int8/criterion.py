"""The accuracy criterion: quantize all, and return operators to float until no more is lost than may be.

First each of the most sensitive operators goes back alone, then more and more of them at once, those first that helped
most. That no quantized model meets the criterion is a result, too: the best that was found, and by how much it fails.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from compress.int8 import inc as quantize_inc
from compress.int8 import quantize as quantize_onnx
from compress.int8 import sensitivity
from compress.int8.ranges import Range
from compress.recipe.layout import CRITERION
from compress.tasks.subjects import subject_of
from zoo import engines
from zoo.engines.base import Engine
from zoo.engines.torch import TorchEngine
from zoo.features import Window, load_tokenizer
from zoo.files import Archive, read_json, write_json
from zoo.lengths import LengthConfig
from zoo.settings import get_settings

SENSITIVITY_WINDOWS = 32
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


def loss_of(criterion: Any, score: float, float_score: float) -> float:
    """What is lost against float: a share of its score, or points."""
    lost = float_score - score
    return lost / max(float_score, 1e-9) if criterion.relative else lost


def meet(
    criterion: Any,
    build_with: Callable[[tuple[str, ...]], Any],
    score: Callable[[Any], float],
    float_score: float,
    order: Callable[[], Sequence[str]],
    progress: Callable[[int, int], None] | None = None,
) -> Outcome:
    """Looks for a quantized model that the criterion holds for.

    Args:
        criterion: the group `Criterion` of a recipe.
        build_with: makes the model in which these operators stay float.
        score: of what `build_with` made.
        float_score: of the float model.
        order: operators, the most sensitive first; asked for where quantizing all is too much.
        progress: called with (trials done, trials at most).

    Returns:
        The first trial that holds, else the one with the best score, of two alike the one with less in float.
    """
    trials: list[Trial] = []

    def attempt(kept: tuple[str, ...]) -> Trial:
        found = score(build_with(kept))
        lost = loss_of(criterion, found, float_score)
        trials.append(Trial(kept, found, lost, lost <= criterion.tolerable_loss))
        if progress:
            progress(len(trials), criterion.max_trials)
        return trials[-1]

    def search() -> Trial | None:
        if (first := attempt(())).holds:
            return first
        left = criterion.max_trials - 1
        if not left:
            return None
        names = list(order())
        helped: dict[str, float] = {}
        for name in names[: (left + 1) // 2]:
            if (one := attempt((name,))).holds:
                return one
            helped[name] = one.score
        ranked = sorted(helped, key=lambda name: -helped[name]) + names[len(helped) :]
        for count in range(2, len(ranked) + 1):
            if len(trials) == criterion.max_trials:
                break
            if (more := attempt(tuple(ranked[:count]))).holds:
                return more
        return None

    best = search() or max(trials, key=lambda trial: (trial.score, -len(trial.kept_float)))
    return Outcome(best, trials, float_score)


def quantize(
    ctx: Any,
    folder: Path,
    configs: Sequence[LengthConfig] = (),
    ranges: dict[str, Range] | None = None,
    scorer: Scorer | None = None,
    windows: Sequence[Window] | None = None,
) -> dict[str, Any]:
    """What a stage `quantize` does: the checkpoint in `folder` -> int8 in `ctx.folder`, as the recipe says.

    Args:
        ctx: of the stage; its recipe has the groups `quantize` and, if there is a criterion, `criterion` and
            `evaluate`.
        folder: the float checkpoint.
        configs: length configurations to calibrate at, beside full length.
        ranges: those that a training has learned; nothing is calibrated then.
        scorer: by default the recipe's task is done, see `answering`.
        windows: what to calibrate on; by default examples of the recipe.

    Returns:
        As `quantize_onnx.store`; with a criterion also whether it holds, scores and trials, which are in
        `criterion.json` with the sensitivities in full.
    """
    recipe, wish = ctx.recipe, getattr(ctx.recipe, "criterion", None)
    if recipe.quantize.neural_compressor:
        quantize_inc.backend()  # absent, it is told before anything is computed
    ready = quantize_onnx.prepare(folder, recipe, configs, ranges, windows)
    if wish is None or not wish.apply:
        facts = quantize_onnx.store(ready, ctx.folder, recipe)
    else:
        facts = _within(ctx, ready, wish, scorer or answering(recipe, folder), windows)
    if recipe.quantize.neural_compressor:
        facts["neural_compressor"] = quantize_inc.build(folder, ctx.folder / quantize_inc.FOLDER, recipe, windows)
    return facts


def _within(
    ctx: Any, ready: quantize_onnx.Prepared, wish: Any, scorer: Scorer, windows: Sequence[Window] | None
) -> dict[str, Any]:
    recipe, archive = ctx.recipe, Archive(ctx.folder / "trials.jsonl")
    report: dict[str, Any] = {}
    draft = ctx.folder / "draft"

    def known(key: str, score: Callable[[], float]) -> float:
        found = archive.get(key)
        if found is None:
            archive.add(key, found := {"score": score()})
        return found["score"]

    def score(kept: tuple[str, ...]) -> float:
        def made() -> float:
            quantize_onnx.store(ready, draft, recipe, kept)
            return scorer.quantized(draft)

        return known(" ".join(["int8", *kept]), made)

    def order() -> list[str]:
        ctx.progress.note("the loss is too large: measuring which products are sensitive")
        read = quantize_onnx.calibration_windows(recipe, ready.tokenizer) if windows is None else windows
        found = sensitivity.measure(ready, recipe.quantize, read[:SENSITIVITY_WINDOWS])
        report["sensitivity"] = found.to_dict()
        already = quantize_onnx.matching(quantize_onnx.operators(ready.model), recipe.quantize.keep_float or ())
        return [row.name for row in found.rows if row.name not in already]

    float_score = known("float", scorer.exact)
    # Built where it is scored: what was scored before an interruption is not built again.
    outcome = meet(wish, tuple, score, float_score, order, ctx.progress.update)
    best = outcome.best
    facts = quantize_onnx.store(ready, ctx.folder, recipe, best.kept_float)
    told = {
        "holds": outcome.holds,
        "metric": scorer.metric,
        "n": scorer.n,
        "float_score": float_score,
        "score": best.score,
        "loss": best.loss,
        "tolerable_loss": wish.tolerable_loss,
        "relative": wish.relative,
        "returned": list(best.kept_float),
    }
    report["kept_float"] = facts["kept_float"]
    trials = [asdict(trial) for trial in outcome.trials]
    write_json(ctx.folder / REPORT, {**told, "trials": trials, **report})
    if not outcome.holds:
        ctx.progress.note(
            f"no quantized model lost {wish.tolerable_loss:g} or less: the best of {len(trials)} lost {best.loss:.3g}"
        )
    return {**facts, "criterion": {**told, "trials": len(trials)}}


def answering(recipe: Any, folder: Path) -> Scorer:
    """Scores by the task's metric on `criterion.max_questions` questions or texts, drawn at random with the recipe's
    seed.

    They are the recipe's to choose by, or those to calibrate with where it has none; never those that are reported on.
    """
    subject, threads = subject_of(recipe), recipe.evaluate.threads or get_settings().threads
    examples = subject.load("validation")
    chance = random.Random(f"{recipe.seed}/criterion")
    examples = chance.sample(examples, min(len(examples), recipe.criterion.max_questions))

    def score(engine: Engine, made: Path) -> float:
        settings = read_json(made / "config.json")
        return subject.score(engine, load_tokenizer(made), examples, settings=settings)[subject.primary]

    def exact() -> float:
        return score(TorchEngine(folder, threads), folder)

    def quantized(made: Path) -> float:
        return score(engines.open_graph(made, threads, recipe.evaluate.engine), made)

    return Scorer(quantized, exact, subject.primary, len(examples))
