"""The report: every point of the front, and the float model, on data that was neither trained nor searched on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from compress.archive import Archive
from compress.data import Example, load_split
from compress.evaluation import effective, evaluate, refuse_overlap, trained_on
from compress.judge import Judge
from zoo.files import read_json, write_json
from zoo.latency import machine
from zoo.lengths import Front, LengthConfig, Point, non_dominated


def run(ctx: Any) -> dict[str, Any]:
    """Stage `evaluate`: the int8 model at its configurations -> `front.json` and `scores.json`, measured.

    A search chose them on other data; here each is only scored and timed. The float model is scored as it is
    published, in half precision on disk.

    Raises:
        UserError: the data to report on was trained on.
    """
    settings, dataset = ctx.recipe.evaluate, ctx.recipe.dataset
    examples = load_split(dataset, "evaluation", settings.max_questions, ctx.recipe.seed)
    refuse_overlap(trained_on(ctx), examples)
    judge = Judge(ctx.inputs["quantize"], ctx.recipe, examples)
    searched = _searched(ctx)
    archive = Archive(ctx.folder / "archive.jsonl")
    extra = LengthConfig.parse(settings.length_config) if settings.length_config else None
    wanted = list(searched)
    wanted += [extra] if extra and extra not in wanted else []
    jobs = len(wanted) + 1 + (extra is not None)
    done = 0

    def once(key: str, score: Callable[[Callable[[int, int], None]], dict[str, float]]) -> dict[str, float]:
        nonlocal done
        result = archive.get(key)
        if result is None:
            result = score(lambda at, of: ctx.progress.update(int(1000 * (done + at / of)), 1000 * jobs))
            archive.add(key, result)
        done += 1
        ctx.progress.update(1000 * done, 1000 * jobs, f1=result["f1"])
        return result

    points = []
    for config in wanted:
        result = once(f"int8 {config.fractions}", lambda tell, config=config: judge.score(config, tell))
        real = effective(config, judge.drop_layers)
        known = searched.get(config)
        extras = {} if known is None else {"validation_f1": known}
        points.append(Point(real, result["macs_ratio"], result["f1"], result["em"], extra=extras))
    fp32 = once("float", lambda tell: score_float(ctx, examples, judge.threads, tell))
    stamp = {
        "metric": "SQuAD 2.0" if dataset.version_2 else "SQuAD 1.1",
        "dataset": settings.dataset_name or Path(dataset.evaluation).name,
        "split": settings.dataset_split or "",
        "n": len(examples),
        "engine": settings.engine,
        **machine(),
        "threads": judge.threads,
    }
    if extra:
        padded = once(f"padded {extra.fractions}", lambda _tell: judge.score_padded(extra))
        full = next(p for p in points if p.config.is_full)
        stamp["padded_to_384"] = {
            "lengths": extra.absolute(),
            **{key: padded[key] for key in ("macs_ratio", "f1", "em")},
            "loss": full.f1 - padded["f1"],
        }
    if settings.latency_rounds:
        points, tokens = timed(judge, points, settings)
        stamp |= {"latency_tokens": tokens, "latency_rounds": settings.latency_rounds}
    best = non_dominated(points)
    full = next(p for p in points if p.config.is_full)
    Front(full, best, stamp, [p for p in points if p not in best]).save(ctx.folder / "front.json")
    scores = {"int8": {"f1": full.f1, "em": full.em}, "float": fp32, "measured_on": stamp}
    write_json(ctx.folder / "scores.json", scores)
    return {"float_f1": fp32["f1"], "int8_f1": full.f1, "points": len(best), "n": len(examples)}


def _searched(ctx: Any) -> dict[LengthConfig, float | None]:
    """The configurations to report on, full length among them, and the F1 by which a search chose each."""
    if "search" in ctx.inputs:
        front = Front.load(ctx.inputs["search"] / "front.json")
        return {point.config: point.f1 for point in front.everything}
    return {LengthConfig(tuple(fractions)): None for fractions in read_json(ctx.inputs["quantize"] / "configs.json")}


def timed(judge: Judge, points: list[Point], settings: Any) -> tuple[list[Point], int]:
    """The points with their median latency, all measured in turn on one question, and how many tokens that has."""
    configs = {str(i): point.config for i, point in enumerate(points)}
    timings, tokens = judge.latencies(configs, settings.latency_rounds, settings.latency_tokens)
    made = [
        Point(p.config, p.macs_ratio, p.f1, p.em, timings[str(i)].p50_ms, {**p.extra, "p90_ms": timings[str(i)].p90_ms})
        for i, p in enumerate(points)
    ]
    return made, tokens


def score_float(
    ctx: Any, examples: list[Example], threads: int, progress: Callable[[int, int], None]
) -> dict[str, float]:
    """Scores of the checkpoint in half precision on disk, float32 in memory; it is left in `float/` for the package.

    A checkpoint that is published already, and was only quantized here, is scored as it is.
    """
    import torch

    from compress.methods.quantize import trained_in
    from zoo.ask import predict
    from zoo.engines.torch import TorchEngine
    from zoo.features import load_tokenizer
    from zoo.modeling import LengthAdaptiveModel

    source, published = trained_in(ctx)
    folder, tokenizer = source if published else ctx.folder / "float", load_tokenizer(source)
    if not published:
        LengthAdaptiveModel.load(source).save(folder, torch.float16)
        tokenizer.save_pretrained(str(folder))
    engine = TorchEngine(folder, threads)
    no_answer = bool(read_json(folder / "config.json").get("squad_v2", False))

    def answer(part: list[Example], config: LengthConfig | None) -> list[str]:
        questions, contexts = [e.question for e in part], [e.context for e in part]
        return [p.text for p in predict(engine, tokenizer, questions, contexts, config, no_answer=no_answer)]

    return evaluate(answer, examples, None, progress)
