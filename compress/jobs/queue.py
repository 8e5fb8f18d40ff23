"""The queue as a worker sees it: job after job of the ledger, each looked after by one worker at a time."""

from __future__ import annotations

import logging
import os
import time

from compress.jobs import storage
from compress.jobs.following import follow
from compress.jobs.launchers import is_on_hub
from compress.jobs.ledger import Job, Ledger, get_ledger
from compress.jobs.supervisor import supervise
from compress.jobs.workers import get_workers
from zoo.settings import get_settings

log = logging.getLogger(__name__)

POLL = 0.5  # seconds between looks into the ledger


def serve(idle: float | None = None) -> None:
    """A worker: runs job after job until it is ended, or for `idle` seconds there was none.

    Raises:
        UserError: a worker runs already and no Postgres is shared, the Postgres cannot be reached, or the home cannot
            hold a queue.
    """
    storage.check(get_settings().home)
    ledger, workers = get_ledger(), get_workers()
    ledger.connect()
    while True:
        with workers.on_duty():
            log.info("worker, process %d", os.getpid())
            _work(ledger, idle)
        # Who submitted before this line saw a worker and relies on it.
        if not any(job.is_open for job in ledger.jobs()):
            log.info("worker: nothing to do")
            return


def run_next(ledger: Ledger) -> Job | None:
    """Sees the job whose turn it is, of those that nobody looks after, to its end; those on the Hub beside it.

    Returns:
        The job as it then stands, or None where there was none.
    """
    for job in ledger.waiting():
        if is_on_hub(job.launcher):
            follow(ledger, job)
            continue
        with ledger.claim(job) as claim:
            if claim:
                return supervise(ledger, claim)
    return None


def _work(ledger: Ledger, idle: float | None) -> None:
    busy, told = time.monotonic(), ""
    while idle is None or time.monotonic() - busy <= idle:
        if not get_settings().home.is_dir():
            log.error("worker: %s is gone, and with it every job", get_settings().home)
            return
        try:
            ledger.connect()
            if run_next(ledger):
                busy = time.monotonic()
                continue
            if any(job.is_open for job in ledger.jobs()):  # another worker's, which may die
                busy = time.monotonic()
        except Exception as error:  # a database that is gone for a while, a full disk: the next round may do better
            if told != (told := f"worker: {type(error).__name__}: {error}"):
                log.error("%s", told)
        time.sleep(POLL)
