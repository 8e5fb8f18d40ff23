"""The queue says when it is ill: files that are broken, locks that are held, workers that end at once, a home gone."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from filelock import FileLock
from typer.testing import CliRunner

from compress.__main__ import app
from compress.jobs import jobs, ledger, queue, supervisor, workers
from compress.jobs.ledger import CHANGE, Busy
from compress.jobs.workers import Workers, get_workers
from compress.recipe.layout import JOB
from compress.recipe.load import load
from tests.compress.jobs.jobs_kit import FINISH, home_of, run_it, script, until
from zoo.errors import UserError
from zoo.files import read_json
from zoo.settings import get_settings

START = Workers.start


@pytest.fixture
def home(tmp_path):
    with home_of(tmp_path / "home") as patch:
        (tmp_path / "home").mkdir()
        patch.setattr(ledger, "PATIENCE", 0.2)
        patch.setattr(workers, "PATIENCE", 0.2)
        yield tmp_path / "home"


def submit(**more):
    return jobs.submit(load("static_int8"), "mine", launcher="fake", **more)


@pytest.mark.parametrize(
    "text", ["", '{"id": "00', "[]", "null", "{}", '{"state": 5}', "\x00" * 200, "[" * 100_000], ids=lambda t: t[:9]
)
def test_a_job_whose_file_is_broken_is_told_kept_by_its_owner_and_mended_by_a_retry(home, text):
    script(home, FINISH)
    job, other = submit(owner="ada"), submit(owner="bob")
    (job.folder / JOB).write_text(text)
    found = jobs.find(job.id)
    assert (found.state, found.owner, found.name, found.launcher) == ("failed", "ada", "mine", "fake")
    assert "job.json was broken" in found.reason and found.created == job.created
    assert {one.id for one in jobs.jobs()} == {job.id, other.id} and [one.id for one in jobs.jobs("ada")] == [job.id]
    assert "job.json was broken" in CliRunner().invoke(app, ["jobs"]).output
    assert jobs.retry(job.id).state == "queued" and run_it(job).state == "done"
    assert read_json(job.folder / JOB)["state"] == "done"


def test_a_job_of_an_earlier_version_whose_file_is_broken_is_known_by_its_recipe(home):
    job = submit()
    (job.folder / ledger.SUBMITTED).unlink()
    (job.folder / JOB).write_text("")
    found = jobs.find(job.id)
    assert (found.kind, found.model, found.owner) == (job.kind, job.model, "")


def test_a_file_that_breaks_while_its_job_runs_is_written_anew_by_who_runs_it(home):
    script(home, 'while [ ! -f "$1/go" ]; do sleep 0.05; done\n' + FINISH)
    job = submit(owner="ada")
    thread = threading.Thread(target=run_it, args=(job,))
    thread.start()
    until(lambda: jobs.find(job.id).starts == 1)
    (job.folder / JOB).write_text('{"id"')
    until(lambda: jobs.find(job.id).state == "running", "the file anew")
    (job.folder / "go").touch()
    thread.join(30)
    assert (jobs.find(job.id).state, jobs.find(job.id).owner) == ("done", "ada")


@contextmanager
def held(path):
    """A lock that another program holds."""
    with FileLock(path):
        yield


def test_a_job_that_another_program_holds_is_told_and_not_waited_for_without_end(home):
    job = submit()
    with held(job.folder / CHANGE), pytest.raises(Busy, match=r"another program holds .*\.job\.lock"):
        jobs.cancel(job.id)
    assert jobs.cancel(job.id).state == "cancelled"


def test_a_start_of_workers_that_another_program_holds_says_that_the_job_waits(home, monkeypatch):
    monkeypatch.setattr(Workers, "start", START)
    (home / "workers").mkdir()
    with held(home / "workers" / "start.lock"), pytest.raises(UserError, match="is queued, but nobody runs it yet"):
        submit()
    assert len(jobs.jobs()) == 1


def test_a_home_that_cannot_be_written_is_told(home, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(ledger, "save", refuse)
    with pytest.raises(UserError, match="cannot be written to .*: Permission denied. Check its rights"):
        submit()


def test_workers_that_end_at_once_are_started_ever_more_rarely():
    assert [jobs.pause(5, starts) for starts in (0, 1, 2, 3)] == [5, 5, 10, 20]
    assert jobs.pause(5, 1000) == jobs.LONGEST_PAUSE
    in_a_day, starts, now = 0, 0, 0.0
    while now < 86_400:
        now, starts, in_a_day = now + jobs.pause(5, starts), starts + 1, in_a_day + 1
    assert in_a_day < 160  # of 17,280 looks


def test_workers_that_were_killed_are_started_within_a_minute(home, monkeypatch):
    """Nothing is wrong with them, as nothing is with one that a full disk has ended: that is waited for."""
    waits, full, children = list[float](), [False], list[subprocess.Popen[bytes]]()

    def started(*_: object, **__: object) -> subprocess.Popen[bytes]:
        children.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]))
        return children[-1]

    def pause(every: float, starts: int, longest: float) -> float:
        """The time until the next look, by which the worker was killed; in the end the disk is full."""
        waits.append(inner(every, starts, longest))
        for child in children:
            child.kill()
            child.wait()
        full[0] = len(waits) > 9
        return 0

    def check(_home: object) -> None:
        if full[0]:
            raise UserError("The disk is full.")

    submit()
    inner = jobs.pause
    monkeypatch.setattr(Workers, "start", START)
    monkeypatch.setattr(workers, "subprocess", SimpleNamespace(Popen=started, DEVNULL=None, STDOUT=None))
    monkeypatch.setattr(jobs, "pause", pause)
    monkeypatch.setattr(jobs.storage, "check", check)
    get_workers().start()
    jobs.watch_over(5.0, range(12))
    assert waits == [5, 5, 10, 20, 40, 60, 60, 60, 60, 60, 60, 60] and len(children) == 10
    assert get_workers().was_killed


def test_a_worker_that_ends_at_once_is_not_started_in_a_storm(home, monkeypatch, caplog):
    started = []
    monkeypatch.setattr(Workers, "start", lambda self: started.append(time.monotonic()) or True)
    submit()
    (home / "workers").mkdir()
    (home / "workers" / "worker.log").write_text("first\nImportError: nothing works\n")
    inner, paused = jobs.pause, []
    monkeypatch.setattr(
        jobs, "pause", lambda every, starts, _: paused.append(starts) or min(0.01, inner(every, starts))
    )
    jobs.watch_over(5.0, range(8))
    assert paused == [0, 1, 2, 3, 4, 5, 6, 7] and len(started) == 1 + 8  # of them one by who submitted
    assert caplog.text.count("Workers end as soon as they are started") == 1
    assert "ImportError: nothing works" in caplog.text


def test_jobs_that_nobody_runs_are_told_with_the_workers_last_words(home, monkeypatch):
    job = submit()
    assert jobs.illness() == ""
    monkeypatch.setattr(jobs, "SOON", -1.0)
    (home / "workers").mkdir()
    (home / "workers" / "worker.log").write_text("ImportError: nothing works\n")
    ill = jobs.illness()
    assert ill.startswith("1 job waits, and no worker runs") and "ImportError: nothing works" in ill
    assert "no worker runs" in CliRunner().invoke(app, ["jobs"]).stderr
    with get_workers().on_duty():
        assert jobs.illness() == ""
    jobs.cancel(job.id)
    assert jobs.illness() == ""


def test_a_home_that_is_gone_is_told_and_its_worker_ends_with_few_words(home, monkeypatch, caplog):
    monkeypatch.setattr(queue, "POLL", 0.01)
    monkeypatch.setattr(supervisor, "POLL", 0.01)
    script(home, "sleep 600")
    job = submit()
    thread = threading.Thread(target=queue.serve, args=(60,))
    thread.start()
    until(lambda: (found := jobs.find(job.id)).process and found)
    home.rename(home.with_name("gone"))
    thread.join(30)
    assert not thread.is_alive()
    assert "is gone" in jobs.illness() and "is gone" in CliRunner().invoke(app, ["jobs"]).stderr
    assert len(caplog.text) < 10_000
    process = json.loads((home.with_name("gone") / "jobs" / job.id / JOB).read_text())["process"]
    assert not supervisor.launcher_of("fake").adopt(job.folder, process), "whoever cannot be looked after does not run"


def test_an_error_that_stays_is_logged_once(home, monkeypatch, caplog):
    monkeypatch.setattr(queue, "POLL", 0.001)

    def fail(ledger):
        raise RuntimeError("away")

    monkeypatch.setattr(queue, "run_next", fail)
    queue.serve(idle=0.3)
    assert caplog.text.count("RuntimeError: away") == 1


@pytest.mark.parametrize(("limit", "message"), [("QUEUE", "The queue is full: 1 jobs"), ("OWNER", "You have 1 jobs")])
def test_what_is_not_queued_again(home, monkeypatch, limit, message):
    first = submit(owner="ada")
    jobs.cancel(first.id)
    submit(owner="ada")
    monkeypatch.setenv(f"BUDGET_ZOO_{limit}_LIMIT", "1")
    get_settings.cache_clear()
    with pytest.raises(UserError, match=message):
        jobs.retry(first.id)
    assert jobs.find(first.id).state == "cancelled"
