"""The two entries of the zoo that a training ends in."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from compress.data.fingerprints import TRAINED_ON, save_fingerprints
from compress.data.names import short_name
from compress.learn.pruning.report import zeros_left, zeros_stored
from compress.recipe import published
from compress.recipe.stage import StageContext, float_checkpoint
from compress.results.evaluate import NEURAL_COMPRESSOR, SCORES
from compress.results.verify import verify_loading
from compress.tasks.subjects import subject_of, trained_on
from zoo import card, catalog, layouts
from zoo.abstaining import with_threshold
from zoo.card_files import versions
from zoo.engines.base import INTEGERS
from zoo.errors import UserError
from zoo.features import load_tokenizer
from zoo.files import read_json, swap, write_json
from zoo.latency import machine
from zoo.lengths import Front
from zoo.onnx_files import EXPORTED
from zoo.pretrained import FloatModel
from zoo.stored import weights_in_words

WEIGHTS = ("model.int8.onnx", "model.safetensors", INTEGERS, EXPORTED)
DRAFT = ".float"
TOKENIZER = ("tokenizer.json", "tokenizer_config.json")


@dataclass(frozen=True)
class Content:
    """What an entry is made of.

    Attributes:
        name: of its folder.
        files: what to copy, by name.
        facts: of its `entry.json`, beside those that all entries of a run share.
    """

    name: str
    files: dict[str, Path]
    facts: dict[str, Any]


def run(ctx: StageContext[Any]) -> dict[str, Any]:
    """Stage `package`: the entries `<name>` (float, half precision on disk) and `<name>-…-int8`, loaded back.

    Raises:
        UserError: an entry, loaded as users load it, says something else than what was trained and quantized.
    """
    return package(ctx)


def package(
    ctx: StageContext[Any],
    extra: Mapping[str, Mapping[str, Path]] | None = None,
    models: Collection[str] = ("float", "int8"),
) -> dict[str, Any]:
    """Makes the entries of what a run has trained, and loads them back.

    Args:
        extra: further files by name, of the `float` entry and of the `int8` one.
        models: which the run has made.

    Returns:
        `entries`, their names, and `bytes`, their sizes.

    Raises:
        UserError: an entry, loaded as users load it, says something else than what was trained and quantized.
    """
    recipe, evaluated = ctx.recipe, ctx.inputs["evaluate"]
    settings, task = recipe.package, subject_of(recipe).task
    about = {
        "task": task.type.name,
        "license": settings.license,
        "base_model": settings.base_model or short_name(recipe.model).partition("@")[0],
        "provenance": provenance(ctx),
    }
    metrics = measured(evaluated, task.metrics)

    def with_files(content: Content, model: str) -> Content:
        return replace(content, files={**content.files, **(extra or {}).get(model, {})})

    with half_precision(ctx) as source:
        whole = float_content(settings.name, source, settings.title, recipe.float_method, metrics["float"])
        contents = [with_files(whole, "float")]
        if "int8" in models:
            facts = {
                "title": f"{settings.title}, {recipe.suffix[1:].replace('-int8', ', int8')}",
                "method": recipe.int8_method,
                "parameters": catalog.open_folder(source).parameters,
                "full_precision": settings.name,
                "metrics": metrics["int8"],
            }
            small = int8_content(settings.name + recipe.suffix, ctx.inputs["quantize"], evaluated, facts)
            contents.append(with_files(small, "int8"))
            contents += inc_contents(settings.name, ctx, facts, metrics)
        trained = subject_of(recipe).load_model(float_checkpoint(ctx)[0], new_head=False)
        return pack(ctx, about, contents, trained_on(ctx), trained)


def pack(
    ctx: StageContext[Any], about: Mapping[str, Any], contents: Sequence[Content], seen: set[str], trained: FloatModel
) -> dict[str, Any]:
    """Puts entries together, and loads them back when all of them stand.

    Args:
        ctx: of the stage; they go into its folder.
        about: facts that all of them share.
        contents: of the entries.
        seen: fingerprints of the passages trained on.
        trained: what they are compared with, see `verify_loading`.

    Raises:
        UserError: other layouts are asked for, and no entry has any.
    """
    own, wanted = ctx.recipe.evaluate.null_threshold, ctx.recipe.package.layouts
    entries = [
        assemble(ctx.folder / one.name, one.files, {**about, **one.facts}, seen, own, wanted) for one in contents
    ]
    refused = [layouts.refusal(catalog.open_folder(entry)) for entry in entries] if wanted else [""]
    if all(refused):
        raise UserError(f"{refused[-1]} Or set package.layouts to false.")
    for entry in entries:
        verify_loading(entry, trained)
    return {"entries": [entry.name for entry in entries], "bytes": [size(entry) for entry in entries]}


def float_content(name: str, source: Path, title: str, method: str, metrics: dict[str, Any]) -> Content:
    """A float entry: a checkpoint in half precision."""
    files = {file: source / file for file in ("config.json", "model.safetensors", *TOKENIZER)}
    return Content(name, files, {"title": title, "method": method, "weights_dtype": "f16", "metrics": metrics})


def int8_content(name: str, quantized: Path, evaluated: Path, facts: dict[str, Any]) -> Content:
    """An int8 entry: the graph with its front."""
    if (quantized / EXPORTED).is_file():  # at full length only, so there is no front, and its latency is told here
        files = {file: quantized / file for file in ("config.json", EXPORTED, *TOKENIZER)}
        p50 = Front.load(evaluated / "front.json").full.p50_ms
        metrics = {**facts["metrics"], **({"p50_ms": p50} if p50 else {})}
        return Content(name, files, {"weights_dtype": "int8", **facts, "metrics": metrics})
    files = {file: quantized / file for file in ("config.json", "model.int8.onnx", *TOKENIZER)}
    return Content(name, {**files, "front.json": evaluated / "front.json"}, {"weights_dtype": "int8", **facts})


def inc_contents(
    name: str, ctx: StageContext[Any], facts: dict[str, Any], metrics: Mapping[str, dict[str, Any]]
) -> list[Content]:
    """The entry `<name>-inc-int8` of what neural-compressor quantized beside the int8 graph; none where it was not.

    Args:
        name: of the entries of the run.
        ctx: of the stage.
        facts: of the int8 graph's entry.
        metrics: from `measured`.
    """
    folder = ctx.inputs["quantize"] / NEURAL_COMPRESSOR
    if NEURAL_COMPRESSOR not in metrics:
        return []
    files = {file: folder / file for file in ("config.json", INTEGERS, *TOKENIZER)}
    own = {
        "title": f"{facts['title']}, by neural-compressor",
        "method": f"neural-compressor-{ctx.recipe.quantize.approach}",
        "metrics": metrics[NEURAL_COMPRESSOR],
        "weights_dtype": "int8",
    }
    return [Content(f"{name}-inc-int8", files, {**facts, **own})]


@contextmanager
def half_precision(ctx: StageContext[Any]) -> Generator[Path]:
    """The float model in half precision on disk: what was scored so, else written here for as long as it is needed.

    A published checkpoint was scored as it is.
    """
    scored = ctx.inputs["evaluate"] / "float"
    if (scored / "model.safetensors").is_file():
        yield scored
        return
    source, folder = float_checkpoint(ctx)[0], ctx.folder / DRAFT
    try:
        subject_of(ctx.recipe).load_model(source, new_head=False).save(folder, torch.float16)
        load_tokenizer(source).save_pretrained(str(folder))
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def measured(evaluated: Path, metrics: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The metrics of `entry.json` for `float` and, if there is an int8 model, `int8`, from what `evaluate` left.

    Args:
        metrics: keys of the task's.
    """
    scores = read_json(evaluated / SCORES)
    stamp = scores["measured_on"]
    keys = ("metric", "dataset", "config", "split", "columns", "remark", "n")
    data = {key: stamp[key] for key in keys if stamp.get(key)}
    where = {key: stamp[key] for key in ("threads", "cpu", "vnni", "amx", "date")}
    beside = stamp.get("beside", {})
    engines = {"float": stamp.get("float_engine", "torch"), "int8": stamp["engine"], NEURAL_COMPRESSOR: "onednn"}
    return {
        model: {
            **{key: scores[model][key] for key in metrics},
            **data,
            **({beside["task"]: {**beside[model], "n": beside["n"]}} if model in beside else {}),
            "engine": engine,
            **where,
        }
        for model, engine in engines.items()
        if model in scores
    }


def assemble(
    target: Path,
    files: Mapping[str, Path],
    facts: Mapping[str, Any],
    seen: set[str],
    null_threshold: float | None = None,
    with_layouts: bool = False,
) -> Path:
    """Builds an entry beside its place and moves it there complete.

    Args:
        target: the entry's folder; an earlier one is replaced.
        files: what to copy, by name.
        facts: of `entry.json`; to its provenance is added what was published for its method and task, and of zeros
            that it tells what the weights compress to.
        seen: fingerprints of the passages trained on.
        null_threshold: of "no answer", for `config.json`; None: as that has it.
        with_layouts: add what other programs open, where the entry has it; see `zoo.layouts`.
    """
    if beside := published.remark(facts):
        facts = {**facts, "provenance": {**facts["provenance"], "published": beside}}
    if zeros := facts["provenance"].get("zeros"):
        stored = zeros_stored(zeros, files[next(name for name in WEIGHTS if name in files)])
        rest = {key: value for key, value in facts["provenance"].items() if key != "zeros"}
        facts = {**facts, "provenance": {**rest, **({"zeros": stored} if stored else {})}}
    # The card is rendered from the entry as the catalog reads it, under its own name.
    draft = target.with_name(f".{target.name}.tmp")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    for name, source in files.items():
        (draft / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(source, draft / name)
    if null_threshold is not None:
        write_json(draft / "config.json", with_threshold(read_json(draft / "config.json"), null_threshold))
    write_json(draft / "entry.json", {"name": target.name, **facts})
    save_fingerprints(draft / TRAINED_ON, seen)
    in_draft = catalog.find(str(draft))
    added = layouts.write(in_draft, draft) if with_layouts and not layouts.refusal(in_draft) else []
    entry = replace(in_draft, name=target.name, folder=target, weights_dtype=weights_in_words(in_draft))
    for name, content in card.files(entry, added=added).items():
        (draft / name).parent.mkdir(exist_ok=True)
        (draft / name).write_bytes(content)
    _exchange(draft, target)
    return target


def _exchange(draft: Path, target: Path) -> None:
    """Puts a folder in the place of another: in one step where the system can; else that comes back if it fails."""
    if target.exists() and swap(draft, target):
        shutil.rmtree(draft, ignore_errors=True)
        return
    old = target.with_name(f".{target.name}.old")
    if target.exists():
        shutil.rmtree(old, ignore_errors=True)
        os.replace(target, old)
    try:
        os.replace(draft, target)
    except OSError:
        if old.exists():
            os.replace(old, target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def provenance(ctx: StageContext[Any]) -> dict[str, Any]:
    """Where an entry comes from: recipe and data as they were named (no path of this machine), seed, date, program."""
    recipe = ctx.stated
    more = ctx.inputs["evaluate"] / "provenance.json"  # what a recipe's own stages add
    return {
        **recipe.origin(),
        **(read_json(more) if more.is_file() else {}),
        "seed": recipe.training.seed,
        "quantization": recipe.quantize.approach,
        **({"zeros": zeros} if (zeros := zeros_left(float_checkpoint(ctx)[0])) else {}),
        "date": machine()["date"],
        "versions": versions(),
    }


def size(folder: Path) -> int:
    """Bytes of an entry's files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
