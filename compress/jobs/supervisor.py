"""One attempt of a job, from its start or from where an earlier worker left it, to its end."""

from __future__ import annotations

import logging
import os
import socket
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from compress.jobs import ledger
from compress.jobs.launchers import UNKNOWN, Handle, Launcher, launcher_of
from compress.jobs.ledger import Job
from compress.jobs.limits import Limits, Watch, kills_by_memory, lacking_space, reason_of
from compress.recipe.layout import LOCK
from compress.run import traces
from compress.run.run import register
from zoo.errors import UserError

log = logging.getLogger(__name__)

POLL = 0.25  # seconds between looks at a running job
MOST_STARTS = 5  # of one attempt: whoever takes the machine down so often is not started again
OWNER = ".worker.lock"  # held by the worker that looks after the job
RESERVE = ".reserve"  # given up where the disk is full, so that a job's end can be written down


def execute(job_id: str, attempt: int) -> str:
    """Sees an attempt of a job to its end; a second call, by whomever, waits and finds it ended.

    Returns:
        The state that the job ended in.
    """
    folder = ledger.read(job_id).folder
    with _held(folder / OWNER):
        job = ledger.read(job_id)
        if job.attempt != attempt or not job.is_open:
            return job.state
        try:
            return _attempt(job)
        except UserError as error:
            return _settle(job, "failed", str(error))
        except Exception as error:
            log.error("job %s:\n%s", job_id, traceback.format_exc())
            return _settle(job, "failed", f"The worker stopped with an error: {type(error).__name__}: {error}")


def _attempt(job: Job) -> str:
    launcher = launcher_of(job.launcher)
    before = kills_by_memory()
    handle = _adopted(job, launcher)
    if handle is None:
        if job.state == "cancelling":
            return _settle(job, "cancelled")
        if job.starts >= MOST_STARTS:
            return _settle(job, "failed", f"It was interrupted {job.starts} times while it ran, with its worker.")
        if not _room(job):
            return ledger.read(job.id).state
        started = job.started or time.time()
        running = ledger.change(job.id, ("queued", "running"), state="running", reason="", started=started)
        if running is None:
            return _settle(job, "cancelled")
        with suppress(OSError):
            (job.folder / RESERVE).write_bytes(bytes(65_536))
        handle = launcher.start(job.folder)
        facts = {**handle.facts, "host": socket.gethostname(), "since": time.time()}
        _persist(job.folder, lambda: ledger.change(job.id, process=facts, starts=job.starts + 1))
    try:
        return _watched(ledger.read(job.id), handle, before)
    except BaseException:
        handle.stop()  # whoever cannot be looked after does not run
        raise


def _watched(job: Job, handle: Handle, killed_before: int) -> str:
    watch = Watch(job.folder, (job.process or {}).get("since", time.time()), Limits.of_settings())
    stopped = None  # the state and the reason that we gave it
    while (code := handle.poll()) is None:
        if ledger.read(job.id).state == "cancelling":
            stopped = ("cancelled", "")
        elif excess := watch.exceeded(handle.memory):
            stopped = ("failed", excess)
        if stopped:
            handle.stop()
            break
        time.sleep(POLL)
    if _finished(job, code):
        if not traces.entries(job.folder):
            return _settle(job, "done")
        register(job.folder, job.owner)  # the run has done so, but does not know whose it is
        return _settle(job, "ready to publish")
    if stopped or ledger.read(job.id).state == "cancelling":
        return _settle(job, *(stopped or ("cancelled", "")))
    killed = kills_by_memory() > killed_before
    return _settle(job, "failed", reason_of(job.folder, None if code == UNKNOWN else code, killed))


def _adopted(job: Job, launcher: Launcher) -> Handle | None:
    """The process that an earlier worker started for this attempt, if it still runs."""
    facts: dict[str, Any] = job.process or {}
    if not facts or ("pid" in facts and facts.get("host") != socket.gethostname()):
        return None
    return launcher.adopt(job.folder, facts)


def _room(job: Job) -> bool:
    """Waits, told in the job's reason, for disk space and for whoever else runs this folder; False once it is ended."""
    while True:
        lack = lacking_space()
        if lack is None and _is_held(job.folder / LOCK):
            lack = "Another process runs this folder."
        now = ledger.read(job.id)
        if now.state == "cancelling":
            _settle(job, "cancelled")
        if now.state not in ("queued", "running"):
            return False
        reason = f"Waits. {lack}" if lack else ""
        if now.reason != reason:
            _persist(job.folder, lambda reason=reason: ledger.change(job.id, ("queued", "running"), reason=reason))
        if lack is None:
            return True
        time.sleep(2)


def _finished(job: Job, code: int | None) -> bool:
    """Whether the run came to its end: it writes `result.json` last of all."""
    result, since = job.folder / "result.json", (job.process or {}).get("since", 0)
    return code in (0, UNKNOWN) and result.is_file() and result.stat().st_mtime >= since - 1


def _settle(job: Job, state: str, reason: str = "") -> str:
    log.info("job %s (%s): %s %s", job.id, job.name, state, reason)
    ended = {"state": state, "reason": reason, "ended": time.time(), "process": None}
    _persist(job.folder, lambda: ledger.change(job.id, ledger.OPEN, **ended))
    (job.folder / RESERVE).unlink(missing_ok=True)
    return state


def _persist(folder: Path, write: Callable[[], Any]) -> None:
    """Writes to a job's file, again and again where the disk is full: a worker outlives that."""
    while True:
        try:
            write()
            return
        except OSError as error:
            log.error("the state of job %s cannot be written: %s", folder.name, error)
            if (folder / RESERVE).is_file():
                (folder / RESERVE).unlink()
            else:
                time.sleep(2)


@contextmanager
def _held(path: Path) -> Iterator[None]:
    with FileLock(path):
        yield


def _is_held(path: Path) -> bool:
    if not path.exists():
        return False
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:
        return os.path.exists(path)
