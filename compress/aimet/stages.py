"""W8A8 with AIMET: a fine-tuned model learns to be rounded, ranges and weights at once.

Quantization-aware training with learned ranges (Bondarenko et al., arXiv 2109.12948), simulated by aimet-torch. Scope
`full` is what the paper simulates; scope `deploy` rounds what runtimes compute in integers, and ends in an int8 model
with the very numbers that were learned.
"""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from compress.aimet.engine import SimulatedEngine
from compress.aimet.export import export
from compress.aimet.integers import write_graph
from compress.aimet.packing import pack
from compress.aimet.simulation import ENCODINGS, SETTINGS, STATE, Settings, Simulated, open_simulated, windows_of
from compress.learn.distill import Guidance, distillation
from compress.learn.finetune import learn, start
from compress.learn.student import Student, Workplace
from compress.recipe.aimet import AimetRecipe
from compress.recipe.stage import StageContext, float_checkpoint
from compress.results import evaluate as report
from compress.results import package as entries
from compress.tasks.subject import Subject
from compress.tasks.subjects import subject_of, training_samples
from zoo import metrics
from zoo.catalog import checkpoint_of
from zoo.checkpoints import check_simulable, read_config
from zoo.errors import UserError
from zoo.features import load_tokenizer
from zoo.files import read_json, write_json
from zoo.lengths import LengthConfig
from zoo.settings import get_settings

RANGES = "learned_ranges.json"
START = ".calibrated"  # what an interrupted training goes on from: ranges by signal and noise take minutes


def finetune(ctx: StageContext[AimetRecipe]) -> dict[str, Any]:
    """Stage `finetune`: a checkpoint -> one that is fine-tuned in float; nothing where the recipe leaves it out."""
    recipe = ctx.recipe
    check_simulable(read_config(checkpoint_of(recipe.model)).get("model_type"))
    if not recipe.finetune.apply:
        return {"applied": False}
    subject, settings = subject_of(recipe), recipe.finetune
    model, tokenizer = start(subject, recipe.model, recipe.tokenizer, settings.dropout, recipe.training.seed)
    student = Student(model, tokenizer, training_samples(recipe, tokenizer, settings))
    return learn(Workplace.of(ctx), student, settings, subject.loss(), model.save)


def aimet(ctx: StageContext[AimetRecipe]) -> dict[str, Any]:
    """Stage `aimet`: a fine-tuned checkpoint -> weights and ranges that were learned while AIMET rounded.

    Returns:
        What training returned, how many ranges there are, and the median share by which they have moved.

    Raises:
        UserError: the checkpoint is not fine-tuned for the task, or aimet-torch is missing or broken.
    """
    recipe, subject = ctx.recipe, subject_of(ctx.recipe)
    source, _ = float_checkpoint(ctx)
    _check_head(source, subject)
    tokenizer = _tokenizer(ctx, source)
    data = training_samples(recipe, tokenizer, recipe.aimet)
    plain = subject.load_model(source, recipe.aimet.dropout, new_head=False)
    model = Simulated(plain, Settings.of(recipe, plain))
    calibrated = ctx.folder / START
    if (calibrated / SETTINGS).is_file():
        model.restore(calibrated)
    else:
        ctx.progress.note("takes the first ranges")
        model.calibrate(windows_of(data), tokenizer.pad_token_id, recipe.seed)
        if ctx.first and recipe.aimet.learn:
            model.save(calibrated)
    before, facts = model.ranges(), {"windows": len(data)}
    if recipe.aimet.learn:
        moving, rate = recipe.aimet.range_step, recipe.aimet.learning_rate
        rates = None if moving is None else model.range_rates(moving, rate)
        loss, student = subject.loss(), Student(model, tokenizer, data)
        if recipe.distill.apply:
            guidance = Guidance(recipe.distill, subject, str(source), recipe.finetune)
            loss = distillation(guidance, loss, student)  # type: ignore[arg-type]
        facts = learn(Workplace.of(ctx), student, recipe.aimet, loss, model.save, rates=rates)
    elif ctx.first:
        model.save(ctx.folder)
        tokenizer.save_pretrained(str(ctx.folder))
    after = model.ranges()
    if ctx.first:
        write_json(ctx.folder / RANGES, {name: {"first": before[name], "learned": after[name]} for name in after})
        shutil.rmtree(calibrated, ignore_errors=True)
    return {**facts, "ranges": len(after), "moved": _moved(before, after)}


def quantize(ctx: StageContext[AimetRecipe]) -> dict[str, Any]:
    """Stage `quantize`: what scope `deploy` learned -> the int8 model; of scope `full` there is none, as is said."""
    if ctx.recipe.aimet.scope == "full":
        remark = "none: scope full is a simulation only, set aimet.scope to deploy for a model in real integers"
        ctx.progress.note(f"int8 model: {remark}")
        return {"int8": remark}
    ctx.progress.update(0, 1)
    learned = ctx.inputs["aimet"]
    model = open_simulated(learned)
    tokenizer = load_tokenizer(learned)
    facts = write_graph(model, tokenizer, ctx.folder)
    if ctx.recipe.quantize.aimet_onnx:
        facts["aimet_onnx"] = export(model, tokenizer, ctx.folder)
    write_json(ctx.folder / "configs.json", [LengthConfig.full(model.shape.layers).fractions])
    ctx.progress.update(1, 1)
    return facts


def evaluate(ctx: StageContext[AimetRecipe]) -> dict[str, Any]:
    """Stage `evaluate`: the float model, the simulation and, of scope `deploy`, the int8 model side by side.

    `scores.json` has what `compress.results.evaluate` writes, and `simulated`.

    Raises:
        UserError: the data to report on was trained on.
    """
    recipe, folder = ctx.recipe, ctx.inputs["aimet"]
    deploy, threads = recipe.aimet.scope == "deploy", recipe.evaluate.threads or get_settings().threads
    simulation = cache(lambda: SimulatedEngine(open_simulated(folder), threads))
    simulated = report.Contender("simulated", folder, simulation, beside=True)
    scored = report.evaluate(ctx, [simulated], models=("float", "int8") if deploy else ("float",))
    scores: dict[str, Any] = {**scored.scores, **scored.contenders}
    if not deploy:
        scores["measured_on"]["engine"] = SimulatedEngine.name
    write_json(ctx.folder / report.SCORES, scores)
    write_json(ctx.folder / "provenance.json", _provenance(recipe, folder, scores))
    return scored.facts


def package(ctx: StageContext[AimetRecipe]) -> dict[str, Any]:
    """Stage `package`: the float entry `<name>`, with the simulation in it, and of scope `deploy` `<name>-int8`, whose
    graph has the simulation's integers and ranges.

    Raises:
        UserError: an entry, loaded as users load it, says something else than what was trained and quantized.
    """
    learned = ctx.inputs["aimet"]
    said = {name: learned / name for name in (SETTINGS, ENCODINGS)}
    models = ("float", "int8") if ctx.recipe.aimet.scope == "deploy" else ("float",)
    with TemporaryDirectory() as folder:
        state = pack(learned, Path(folder) / STATE)
        return entries.package(ctx, {"float": {**said, STATE: state}, "int8": said}, models)


def _check_head(source: Path, subject: Subject[Any]) -> None:
    if not subject.has_head(read_config(source)):
        raise UserError(
            f"The checkpoint has no head for {subject.task.name}: set finetune.apply to true, or give one that was "
            "fine-tuned for it."
        )


def _tokenizer(ctx: StageContext[AimetRecipe], source: Path) -> Any:
    tokenizer = ctx.recipe.tokenizer if not ctx.recipe.finetune.apply else None
    return load_tokenizer(checkpoint_of(tokenizer) if tokenizer else source)


def _moved(before: dict[str, tuple[float, float]], after: dict[str, tuple[float, float]]) -> float:
    """Median over the ranges of how far their ends have moved, as a share of the width they started with."""
    shares = [
        (abs(after[name][0] - low) + abs(after[name][1] - high)) / max(high - low, 1e-12)
        for name, (low, high) in before.items()
    ]
    return float(np.median(shares)) if shares else 0.0


def _provenance(recipe: AimetRecipe, learned: Path, scores: dict[str, Any]) -> dict[str, str]:
    """What the card says of the simulation."""
    aimet, first = recipe.aimet, subject_of(recipe).primary
    settings = read_json(learned / SETTINGS)
    what = {
        "full": "every activation is rounded, as no runtime here does it",
        "deploy": "inputs and weights of linear layers are rounded, as the int8 model has them",
    }
    return {
        "simulated by": f"aimet-torch {settings['aimet_torch']}, scope {aimet.scope}: {what[aimet.scope]}",
        "simulated bits": f"weights {settings['weight_bits']}, symmetric, one range a "
        f"{'row' if aimet.per_channel else 'matrix'}; activations 8, asymmetric; biases in float",
        "ranges": f"{'learned' if aimet.learn else 'as found'}, from {aimet.ranges.replace('_', '-')}",
        **(
            {"smoothing of inputs": f"outlying columns divided down, strength {aimet.smoothing}"}
            if aimet.smoothing
            else {}
        ),
        **({"attention mask in the simulation": aimet.mask} if aimet.scope == "full" else {}),
        "simulated scores": f"{metrics.metric_name(first)} {scores['simulated'][first]:.2f}, "
        f"float {scores['float'][first]:.2f}",
    }
