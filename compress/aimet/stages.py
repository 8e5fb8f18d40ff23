"""W8A8 with AIMET: a fine-tuned model learns to be rounded, ranges and weights at once.

Quantization-aware training with learned ranges (Bondarenko et al., arXiv 2109.12948), simulated by aimet-torch. Scope
`full` is what the paper simulates; scope `deploy` rounds what runtimes compute in integers, and ends in an int8 model
with the very numbers that were learned.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from compress.aimet.engine import SimulatedEngine
from compress.aimet.export import export
from compress.aimet.integers import write_graph
from compress.aimet.simulation import ENCODINGS, SETTINGS, STATE, Settings, Simulated, open_simulated, windows_of
from compress.data.names import shown
from compress.learn.distill import Guidance, distillation
from compress.learn.finetune import learn, start
from compress.learn.student import Student, Workplace
from compress.recipe.stage import trained_in
from compress.results import evaluate as report
from compress.results.evaluate import beside, score_float
from compress.results.package import TOKENIZER, assemble, measured, provenance, size
from compress.results.verify import verify_loading
from compress.tasks.subjects import subject_of, trained_on, training_samples
from zoo import catalog, metrics
from zoo.catalog import checkpoint_of
from zoo.checkpoints import check_simulable
from zoo.errors import UserError
from zoo.features import load_tokenizer
from zoo.files import Archive, read_json, write_json
from zoo.latency import machine
from zoo.lengths import LengthConfig
from zoo.modeling import LengthAdaptiveModel
from zoo.settings import get_settings

RANGES, DRAFT = "learned_ranges.json", ".float"
START = ".calibrated"  # what an interrupted training goes on from: ranges by signal and noise take minutes


def finetune(ctx: Any) -> dict[str, Any]:
    """Stage `finetune`: a checkpoint -> one that is fine-tuned in float; nothing where the recipe leaves it out."""
    recipe = ctx.recipe
    check_simulable(read_json(checkpoint_of(recipe.model) / "config.json").get("model_type"))
    if not recipe.finetune.apply:
        return {"applied": False}
    subject, settings = subject_of(recipe), recipe.finetune
    model, tokenizer = start(subject, recipe.model, recipe.tokenizer, settings.dropout, recipe.training.seed)
    student = Student(model, tokenizer, training_samples(recipe, tokenizer, settings))
    return learn(Workplace.of(ctx), student, settings, subject.loss(), model.save)


def aimet(ctx: Any) -> dict[str, Any]:
    """Stage `aimet`: a fine-tuned checkpoint -> weights and ranges that were learned while AIMET rounded.

    Returns:
        What training returned, how many ranges there are, and the median share by which they have moved.

    Raises:
        UserError: the checkpoint is not fine-tuned for the task, or aimet-torch is missing or broken.
    """
    recipe, subject = ctx.recipe, subject_of(ctx.recipe)
    source, _ = trained_in(ctx)
    _check_head(source, subject)
    tokenizer = _tokenizer(ctx, source)
    data = training_samples(recipe, tokenizer, recipe.aimet)
    plain = subject.load_model(source, recipe.aimet.dropout)
    model = Simulated(plain, Settings.of(recipe, plain))
    first, calibrated = int(os.environ.get("RANK", "0")) == 0, ctx.folder / START
    if (calibrated / SETTINGS).is_file():
        model.restore(calibrated)
    else:
        ctx.progress.note("takes the first ranges")
        model.calibrate(windows_of(data), tokenizer.pad_token_id, recipe.seed)
        if first and recipe.aimet.learn:
            model.save(calibrated)
    before, facts = model.ranges(), {"windows": len(data)}
    if recipe.aimet.learn:
        moving, rate = recipe.aimet.range_step, recipe.aimet.learning_rate
        rates = None if moving is None else model.range_rates(moving, rate)
        loss, student = subject.loss(), Student(model, tokenizer, data)
        if recipe.distill.apply:
            guidance = Guidance(recipe.distill, str(source), recipe.finetune)
            loss = distillation(guidance, loss, student)  # type: ignore[arg-type]
        facts = learn(Workplace.of(ctx), student, recipe.aimet, loss, model.save, rates=rates)
    elif first:
        model.save(ctx.folder)
        tokenizer.save_pretrained(str(ctx.folder))
    after = model.ranges()
    if first:
        write_json(ctx.folder / RANGES, {name: {"first": before[name], "learned": after[name]} for name in after})
        shutil.rmtree(calibrated, ignore_errors=True)
    return {**facts, "ranges": len(after), "moved": _moved(before, after)}


def quantize(ctx: Any) -> dict[str, Any]:
    """Stage `quantize`: what scope `deploy` learned -> the int8 model; of scope `full` there is none, as is said."""
    if ctx.recipe.aimet.scope == "full":
        told = "none: scope full is a simulation only, set aimet.scope to deploy for a model in real integers"
        ctx.progress.note(f"int8 model: {told}")
        return {"int8": told}
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


def evaluate(ctx: Any) -> dict[str, Any]:
    """Stage `evaluate`: the float model, the simulation and, of scope `deploy`, the int8 model side by side.

    `scores.json` has what `compress.results.evaluate` writes, and `simulated`.

    Raises:
        UserError: the data to report on was trained on.
    """
    subject, whole = subject_of(ctx.recipe), ctx.recipe.aimet.scope == "full"
    facts = _float_alone(ctx) if whole else report.run(ctx)
    scores = read_json(ctx.folder / "scores.json")
    found = _score_simulated(ctx, "beside" in scores["measured_on"])
    scores["simulated"] = found["simulated"]
    if "beside" in found:
        kept = {key: found["beside"][key] for key in subject.task.metrics}
        scores["measured_on"]["beside"]["simulated"] = kept
    write_json(ctx.folder / "scores.json", scores)
    write_json(ctx.folder / "provenance.json", _told(ctx, scores, subject))
    return {**facts, f"simulated_{subject.primary}": found["simulated"][subject.primary]}


def package(ctx: Any) -> dict[str, Any]:
    """Stage `package`: the float entry `<name>`, with the simulation in it, and of scope `deploy` `<name>-int8`.

    Raises:
        UserError: an entry, loaded as users load it, says something else than what was trained and quantized.
    """
    recipe, evaluated, learned = ctx.recipe, ctx.inputs["evaluate"], ctx.inputs["aimet"]
    settings, known, deploy = recipe.package, trained_on(ctx), recipe.aimet.scope == "deploy"
    about = {
        "task": recipe.dataset.type.name,
        "license": settings.license,
        "base_model": settings.base_model or shown(recipe.model),
        "provenance": provenance(ctx),
    }
    half, int8 = measured(evaluated) if deploy else (_measured(evaluated, subject_of(recipe)), {})
    source = _float_folder(ctx, evaluated)
    files = {name: source / name for name in ("config.json", "model.safetensors", *TOKENIZER)}
    files |= {name: learned / name for name in (STATE, SETTINGS, ENCODINGS)}
    facts = {"title": settings.title, "method": "fine-tuned", "weights_dtype": "f16", "metrics": half}
    made = [assemble(ctx.folder / settings.name, files, {**about, **facts}, known)]
    if deploy:
        quantized = ctx.inputs["quantize"]
        files = {name: quantized / name for name in ("config.json", "model.int8.onnx", *TOKENIZER)}
        files["front.json"] = evaluated / "front.json"
        facts = {
            "title": f"{settings.title}, int8",
            "method": "aimet-int8",
            "weights_dtype": "int8",
            "parameters": _parameters(source),
            "full_precision": settings.name,
            "metrics": int8,
        }
        made.append(assemble(ctx.folder / f"{settings.name}-int8", files, {**about, **facts}, known))
    shutil.rmtree(ctx.folder / DRAFT, ignore_errors=True)
    for entry in made:
        verify_loading(entry, trained_in(ctx)[0])
    return {"entries": [entry.name for entry in made], "bytes": [size(entry) for entry in made]}


def _check_head(source: Path, subject: Any) -> None:
    if not subject.has_head(read_json(source / "config.json")):
        raise UserError(
            f"The checkpoint has no head for {subject.task.name}: set finetune.apply to true, or give one that was "
            "fine-tuned for it."
        )


def _tokenizer(ctx: Any, source: Path) -> Any:
    given = ctx.recipe.tokenizer if not ctx.recipe.finetune.apply else None
    return load_tokenizer(checkpoint_of(given) if given else source)


def _moved(before: dict[str, tuple[float, float]], after: dict[str, tuple[float, float]]) -> float:
    """Median over the ranges of how far their ends have moved, as a share of the width they started with."""
    shares = [
        (abs(after[name][0] - low) + abs(after[name][1] - high)) / max(high - low, 1e-12)
        for name, (low, high) in before.items()
    ]
    return float(np.median(shares)) if shares else 0.0


def _score_simulated(ctx: Any, more: bool) -> dict[str, dict[str, float]]:
    """Scores of the simulation by what was scored: `simulated`, and `beside` where the task has more to report on."""
    settings, subject, folder = ctx.recipe.evaluate, subject_of(ctx.recipe), ctx.inputs["aimet"]
    sets = {"simulated": subject.load("evaluation", settings.max_questions, ctx.recipe.seed)}
    if more:
        sets["beside"] = beside(ctx, subject, trained_on(ctx))[0]
    archive = Archive(ctx.folder / "simulated.jsonl")
    found = {name: archive.get(name) for name in sets}
    if all(found.values()):
        return found  # type: ignore[return-value]
    engine = SimulatedEngine(open_simulated(folder), settings.threads or get_settings().threads)
    tokenizer, config = load_tokenizer(folder), read_json(folder / "config.json")
    for name, examples in sets.items():
        if found[name] is None:
            scores = subject.score(engine, tokenizer, examples, None, ctx.progress.update, config)
            archive.add(name, scores)
            found[name] = scores
    return found  # type: ignore[return-value]


def _float_alone(ctx: Any) -> dict[str, Any]:
    """What `compress.results.evaluate.run` does, where there is no int8 model: the float model on all there is."""
    settings, subject, known = ctx.recipe.evaluate, subject_of(ctx.recipe), trained_on(ctx)
    examples = subject.load("evaluation", settings.max_questions, ctx.recipe.seed)
    subject.refuse_overlap(known, examples)
    others, lacking = beside(ctx, subject, known)
    threads = settings.threads or get_settings().threads
    archive, found = Archive(ctx.folder / "archive.jsonl"), {}
    for name, part in {"float": examples, **({"float beside": others} if others else {})}.items():
        found[name] = archive.get(name)
        if found[name] is None:
            found[name] = score_float(ctx, part, threads, ctx.progress.update)
            archive.add(name, found[name])
    named, metrics = subject.description(len(examples)), subject.task.metrics
    stamp = {**named, "n": len(examples), "engine": "aimet", **machine(), "threads": threads}
    if lacking:
        stamp["remark"] = "; ".join(filter(None, [named.get("remark"), lacking]))
    if others:
        exact = {key: found["float beside"][key] for key in metrics}
        stamp["beside"] = {"task": subject.task.beside, "n": len(others), "float": exact}
    write_json(ctx.folder / "scores.json", {"float": found["float"], "measured_on": stamp})
    return {f"float_{subject.primary}": found["float"][subject.primary], "n": len(examples)}


def _told(ctx: Any, scores: dict[str, Any], subject: Any) -> dict[str, str]:
    """What the card says of the simulation."""
    aimet, first = ctx.recipe.aimet, subject.primary
    held = read_json(ctx.inputs["aimet"] / SETTINGS)
    what = {
        "full": "every activation is rounded, as no runtime here does it",
        "deploy": "inputs and weights of linear layers are rounded, as the int8 model has them",
    }
    return {
        "simulated by": f"aimet-torch {held['aimet_torch']}, scope {aimet.scope}: {what[aimet.scope]}",
        "simulated bits": f"weights {held['weight_bits']}, symmetric, one range a "
        f"{'row' if aimet.per_channel else 'matrix'}; activations 8, asymmetric; biases in float",
        "ranges": f"{'learned' if aimet.learn else 'as found'}, from {aimet.ranges.replace('_', '-')}",
        **(
            {"smoothing of inputs": f"outlying columns divided down, strength {aimet.smoothing}"}
            if aimet.smoothing
            else {}
        ),
        **({"attention mask in the simulation": aimet.mask} if aimet.scope == "full" else {}),
        "simulated scores": f"{metrics.shown(first)} {scores['simulated'][first]:.2f}, "
        f"float {scores['float'][first]:.2f}",
    }


def _measured(evaluated: Path, subject: Any) -> dict[str, Any]:
    """The metrics of `entry.json` for the float model, where there is no int8 model."""
    scores = read_json(evaluated / "scores.json")
    stamp = scores["measured_on"]
    keys = ("metric", "dataset", "config", "split", "columns", "remark", "n", "threads", "cpu", "vnni", "amx", "date")
    exact = {key: scores["float"][key] for key in subject.task.metrics}
    more = stamp.get("beside")
    also = {more["task"]: {**more["float"], "n": more["n"]}} if more else {}
    return {**exact, **{key: stamp[key] for key in keys if stamp.get(key) is not None}, **also, "engine": "torch"}


def _float_folder(ctx: Any, evaluated: Path) -> Path:
    """The float model in half precision; written here where it is a published checkpoint that was scored as it is."""
    if (evaluated / "float" / "model.safetensors").is_file():
        return evaluated / "float"
    source, folder = trained_in(ctx)[0], ctx.folder / DRAFT
    LengthAdaptiveModel.load(source).save(folder, torch.float16)
    load_tokenizer(source).save_pretrained(str(folder))
    return folder


def _parameters(folder: Path) -> int:
    return catalog.open_folder(folder).parameters
