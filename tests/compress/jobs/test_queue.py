"""The durable queue with real workers, which are killed; on SQLite and, where it is installed, on Postgres."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from compress.jobs import jobs, ledger, queue
from compress.recipe.load import load
from tests.compress.jobs import jobs_kit
from tests.compress.jobs.jobs_kit import FINISH, ROOT, lives, script, start_worker, until
from zoo import catalog
from zoo.errors import UserError
from zoo.settings import get_settings

CANARY = "hf_canaryCANARYcanary0123456789"


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


@pytest.fixture(scope="module")
def postgres(tmp_path_factory):
    """The address of a server of our own."""
    found = [*Path("/usr/lib/postgresql").glob("*/bin/initdb"), *filter(None, [shutil.which("initdb")])]
    if not found:
        pytest.skip("Postgres is not installed (Debian: postgresql)")
    if os.getuid() == 0 and "postgres" not in {user.pw_name for user in pwd.getpwall()}:
        pytest.skip("Postgres does not run as root, and there is no user postgres")
    folder = Path(subprocess.run(["mktemp", "-d"], check=True, capture_output=True, text=True).stdout.strip())
    user = {"user": "postgres"} if os.getuid() == 0 else {}
    if user:
        shutil.chown(folder, "postgres")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    run = {"check": True, "capture_output": True, "cwd": folder, **user}
    bin_ = found[0].resolve().parent
    subprocess.run([bin_ / "initdb", "-D", folder / "data", "-U", "zoo", "--auth=trust", "-N"], **run)
    options = f"-c listen_addresses=127.0.0.1 -c port={port} -c fsync=off -c unix_socket_directories={folder}"
    control = [bin_ / "pg_ctl", "-D", folder / "data", "-w", "-l", folder / "log"]
    subprocess.run([*control, "-o", options, "start"], **run)
    yield f"postgresql://zoo:{CANARY}@127.0.0.1:{port}/zoo"
    subprocess.run([*control, "-m", "immediate", "stop"], **run)
    shutil.rmtree(folder, ignore_errors=True)


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
    until(lambda: (queue.worker() or {}).get("pid") == second.pid)
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


def test_a_job_whose_submitter_died_too_early_is_queued_by_a_worker(home, workers):
    script(home, FINISH)
    job = ledger.create(load("static_int8"), "forgotten", "", "fake")
    workers()
    until(ended(job))
    assert jobs.find(job.id).state == "done"


def test_a_worker_without_work_ends(home, workers):
    script(home, FINISH)
    job = submit()
    worker = workers(idle=1)
    until(lambda: worker.poll() is not None, "its end")
    assert worker.returncode == 0 and jobs.find(job.id).state == "done" and queue.worker() is None


def test_the_app_dies_and_its_job_goes_on(home, tiny_model, tiny_data, monkeypatch):
    """The real thing: a process submits and is killed; its worker runs the recipe; nothing of it knows the token."""
    changes = [f"model={tiny_model}", f"dataset.evaluation={tiny_data.evaluation}", "evaluate.latency_rounds=1"]
    code = (
        "import time\nfrom compress import jobs\nfrom compress.recipe.load import load\n"
        f"print(jobs.submit(load('static_int8', {changes})).id, flush=True)\ntime.sleep(600)\n"
    )
    environment = {**os.environ, "HF_TOKEN": CANARY, "PYTHONPATH": str(ROOT), "BUDGET_ZOO_THREADS": "1"}
    environment |= {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True) as app:
        assert app.stdout
        job = jobs.find(app.stdout.readline().strip())
        until(lambda: jobs.find(job.id).state == "running", "the start")
        app.kill()
    worker = queue.worker()
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
    monkeypatch.setenv("BUDGET_ZOO_DATABASE_URL", postgres)
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
    until(lambda: jobs.find(last.id).process, "the last one's start")
    until((last.folder / "by").is_file)
    by = int((last.folder / "by").read_text())
    (dead,) = (worker for worker in pair if worker.pid == by)
    dead.kill()
    dead.wait()
    running = jobs.find(last.id).process
    assert running
    os.killpg(running["pid"], signal.SIGKILL)
    until(lambda: (last.folder / "starts").read_text() == "start\nstart\n", "the takeover")
    (home / "go").touch()
    until(ended(last))
    assert jobs.find(last.id).state == "done" and int((last.folder / "by").read_text()) != by
    for path in home.rglob("*"):
        assert not path.is_file() or CANARY.encode() not in path.read_bytes(), path


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
