"""The stages of the recipe `nncf`: float model, NNCF's rounding, learned with it, real integers, scores, entries."""

from __future__ import annotations

import hashlib
import json
import os
import random
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from compress.data import names
from compress.learn import distill
from compress.learn.distill import Guidance
from compress.learn.finetune import learn, start
from compress.learn.student import Student, Workplace
from compress.nncf.control import SINGLE, open_exported, quantize_exported
from compress.nncf.export import PLAIN, PlainOnnx, PlainOpenVino, Unfit, compare, export_onnx, graph_weights
from compress.nncf.model import quantized
from compress.nncf.store import FACTS, SimulatedEngine, load_model, save_model
from compress.recipe.load import expanded, load
from compress.recipe.nncf_config import Plan, parse_config
from compress.results import evaluate, package
from compress.tasks.subjects import subject_of, trained_on, training_samples
from zoo.catalog import checkpoint_of
from zoo.checkpoints import check_simulable, head_of
from zoo.engines import open_graph
from zoo.engines.torch import TorchEngine
from zoo.errors import UserError
from zoo.features import load_tokenizer, pad
from zoo.files import Archive, read_json, write_json, write_text
from zoo.graph import MODEL_FILE
from zoo.latency import machine
from zoo.lengths import LengthConfig
from zoo.modeling import LengthAdaptiveModel
from zoo.settings import get_settings
from zoo.tasks import find_task
from zoo.weights import spec_of, write

SCORES = "engines.json"  # every engine's score beside the others
WIDTHS = {  # the parameters of NNCF's quantizers: what holds a range's width, and all that moves its ends
    "_input_range_param_storage": ("_input_range_param_storage", "input_low"),
    "_scale_param_storage": ("_scale_param_storage",),
}


def finetune(ctx: Any) -> dict[str, Any]:
    """Stage `finetune`: the float model that everything is measured against, trained here or taken as it is.

    Raises:
        UserError: it is to be taken as it is, but has no head for the task.
    """
    recipe = learning(ctx.recipe, ctx.root)
    if not recipe.finetune.apply:
        config = read_json(checkpoint_of(recipe.model) / "config.json")
        try:
            fits = head_of(config) is recipe.dataset.type
        except UserError:
            fits = False
        if not fits:
            raise UserError(
                f"{names.shown(recipe.model)} has not learned {recipe.dataset.task} yet: set finetune.apply to true, "
                "or take a checkpoint that has."
            )
    subject, settings = subject_of(recipe), recipe.finetune
    model, tokenizer = start(subject, recipe.model, recipe.tokenizer, settings.dropout, recipe.training.seed)
    check_simulable(model.family)
    if recipe.finetune.apply:
        student = Student(model, tokenizer, training_samples(recipe, tokenizer, settings))
        return learn(Workplace.of(ctx), student, settings, subject.loss(), model.save)
    if _first():
        model.save(ctx.folder)
        tokenizer.save_pretrained(str(ctx.folder))
    return {"taken": names.shown(ctx.recipe.model)}


def teacher(ctx: Any) -> dict[str, Any]:
    """Stage `teacher`: what the float model says of the training data, where the recipe distils."""
    return distill.teacher(from_float(ctx))


def run(ctx: Any) -> dict[str, Any]:
    """Stage `nncf`: first ranges from real inputs, then, where `tune` says so, training with simulated rounding.

    Returns:
        What was rounded and, of a training, what it returned.

    Raises:
        UserError: the configuration does not fit the model, or NNCF cannot do it.
    """
    ready = from_float(ctx)
    recipe, plan = ready.recipe, plan_of_recipe(ready.recipe)
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
        if _first():
            save_model(model, begun, settings.placement)
    save = partial(_save, model, settings.placement)
    if not recipe.tune.apply:
        if _first():
            save(ctx.folder)
            tokenizer.save_pretrained(str(ctx.folder))
        return facts
    loss, student = subject.loss(), Student(model, tokenizer, data)
    if recipe.distill.apply:
        loss = distill.distillation(Guidance.of(recipe, ctx.inputs), loss, student)
    tune = recipe.tune
    rates = None if tune.range_step is None else range_rates(model, tune.range_step, tune.learning_rate)
    return {**facts, **learn(Workplace.of(ctx), student, tune, loss, save, rates=rates)}


def range_rates(model: Any, share: float, learning_rate: float) -> dict[str, float]:
    """By the names of what NNCF's ranges are made of, `rates` of `learn.loop.train` with which a step moves them
    by that share of their range's width (of the mean one where there is one a row)."""
    made = {}
    for name, module in model.named_modules():
        for width, ends in WIDTHS.items():
            if hasattr(module, width):
                held = float(getattr(module, width).detach().abs().mean())
                if held > 0:
                    made |= {f"{name}.{end}": share * held / learning_rate for end in ends}
    return made


def _save(model: Any, placement: str, folder: Path) -> None:
    save_model(model, folder, placement)


def _after_training(
    ctx: Any, recipe: Any, plan: Plan, tokenizer: Any, arrays: Sequence[dict[str, Any]]
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
    examples = subject.load("validation", control.max_questions, recipe.seed)

    def score(engine: Any, part: Sequence[Any]) -> float:
        return subject.score(engine, tokenizer, part, None, None, model.config)[subject.primary]

    return quantize_exported(model, plan, recipe.nncf, arrays, ctx.folder, control, score, examples)


def quantize(ctx: Any) -> dict[str, Any]:
    """Stage `quantize`: the learned weights and ranges as real integers.

    Returns:
        `graph`: `house`, the int8 graph that the explorer opens; `nncf`, an ONNX file of NNCF's; `own`, what a backend
        wrote by itself; or `none`, where nothing runs it and it is simulated only, with `why`.
    """
    tokenizer = load_tokenizer(ctx.inputs["finetune"])
    made = ctx.inputs["nncf"]
    if not (made / FACTS).is_file():
        return {"graph": "own"}
    model, _ = load_model(made)
    write_json(ctx.folder / "config.json", model.config)
    tokenizer.save_pretrained(str(ctx.folder))
    batches = windows_to_check(learning(ctx.recipe, ctx.root), tokenizer)
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


def windows_to_check(recipe: Any, tokenizer: Any) -> list[dict[str, torch.Tensor]]:
    """Inputs of one window each, to compare an export with the simulation on."""
    subject = subject_of(recipe)
    count = subject.task.type.compared
    windows = subject.windows(tokenizer, subject.load("train", count, recipe.seed))[:count]
    arrays = [pad([window], tokenizer.pad_token_id) for window in windows]
    return [{key: torch.from_numpy(value) for key, value in array.items()} for array in arrays]


def run_evaluate(ctx: Any) -> dict[str, Any]:
    """Stage `evaluate`: the float model, the simulation and the real integers on onnxruntime and OpenVINO, all scored.

    `engines.json` has every score; what the house's graph can do is reported as for every other recipe, too.

    Raises:
        UserError: the data to report on was trained on.
    """
    ready = replace(ctx, recipe=learning(ctx.recipe, ctx.root))
    house = (ctx.inputs["quantize"] / MODEL_FILE).is_file()
    subject, settings = subject_of(ready.recipe), ready.recipe.evaluate
    found = evaluate.run(ready) if house else {}
    if house and ctx.recipe.dataset.evaluation_task:
        _restamp(ctx)
    examples = subject.load("evaluation", settings.max_questions, ctx.recipe.seed)
    if not house:
        subject.refuse_overlap(trained_on(ready), examples)
    tokenizer = load_tokenizer(ctx.inputs["finetune"])
    archive = Archive(ctx.folder / "archive.jsonl")
    threads = settings.threads or get_settings().threads
    told: dict[str, Any] = {}
    opened = _engines(ctx, house, threads)
    for turn, (name, open_it) in enumerate(opened.items()):
        key = f"engine {name}"
        result = archive.get(key)
        if result is None:
            engine, config = open_it()
            part = partial(_tell, ctx.progress, turn, len(opened))
            result = subject.score(engine, tokenizer, examples, None, part, config)
            archive.add(key, result)
        told[name] = result
    if house:
        scores = read_json(ctx.folder / "scores.json")
        told |= {"float": scores["float"], settings.engine: scores["int8"]}
    primary = subject.primary
    stamp = {**machine(), **subject_of(_renamed(ctx.recipe)).description(len(examples)), "n": len(examples)}
    write_json(ctx.folder / SCORES, {"engines": told, "measured_on": {**stamp, "threads": threads}})
    return {**found, **{f"{name}_{primary}": result[primary] for name, result in told.items()}, "n": len(examples)}


def _tell(progress: Any, turn: int, of: int, at: int, among: int) -> None:
    progress.update(int(1000 * (turn + at / among)), 1000 * of)


def _engines(ctx: Any, house: bool, threads: int) -> dict[str, Any]:
    """What there is to score beside what the stage `evaluate` of all recipes scores: name -> how it is opened."""
    source, made, real = (ctx.inputs[stage] for stage in ("finetune", "nncf", "quantize"))
    config = read_json(source / "config.json")
    layers = LengthAdaptiveModel(config).shape.layers
    found: dict[str, Any] = {}
    if not house:
        found["float"] = lambda: (TorchEngine.open(source, threads), config)
    if (made / FACTS).is_file():
        found["simulated"] = lambda: (SimulatedEngine(load_model(made)[0], threads), config)
    if house:
        other = "openvino" if ctx.recipe.evaluate.engine == "onnxruntime" else "onnxruntime"
        found[other] = lambda: (open_graph(real, threads, other), config)
    elif (real / PLAIN).is_file():
        found["onnxruntime"] = lambda: (PlainOnnx(real / PLAIN, threads, layers), config)
        found["openvino"] = lambda: (PlainOpenVino(real / PLAIN, threads, layers), config)
    elif not (made / FACTS).is_file():
        name = "openvino" if ctx.recipe.nncf.backend == "openvino" else "onnxruntime"
        found[name] = lambda: (open_exported(made, threads, layers), config)
    return found


def run_package(ctx: Any) -> dict[str, Any]:
    """Stage `package`: the float entry and the int8 one, where the house's graph can say what NNCF made."""
    if not (ctx.inputs["quantize"] / MODEL_FILE).is_file():
        return {
            "entries": [],
            "why": "the explorer runs the house's int8 graph, and this model is none; see `quantize`",
        }
    return package.run(replace(ctx, recipe=learning(ctx.recipe, ctx.root)))


def to_onnx(root: Path, path: Path) -> dict[str, Any]:
    """Writes what a run of kind nncf has quantized as ONNX, see `nncf_export.export_onnx`.

    Args:
        root: the run's folder.

    Raises:
        UserError: the run has no quantized torch model.
    """
    recipe = expanded(load(root))
    if recipe.kind != "nncf":
        raise UserError(f"--to-onnx is for recipes of kind nncf, and this one is of kind {recipe.kind}.")
    model, _ = load_model(root / "nncf")
    return export_onnx(model, path, windows_to_check(learning(recipe, root), load_tokenizer(root / "nncf")))


def plan_of_recipe(recipe: Any) -> Plan:
    """What the recipe's JSON configuration asks for; without one, nothing."""
    return parse_config(recipe.nncf_config) if recipe.nncf_config else Plan()


def learning(recipe: Any, root: Path) -> Any:
    """The recipe with what is reported on, of whatever task, in the columns of the task that is learned.

    Training and report then keep apart what they know, as for every other recipe.

    Args:
        root: of the run, where those texts are kept.
    """
    data = recipe.dataset
    if data.evaluation_task is None:
        return recipe
    mark = hashlib.sha256(f"{data.evaluation_task} {data.evaluation}".encode()).hexdigest()[:12]
    path = root / f"evaluation-{mark}.jsonl"
    if not path.is_file():
        task, rows = find_task(data.task), []
        for example in subject_of(_renamed(recipe)).load("evaluation"):
            texts = [example.first, example.second] if len(task.columns) == 2 else [example.first]
            rows.append({"idx": example.id, "label": example.label, **dict(zip(task.columns, texts, strict=True))})
        write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    named = recipe.evaluate.dataset_name or data.evaluation_task
    return recipe.model_copy(
        update={
            "dataset": data.model_copy(update={"evaluation": str(path)}),
            "evaluate": recipe.evaluate.model_copy(update={"dataset_name": named}),
        }
    )


def from_float(ctx: Any) -> Any:
    """The context with the float model of the stage `finetune` as what the recipe starts from."""
    recipe = learning(ctx.recipe, ctx.root)
    source = {"model": str(ctx.inputs["finetune"]), "tokenizer": None}
    return replace(ctx, recipe=recipe.model_copy(update=source))


def _renamed(recipe: Any) -> Any:
    """The recipe with the task to report on in place of the one that is learned."""
    data = recipe.dataset
    if data.evaluation_task is None:
        return recipe
    return recipe.model_copy(update={"dataset": data.model_copy(update={"task": data.evaluation_task})})


def _restamp(ctx: Any) -> None:
    """Names the task that was reported on where the one that was learned stands."""
    named = None
    for file in ("scores.json", "front.json"):
        path = ctx.folder / file
        held = read_json(path)
        named = named or subject_of(_renamed(ctx.recipe)).description(held["measured_on"]["n"])
        held["measured_on"] = {
            **{k: v for k, v in held["measured_on"].items() if k not in ("remark", "config")},
            **named,
        }
        write_json(path, held)


def _first() -> bool:
    return int(os.environ.get("RANK", "0")) == 0
