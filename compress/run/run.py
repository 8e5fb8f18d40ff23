"""Running a recipe: stage after stage, each skipped if done, resumed if begun, redone if its inputs changed."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from compress.memory import give_back
from compress.progress import Progress
from compress.recipe.kind import Kind, missing
from compress.recipe.layout import ATTEMPT, FAILURE, JOB, LOCK, RESULT
from compress.recipe.load import expanded, save, stages_of
from compress.recipe.place import owned
from compress.recipe.stage import Stage, StageContext, is_first
from compress.run.curves import curves
from compress.run.inputs import Inputs, check_places
from compress.run.traces import entries
from zoo import library
from zoo.devices import CPU, compute_device
from zoo.errors import UserError
from zoo.files import read_json, sha256, write_json, write_text
from zoo.latency import running_job
from zoo.lazily import Lazy
from zoo.settings import get_settings

if TYPE_CHECKING:
    import torch
else:
    torch = Lazy("torch")

log = logging.getLogger(__name__)
DONE = "done.json"  # of a stage: its inputs, and what it returned
Meet = Callable[[bool | None], bool | None]  # processes wait for one another, and all get the first one's value


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
    first = is_first()
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
    stages, ready = stages_of(recipe.kind, recipe.model_dump()), owned(expanded(recipe), _owner(root))
    folders: dict[str, Path] = {}
    results: dict[str, Any] = {}
    before, is_checked = "", False
    attempt = {"attempt": (root / ATTEMPT).read_text(encoding="utf-8")} if (root / ATTEMPT).is_file() else {}
    last = max((i for i, stage in enumerate(stages.values()) if stage.spread), default=-1)  # that all wait for
    for i, (name, stage) in enumerate(stages.items()):
        if not first and i > last:
            break  # what is left is the first process's alone
        meet, takes_part, folder = _agreed if i <= last else _alone, first or stage.spread, root / name
        inputs = Inputs.of(recipe, ready, stage, before)
        if meet(inputs.are_in(folder / DONE)):
            log.info("stage %s is done", name)
        elif only not in (None, name):
            raise UserError(f"Stage {name} is not done, or its inputs have changed. Run it first: --stage {name}.")
        else:
            if takes_part and not is_checked:
                _check(ready, {name: stage} if only else dict(list(stages.items())[i:]), only)
                is_checked = True
            with (
                curves(recipe, root, first and takes_part) as report,
                Progress(root / "progress.jsonl" if first else None, name, shown=first, report=report) as progress,
                running_job(),
                _together(meet, partial(_prepare, folder, inputs, progress) if first else None),
            ):
                if takes_part:
                    _work(stage, StageContext(ready, root, folder, progress, dict(folders), recipe), inputs)
        folders[name], results[name] = folder, read_json(folder / DONE)["result"]
        before = sha256(folder / DONE)
        if only == name:
            return results
    if first:
        write_json(root / RESULT, {"kind": recipe.kind, **attempt, "stages": results})
    return results


def _check(recipe: Kind, stages: Mapping[str, Stage], only: str | None) -> None:
    """Refuses before any work starts what would fail after hours of it."""
    lacking = None if only else missing(recipe)  # a stage that is run by itself tells at once
    if lacking:
        raise UserError(lacking)
    check_places(recipe, stages)


@contextmanager
def _together(meet: Meet, prepare: Callable[[], None] | None) -> Generator[None]:
    """What all processes go through in step: none begins before the first has prepared, none goes on before the end."""
    if prepare:
        prepare()
    meet(None)
    yield
    meet(None)


def _work(stage: Stage, ctx: StageContext[Kind], inputs: Inputs) -> None:
    """Runs a stage; the first process writes down that it is done, and what it returned."""
    _take_threads()
    begun = time.time()
    result = stage.load()(ctx)
    give_back()
    if ctx.first:
        if stage.packs:  # before it is done: whoever is killed in between does it again
            register(ctx.root)
        write_json(ctx.folder / DONE, {**inputs.to_dict(), "seconds": time.time() - begun, "result": result})
        ctx.progress.note("done")


def _take_threads() -> None:
    """As many threads as the settings grant, over all processes of this machine together.

    torch would take one a core in any case: two recipes side by side then wait for each other most of the time.
    """
    torch.set_num_threads(max(1, get_settings().threads // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))


def register(root: Path) -> None:
    """Makes what was packaged findable by its name, for the owner of the job that the run is, if it is one.

    A catalogue that cannot be written does not undo the run.
    """
    for entry in entries(root):
        try:
            library.register(entry, _owner(root))
        except (UserError, OSError, sqlite3.Error) as error:
            log.warning("%s was made, but could not be entered into the catalogue: %s", entry.name, error)


def _owner(root: Path) -> str:
    """Whose job a run is; empty where it is none."""
    return read_json(root / JOB)["owner"] if (root / JOB).is_file() else ""


def _prepare(folder: Path, inputs: Inputs, progress: Progress) -> None:
    """Leaves the folder as it is if these same inputs were begun, else begins an empty one.

    What was there may have taken hours and a changed key may be a slip: it is set aside as `<stage>.old`.
    """
    started = folder / "started.json"
    if folder.is_dir() and any(folder.iterdir()):
        if not (folder / DONE).is_file() and inputs.are_in(started):
            progress.note("goes on from where it was interrupted")
            return
        old = folder.with_name(f"{folder.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
        progress.note(
            f"begins anew, since the recipe, what it names or an earlier stage has changed; what was there is in "
            f"{old.name}/"
        )
    write_json(started, inputs.to_dict())


def _alone(value: bool | None) -> bool | None:
    """As `_agreed`, in the only process that there is, or that this concerns."""
    return value


def _agreed(value: bool | None) -> bool | None:
    """The first process's value, in all of them; they wait for one another here."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return value
    from accelerate import PartialState
    from accelerate.utils import broadcast_object_list

    # A stage that one process runs alone, as reading text, may keep the others waiting for hours.
    PartialState(cpu=compute_device() == CPU, timeout=timedelta(days=3))
    box = [value]
    broadcast_object_list(box)
    return box[0]


def _lock(root: Path) -> AbstractContextManager[object]:
    lock = FileLock(root / LOCK, timeout=0)
    try:
        return lock.acquire()
    except Timeout as error:
        raise UserError(f"{root} is being run by another process. Wait for it, or take another folder.") from error
