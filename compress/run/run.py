"""Running a recipe: stage after stage, each skipped if done, resumed if begun, redone if its inputs changed."""

from __future__ import annotations

import importlib
import logging
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from compress.jobs.limits import FAILURE
from compress.memory import give_back
from compress.progress import Progress
from compress.recipe.load import Recipe, expanded, save
from compress.run.inputs import TRAINS_ON, check_places, contents, fingerprint, same
from zoo.errors import UserError
from zoo.files import read_json, sha256, write_json, write_text

log = logging.getLogger(__name__)

LOCK = ".lock"  # held while a folder is run


@dataclass
class StageContext:
    """What a stage gets: the recipe, where to write, where to tell, and what the stages before it left.

    Attributes:
        recipe: with the settings' paths filled in.
        root: the run's folder.
        folder: `root/<stage>`; what it holds is this stage's own, from an interrupted run too.
        progress: to be told of every step.
        inputs: folders of the finished stages before.
    """

    recipe: Any
    root: Path
    folder: Path
    progress: Progress
    inputs: dict[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Stage:
    """A step of a recipe.

    Attributes:
        target: `module:function`, imported when it runs; the function takes a StageContext and returns facts for JSON.
        parts: keys of the recipe that decide what comes out.
        spread: every process of a `torchrun` takes part; else the first alone.
        only_if: key of the recipe; where it is false, a run has no such stage.
    """

    target: str
    parts: tuple[str, ...]
    spread: bool = False
    only_if: str = ""

    def load(self) -> Callable[[StageContext], dict[str, Any]]:
        module, _, name = self.target.partition(":")
        return getattr(importlib.import_module(module), name)


_NAS = "compress.nas"
_AIMET = "compress.aimet.stages"
_NNCF = "compress.nncf.stages"
_TAUGHT = ("distill.apply", "distill.teacher", "distill.store_logits")
_BITS, _LEFT, _FLOAT = "quantize.reduce_range", "prune.excluded", "quantize.keep_float"
_TEXT = tuple(f"pretrain.{key}" for key in ("text", "text_config", "max_passages", "block_tokens"))
_DATA = tuple(f"dataset.{key}" for key in sorted(TRAINS_ON))
_SUPERNET = tuple(f"supernet.{key}" for key in ("checkpoint", "apply", "order", "order_blocks"))
STAGES: dict[str, dict[str, Stage]] = {
    "length_adaptive": {
        "teacher": Stage(
            "compress.learn.distill:teacher",
            ("model", "tokenizer", *_DATA, "finetune.max_length", "finetune.stride", *_TAUGHT),
            only_if="distill.apply",
        ),
        "finetune": Stage(
            "compress.learn.finetune:run",
            ("model", "tokenizer", "dataset", "finetune", "distill", "training"),
            spread=True,
        ),
        "length_drop": Stage(
            "compress.learn.length_drop:run", ("dataset", "length_drop", "distill", "training"), spread=True
        ),
        "average": Stage("compress.learn.average:run", ("average",)),
        "search": Stage("compress.learn.length_search:run", ("dataset", "search", "quantize", "evaluate.engine")),
        "quantize": Stage("compress.int8.quantize:run", ("quantize",)),
        "evaluate": Stage("compress.results.evaluate:run", ("dataset", "evaluate")),
        "package": Stage("compress.results.package:run", ("package", "evaluate")),
    },
    "quantize": {
        "quantize": Stage(
            "compress.int8.stage:run",
            ("model", "dataset.train", "dataset.titles", "reading", "budgets", "quantize", "criterion", "seed"),
        ),
        "evaluate": Stage("compress.results.evaluate:run", ("dataset", "reading", "evaluate", "seed")),
        "package": Stage("compress.int8.stage:package", ("package", "evaluate")),
    },
    "train": {
        "teacher": Stage(
            "compress.learn.distill:teacher",
            ("model", "tokenizer", *_DATA, "finetune.max_length", "finetune.stride", *_TAUGHT),
        ),
        "train": Stage(
            "compress.learn.train:run",
            ("model", "tokenizer", "dataset", "finetune", "prune", "distill", "aware", _BITS, "training"),
            spread=True,
        ),
        "quantize": Stage("compress.int8.stage:run", ("dataset", "budgets", "quantize", "criterion", "aware")),
        "evaluate": Stage("compress.results.evaluate:run", ("dataset", "evaluate")),
        "package": Stage("compress.results.package:run", ("package", "evaluate")),
    },
    "prune_once": {
        "text": Stage("compress.learn.masked_lm:run", ("model", "tokenizer", *_TEXT)),
        "pretrain": Stage(
            "compress.learn.pretrain:run", ("model", "tokenizer", "pretrain", "prune", "training"), spread=True
        ),
        "teacher": Stage(
            "compress.learn.distill:teacher",
            ("model", "tokenizer", *_DATA, "lock.max_length", "lock.stride", *_TAUGHT),
        ),
        "lock": Stage("compress.learn.prune_once:lock", ("dataset", "lock", "distill", _LEFT, "training"), spread=True),
        "aware": Stage(
            "compress.learn.prune_once:aware", ("dataset", "aware", "distill", _BITS, _LEFT, "training"), spread=True
        ),
        "quantize": Stage("compress.int8.stage:run", ("dataset", "budgets", "quantize", "criterion", "aware")),
        "evaluate": Stage("compress.results.evaluate:run", ("dataset", "evaluate")),
        "package": Stage("compress.results.package:run", ("package", "evaluate")),
    },
    "nncf": {
        "finetune": Stage(f"{_NNCF}:finetune", ("model", "tokenizer", "dataset", "finetune", "training"), spread=True),
        "teacher": Stage(f"{_NNCF}:teacher", (*_DATA, "finetune.max_length", "finetune.stride", *_TAUGHT)),
        "nncf": Stage(
            f"{_NNCF}:run", ("dataset", "nncf_config", "nncf", "tune", "distill", "control", "training"), spread=True
        ),
        "quantize": Stage(f"{_NNCF}:quantize", ()),
        "evaluate": Stage(f"{_NNCF}:run_evaluate", ("dataset", "evaluate")),
        "package": Stage(f"{_NNCF}:run_package", ("package", "evaluate")),
    },
    "aimet_w8a8": {
        "finetune": Stage(f"{_AIMET}:finetune", ("model", "tokenizer", "dataset", "finetune", "training"), spread=True),
        "aimet": Stage(f"{_AIMET}:aimet", ("dataset", "aimet", _BITS, _FLOAT, "training"), spread=True),
        "quantize": Stage(f"{_AIMET}:quantize", ("quantize",)),
        "evaluate": Stage(f"{_AIMET}:evaluate", ("dataset", "evaluate")),
        "package": Stage(f"{_AIMET}:package", ("package", "evaluate")),
    },
    "nas": {
        "generate_data": Stage("compress.learn.shards:run", ("model", "tokenizer", "generate_data", *_SUPERNET[:3])),
        "order": Stage(f"{_NAS}.ordering:run", ("model", "tokenizer", "space", "training", *_SUPERNET)),
        "supernet": Stage(
            f"{_NAS}.supernet_train:run", ("model", "tokenizer", "space", "supernet", "training"), spread=True
        ),
        "tune": Stage(
            f"{_NAS}.supernet_tune:run", ("space", "dataset", "tune", "training", "search.scoring"), spread=True
        ),
        "latency_table": Stage(
            f"{_NAS}.latency_table:run", ("space", "latency_table", "dataset.task", "quantize.approach", _FLOAT)
        ),
        "predictor": Stage(f"{_NAS}.predictor:run", ("predictor",)),
        "search": Stage(f"{_NAS}.search:run", ("dataset", "space", "search", "quantize", "finetune", "training")),
        "finetune": Stage(f"{_NAS}.finish:finetune", ("dataset", "finetune", "training")),
        "quantize": Stage("compress.int8.stage:run", ("dataset", "quantize", "criterion")),
        "evaluate": Stage(f"{_NAS}.finish:evaluate", ("dataset", "evaluate")),
        "package": Stage("compress.results.package:run", ("package", "evaluate")),
    },
}


def stages_of(kind: str, settings: Mapping[str, Any]) -> dict[str, Stage]:
    """The stages of a run by name, in their order.

    Args:
        kind: of the recipe.
        settings: the recipe's, as of `recipe.yaml`.
    """

    def wanted(stage: Stage) -> bool:
        value: Any = settings
        for key in filter(None, stage.only_if.split(".")):
            value = value.get(key) or {}
        return bool(value) or not stage.only_if

    return {name: stage for name, stage in STAGES[kind].items() if wanted(stage)}


def run(recipe: Recipe, folder: str | Path, stage: str | None = None) -> dict[str, Any]:
    """Runs a recipe, or one stage of it.

    A stage that is done stays done until its part of the recipe, a model or a file that this names, or a stage before
    it, changes. One that was interrupted goes on from what it left; if these have changed meanwhile it begins anew,
    the old one set aside.

    Args:
        recipe: see `compress.recipe.load.load`.
        folder: the run's; `recipe.yaml`, `progress.jsonl`, a folder a stage and, at the end, `result.json`.
        stage: run this one only; those before it have to be done.

    Returns:
        What each stage returned, by name; in `result.json` too.

    Raises:
        UserError: another process runs this folder, there is no such stage, one before it is not done, or a file or a
            folder that a stage needs is not there.
    """
    stages = stages_of(recipe.kind, recipe.model_dump())
    if stage is not None and stage not in stages:
        raise UserError(f"There is no stage {stage!r}. Choose one of {', '.join(stages)}.")
    root = Path(folder).expanduser().resolve()
    root.mkdir(parents=True, exist_ok=True)
    first = int(os.environ.get("RANK", "0")) == 0
    with _lock(root) if first else nullcontext():
        if first:
            (root / FAILURE).unlink(missing_ok=True)
            save(recipe, root / "recipe.yaml")
        try:
            return _run(recipe, root, stage, first)
        except UserError as error:
            with suppress(OSError):
                write_text(root / FAILURE, str(error))  # for the queue: a launcher's log may end in its own words
            raise


def _run(recipe: Recipe, root: Path, only: str | None, first: bool) -> dict[str, Any]:
    from zoo.latency import running_job

    stages, ready = stages_of(recipe.kind, recipe.model_dump()), expanded(recipe)
    inputs: dict[str, Path] = {}
    results: dict[str, Any] = {}
    chain = ""
    shared = list(stages)[: 1 + max((i for i, stage in enumerate(stages.values()) if stage.spread), default=-1)]
    found = False
    for name, stage in stages.items():
        if not first and name not in shared:
            break  # what is left is the first process's alone
        together = _agreed if name in shared else lambda value: value
        here = root / name
        mark, held = fingerprint(recipe, stage, chain), contents(ready, stage)
        if together(_is_done(here, mark, held)):
            log.info("stage %s is done", name)
        elif only not in (None, name):
            raise UserError(f"Stage {name} is not done, or its inputs have changed. Run it first: --stage {name}.")
        elif first or stage.spread:
            if not found:
                left = list(stages)[list(stages).index(name) :]
                check_places(ready, {key: stages[key] for key in ([only] if only else left)})
                found = True
            with Progress(root / "progress.jsonl" if first else None, name, shown=first) as progress, running_job():
                if first:
                    _prepare(here, mark, held, progress)
                together(None)
                _take_threads()
                begun = time.time()
                result = stage.load()(StageContext(ready, root, here, progress, dict(inputs)))
                give_back()
                if first:
                    facts = {"inputs": mark, "contents": held, "seconds": time.time() - begun, "result": result}
                    write_json(here / "done.json", facts)
                    progress.note("done")
                    if name == "package":
                        register(root)
                together(None)
        else:  # this stage is the first process's alone: the others wait, as often as it does
            together(None)
            together(None)
        inputs[name] = here
        results[name] = read_json(here / "done.json")["result"]
        chain = sha256(here / "done.json")
        if only == name:
            return results
    if first:
        write_json(root / "result.json", {"kind": recipe.kind, "stages": results})
    return results


def _take_threads() -> None:
    """As many threads as the settings grant, over all processes of this machine together.

    torch would take one a core in any case: two recipes side by side then wait for each other most of the time.
    """
    import torch

    from zoo.settings import get_settings

    torch.set_num_threads(max(1, get_settings().threads // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))


def register(root: Path, owner: str = "") -> None:
    """Makes what was packaged findable by its name. A catalogue that cannot be written does not undo the run."""
    from compress.run.traces import entries
    from zoo import library

    for entry in entries(root):
        try:
            library.register(entry, owner)
        except (UserError, OSError, sqlite3.Error) as error:
            log.warning("%s was made, but could not be entered into the catalogue: %s", entry.name, error)


def _is_done(here: Path, mark: str, held: dict[str, str]) -> bool:
    return (here / "done.json").is_file() and same(read_json(here / "done.json"), mark, held)


def _prepare(here: Path, mark: str, held: dict[str, str], progress: Progress) -> None:
    """Leaves the folder as it is if these same inputs were begun, else begins an empty one.

    What was there may have taken hours and a changed key may be a slip: it is set aside as `<stage>.old`.
    """
    started = here / "started.json"
    if here.is_dir() and any(here.iterdir()):
        if started.is_file() and not (here / "done.json").is_file() and same(read_json(started), mark, held):
            progress.note("goes on from where it was interrupted")
            return
        old = here.with_name(f"{here.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        here.rename(old)
        progress.note(
            f"begins anew, since the recipe, what it names or an earlier stage has changed; what was there is in "
            f"{old.name}/"
        )
    write_json(started, {"inputs": mark, "contents": held})


def _agreed(value: Any) -> Any:
    """The first process's value, in all of them; they wait for one another here."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return value
    import torch
    from accelerate import PartialState
    from accelerate.utils import broadcast_object_list

    # A stage that one process runs alone, as reading text, may keep the others waiting for hours.
    PartialState(cpu=not torch.cuda.is_available(), timeout=timedelta(days=3))
    box = [value]
    broadcast_object_list(box)
    return box[0]


def _lock(root: Path) -> Any:
    from filelock import FileLock, Timeout

    lock = FileLock(root / LOCK, timeout=0)
    try:
        return lock.acquire()
    except Timeout as error:
        raise UserError(f"{root} is being run by another process. Wait for it, or take another folder.") from error
