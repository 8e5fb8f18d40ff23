"""Jobs on the Hub are followed beside all others, so that none keeps this machine's own jobs waiting.

Each has a thread, in whichever process has the token.
"""

from __future__ import annotations

import logging
import threading
import time

from compress.jobs import keys
from compress.jobs.launchers import is_on_hub
from compress.jobs.ledger import OPEN, Claim, Job, Ledger
from compress.jobs.supervisor import supervise
from zoo.settings import get_settings

log = logging.getLogger(__name__)

HERE = "Waits for a token of the Hub. Sign in with `hf auth login` on this machine."
SPACE = "Waits for the one who started it: sign in and look at the tab Jobs."
TRIES, BETWEEN = 10, 0.3  # whoever only says that a token is missing holds the claim for a moment
_threads: dict[str, threading.Thread] = {}
_lock = threading.Lock()


def follow(ledger: Ledger, job: Job) -> threading.Thread | None:
    """Looks after a job on the Hub from now on, in a thread; without a token the job says what it waits for.

    Returns:
        The thread, None where there is no token.
    """
    if keys.token_of(job.id) is None:
        _tell(ledger, job)
        return None
    with _lock:
        thread = _threads.get(job.id)
        if thread is None or not thread.is_alive():
            thread = threading.Thread(target=_follow, args=(ledger, job), daemon=True, name=f"job {job.id} on the Hub")
            _threads[job.id] = thread
            thread.start()
    return thread


def take_up(ledger: Ledger, owner: str, token: str) -> list[str]:
    """Goes on with what somebody has running on the Hub, as after the app started anew; returns the jobs' ids."""
    mine = [job for job in ledger.jobs() if job.is_open and job.owner == owner and is_on_hub(job.launcher)]
    for job in mine:
        keys.hold(job.id, token)
        follow(ledger, job)
    return [job.id for job in mine]


def _follow(ledger: Ledger, job: Job) -> None:
    try:
        for _ in range(TRIES):
            with ledger.claim(job) as claim:
                if claim:
                    ledger.change(job.id, OPEN, reason="")
                    ours = Claim(ledger.read(job.id), lambda: claim.is_ours() and keys.token_of(job.id) is not None)
                    supervise(ledger, ours)
                    return
            if not ledger.read(job.id).is_open:
                return
            time.sleep(BETWEEN)
    except Exception:
        log.exception("job %s is not followed any more", job.id)


def _tell(ledger: Ledger, job: Job) -> None:
    reason = SPACE if get_settings().on_space else HERE
    if job.reason == reason:
        return
    with ledger.claim(job) as claim:
        if claim:  # else somebody else follows it
            ledger.change(job.id, OPEN, reason=reason)
