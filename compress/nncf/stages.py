"""The stages of the recipe `nncf`: float model, NNCF's rounding, learned with it, real integers, scores, entries."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from compress.data import names
from compress.data.texts import draw
from compress.learn import distill
from compress.learn.distill import Guidance
from compress.learn.finetune import learn, start
from compress.learn.student import Student, Workplace
from compress.nncf.control import SINGLE, AccuracyGuard, open_exported, quantize_exported
from compress.nncf.export import PLAIN, PlainOnnx, PlainOpenVino, Unfit, compare, export_onnx, graph_weights
from compress.nncf.model import quantized
from compress.nncf.store import FACTS, SimulatedEngine, load_model, save_model
from compress.recipe.load import expanded, load
from compress.recipe.nncf import NncfRecipe
from compress.recipe.nncf_config import Plan, parse_config
from compress.recipe.stage import StageContext
from compress.results import evaluate, package
from compress.results.evaluate import Contender
from compress.tasks.subjects import examples_to_choose, subject_of, training_samples
from zoo.catalog import checkpoint_of
from zoo.checkpoints import check_simulable, read_config
from zoo.engines import open_graph
from zoo.engines.base import Engine
from zoo.engines.torch import TorchEngine
from zoo.errors import UserError
from zoo.features import Tokenizer, load_tokenizer, pad
from zoo.files import write_json
from zoo.graph import MODEL_FILE
from zoo.latency import machine
from zoo.lengths import LengthConfig, Shape
from zoo.modeling import LengthAdaptiveModel
from zoo.settings import get_settings
from zoo.weights import spec_of, write

TIMED = ("latency_tokens", "latency_rounds", "p50_ms")  # of what is measured where there is no int8 graph of ours
SCORES = "engines.json"  # every engine's score beside the others
WIDTHS = {  # the parameters of NNCF's quantizers: what holds a range's width, and all that moves its ends
    "_input_range_param_storage": ("_input_range_param_storage", "input_low"),
    "_scale_param_storage": ("_scale_param_storage",),
}


def finetune(ctx: StageContext[NncfRecipe]) -> dict[str, Any]:
    """Stage `finetune`: the float model that everything is measured against, trained here or taken as it is.

    Raises:
        UserError: it is to be taken as it is, but has no head for the task.
    """
    recipe = ctx.recipe
    if not recipe.finetune.apply:
        config = read_config(checkpoint_of(recipe.model))
        if not subject_of(recipe).has_head(config):
            raise UserError(
                f"{names.short_name(recipe.model)} has not learned {recipe.dataset.task} yet: set finetune.apply to "
                "true, or take a checkpoint that has."
            )
    subject, settings = subject_of(recipe), recipe.finetune
    taken, seed = (recipe.model, recipe.tokenizer), recipe.training.seed
    model, tokenizer = start(subject, *taken, settings.dropout, seed, new_head=settings.apply)
    check_simulable(model.family)
    if recipe.finetune.apply:
        student = Student(model, tokenizer, training_samples(recipe, tokenizer, settings))
        return learn(Workplace.of(ctx), student, settings, subject.loss(), model.save)
    if ctx.first:
        model.save(ctx.folder)
        tokenizer.save_pretrained(str(ctx.folder))
    return {"taken": names.short_name(ctx.recipe.model)}


def teacher(ctx: StageContext[NncfRecipe]) -> dict[str, Any]:
    """Stage `teacher`: what the float model says of the training data, where the recipe distils."""
    recipe, source = ctx.recipe, ctx.inputs["finetune"]
    if not recipe.distill.apply:
        return {}
    guidance = Guidance(recipe.distill, subject_of(recipe), str(source), recipe.finetune)
    tokenizer = load_tokenizer(source)
    samples = partial(training_samples, recipe, tokenizer, recipe.finetune)
    return distill.store_logits(Workplace.of(ctx), guidance, tokenizer, samples)


def run(ctx: StageContext[NncfRecipe]) -> dict[str, Any]:
    """Stage `nncf`: first ranges from real inputs, then, where `tune` says so, training with simulated rounding.

    Returns:
        What was rounded and, of a training, what it returned.

    Raises:
        UserError: the configuration does not fit the model, or NNCF cannot do it.
    """
    recipe, plan = ctx.recipe, plan_of_recipe(ctx.recipe)
    source, tokenizer = ctx.inputs["finetune"], load_tokenizer(ctx.inputs["finetune"])
    subject = subject_of(recipe)
    data = training_samples(recipe, tokenizer, recipe.tune)
    settings = recipe.nncf
    count = plan.samples or (plan.steps or 0) * recipe.tune.batch_size or settings.subset_size
    chosen = random.Random(recipe.seed).sample(range(len(data)), min(len(data), count))
    facts: dict[str, Any] = {"samples": len(chosen), "placement": settings.placement, "remarks": list(plan.remarks)}
    arrays = [pad([data[i].window], tokenizer.pad_token_id) for i in chosen]
    if settings.backend != "torch":
        return {**facts, **_after_training(ctx, recipe, plan, tokenizer, arrays)}
    begun = ctx.folder / "start"
    if (begun / FACTS).is_file():
        model, _ = load_model(begun, recipe.tune.dropout)
    else:
        ctx.progress.note(f"taking ranges from {len(chosen)} windows")
        plain = subject.load_model(source, recipe.tune.dropout)
        batches = [{key: torch.from_numpy(value) for key, value in array.items()} for array in arrays]
        model = quantized(plain, plan, settings, batches)
        if ctx.first:
            save_model(model, begun, settings.placement)
    save = partial(_save, model, settings.placement)
    if not recipe.tune.apply:
        if ctx.first:
            save(ctx.folder)
            tokenizer.save_pretrained(str(ctx.folder))
        return facts
    loss, student = subject.loss(), Student(model, tokenizer, data)
    if recipe.distill.apply:
        stored = ctx.inputs["teacher"] if recipe.distill.store_logits else None
        guidance = Guidance(recipe.distill, subject, str(source), recipe.finetune, stored)
        loss = distill.distillation(guidance, loss, student)
    tune = recipe.tune
    rates = None if tune.range_step is None else range_rates(model, tune.range_step, tune.learning_rate)
    return {**facts, **learn(Workplace.of(ctx), student, tune, loss, save, rates=rates)}


def range_rates(model: torch.nn.Module, share: float, learning_rate: float) -> dict[str, float]:
    """By the names of what NNCF's ranges are made of, `rates` of `learn.loop.train` with which a step moves them
    by that share of their range's width (of the mean one where there is one a row)."""
    rates = {}
    for name, module in model.named_modules():
        for width, ends in WIDTHS.items():
            if hasattr(module, width):
                size = float(getattr(module, width).detach().abs().mean())
                if size > 0:
                    rates |= {f"{name}.{end}": share * size / learning_rate for end in ends}
    return rates


def _save(model: LengthAdaptiveModel, placement: str, folder: Path) -> None:
    save_model(model, folder, placement)


def _after_training(
    ctx: StageContext[NncfRecipe],
    recipe: NncfRecipe,
    plan: Plan,
    tokenizer: Tokenizer,
    arrays: Sequence[dict[str, Any]],
) -> dict[str, Any]:
    """An ONNX or OpenVINO model quantized without training, its accuracy controlled where the recipe says so."""
    subject, control = subject_of(recipe), recipe.control
    model = subject.load_model(ctx.inputs["finetune"])
    if not control.apply:
        return quantize_exported(model, plan, recipe.nncf, arrays, ctx.folder)
    if subject.primary not in SINGLE:
        raise UserError(
            f"Accuracy control ranks operators by scores of single examples, which {subject.primary} has not: set "
            "control.apply to false."
        )
    examples = draw(examples_to_choose(recipe, ctx.progress), control.max_questions, recipe.seed)

    def score(engine: Engine, part: Sequence[Any]) -> float:
        return subject.score(engine, tokenizer, part, None, None, model.config)[subject.primary]

    return quantize_exported(model, plan, recipe.nncf, arrays, ctx.folder, AccuracyGuard(control, score, examples))


def quantize(ctx: StageContext[NncfRecipe]) -> dict[str, Any]:
    """Stage `quantize`: the learned weights and ranges as real integers.

    Returns:
        `graph`: `house`, the int8 graph that the explorer opens; `nncf`, an ONNX file of NNCF's; `own`, what a backend
        wrote by itself; or `none`, where nothing runs it and it is simulated only, with `why`.
    """
    tokenizer = load_tokenizer(ctx.inputs["finetune"])
    figures = ctx.inputs["nncf"]
    if not (figures / FACTS).is_file():
        return {"graph": "own"}
    model, _ = load_model(figures)
    write_json(ctx.folder / "config.json", model.config)
    tokenizer.save_pretrained(str(ctx.folder))
    batches = windows_to_check(ctx.recipe, tokenizer)
    try:
        weights = graph_weights(model, batches[0])
    except Unfit:
        try:
            return export_onnx(model, ctx.folder / PLAIN, batches)
        except UserError as error:
            return {"graph": "none", "why": str(error)}
    path = write(weights, spec_of(model), ctx.folder)
    distance = compare(model, open_graph(ctx.folder, 1), batches)
    write_json(ctx.folder / "configs.json", [LengthConfig.full(model.shape.layers).fractions])
    return {"graph": "house", "bytes": path.stat().st_size, "distance": distance}


def windows_to_check(recipe: NncfRecipe, tokenizer: Tokenizer) -> list[dict[str, torch.Tensor]]:
    """Inputs of one window each, to compare an export with the simulation on."""
    subject = subject_of(recipe)
    count = subject.task.type.compared
    windows = subject.windows(tokenizer, subject.load("train", count, recipe.seed))[:count]
    arrays = [pad([window], tokenizer.pad_token_id) for window in windows]
    return [{key: torch.from_numpy(value) for key, value in array.items()} for array in arrays]


def run_evaluate(ctx: StageContext[NncfRecipe]) -> dict[str, Any]:
    """Stage `evaluate`: the float model, the simulation and the real integers on onnxruntime and OpenVINO, all scored.

    `engines.json` has every score; what the house's graph can do is reported as for every other recipe, too.

    Raises:
        UserError: the data to report on was trained on.
    """
    recipe, task = ctx.recipe, ctx.recipe.dataset.evaluation_task
    house = (ctx.inputs["quantize"] / MODEL_FILE).is_file()
    threads = recipe.evaluate.threads or get_settings().threads
    report = evaluate.evaluate(ctx, _contenders(ctx, house, threads), task, ("float", "int8") if house else ())
    scores, facts = dict(report.contenders), report.facts
    if house:
        write_json(ctx.folder / evaluate.SCORES, report.scores)
        scores |= {"float": report.scores["float"], recipe.evaluate.engine: report.scores["int8"]}
    subject = subject_of(recipe, task=task)
    timings = {key: report.scores["measured_on"][key] for key in TIMED if key in report.scores["measured_on"]}
    stamp = {**machine(), **subject.description(facts["n"]), "n": facts["n"], "threads": threads, **timings}
    write_json(ctx.folder / SCORES, {"engines": scores, "measured_on": stamp})
    return {**facts, **{f"{name}_{subject.primary}": result[subject.primary] for name, result in scores.items()}}


def _contenders(ctx: StageContext[NncfRecipe], house: bool, threads: int) -> list[Contender]:
    """What there is to score beside what the stage `evaluate` of all recipes scores."""
    source, learned, real = (ctx.inputs[stage] for stage in ("finetune", "nncf", "quantize"))
    layers, simulated = Shape.from_config(read_config(source)).layers, (learned / FACTS).is_file()
    engines: dict[str, Callable[[], Engine]] = {}
    if not house:
        engines["float"] = lambda: TorchEngine.open(source, threads)
    if simulated:
        engines["simulated"] = lambda: SimulatedEngine(load_model(learned)[0], threads)
    if house:
        other = "openvino" if ctx.recipe.evaluate.engine == "onnxruntime" else "onnxruntime"
        engines[other] = lambda: open_graph(real, threads, other)
    elif (real / PLAIN).is_file():
        engines["onnxruntime"] = lambda: PlainOnnx(real / PLAIN, threads, layers)
        engines["openvino"] = lambda: PlainOpenVino(real / PLAIN, threads, layers)
    elif not simulated:
        name = "openvino" if ctx.recipe.nncf.backend == "openvino" else "onnxruntime"
        engines[name] = lambda: open_exported(learned, threads, layers)
    return [Contender(name, source, open_it, timed=name != "simulated") for name, open_it in engines.items()]


def run_package(ctx: StageContext[NncfRecipe]) -> dict[str, Any]:
    """Stage `package`: the float entry and the int8 one, where the house's graph can say what NNCF made."""
    if not (ctx.inputs["quantize"] / MODEL_FILE).is_file():
        if ctx.recipe.package.layouts:
            raise UserError(
                "No entry comes out of what NNCF made here, since it is not this program's int8 graph, and so no other "
                "layout of one: set package.layouts to false."
            )
        return {
            "entries": [],
            "why": "the explorer runs the house's int8 graph, and this model is none; see `quantize`",
        }
    return package.run(ctx)


def to_onnx(root: Path, path: Path) -> dict[str, Any]:
    """Writes what a run of kind nncf has quantized as ONNX, see `nncf_export.export_onnx`.

    Args:
        root: the run's folder.

    Raises:
        UserError: the run has no quantized torch model.
    """
    recipe = expanded(load(root))
    if not isinstance(recipe, NncfRecipe):
        raise UserError(f"--to-onnx is for recipes of kind nncf, and this one is of kind {recipe.kind}.")
    model, _ = load_model(root / "nncf")
    return export_onnx(model, path, windows_to_check(recipe, load_tokenizer(root / "nncf")))


def plan_of_recipe(recipe: NncfRecipe) -> Plan:
    """What the recipe's JSON configuration asks for; without one, nothing."""
    return parse_config(recipe.nncf_config) if recipe.nncf_config else Plan()
