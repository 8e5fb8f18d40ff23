"""Jobs in the background: submitted here, run by a worker, the same from the page and from the command line."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from itertools import repeat
from pathlib import Path
from typing import Any

from compress.data import uploads
from compress.jobs import keys, storage
from compress.jobs.estimate import check_data, disk_gib
from compress.jobs.following import follow, take_up
from compress.jobs.launchers import is_on_hub, launcher_of
from compress.jobs.ledger import Changes, Job, get_ledger
from compress.jobs.limits import GIB, check_space
from compress.jobs.workers import get_workers
from compress.recipe import heard, layout
from compress.recipe.kind import Kind, missing
from compress.recipe.load import expanded
from compress.recipe.place import absolute, owned, refuse_paths
from compress.run import traces
from zoo.errors import UserError
from zoo.settings import get_settings

log = logging.getLogger(__name__)

SOON = 60.0  # seconds after which a job that nobody looks at is told
FAILED_STARTS, LONGEST_PAUSE = 3, 600.0
KILLED_PAUSE = 60.0  # the longest, where workers were killed: nothing is wrong with them
NO_TOKEN = "Machines of the Hub are paid by an account: sign in with `hf auth login` first, or on the page."


def submit(recipe: Kind, name: str = "", owner: str = "", launcher: str = "local", token: str | None = None) -> Job:
    """Queues a recipe and sees to it that a worker runs.

    Args:
        recipe: see `compress.recipe.load.load`.
        name: what to call it; by default the recipe's kind.
        owner: whose it is.
        launcher: see `compress.jobs.launchers.launcher_of`.
        token: of the Hub, for a job that runs there; kept in this process's memory alone. Without one a worker needs
            this machine's.

    Raises:
        UserError: no such launcher, no token for one of the Hub's, something that is not installed, too little disk
            space, a full queue, or a queue that cannot be reached.
    """
    if is_on_hub(launcher) and not (token or keys.token_of("")):
        raise UserError(NO_TOKEN)
    launcher_of(launcher).check()
    storage.check(get_settings().home)
    check(recipe, owner)
    _check_queue(owner)
    check_space(GIB * disk_gib(recipe))
    ledger = get_ledger()
    ledger.connect()
    try:
        job = ledger.create(absolute(recipe), name or recipe.kind, owner, launcher)
    except OSError as error:
        home, why = get_settings().home, error.strerror or error
        raise UserError(f"The job cannot be written to {home}: {why}. Check its rights and the disk.") from error
    return _see_to(job, token)


def jobs(owner: str | None = None, limit: int | None = None) -> list[Job]:
    """All jobs, or those of one owner; newest first."""
    return [job for job in get_ledger().jobs() if owner in (None, job.owner)][:limit]


def find(job_id: str) -> Job:
    """The job of this id.

    Raises:
        UserError: there is none.
    """
    return get_ledger().read(job_id)


def cancel(job_id: str, token: str | None = None) -> Job:
    """Cancels a job: at once while it waits, within ten seconds while it runs. What it has made stays.

    Args:
        job_id: of the job.
        token: as of `submit`.

    Raises:
        UserError: there is no such job.
    """
    ledger = get_ledger()
    if job := ledger.change(job_id, ("queued",), state="cancelled", reason="", ended=time.time()):
        return job
    if job := ledger.change(job_id, ("running",), state="cancelling", reason=""):
        _look_after(job, token)  # only who looks after it ends the process
    return find(job_id)


def retry(job_id: str, token: str | None = None) -> Job:
    """Queues a failed or cancelled job again; it goes on from what it has made, on the Hub from the beginning.

    Args:
        job_id: of the job.
        token: as of `submit`.

    Raises:
        UserError: there is no such job, it has not failed, or it does not fit on the disk or in the queue any more.
    """
    job = find(job_id)
    ended = ("failed", "cancelled")
    if job.state not in ended:
        raise UserError(f"Job {job_id} is {job.state}: only a failed or cancelled one can be retried.")
    launcher_of(job.launcher).check()
    _check_queue(job.owner)
    check_space(0)
    ledger = get_ledger()
    ledger.connect()
    fresh: Changes = {"state": "queued", "reason": "", "started": None, "ended": None, "process": None, "starts": 0}
    fresh |= {"queued": time.time(), "attempt": job.attempt + 1}
    again = ledger.change(job_id, ended, **fresh)
    return _see_to(again, token) if again else find(job_id)  # somebody else was faster


def follow_on_hub(owner: str, token: str) -> list[str]:
    """Goes on with what somebody has running on the Hub, as after a restart; returns the ids of these jobs."""
    return take_up(get_ledger(), owner, token)


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
    storage.check(get_settings().home)
    get_workers().start()
    for job in jobs():
        if job.is_open and is_on_hub(job.launcher):
            follow(get_ledger(), job)
    thread = threading.Thread(target=watch_over, args=(every,), daemon=True, name="keep-worker")
    thread.start()
    return thread


def watch_over(every: float, looks: Iterable[object] = repeat(None)) -> None:
    """Starts a worker whenever none lives and there is something to do, ever more rarely where they end at once."""
    starts, longest = 0, LONGEST_PAUSE  # in a row: of workers that were gone at the next look
    for _ in looks:
        time.sleep(pause(every, starts, longest))
        with suppress(Exception):  # a full disk, a lock that is held: the next look may do better
            is_needed, workers = any(job.is_open for job in jobs()), get_workers()
            if is_needed and workers.alive() is None:
                storage.check(get_settings().home)  # where nothing can be written, no worker is to blame
            starts = starts + 1 if is_needed and workers.start() else 0
            longest = KILLED_PAUSE if workers.was_killed else LONGEST_PAUSE
            if starts == FAILED_STARTS:
                log.error("Workers end as soon as they are started. %s", _last_words())


def pause(every: float, starts: int, longest: float = LONGEST_PAUSE) -> float:
    """Seconds to wait before a worker is started again after so many that ended at once, `longest` at most."""
    return min(every * 2 ** max(0, min(starts, 20) - 1), max(every, longest))


def illness() -> str:
    """What keeps jobs from running or being seen, in sentences that say what to do; empty where nothing does."""
    settings, ledger = get_settings(), get_ledger()
    if ledger.is_gone:
        return f"{ledger.root}, where jobs are kept, is gone. Bring the folder back; new jobs begin a new one."
    try:
        storage.check(settings.home)
    except UserError as error:
        return str(error)
    waiting = [job for job in jobs() if job.is_open and time.time() - (job.queued or job.created) > SOON]
    waiting = [job for job in waiting if not is_on_hub(job.launcher)]
    if waiting and not settings.database_url and get_workers().alive() is None:
        count = "1 job waits," if len(waiting) == 1 else f"{len(waiting)} jobs wait,"
        return (
            f"{count} and no worker runs. Start one and see what it says: `python -m compress worker`. {_last_words()}"
        )
    return ""


def _check_queue(owner: str) -> None:
    """Raises UserError where the queue is full, or has as many jobs of a person as one may have."""
    waiting, settings = [job for job in jobs() if job.is_open], get_settings()
    if len(waiting) >= settings.queue_limit:
        raise UserError(f"The queue is full: {len(waiting)} jobs wait or run. Try again when some have ended.")
    own = sum(job.owner == owner for job in waiting)
    if settings.owner_limit and own >= settings.owner_limit:
        raise UserError(f"You have {own} jobs that wait or run, as many as one may. Cancel one, or wait.")


def _see_to(job: Job, token: str | None) -> Job:
    """Has somebody look after a job, and returns it; raises UserError that says that it waits all the same."""
    try:
        _look_after(job, token)
    except UserError as error:
        raise UserError(f"Job {job.id} is queued, but nobody runs it yet. {error}") from error
    return job


def _look_after(job: Job, token: str | None) -> None:
    """Starts a worker where none runs; a job on the Hub is followed here where a token was given."""
    if token and is_on_hub(job.launcher):
        keys.hold(job.id, token)
        follow(get_ledger(), job)
    else:
        get_workers().start()


def _last_words() -> str:
    """The last line of what workers said."""
    said = [line for line in traces.tail(get_workers().log, 20).splitlines() if line.strip()]
    return f"The last one's last words: {said[-1][:300]}" if said else ""


def check(recipe: Kind, owner: str = "") -> None:
    """Raises UserError for what would fail at once or hours later and could have been known, and on a Space for what is
    not its owner's to name: what the page's Check, `compress check` and submitting all ask."""
    if get_settings().on_space:
        refuse_paths(type(recipe), recipe.model_dump(), uploads.folder(owner))
    ready = owned(expanded(recipe), owner)
    if lacking := missing(heard.said_by(ready, heard.said_of(recipe))):
        raise UserError(lacking)
    check_data(ready)
