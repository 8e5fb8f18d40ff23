"""The durable queue with real workers, some of them killed; alone and, where it is installed, through a Postgres."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from compress.jobs import jobs, queue, supervisor
from compress.jobs.ledger import get_ledger
from compress.jobs.postgres import Session
from compress.jobs.workers import get_workers
from compress.recipe.layout import JOB
from compress.recipe.load import load
from tests.compress.jobs import jobs_kit
from tests.compress.jobs.jobs_kit import CANARY, FINISH, ROOT, lives, script, start_worker, until
from zoo import catalog
from zoo.errors import UserError
from zoo.files import read_json, write_json
from zoo.settings import get_settings


@pytest.fixture
def home(tmp_path):
    """A home whose workers this module starts itself."""
    with jobs_kit.home_of(tmp_path):
        yield tmp_path


@pytest.fixture
def workers(home):
    """Starts workers and ends them and their jobs."""
    started = []

    def start(**more):
        started.append(start_worker(home, **more))
        return started[-1]

    yield start
    for process in started:
        for one in psutil.Process(process.pid).children(recursive=True) if process.poll() is None else ():
            one.kill()
        process.kill()
        process.wait()


def submit(name="mine", launcher="fake", changes=()):
    return jobs.submit(load("static_int8", changes), name, launcher=launcher)


def ended(*made):
    return lambda: all(not jobs.find(job.id).is_open for job in made)


def test_fifty_jobs_run_in_order_and_one_at_a_time(home, workers):
    script(
        home, 'echo "+$(basename "$1")" >> "$1/../../order"\necho "-$(basename "$1")" >> "$1/../../order"\n' + FINISH
    )
    made = [submit(str(n)) for n in range(50)]
    workers()
    until(ended(*made), "fifty jobs", 240)
    assert {jobs.find(job.id).state for job in made} == {"done"}
    assert (home / "order").read_text().split() == [f"{sign}{job.id}" for job in made for sign in "+-"]


def test_a_killed_worker_costs_nothing(home, workers):
    """First the worker alone dies: the next one adopts the process. Then both: it goes on from what was made."""
    wait = 'echo start >> "$1/starts"\necho $$ > "$1/pid"\nwhile [ ! -f "$1/go" ]; do sleep 0.05; done\n'
    script(home, wait + FINISH)
    job, after = submit(), submit()
    first = workers()
    until(lambda: jobs.find(job.id).process and (job.folder / "pid").is_file(), "the start")
    pid = int((job.folder / "pid").read_text())
    with pytest.raises(UserError, match="A worker runs already"):
        queue.serve()
    first.kill()
    first.wait()
    assert lives(pid), "a job does not die with its worker"
    second = workers()
    until(lambda: (get_workers().alive() or {}).get("pid") == second.pid)
    time.sleep(1)
    assert lives(pid) and (job.folder / "starts").read_text() == "start\n"
    second.kill()
    second.wait()
    os.killpg(pid, signal.SIGKILL)
    workers()
    until(lambda: (job.folder / "starts").read_text() == "start\nstart\n", "the second start")
    (job.folder / "go").touch()
    until(lambda: jobs.find(after.id).state == "running", "the next job")
    (after.folder / "go").touch()
    until(ended(job, after))
    assert [jobs.find(one.id).state for one in (job, after)] == ["done", "done"]
    assert (jobs.find(job.id).starts, jobs.find(after.id).starts) == (2, 1)


def test_cancel_and_retry_while_a_worker_runs(home, workers):
    script(home, 'echo start >> "$1/starts"\necho $$ > "$1/pid"\n[ -f "$1/go" ] || sleep 600\n' + FINISH)
    job = submit()
    workers()
    until(lambda: jobs.find(job.id).process and (job.folder / "pid").is_file())
    jobs.cancel(job.id)
    until(ended(job), "the cancelled job's end", 10)
    assert jobs.find(job.id).state == "cancelled" and not lives(int((job.folder / "pid").read_text()))
    (job.folder / "go").touch()
    jobs.retry(job.id)
    until(ended(job))
    assert jobs.find(job.id).state == "done" and (job.folder / "starts").read_text() == "start\nstart\n"


def test_jobs_that_an_earlier_version_left_are_run(home, workers):
    """Its queue was a database of its own; a job's file had no time at which it was queued."""
    script(home, 'echo start >> "$1/starts"\n' + FINISH)
    waiting, interrupted = (get_ledger().create(load("static_int8"), name, "", "fake") for name in "ab")
    dead = {"pid": 2**22 - 1, "born": 1.0, "host": socket.gethostname(), "since": 1.0}
    running = {"state": "running", "started": 2.0, "attempt": 1, "starts": 1, "process": dead}
    for job, changes in ((waiting, {}), (interrupted, running)):
        row = read_json(job.folder / JOB) | changes
        del row["queued"]
        write_json(job.folder / JOB, row)
    (home / "queue.sqlite").write_bytes(b"not read")
    assert [job.id for job in get_ledger().waiting()] == [interrupted.id, waiting.id]
    workers()
    until(ended(waiting, interrupted))
    assert [jobs.find(job.id).state for job in (waiting, interrupted)] == ["done", "done"]
    assert [jobs.find(job.id).starts for job in (waiting, interrupted)] == [1, 2]


def test_a_worker_without_work_ends(home, workers):
    script(home, FINISH)
    job = submit()
    worker = workers(idle=1)
    until(lambda: worker.poll() is not None, "its end")
    assert worker.returncode == 0 and jobs.find(job.id).state == "done" and get_workers().alive() is None


def test_the_app_dies_and_its_job_goes_on(home, tiny_model, tiny_data, monkeypatch):
    """The real thing: a process submits and is killed; its worker runs the recipe; nothing of it knows the token."""
    changes = [f"model={tiny_model}", f"dataset.evaluation={tiny_data.evaluation}", "evaluate.latency_rounds=1"]
    code = (
        "import time\nfrom compress.jobs import jobs\nfrom compress.recipe.load import load\n"
        f"print(jobs.submit(load('static_int8', {changes})).id, flush=True)\ntime.sleep(600)\n"
    )
    environment = {**os.environ, "HF_TOKEN": CANARY, "PYTHONPATH": str(ROOT), "BUDGET_ZOO_THREADS": "1"}
    environment |= {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True) as app:
        assert app.stdout
        job = jobs.find(app.stdout.readline().strip())
        until(lambda: jobs.find(job.id).state == "running", "the start")
        app.kill()
    worker = get_workers().alive()
    assert worker and CANARY not in Path(f"/proc/{worker['pid']}/environ").read_text()
    try:
        until(ended(job), "the job", 280)
    finally:
        psutil.Process(worker["pid"]).kill()
    assert jobs.find(job.id).state == "ready to publish", jobs.find(job.id).reason + jobs.logs(job.id)
    (made, _) = jobs.results(job.id)
    assert catalog.find(str(made)).front
    assert [stage["state"] for stage in jobs.stages(job.id)] == ["done"] * 3
    assert {line["stage"] for line in jobs.progress(job.id)} == {"quantize", "evaluate", "package"}
    for path in home.rglob("*"):
        assert not path.is_file() or CANARY.encode() not in path.read_bytes(), path


def test_workers_that_share_a_postgres_share_its_jobs(home, workers, postgres, monkeypatch):
    """Two workers, each job once; one is killed with its job, and the other takes that over."""
    monkeypatch.setenv("BUDGET_ZOO_DATABASE_URL", postgres.url)
    get_settings.cache_clear()
    script(home, 'echo start >> "$1/starts"\necho $PPID > "$1/by"\n'
           'while [ ! -f "$1/../../go" ]; do sleep 0.05; done\n' + FINISH)  # fmt: skip
    made = [submit(str(n)) for n in range(6)]
    pair = [workers(), workers()]
    until(lambda: sum(jobs.find(job.id).state == "running" for job in made) == 2, "two at once")
    (home / "go").touch()
    until(ended(*made))
    assert {jobs.find(job.id).state for job in made} == {"done"}
    assert all((job.folder / "starts").read_text() == "start\n" for job in made)
    assert {int((job.folder / "by").read_text()) for job in made} == {worker.pid for worker in pair}

    (home / "go").unlink()
    last = submit("last")
    until(lambda: "pid" in (jobs.find(last.id).process or {}), "the last one's start")
    until((last.folder / "by").is_file)
    by = int((last.folder / "by").read_text())
    (dead,) = (worker for worker in pair if worker.pid == by)
    dead.kill()
    dead.wait()
    running = jobs.find(last.id).process
    assert running and isinstance(running["pid"], int)
    os.killpg(running["pid"], signal.SIGKILL)
    until(lambda: (last.folder / "starts").read_text() == "start\nstart\n", "the takeover")
    (home / "go").touch()
    until(ended(last))
    assert jobs.find(last.id).state == "done" and int((last.folder / "by").read_text()) != by
    for path in home.rglob("*"):
        assert not path.is_file() or CANARY.encode() not in path.read_bytes(), path


def test_a_lock_of_postgres_ends_with_its_connection_and_is_taken_anew(postgres):
    one, other = Session(postgres.url, "home"), Session(postgres.url, "home")
    elsewhere = Session(postgres.url, "another home")
    try:
        assert one.take("run a") and not other.take("run a") and elsewhere.take("run a") and other.take("run b")
        one.release("run a")
        assert other.take("run a") and not one.holds("run a")
        postgres.restart()
        assert not one.is_calm() and other.holds("run a") and not one.take("run a"), "who had it was faster"
        postgres.restart()
        assert one.take("run a") and not other.holds("run a"), "somebody else was"
        one.release("run a")
        assert other.take("run a")
        gone = Session("postgresql://zoo@127.0.0.1:9/zoo", "home")
        assert gone.holds("run a"), "a server that is away gives it to nobody"
        other.close()
        assert one.take("run a", patience=10) and not other.take("run a")
    finally:
        for session in (one, other, elsewhere):
            session.close()


def test_a_worker_stops_the_run_that_another_has_claimed(home):
    script(home, 'echo $$ > "$1/pid"\nsleep 600\n')
    job = submit()
    with get_ledger().claim(job) as claim:
        assert claim
        left = supervisor.supervise(get_ledger(), replace(claim, is_ours=lambda: not (job.folder / "pid").is_file()))
    assert left.state == "running" and not lives(int((job.folder / "pid").read_text()))


def test_a_database_that_is_away_is_told_without_its_password(home, monkeypatch):
    monkeypatch.setenv("BUDGET_ZOO_DATABASE_URL", f"postgresql://zoo:{CANARY}@127.0.0.1:9/zoo")
    get_settings.cache_clear()
    with pytest.raises(UserError, match="cannot be reached.*Check BUDGET_ZOO_DATABASE_URL") as caught:
        submit()
    assert CANARY not in str(caught.value) and jobs.jobs() == []
    monkeypatch.setenv("BUDGET_ZOO_DATABASE_URL", "mysql://x")
    get_settings.cache_clear()
    with pytest.raises(UserError, match="should look like postgresql://"):
        submit()
