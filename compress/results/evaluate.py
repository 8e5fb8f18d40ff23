"""The report: every point of the front, and the float model, on data that was neither trained nor searched on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from compress.data.names import OWN
from compress.data.texts import TextExample, draw, fingerprint, has_split, load_texts
from compress.recipe.stage import trained_in
from compress.tasks.judge import Judge
from compress.tasks.lengths import effective
from compress.tasks.subject import Subject
from compress.tasks.subjects import subject_of, trained_on
from zoo.engines.torch import TorchEngine
from zoo.features import load_tokenizer
from zoo.files import Archive, read_json, write_json
from zoo.latency import machine
from zoo.lengths import Front, LengthConfig, Point, non_dominated
from zoo.modeling import LengthAdaptiveModel
from zoo.tasks import find_task


def run(ctx: Any) -> dict[str, Any]:
    """Stage `evaluate`: the int8 model at its configurations -> `front.json` and `scores.json`, measured.

    A search chose them on other data; here each is only scored and timed. The float model is scored as it is
    published, in half precision on disk.

    Raises:
        UserError: the data to report on was trained on.
    """
    settings, subject = ctx.recipe.evaluate, subject_of(ctx.recipe)
    metrics, primary = subject.task.metrics, subject.primary
    examples = subject.load("evaluation", settings.max_questions, ctx.recipe.seed)
    known = trained_on(ctx)
    subject.refuse_overlap(known, examples)
    judge = Judge(ctx.inputs["quantize"], ctx.recipe, examples)
    searched = _searched(ctx)
    archive = Archive(ctx.folder / "archive.jsonl")
    extra = LengthConfig.parse(settings.length_config, subject.padded) if settings.length_config else None
    wanted = list(searched)
    wanted += [extra] if extra and extra not in wanted else []
    others, lacking = beside(ctx, subject, known)
    jobs = len(wanted) + 1 + (extra is not None) + 2 * bool(others)
    done = 0

    def once(key: str, score: Callable[[Callable[[int, int], None]], dict[str, float]]) -> dict[str, float]:
        nonlocal done
        result = archive.get(key)
        if result is None:
            result = score(lambda at, of: ctx.progress.update(int(1000 * (done + at / of)), 1000 * jobs))
            archive.add(key, result)
        done += 1
        ctx.progress.update(1000 * done, 1000 * jobs, **{primary: result[primary]})
        return result

    points = []
    for config in wanted:
        result = once(f"int8 {config.fractions}", lambda tell, config=config: judge.score(config, tell))
        real = effective(config, judge.drop_layers)
        chosen_by = searched.get(config)
        extras = {} if chosen_by is None else {f"validation_{primary}": chosen_by}
        points.append(Point(real, result["macs_ratio"], {key: result[key] for key in metrics}, extra=extras))
    fp32 = once("float", lambda tell: score_float(ctx, examples, judge.threads, tell))
    named = subject.description(len(examples))
    stamp = {
        **named,
        **({"remark": "; ".join(filter(None, [named.get("remark"), lacking]))} if lacking else {}),
        "n": len(examples),
        "engine": settings.engine,
        **machine(),
        "threads": judge.threads,
    }
    if others:
        whole = LengthConfig.full(judge.shape.layers)
        more = {
            "int8": once("int8 beside", lambda tell: judge.score(whole, tell, others)),
            "float": once("float beside", lambda tell: score_float(ctx, others, judge.threads, tell)),
        }
        stamp["beside"] = {
            "task": subject.task.beside,
            "n": len(others),
            **{name: {key: found[key] for key in metrics} for name, found in more.items()},
        }
    if extra:
        padded = once(f"padded {extra.fractions}", lambda _tell: judge.score_padded(extra))
        full = next(p for p in points if p.config.is_full)
        stamp[f"padded_to_{subject.padded}"] = {
            "lengths": extra.absolute(subject.padded),
            **{key: padded[key] for key in ("macs_ratio", *metrics)},
            "loss": full.score - padded[primary],
        }
    if settings.latency_rounds:
        points, tokens = timed(judge, points, settings)
        stamp |= {"latency_tokens": tokens, "latency_rounds": settings.latency_rounds}
    best = non_dominated(points)
    full = next(p for p in points if p.config.is_full)
    Front(full, best, stamp, [p for p in points if p not in best]).save(ctx.folder / "front.json")
    scores = {"int8": full.metrics, "float": fp32, "measured_on": stamp}
    write_json(ctx.folder / "scores.json", scores)
    made = {f"float_{primary}": fp32[primary], f"int8_{primary}": full.score}
    return {**made, "points": len(best), "n": len(examples)}


def beside(ctx: Any, subject: Subject, known: set[str]) -> tuple[list[TextExample], str]:
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
    examples = [e for e in load_texts(other, place) if not fingerprint([e]) & known]
    return draw(examples, ctx.recipe.evaluate.max_questions, ctx.recipe.seed), ""


def _searched(ctx: Any) -> dict[LengthConfig, float | None]:
    """The configurations to report on, full length among them, and the score by which a search chose each."""
    if "search" in ctx.inputs and (ctx.inputs["search"] / "front.json").is_file():
        front = Front.load(ctx.inputs["search"] / "front.json")
        return {point.config: point.score for point in front.everything}
    return {LengthConfig(tuple(fractions)): None for fractions in read_json(ctx.inputs["quantize"] / "configs.json")}


def timed(judge: Judge, points: list[Point], settings: Any) -> tuple[list[Point], int]:
    """The points with their median latency, all measured in turn on one input, and how many tokens that has."""
    configs = {str(i): point.config for i, point in enumerate(points)}
    timings, tokens = judge.latencies(configs, settings.latency_rounds, settings.latency_tokens)
    made = [
        replace(p, p50_ms=timings[str(i)].p50_ms, extra={**p.extra, "p90_ms": timings[str(i)].p90_ms})
        for i, p in enumerate(points)
    ]
    return made, tokens


def score_float(ctx: Any, examples: list[Any], threads: int, progress: Callable[[int, int], None]) -> dict[str, float]:
    """Scores of the checkpoint in half precision on disk, float32 in memory; it is left in `float/` for the package.

    A checkpoint that is published already, and was only quantized here, is scored as it is.
    """
    source, published = trained_in(ctx)
    folder, tokenizer = source if published else ctx.folder / "float", load_tokenizer(source)
    if not published:
        LengthAdaptiveModel.load(source).save(folder, torch.float16)
        tokenizer.save_pretrained(str(folder))
    engine = TorchEngine.open(folder, threads)
    settings = read_json(folder / "config.json")
    return subject_of(ctx.recipe).score(engine, tokenizer, examples, None, progress, settings)
