"""Running a recipe: stage after stage, each skipped if done, resumed if begun, redone if its inputs changed."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import time
from contextlib import nullcontext, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from compress.memory import give_back
from compress.progress import Progress
from compress.recipe.kind import Kind, missing
from compress.recipe.layout import FAILURE, LOCK
from compress.recipe.load import expanded, save, stages_of
from compress.recipe.stage import StageContext
from compress.run.inputs import check_places, contents, fingerprint, same
from compress.run.traces import entries
from zoo import library
from zoo.errors import UserError
from zoo.files import read_json, sha256, write_json, write_text
from zoo.latency import running_job
from zoo.settings import get_settings

log = logging.getLogger(__name__)


def run(recipe: Kind, folder: str | Path, stage: str | None = None) -> dict[str, Any]:
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


def _run(recipe: Kind, root: Path, only: str | None, first: bool) -> dict[str, Any]:
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
                if only is None and (lacking := missing(ready)):
                    raise UserError(lacking)
                left = list(stages)[list(stages).index(name) :]
                check_places(ready, {key: stages[key] for key in ([only] if only else left)})
                found = True
            with Progress(root / "progress.jsonl" if first else None, name, shown=first) as progress, running_job():
                if first:
                    _prepare(here, mark, held, progress)
                together(None)
                _take_threads()
                begun = time.time()
                result = stage.load()(StageContext(ready, root, here, progress, dict(inputs), recipe))
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

    torch.set_num_threads(max(1, get_settings().threads // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))


def register(root: Path, owner: str = "") -> None:
    """Makes what was packaged findable by its name. A catalogue that cannot be written does not undo the run."""
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
    lock = FileLock(root / LOCK, timeout=0)
    try:
        return lock.acquire()
    except Timeout as error:
        raise UserError(f"{root} is being run by another process. Wait for it, or take another folder.") from error
