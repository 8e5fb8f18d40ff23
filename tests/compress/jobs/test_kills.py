"""What must hold whatever dies: no job is lost, none runs twice at once, and no step that was done is done again."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress

import pytest

from compress.jobs import jobs
from compress.recipe.load import load
from tests.compress.jobs import jobs_kit
from tests.compress.jobs.jobs_kit import FINISH, ROOT, script, until
from zoo.settings import get_settings

KILLS, JOBS, STEPS = 60, 14, 6
# A run of a few steps, each done once, in a folder that is locked meanwhile, as `compress run` does it.
RUN = """
exec 9>"$1/.lock"
flock -n 9 || { echo "$$" >> "$1/twice"; exit 1; }
for step in $(seq STEPS); do
    grep -qx "$step" "$1/steps" 2> /dev/null && continue
    sleep PAUSE
    echo "$step" >> "$1/steps"
done
"""
# Forks workers and apps, since sixty that are started afresh would take minutes.
NURSERY = """
import os, signal, sys, time
from compress.jobs import jobs, queue, supervisor
from compress.jobs.workers import Workers
from compress.recipe.load import load
from tests.compress.jobs import jobs_kit
jobs_kit.fake()
queue.POLL, supervisor.POLL, supervisor.RETRY, supervisor.CHECK = 0.05, 0.02, 0.2, 0.1
Workers.start = lambda self: None

def submit(count):
    recipe = load("static_int8")
    for name in map(str, range(count)):
        if name not in {{job.name for job in jobs.jobs()}}:
            print("submitted", jobs.submit(recipe, name, launcher="fake").id, file=sys.stderr, flush=True)
            time.sleep(0.1)
    while True:  # as the page does
        jobs.jobs()
        time.sleep(0.1)

signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for line in sys.stdin:
    pid = os.fork()
    if pid:
        print(pid, flush=True)
        continue
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.close(0)
    queue.serve() if line == "worker\\n" else submit({count})
    os._exit(0)
"""


@pytest.fixture
def home(tmp_path):
    with jobs_kit.home_of(tmp_path):
        yield tmp_path


def write_run(home, pause: float, more: str = "") -> None:
    script(home, RUN.replace("STEPS", str(STEPS)).replace("PAUSE", str(pause)) + FINISH + more)


class Nursery:
    """A process that forks workers and apps; what they say goes to `said.txt`."""

    def __init__(self, home, **more: str):
        environment = {**os.environ, "BUDGET_ZOO_HOME": str(home), "PYTHONPATH": str(ROOT), **more}
        code, self.said = NURSERY.format(count=JOBS), home / "said.txt"
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        with self.said.open("wb") as said:
            command = [sys.executable, "-c", code]
            self._process = subprocess.Popen(command, env=environment, cwd=home, stderr=said, **pipes)
        self._alive: set[int] = set()

    def start(self, what: str) -> int:
        assert self._process.stdin and self._process.stdout
        print(what, file=self._process.stdin, flush=True)
        pid = int(self._process.stdout.readline())
        self._alive.add(pid)
        return pid

    def close(self) -> None:
        for pid in (*self._alive, self._process.pid):
            kill(pid)
        with self._process:
            self._process.wait()


@pytest.fixture
def nursery(home):
    nurseries = []

    def start(**more: str) -> Nursery:
        nurseries.append(Nursery(home, **more))
        return nurseries[-1]

    yield start
    for each in nurseries:
        each.close()


def kill(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        return True
    return False


def kill_run() -> bool:
    """Kills the process of the job that runs, all of it."""
    for job in jobs.jobs():
        pid = (job.process or {}).get("pid")
        if isinstance(pid, int):
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
                return True
    return False


def retry_failed() -> None:
    """What a person does about a run that was killed."""
    for job in jobs.jobs():
        if job.state == "failed":
            reasons = ("killed from outside", "exit status unknown", "was interrupted")
            assert any(reason in job.reason for reason in reasons), job.reason
            jobs.retry(job.id)


def all_done(count: int) -> bool:
    retry_failed()
    return len(jobs.jobs()) == count and all(job.state == "done" for job in jobs.jobs())


def check_steps() -> None:
    for job in jobs.jobs():
        assert (job.folder / "steps").read_text().split() == [str(n + 1) for n in range(STEPS)], job
        assert not (job.folder / "twice").exists(), job


def test_sixty_kills_of_workers_runs_and_apps_lose_nothing_and_run_nothing_twice(home, nursery):
    write_run(home, 0.15)
    start, luck = nursery(), random.Random(15)
    worker, app = start.start("worker"), start.start("app")
    until(lambda: any(job.process for job in jobs.jobs()), "the first start")
    kills: Counter[str] = Counter()
    while kills.total() < KILLS:
        time.sleep(luck.uniform(0, 0.2))
        retry_failed()
        assert not all_done(JOBS), f"all was done after {kills}"
        victim = luck.choice(["worker", "worker", "run", "app"])
        if victim == "run":
            kills[victim] += kill_run()
        elif victim == "worker":
            kills[victim] += kill(worker)
            worker = start.start("worker")
        else:
            kills[victim] += kill(app)
            app = start.start("app")
    until(lambda: all_done(JOBS), "the end", 120)
    assert min(kills.values()) > 5, kills
    check_steps()
    assert sorted(int(job.name) for job in jobs.jobs()) == list(range(JOBS))
    submitted = {line.split()[1] for line in start.said.read_text().splitlines() if line.startswith("submitted")}
    assert submitted <= {job.id for job in jobs.jobs()}


def test_two_workers_share_forty_jobs_through_a_postgres_that_restarts(home, nursery, postgres, monkeypatch):
    monkeypatch.setenv("BUDGET_ZOO_DATABASE_URL", postgres.url)
    get_settings.cache_clear()
    write_run(home, 0.02, 'echo "$PPID" >> "$1/by"\n')
    for number in range(40):
        jobs.submit(load("static_int8"), str(number), launcher="fake")
    start = nursery(BUDGET_ZOO_DATABASE_URL=postgres.url)
    pair = {start.start("worker"), start.start("worker")}
    for share in (10, 25):
        until(lambda share=share: sum(job.state == "done" for job in jobs.jobs()) >= share, "a share of the jobs")
        postgres.restart()
    until(lambda: all_done(40), "the end", 120)
    check_steps()
    assert all(job.starts == job.attempt == 1 for job in jobs.jobs())
    assert {int((job.folder / "by").read_text()) for job in jobs.jobs()} == pair, "each job once, by one of the two"
