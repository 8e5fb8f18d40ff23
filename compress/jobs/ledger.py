"""The one owner of a job's state: a small file a job, changed under a lock, read without any database.

What is queued is what these files say is queued, and whoever holds a job's claim looks after it. A claim is a lock in
the job's folder and, where workers of several machines share a Postgres, one there: it ends with its holder, however
that dies, so that nothing has to expire or to be cleaned up.
"""

from __future__ import annotations

import json
import logging
import re
import threading
import time
import uuid
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, TypedDict, Unpack

import yaml
from filelock import FileLock, Timeout

from compress.jobs.postgres import Session
from compress.recipe.kind import Kind
from compress.recipe.layout import JOB, PROGRESS
from compress.recipe.load import save
from compress.run.traces import latest_step
from zoo.errors import UserError
from zoo.files import write_json, write_text
from zoo.settings import get_settings

log = logging.getLogger(__name__)

STATES = ("queued", "running", "cancelling", "cancelled", "failed", "done", "ready to publish", "published")
OPEN = ("queued", "running", "cancelling")
CHANGE, CLAIM = ".job.lock", ".worker.lock"  # held while the file is changed; by who looks after the job
SUBMITTED = ".submitted.json"  # the job as it was submitted, for when its file is broken
PATIENCE = 10.0  # seconds that a change waits for another
BROKEN = "Its job.json was broken, so how it ended is not known. Retry it: it goes on from what it has made."
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
        created, queued, started, ended: seconds since 1970; `queued` and `started` are of the last attempt.
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
    process: dict[str, object] | None = None
    queued: float | None = None

    @property
    def is_open(self) -> bool:
        """Whether it waits or runs."""
        return self.state in OPEN

    @property
    def is_broken(self) -> bool:
        """Whether its file cannot be read, and this is what is known without."""
        return self.reason == BROKEN

    @property
    def turn(self) -> tuple[bool, float, str]:
        """Sorts jobs by whose turn it is: what was interrupted, then what was queued first."""
        return self.state == "queued", self.queued or self.created, self.id

    def to_dict(self) -> dict[str, object]:
        """For JSON."""
        return {**asdict(self), "folder": str(self.folder)}


class Changes(TypedDict, total=False):
    """What may change of a job."""

    state: str
    reason: str
    queued: float
    started: float | None
    ended: float | None
    published: str
    attempt: int
    starts: int
    process: dict[str, object] | None


@dataclass(frozen=True)
class Claim:
    """The right to look after a job.

    Attributes:
        job: as it stood when it was claimed.
        is_ours: whether nobody else has it meanwhile, as may be after a server of Postgres was away.
    """

    job: Job
    is_ours: Callable[[], bool]


NEEDED = {"id", "name", "kind", "model", "owner", "launcher", "state", "reason", "created", "started", "ended"}
_DERIVED = ("folder", "stage", "step", "total", "eta_s")  # not in the file
_STORED = {field.name for field in fields(Job)} - {*_DERIVED}
Stamp = tuple[int, ...]


class Busy(UserError):
    """A job that another program keeps from being changed."""


class Ledger:
    """The jobs of a home.

    Args:
        home: of runs and jobs.
        session: of the Postgres that workers share, if they do.
    """

    def __init__(self, home: Path, session: Session | None = None):
        self.root = home / "jobs"
        self._session = session
        self._cache: dict[Path, tuple[Stamp, Job]] = {}
        self._threads = threading.Lock()  # a file lock is for processes

    def create(self, recipe: Kind, name: str, owner: str, launcher: str) -> Job:
        """A new queued job with its folder and recipe; it can be seen once all of it is written."""
        job_id = uuid.uuid4().hex[:8]
        folder = self.root / job_id
        folder.mkdir(parents=True)
        save(recipe, folder / "recipe.yaml")
        facts = {"kind": recipe.kind, "model": recipe.model, "owner": owner, "launcher": launcher}
        now = time.time()
        times = {"created": now, "queued": now, "started": None, "ended": None}
        row = {"id": job_id, "name": name, **facts, "state": "queued", "reason": "", **times, "published": None}
        write_json(folder / SUBMITTED, row)
        write_json(folder / JOB, row)
        return self.read(job_id)

    def read(self, job_id: str) -> Job:
        """The job as it stands.

        Raises:
            UserError: there is no such job.
        """
        job = self._read(self.root / job_id) if ID.fullmatch(job_id) else None
        if job is None:
            raise UserError(f"There is no job {job_id}. `python -m compress jobs` lists them.")
        return job

    def has(self, job_id: str) -> bool:
        """Whether there is a job of this id."""
        return bool(ID.fullmatch(job_id)) and (self.root / job_id / JOB).is_file()

    def jobs(self) -> list[Job]:
        """All jobs, newest first. What has not changed since the last call is not read again."""
        folders = [path for path in self.root.glob("????????") if ID.fullmatch(path.name)] if self.root.is_dir() else []
        jobs = [job for job in map(self._read, folders) if job]
        return sorted(jobs, key=lambda job: (job.created, job.id), reverse=True)

    def change(self, job_id: str, among: Iterable[str] = STATES, **changes: Unpack[Changes]) -> Job | None:
        """Changes a job if its state is one of `among`.

        Returns:
            The changed job, or None where its state was another.

        Raises:
            UserError: there is no such job, another program keeps it, or the Postgres that workers share cannot be
                reached.
        """
        folder = self.read(job_id).folder
        with self._locked(folder):
            try:
                row = _row_in(folder)
            except (OSError, ValueError):
                row = _row_of(self.read(job_id))
            if row["state"] not in tuple(among):
                return None
            row |= changes
            write_json(folder / JOB, row)
        return _made(folder, row)

    def mend(self, job: Job) -> None:
        """Writes a job's file anew, as it stood when it was last read, where it is broken now."""
        with self._locked(job.folder):
            if self.read(job.id).is_broken:
                write_json(job.folder / JOB, _row_of(job))

    @property
    def is_gone(self) -> bool:
        """Whether the folder of jobs that were seen here is not there any more."""
        return bool(self._cache) and not self.root.is_dir()

    def connect(self) -> None:
        """Raises UserError where the Postgres that workers share cannot be reached."""
        if self._session:
            self._session.connect()

    def close(self) -> None:
        """Ends the connection to Postgres."""
        if self._session:
            self._session.close()

    def waiting(self) -> list[Job]:
        """The jobs that somebody has to look after, by whose turn it is."""
        jobs = sorted((job for job in self.jobs() if job.is_open), key=lambda job: job.turn)
        if self._session and not self._session.is_calm():  # whoever looks after one takes the lock anew first
            return [job for job in jobs if job.state == "queued"]
        return jobs

    @contextmanager
    def claim(self, job: Job) -> Generator[Claim | None]:
        """Holds the right to look after a job; None where somebody else has it, or the job has ended."""
        with ExitStack() as locks:
            yield self._claim(job, locks)

    def _claim(self, job: Job, locks: ExitStack) -> Claim | None:
        try:
            locks.enter_context(FileLock(job.folder / CLAIM, timeout=0))
        except Timeout:
            return None
        name, session = f"run {job.id}", self._session
        if session:
            if not session.take(name):
                return None
            locks.callback(session.release, name)
        job = self.read(job.id)
        return Claim(job, lambda: session is None or session.holds(name)) if job.is_open else None

    @contextmanager
    def _locked(self, folder: Path) -> Generator[None]:
        """While nobody else changes the job of this folder; raises Busy where somebody does for too long."""
        name, lock = folder.name, folder / CHANGE
        try:
            with ExitStack() as locks:
                locks.enter_context(self._threads)
                locks.enter_context(FileLock(lock, timeout=PATIENCE))
                locks.enter_context(self._alone(f"change {name}"))
                yield
        except Timeout:
            raise Busy(f"Job {name} cannot be changed: another program holds {lock}. End that, or try again.") from None

    @contextmanager
    def _alone(self, name: str) -> Generator[None]:
        """Within a lock of the shared Postgres, if there is one."""
        if self._session is None:
            yield
            return
        if not self._session.take(name, PATIENCE):
            raise Timeout(name)
        try:
            yield
        finally:
            self._session.release(name)

    def _read(self, folder: Path) -> Job | None:
        """The job of a folder, or None where it holds none; where its file is broken, what else is known of it."""
        progress, stamp = folder / PROGRESS, Stamp()
        try:
            file = (folder / JOB).stat()
            stamp = (file.st_mtime_ns, file.st_size, file.st_ino)
            with suppress(FileNotFoundError):
                lines = progress.stat()
                stamp = (*stamp, lines.st_mtime_ns, lines.st_size)
            cached = self._cache.get(folder)
            if cached and cached[0] == stamp:
                return cached[1]
            row = _row_in(folder)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError):
            log.warning("%s cannot be read; the job counts as failed, and can be retried", folder / JOB)
            row, stamp = _rebuilt(folder), stamp or (0,)
        job = _made(folder, row)
        self._cache[folder] = (stamp, job)
        return job


def _row_in(folder: Path) -> dict[str, Any]:
    """A job's file; raises OSError where it cannot be read, and ValueError where it is not whole."""
    try:
        row = json.loads((folder / JOB).read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError(f"{folder / JOB} is nested too deep") from error
    is_whole = isinstance(row, dict) and row.keys() >= NEEDED and isinstance(row["created"], int | float)
    if not is_whole or row["state"] not in STATES:
        raise ValueError(f"{folder / JOB} is not whole")
    return row


def _made(folder: Path, row: Mapping[str, Any]) -> Job:
    stored = {key: row[key] for key in row if key in _STORED}
    job = Job(**stored, folder=folder, **latest_step(folder / PROGRESS))
    return replace(job, eta_s=None) if job.state == "queued" else job


def _row_of(job: Job) -> dict[str, Any]:
    return {key: getattr(job, key) for key in sorted(_STORED)}


def _rebuilt(folder: Path) -> dict[str, Any]:
    """What is known of a job whose file is broken: what was submitted, else what its recipe says."""
    facts: dict[str, Any] = {"name": folder.name, "kind": "", "model": "", "owner": "", "launcher": "local"}
    facts |= {"created": folder.stat().st_mtime, "published": None}
    for path in (folder / "recipe.yaml", folder / SUBMITTED):
        with suppress(OSError, ValueError, yaml.YAMLError):
            document = yaml.safe_load(path.read_text(encoding="utf-8"))  # JSON is YAML
            if isinstance(document, dict):
                facts |= {key: document[key] for key in facts if isinstance(document.get(key), str | int | float)}
    times = {"queued": None, "started": None, "ended": facts["created"]}
    return {**facts, **times, "id": folder.name, "state": "failed", "reason": BROKEN}


def get_ledger() -> Ledger:
    """The ledger of the home that the settings name."""
    settings = get_settings()
    return _ledger(settings.home, settings.database_url)


@lru_cache(maxsize=4)
def _ledger(home: Path, url: str | None) -> Ledger:
    return Ledger(home, Session(url, _mark(home)) if url else None)


def _mark(home: Path) -> str:
    """What tells this home from others on the same Postgres, after a container came back with another name too."""
    path = home / "workers" / "home.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock"), timeout=PATIENCE):
        if not path.is_file():
            write_text(path, uuid.uuid4().hex[:8])
    return path.read_text(encoding="utf-8").strip()
