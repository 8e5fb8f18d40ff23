"""One attempt of a job, from its start or from where an earlier worker left it, to its end."""

from __future__ import annotations

import logging
import os
import socket
import time
import traceback
import uuid
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Unpack

from filelock import FileLock, Timeout

from compress.jobs.launcher import UNKNOWN, Handle, Launcher
from compress.jobs.launchers import Local, launcher_of
from compress.jobs.ledger import OPEN, Busy, Changes, Claim, Job, Ledger
from compress.jobs.limits import Limits, Watch, kills_by_memory, lacking_space, reason_of
from compress.jobs.postgres import Unreachable
from compress.recipe.layout import ATTEMPT, LOCK, RESULT
from compress.run import traces
from zoo.errors import UserError
from zoo.files import read_json, write_text

log = logging.getLogger(__name__)

POLL = 0.25  # seconds between looks at a running job
CHECK = 1.0  # seconds between looks whether the claim is still ours
RETRY = 2.0  # seconds between looks at what a job waits for
MOST_STARTS = 5  # of one attempt: whoever takes the machine down so often is not started again
RESERVE = ".reserve"  # given up where the disk is full, so that a job's end can be written down


def supervise(ledger: Ledger, claim: Claim) -> Job:
    """Sees an attempt of a job to its end, or to where another worker has claimed it.

    Returns:
        The job as it then stands.
    """
    attempt = _Attempt(ledger, claim)
    try:
        attempt.run()
    except UserError as error:
        attempt.end("failed", str(error))
    except Exception as error:
        log.error("job %s:\n%s", claim.job.id, traceback.format_exc())
        attempt.end("failed", f"The worker stopped with an error: {type(error).__name__}: {error}")
    return attempt.job


class _Attempt:
    """What a worker knows of the job that it looks after.

    Attributes:
        job: as it stands, by the last look or change.
    """

    def __init__(self, ledger: Ledger, claim: Claim):
        self.job = claim.job
        self._ledger, self._is_ours = ledger, claim.is_ours
        self._reserve = claim.job.folder / RESERVE

    def run(self) -> None:
        launcher = launcher_of(self.job.launcher)
        kills = kills_by_memory()
        handle = self._adopt(launcher)
        if handle is None and (self.job.process or {}).get("attempt") and self._is_finished(UNKNOWN):
            self._end_well()
            return
        handle = handle or self._start(launcher)
        if handle is None:
            return
        try:
            self._watch(handle, kills)
        except BaseException:
            handle.stop()  # whoever cannot be looked after does not run
            raise

    def end(self, state: str, reason: str = "") -> None:
        log.info("job %s (%s): %s %s", self.job.id, self.job.name, state, reason)
        self._change(OPEN, state=state, reason=reason, ended=time.time(), process=None)
        self._reserve.unlink(missing_ok=True)

    def _adopt(self, launcher: Launcher) -> Handle | None:
        """The process that an earlier worker started for this attempt, if it still runs."""
        facts = self.job.process
        if not facts or (isinstance(launcher, Local) and facts.get("host") != socket.gethostname()):
            return None
        return launcher.adopt(self.job.folder, facts)

    def _start(self, launcher: Launcher) -> Handle | None:
        """Starts the job's process; None where the job has ended instead."""
        job = self.job
        if job.state != "cancelling" and job.starts >= MOST_STARTS:
            self.end("failed", f"It was interrupted {job.starts} times while it ran, with its worker.")
            return None
        begun = job.started or time.time()
        if not self._wait() or not self._change(("queued", "running"), state="running", reason="", started=begun):
            if self.job.state == "cancelling":
                self.end("cancelled")
            return None
        with suppress(OSError):
            self._reserve.write_bytes(bytes(65_536))
        attempt = uuid.uuid4().hex
        write_text(job.folder / ATTEMPT, attempt)
        mine: dict[str, object] = {"host": socket.gethostname(), "since": time.time(), "attempt": attempt}
        # Told before there is one: where the worker dies in between, the next one looks for what it has started.
        self._change(process=mine, starts=self.job.starts + 1)
        handle = launcher.start(job.folder)
        self._change(process={**handle.facts, **mine})
        return handle

    def _wait(self) -> bool:
        """Waits, as the job's reason says, for disk space and whoever else runs this folder; False once it ended."""
        while self._look().state in ("queued", "running") and self._is_ours():
            lack = lacking_space()
            if lack is None and _is_locked(self.job.folder / LOCK):
                lack = "Another process runs this folder."
            reason = f"Waits. {lack}" if lack else ""
            if self.job.reason != reason:
                self._change(("queued", "running"), reason=reason)
            if lack is None:
                return True
            time.sleep(RETRY)
        return False

    def _watch(self, handle: Handle, kills: int) -> None:
        age = handle.age()
        since = self._since or time.time() if age is None else time.time() - age
        watch = Watch(self.job.folder, since, Limits.of_settings())
        stop: tuple[str, str] | None = None  # the state and the reason that we give it
        checked = time.monotonic()
        while (code := handle.poll()) is None:
            if self._look().state == "cancelling":
                stop = ("cancelled", "")
            elif excess := watch.exceeded(handle.memory):
                stop = ("failed", excess)
            if stop:
                handle.stop()
                break
            if time.monotonic() - checked >= CHECK:
                checked = time.monotonic()
                if not self._is_ours():
                    log.warning("job %s is another worker's now", self.job.id)
                    handle.leave()
                    return
            time.sleep(POLL)
        if self._is_finished(code):
            self._end_well()
        elif stop or self._look().state == "cancelling":
            self.end(*(stop or ("cancelled", "")))
        else:
            killed = kills_by_memory() > kills
            self.end("failed", reason_of(self.job.folder, None if code == UNKNOWN else code, killed))

    @property
    def _since(self) -> float:
        """When the process was started, in seconds since 1970."""
        since = (self.job.process or {}).get("since")
        return since if isinstance(since, float | int) else 0.0

    def _is_finished(self, code: int | None) -> bool:
        """Whether this start of the run came to its end, by its name: clocks may have been set meanwhile."""
        result = self.job.folder / RESULT
        if code not in (0, UNKNOWN) or not result.is_file():
            return False
        with suppress(UserError, AttributeError):
            return read_json(result).get("attempt") == (self.job.process or {}).get("attempt")
        return False

    def _end_well(self) -> None:
        self.end("ready to publish" if traces.entries(self.job.folder) else "done")

    def _look(self) -> Job:
        """The job as it stands: others may cancel it."""
        seen = self._ledger.read(self.job.id)
        if seen.is_broken:
            self._ledger.mend(self.job)
        else:
            self.job = seen
        return self.job

    def _change(self, among: Iterable[str] = OPEN, **changes: Unpack[Changes]) -> bool:
        """Changes the job, again and again where the disk is full or the database away: a worker outlives that.

        Returns:
            Whether its state was one of `among`.
        """
        told = ""
        while True:
            try:
                job = self._ledger.change(self.job.id, among, **changes)
                if job is None and self._ledger.read(self.job.id).is_broken:
                    self._ledger.mend(self.job)
                    continue
                self.job = job or self._ledger.read(self.job.id)
                return job is not None
            except (OSError, Unreachable, Busy) as error:
                if told != str(error):
                    log.error("the state of job %s cannot be written: %s", self.job.id, error)
                told = str(error)
                if self._reserve.is_file():
                    self._reserve.unlink()
                else:
                    time.sleep(RETRY)


def _is_locked(path: Path) -> bool:
    if not path.exists():
        return False
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:
        return os.path.exists(path)
