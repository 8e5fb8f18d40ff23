"""A home of its own for jobs, and jobs that cost nothing: what they do is a shell script in that home."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from compress.jobs import launchers
from compress.jobs.ledger import Job, get_ledger
from compress.jobs.supervisor import supervise
from compress.jobs.workers import Workers
from zoo.settings import get_settings

CANARY = "hf_canaryCANARYcanary0123456789"  # stands for a secret
ROOT = Path(__file__).parents[3]
# As `compress run` does it: by the name of its start.
FINISH = 'printf "{\\"attempt\\": \\"%s\\"}" "$(cat "$1/.attempt")" > "$1/result.json"\n'
WORKER = """
from compress.jobs import queue
from tests.compress.jobs import jobs_kit
jobs_kit.fake()
queue.POLL = 0.1
queue.serve({idle})
"""


def fake() -> None:
    """Adds the launcher `fake`: `sh HOME/fake.sh FOLDER`."""
    launchers.LAUNCHERS["fake"] = lambda: launchers.Local(
        lambda folder: ["sh", str(folder.parents[1] / "fake.sh"), str(folder)]
    )


@contextmanager
def home_of(folder: Path) -> Iterator[pytest.MonkeyPatch]:
    """Makes a folder the home, with fake jobs and without a worker; whoever needs one starts it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BUDGET_ZOO_HOME", str(folder))
        patch.setenv("BUDGET_ZOO_SPARE_DISK_GIB", "0.001")
        patch.setattr(Workers, "start", lambda self: None)
        fake()
        get_settings.cache_clear()
        yield patch
        get_ledger().close()
    get_settings.cache_clear()


def run_it(job: Job) -> Job:
    """What a worker does with a job, if nobody else looks after it; the job as it then stands."""
    ledger = get_ledger()
    with ledger.claim(job) as claim:
        if claim:
            supervise(ledger, claim)
    return ledger.read(job.id)


def script(home: Path, text: str) -> None:
    """What fake jobs do; `$1` is the job's folder."""
    (home / "fake.sh").write_text(text)


def start_worker(home: Path, idle: float | None = None, **more: str) -> subprocess.Popen[bytes]:
    """A worker that knows fake jobs; it ends with the test that started it, if that ends it."""
    environment = {**os.environ, "BUDGET_ZOO_HOME": str(home), "PYTHONPATH": str(ROOT), **more}
    code = WORKER.format(idle=idle)
    with (home / "worker.log").open("ab") as log:
        return subprocess.Popen([sys.executable, "-c", code], env=environment, cwd=home, stdout=log, stderr=log)


def until(true: Callable[[], Any], what: str = "", seconds: float = 120) -> Any:
    """Waits for something; the limit is for what never comes."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := true():
            return found
        time.sleep(0.05)
    raise AssertionError(f"waited in vain for {what or true}")


def lives(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
