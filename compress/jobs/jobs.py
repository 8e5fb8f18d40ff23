"""Jobs in the background: submitted here, run by a worker, the same from the page and from the command line."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

from compress.jobs.estimate import disk_gib
from compress.jobs.launchers import launcher_of
from compress.jobs.ledger import Changes, Job, get_ledger
from compress.jobs.limits import GIB, check_space
from compress.jobs.workers import get_workers
from compress.recipe import layout
from compress.recipe.kind import Kind, missing
from compress.recipe.load import expanded
from compress.recipe.place import absolute, on_disk, places
from compress.run import traces
from zoo.errors import UserError
from zoo.settings import get_settings


def submit(recipe: Kind, name: str = "", owner: str = "", launcher: str = "local") -> Job:
    """Queues a recipe and sees to it that a worker runs.

    Args:
        recipe: see `compress.recipe.load.load`.
        name: what to call it; by default the recipe's kind.
        owner: whose it is.
        launcher: see `compress.jobs.launchers.launcher_of`.

    Raises:
        UserError: no such launcher, something that is not installed, too little disk space, a full queue, or a queue
            that cannot be reached.
    """
    launcher_of(launcher).check()
    check(recipe)
    waiting = [job for job in jobs() if job.is_open]
    settings = get_settings()
    if len(waiting) >= settings.queue_limit:
        raise UserError(f"The queue is full: {len(waiting)} jobs wait or run. Try again when some have ended.")
    own = sum(job.owner == owner for job in waiting)
    if settings.owner_limit and own >= settings.owner_limit:
        raise UserError(f"You have {own} jobs that wait or run, as many as one may. Cancel one, or wait.")
    check_space(GIB * disk_gib(recipe))
    ledger = get_ledger()
    ledger.connect()
    job = ledger.create(absolute(recipe), name or recipe.kind, owner, launcher)
    get_workers().start()
    return job


def jobs(owner: str | None = None, limit: int | None = None) -> list[Job]:
    """All jobs, or those of one owner; newest first."""
    return [job for job in get_ledger().jobs() if owner in (None, job.owner)][:limit]


def find(job_id: str) -> Job:
    """The job of this id.

    Raises:
        UserError: there is none.
    """
    return get_ledger().read(job_id)


def cancel(job_id: str) -> Job:
    """Cancels a job: at once while it waits, within ten seconds while it runs. What it has made stays.

    Raises:
        UserError: there is no such job.
    """
    ledger = get_ledger()
    if job := ledger.change(job_id, ("queued",), state="cancelled", reason="", ended=time.time()):
        return job
    if ledger.change(job_id, ("running",), state="cancelling", reason=""):
        get_workers().start()  # only a worker ends the process
    return find(job_id)


def retry(job_id: str) -> Job:
    """Queues a failed or cancelled job again; it goes on from what it has made.

    Raises:
        UserError: there is no such job, it has not failed, or it does not fit on the disk or in the queue any more.
    """
    job = find(job_id)
    ended = ("failed", "cancelled")
    if job.state not in ended:
        raise UserError(f"Job {job_id} is {job.state}: only a failed or cancelled one can be retried.")
    launcher_of(job.launcher).check()
    check_space(0)
    ledger = get_ledger()
    ledger.connect()
    fresh: Changes = {"state": "queued", "reason": "", "started": None, "ended": None, "process": None, "starts": 0}
    fresh |= {"queued": time.time(), "attempt": job.attempt + 1}
    again = ledger.change(job_id, ended, **fresh)
    if again:
        get_workers().start()
    return again or find(job_id)  # somebody else was faster


def logs(job_id: str, lines: int = 200) -> str:
    """The last lines of what the job's process said, "" before."""
    return traces.tail(find(job_id).folder / layout.LOG, lines)


def progress(job_id: str) -> list[dict[str, Any]]:
    """What the job told of its progress, at most 500 lines of each stage; see `compress.progress`."""
    return traces.progress(find(job_id).folder)


def stages(job_id: str) -> list[dict[str, Any]]:
    """The job's stages in order: `name`, `state` (done, running, waiting, failed), `seconds`, `result`."""
    job = find(job_id)
    return traces.stages(job.folder, job.kind, job.stage, job.state)


def sensitivity(job_id: str) -> dict[str, Any] | None:
    """What eight bits cost at each operator, where the job measured it; see `compress.run.traces.sensitivity`."""
    return traces.sensitivity(find(job_id).folder)


def results(job_id: str) -> list[Path]:
    """The folders of the entries that the job packaged, int8 ones first; [] before."""
    return traces.entries(find(job_id).folder)


def mark_published(job_id: str, repo_id: str, commit: str) -> Job:
    """Notes that what the job made is on the Hub.

    Raises:
        UserError: there is no such job, or it has made nothing yet.
    """
    among = ("ready to publish", "published")
    job = get_ledger().change(job_id, among, state="published", published=f"{repo_id}@{commit}")
    if job is None:
        raise UserError(f"Job {job_id} is {find(job_id).state}: it has nothing to publish.")
    return job


def keep_worker(every: float = 5.0) -> threading.Thread:
    """Starts a worker, and in the background anew whenever it has died and there is something to do."""

    def keep() -> None:
        while True:
            time.sleep(every)
            try:
                if any(job.is_open for job in jobs()):
                    get_workers().start()
            except Exception:  # a full disk, a lock that is held: the next round may do better
                continue

    get_workers().start()
    thread = threading.Thread(target=keep, daemon=True, name="keep-worker")
    thread.start()
    return thread


def check(recipe: Kind) -> None:
    """Raises UserError for what would fail at once or hours later, and could have been known."""
    expanded(recipe)
    if lacking := missing(recipe):
        raise UserError(lacking)
    if get_settings().on_space:
        home = get_settings().home.resolve()
        for _, name in places(type(recipe), recipe.model_dump()):
            path = on_disk(name)
            if path and not path.resolve().is_relative_to(home):
                raise UserError("On a Space, models and data come from the Hub or are uploaded: give no folder.")
