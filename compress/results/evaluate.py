"""The report: every point of the front, and the float model, on data that was neither trained nor searched on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from compress.data.intake import Intake
from compress.data.names import OWN
from compress.data.texts import TextExample, draw, fingerprint, has_split, load_texts
from compress.progress import Progress
from compress.recipe.groups import Evaluate
from compress.recipe.stage import StageContext, float_checkpoint
from compress.tasks.judge import Judge, interleaved, nearest
from compress.tasks.lengths import effective, unheard
from compress.tasks.subject import Subject, Tell
from compress.tasks.subjects import subject_of, trained_on
from zoo.abstaining import ABLE, threshold_in, with_threshold
from zoo.checkpoints import read_config
from zoo.devices import compute_device, gpu_name
from zoo.encoders import encoder_of
from zoo.engines import engine_class, full_precision, open_float, open_graph
from zoo.engines.base import INTEGERS, Engine
from zoo.features import load_tokenizer
from zoo.files import Archive, read_json, write_json
from zoo.latency import disturbed, machine
from zoo.lengths import Front, LengthConfig, Point, Shape, non_dominated
from zoo.opened import run_one
from zoo.settings import get_settings
from zoo.tasks import find_task

SCORES, NEURAL_COMPRESSOR = "scores.json", "neural_compressor"
FLOAT = "float_p50_ms"  # key of the float model's latency beside the int8 one's


@dataclass(frozen=True)
class Contender:
    """An engine that is scored beside the models that every report has.

    Attributes:
        name: of its scores.
        folder: tokenizer and `config.json` of its model.
        open: opens the engine; called when no score of an interrupted run is at hand.
        beside: it is scored on the texts that are reported beside the recipe's, too.
        timed: its latency is measured where there is no int8 graph whose latency is.
    """

    name: str
    folder: Path
    open: Callable[[], Engine]
    beside: bool = False
    timed: bool = False

    def score(self, subject: Subject[Any], examples: Sequence[Any], progress: Tell) -> dict[str, float]:
        """Its scores on the examples, at full length."""
        config = with_threshold(read_config(self.folder), subject.recipe.evaluate.null_threshold)
        return subject.score(self.open(), load_tokenizer(self.folder), examples, None, progress, config)


@dataclass
class Report:
    """What was scored.

    Attributes:
        scores: of `scores.json`: `float`, `int8` where there is an int8 model, and `measured_on`.
        contenders: scores by the contenders' names.
        facts: of the stage.
    """

    scores: dict[str, Any]
    contenders: dict[str, dict[str, float]]
    facts: dict[str, Any]


@dataclass
class Tally:
    """Scores each model once, over interruptions too, and tells how far the report is.

    Attributes:
        archive: of the scores.
        progress: hears of them.
        jobs: how many there will be.
        primary: key of the metric to show.
    """

    archive: Archive
    progress: Progress
    jobs: int
    primary: str
    done: int = 0

    def score(self, key: str, measure: Callable[[Tell], dict[str, float]]) -> dict[str, float]:
        """The scores that are kept under a key, measured if there are none."""
        scores = self.archive.get(key)
        if scores is None:
            scores = measure(lambda at, of: self.progress.update(int(1000 * (self.done + at / of)), 1000 * self.jobs))
            self.archive.add(key, scores)
        self.done += 1
        self.progress.update(1000 * self.done, 1000 * self.jobs, **{self.primary: scores[self.primary]})
        return scores


def run(ctx: StageContext[Any]) -> dict[str, Any]:
    """Stage `evaluate`: the int8 model at its configurations -> `front.json` and `scores.json`, measured; and what
    neural-compressor made, at full length.

    Raises:
        UserError: the data to report on was trained on.
    """
    report = evaluate(ctx, neural_compressor(ctx))
    write_json(ctx.folder / SCORES, {**report.scores, **report.contenders})
    return report.facts


def neural_compressor(ctx: StageContext[Any]) -> list[Contender]:
    """What neural-compressor quantized beside the int8 file, to be scored too, where the recipe asked for it."""
    folder, name = ctx.inputs["quantize"] / NEURAL_COMPRESSOR, "onednn"
    if not (folder / INTEGERS).is_file() or engine_class(name).refusal():
        return []
    threads = ctx.recipe.evaluate.threads or get_settings().threads
    return [Contender(NEURAL_COMPRESSOR, folder, partial(open_graph, folder, threads, name))]


def evaluate(
    ctx: StageContext[Any],
    extra: Sequence[Contender] = (),
    task: str | None = None,
    models: Collection[str] = ("float", "int8"),
) -> Report:
    """Scores the models that a run has made; of an int8 one `front.json` is written.

    A search chose its configurations on other data; here each is only scored and timed. The float model is scored as
    it is published, in half precision on disk.

    Args:
        extra: further engines to score.
        task: what is reported on where it is another task than the one that was learned, with the same labels.
        models: which of the recipe's own are scored.

    Raises:
        UserError: the data to report on was trained on.
    """
    settings, subject = ctx.recipe.evaluate, subject_of(ctx.recipe, task=task)
    primary = subject.primary
    examples = subject.load("evaluation", settings.max_questions, ctx.recipe.seed)
    fingerprints = trained_on(ctx)
    subject.refuse_overlap(fingerprints, examples)
    others, lacking = texts_beside(ctx, subject, fingerprints) if models else ([], "")
    folder, own = ctx.inputs["quantize"], settings.null_threshold
    judge = Judge(folder, ctx.recipe, examples, own) if "int8" in models else None
    searched = _searched(ctx) if judge else {}
    padded = LengthConfig.parse(settings.length_config, subject.padded) if judge and settings.length_config else None
    configs = [*searched, *([padded] if padded and padded not in searched else [])]
    jobs = len(configs) + bool(padded) + len(extra) + ("float" in models)
    jobs += (len(models) + sum(one.beside for one in extra)) * bool(others)
    tally = Tally(Archive(ctx.folder / "archive.jsonl"), ctx.progress, jobs, primary)
    threads = settings.threads or get_settings().threads

    def only_metrics(scores: dict[str, float]) -> dict[str, float]:
        return {key: scores[key] for key in subject.task.metrics}

    points: list[Point] = []
    for config in configs:
        assert judge
        result = tally.score(f"int8 {config.fractions}", partial(judge.score, config))
        chosen_by = searched.get(config)
        more = {} if chosen_by is None else {f"validation_{primary}": chosen_by}
        real = effective(config, judge.drop_layers)
        points.append(Point(real, result["macs_ratio"], only_metrics(result), extra=more))
    scores: dict[str, Any] = {}
    if "float" in models:
        scores["float"] = tally.score("float", partial(score_float, ctx, subject, examples, threads))
    description = subject.description(len(examples))
    remarks = [description.get("remark"), lacking, _threshold(ctx, subject)]
    stamp: dict[str, Any] = {
        **description,
        **({"remark": "; ".join(filter(None, remarks))} if any(remarks) else {}),
        "n": len(examples),
        "engine": settings.engine,
        **({"float_engine": whole} if "float" in models and (whole := _transformers(ctx)) else {}),
        **machine(),
        "threads": threads,
        **({"float_gpu": gpu} if "float" in models and (gpu := gpu_name(compute_device())) else {}),
    }
    also: dict[str, Any] = {}
    if others:
        stamp["beside"] = also
        also |= {"task": subject.task.beside, "n": len(others)}
        if judge:
            whole = LengthConfig.full(judge.shape.layers)
            result = tally.score("int8 beside", lambda tell: judge.score(whole, tell, others))
            also["int8"] = only_metrics(result)
        result = tally.score("float beside", partial(score_float, ctx, subject, others, threads))
        also["float"] = only_metrics(result)
    facts: dict[str, Any] = {f"float_{primary}": scores["float"][primary]} if scores else {}
    if judge:
        full = next(point for point in points if point.config.is_full)
        if padded:
            result = tally.score(f"padded {padded.fractions}", lambda _tell: judge.score_padded(padded))
            real = effective(padded, judge.drop_layers)
            if fixed := unheard(padded, real):
                ctx.progress.note(f"evaluate.length_config: {fixed}")
            stamp[f"padded_to_{subject.padded}"] = {
                "lengths": real.absolute(subject.padded),
                "macs_ratio": result["macs_ratio"],
                **only_metrics(result),
                "loss": full.score - result[primary],
            }
        if settings.latency_rounds:
            points, measured = timed(judge, points, settings, float_folder(ctx) if "float" in models else None)
            stamp |= measured
            full = next(point for point in points if point.config.is_full)
        best = non_dominated(points)
        Front(full, best, stamp, [point for point in points if point not in best]).save(ctx.folder / "front.json")
        scores = {"int8": full.metrics, **scores}
        facts |= {f"int8_{primary}": full.score, "points": len(best)}
    contenders: dict[str, dict[str, float]] = {}
    for one in extra:
        contenders[one.name] = tally.score(f"engine {one.name}", partial(one.score, subject, examples))
        if others and one.beside:
            result = tally.score(f"engine {one.name} beside", partial(one.score, subject, others))
            also[one.name] = only_metrics(result)
        facts[f"{one.name}_{primary}"] = contenders[one.name][primary]
    if not judge and settings.latency_rounds:
        timings = latencies(ctx, subject, examples, [one for one in extra if one.timed], "float" in models)
        stamp |= timings
        facts |= {f"{name}_ms": value for name, value in timings["p50_ms"].items()}
    return Report({**scores, "measured_on": stamp}, contenders, {**facts, "n": len(examples)})


def texts_beside(ctx: StageContext[Any], subject: Subject[Any], seen: set[str]) -> tuple[list[TextExample], str]:
    """Texts of the task that is reported beside the recipe's (MNLI mismatched), where they are at hand; none that the
    model was trained on.

    Returns:
        The texts; and where there are none, what to say about it. Both are empty for tasks that have no such other.
    """
    if not subject.task.beside:
        return [], ""
    other, source = find_task(subject.task.beside), ctx.recipe.dataset.evaluation
    on_disk = Path(source).expanduser().exists()
    if on_disk and not has_split(source, other):
        return [], f"{other.title}: not in these data"
    place = source if on_disk else other.hub if source == OWN else source.partition(":")[0]
    intake = Intake(skip=ctx.recipe.dataset.skip)
    examples = [e for e in load_texts(other, place, intake=intake) if not fingerprint([e]) & seen]
    intake.log()
    return draw(examples, ctx.recipe.evaluate.max_questions, ctx.recipe.seed), ""


def _threshold(ctx: StageContext[Any], subject: Subject[Any]) -> str:
    """By what threshold "no answer" won in a report that it could win in; empty where that is 0."""
    if subject.reported.name != ABLE:
        return ""
    config = with_threshold(read_config(float_checkpoint(ctx)[0]), ctx.recipe.evaluate.null_threshold)
    threshold = threshold_in(config)
    return f"“no answer” where its score is above the best span's by more than {threshold:g}" if threshold else ""


def _transformers(ctx: StageContext[Any]) -> str:
    """The engine of a float model that transformers computes; empty where this program's own encoder does."""
    folder, _ = float_checkpoint(ctx)
    return full_precision(folder) if encoder_of(read_config(folder)) else ""


def _searched(ctx: StageContext[Any]) -> dict[LengthConfig, float | None]:
    """The configurations to report on, full length among them, and the score by which a search chose each."""
    if "search" in ctx.inputs and (ctx.inputs["search"] / "front.json").is_file():
        front = Front.load(ctx.inputs["search"] / "front.json")
        return {point.config: point.score for point in front.everything}
    return {LengthConfig(tuple(fractions)): None for fractions in read_json(ctx.inputs["quantize"] / "configs.json")}


def timed(
    judge: Judge, points: list[Point], settings: Evaluate, whole: Path | None
) -> tuple[list[Point], dict[str, Any]]:
    """The points with their median latency, all measured in turn on one input.

    Args:
        judge: of the int8 model.
        points: of its front.
        settings: how long is measured, and on what.
        whole: folder of the float model, which is timed in the same rounds; None where there is none.

    Returns:
        The points, and what stands beside latencies: tokens and rounds, the float model's, whether others were busy.
    """
    configs, window = {str(i): p.config for i, p in enumerate(points)}, judge.nearest(settings.latency_tokens)
    others: dict[str, Callable[[], object]] = {}
    if whole:
        engine = open_float(whole, settings.threads or get_settings().threads, on_cpu=True)
        others[FLOAT] = partial(run_one, engine, window, LengthConfig.full(judge.shape.layers))
    busy = disturbed(within_job=True)
    timings = judge.timings(configs, window, settings.latency_rounds, others)
    measured: dict[str, Any] = {
        "latency_tokens": len(window.input_ids),
        "latency_rounds": settings.latency_rounds,
        **({FLOAT: timings[FLOAT].p50_ms} if whole else {}),
        "disturbed": busy or disturbed(within_job=True),
    }
    calls = [
        replace(p, p50_ms=timings[str(i)].p50_ms, extra={**p.extra, "p90_ms": timings[str(i)].p90_ms})
        for i, p in enumerate(points)
    ]
    return calls, measured


def latencies(
    ctx: StageContext[Any], subject: Subject[Any], examples: Sequence[Any], extra: Sequence[Contender], with_float: bool
) -> dict[str, Any]:
    """Where no int8 graph is timed: median latencies of the contenders, and of the float model if it is one of the
    recipe's own, at full length, all measured in turn on one input; and how many tokens that has."""
    settings = ctx.recipe.evaluate
    threads = settings.threads or get_settings().threads
    opens = {one.name: one.open for one in extra}
    if with_float:
        opens["float"] = partial(open_float, float_folder(ctx), threads, on_cpu=True)
    source, _ = float_checkpoint(ctx)
    window = nearest(subject.windows(load_tokenizer(source), examples), settings.latency_tokens)
    whole = LengthConfig.full(Shape.from_config(read_config(source)).layers)
    calls = {name: partial(run_one, open_it(), window, whole) for name, open_it in opens.items()}
    return {
        "latency_tokens": len(window.input_ids),
        "latency_rounds": settings.latency_rounds,
        "p50_ms": {name: timing.p50_ms for name, timing in interleaved(calls, settings.latency_rounds).items()},
    }


def float_folder(ctx: StageContext[Any]) -> Path:
    """Where the float model lies that is scored: a published one as it is, else in half precision in the stage's own
    `float/`."""
    source, published = float_checkpoint(ctx)
    return source if published else ctx.folder / "float"


def score_float(
    ctx: StageContext[Any], subject: Subject[Any], examples: Sequence[Any], threads: int, progress: Tell
) -> dict[str, float]:
    """Scores of the checkpoint in half precision on disk, float32 in memory; it is left in `float/` for the package.

    A checkpoint that is published already, and was only quantized here, is scored as it is.
    """
    source, published = float_checkpoint(ctx)
    folder, tokenizer = float_folder(ctx), load_tokenizer(source)
    if not published:
        subject.load_float(source).save(folder, torch.float16)
        tokenizer.save_pretrained(str(folder))
    config = with_threshold(read_config(folder), ctx.recipe.evaluate.null_threshold)
    return subject.score(open_float(folder, threads), tokenizer, examples, None, progress, config)
