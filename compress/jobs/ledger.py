"""What is known of every job: one small file a job, changed under a lock, read without any database."""

from __future__ import annotations

import json
import re
import shutil
import threading
import time
import uuid
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from filelock import FileLock

from compress.recipe.load import save
from compress.run.traces import standing
from zoo.errors import UserError
from zoo.files import write_json
from zoo.settings import get_settings

STATES = ("queued", "running", "cancelling", "cancelled", "failed", "done", "ready to publish", "published")
OPEN = ("queued", "running", "cancelling")
FILE, LOCK = "job.json", ".job.lock"
ID = re.compile(r"[0-9a-f]{8}")


@dataclass(frozen=True)
class Job:
    """A recipe's run in the background.

    Attributes:
        id: safe as a folder's name.
        name: what people call it, such as the recipe's name.
        launcher: what starts its process, such as `local` or `torchrun:2`.
        state: one of STATES.
        reason: in plain words, why it failed or what it waits for.
        stage, step, total, eta_s: where the recipe stands; seconds left in this stage.
        created, started, ended: seconds since 1970; `started` is of the last attempt.
        folder: the run's folder.
        published: `owner/name@commit`.
        attempt: counts from 1; a retry is the next.
        starts: how often this attempt's process was started: more than once where the machine went down meanwhile.
        process: what the launcher finds it by.
    """

    id: str
    name: str
    kind: str
    model: str
    owner: str
    launcher: str
    state: str
    reason: str
    stage: str | None
    step: int
    total: int
    eta_s: float | None
    created: float
    started: float | None
    ended: float | None
    folder: Path
    published: str | None
    attempt: int = 1
    starts: int = 0
    process: dict[str, Any] | None = None

    @property
    def is_open(self) -> bool:
        """Whether it waits or runs."""
        return self.state in OPEN

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "folder": str(self.folder)}


_DERIVED = ("folder", "stage", "step", "total", "eta_s")  # not in the file
_KNOWN = {field.name for field in fields(Job)} - {*_DERIVED}
_cache: dict[Path, tuple[tuple, Job]] = {}
_threads = threading.Lock()  # a file lock is for processes


def root() -> Path:
    """The folder of all jobs."""
    return get_settings().home / "jobs"


def create(recipe: Any, name: str, owner: str, launcher: str) -> Job:
    """A new queued job with its folder and recipe; it can be seen once all of it is written."""
    job_id = uuid.uuid4().hex[:8]
    folder = root() / job_id
    folder.mkdir(parents=True)
    save(recipe, folder / "recipe.yaml")
    facts = {"kind": recipe.kind, "model": recipe.model, "owner": owner, "launcher": launcher}
    times = {"created": time.time(), "started": None, "ended": None}
    row = {"id": job_id, "name": name, **facts, "state": "queued", "reason": "", **times, "published": None}
    write_json(folder / FILE, row)
    return read(job_id)


def read(job_id: str) -> Job:
    """The job as it stands.

    Raises:
        UserError: there is no such job.
    """
    folder = root() / job_id
    found = _read(folder) if ID.fullmatch(job_id) else None
    if found is None:
        raise UserError(f"There is no job {job_id}. `python -m compress jobs` lists them.")
    return found


def everything() -> list[Job]:
    """All jobs, newest first. What has not changed since the last call is not read again."""
    folders = [path for path in root().glob("????????") if ID.fullmatch(path.name)] if root().is_dir() else []
    found = [job for job in map(_read, folders) if job]
    return sorted(found, key=lambda job: (job.created, job.id), reverse=True)


def change(job_id: str, among: Iterable[str] = STATES, **changes: Any) -> Job | None:
    """Changes a job if its state is one of `among`.

    Returns:
        The changed job, or None where its state was another.

    Raises:
        UserError: there is no such job.
    """
    folder = read(job_id).folder
    with _threads, FileLock(folder / LOCK, timeout=30):
        row = json.loads((folder / FILE).read_text(encoding="utf-8"))
        if row["state"] not in tuple(among):
            return None
        write_json(folder / FILE, {**row, **changes})
    return read(job_id)


def remove(job_id: str) -> None:
    """Takes back a job that could not be queued."""
    shutil.rmtree(read(job_id).folder)


def _read(folder: Path) -> Job | None:
    """The job of a folder, or None where it holds none that is whole."""
    try:
        about = (folder / FILE).stat()
        told = folder / "progress.jsonl"
        more = told.stat() if told.exists() else None
        stamp = (about.st_mtime_ns, about.st_size, about.st_ino, more and (more.st_mtime_ns, more.st_size))
        known = _cache.get(folder)
        if known and known[0] == stamp:
            return known[1]
        row = json.loads((folder / FILE).read_text(encoding="utf-8"))
        job = Job(**{key: row[key] for key in row if key in _KNOWN}, folder=folder, **standing(told))
    except (OSError, ValueError, TypeError):
        return None
    if job.state == "queued":
        job = replace(job, eta_s=None)
    _cache[folder] = (stamp, job)
    return job
