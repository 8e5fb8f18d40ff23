"""No step of the clock fails what ended well, starts what runs, or lets it survive Cancel."""

from __future__ import annotations

import socket
import sys
import threading
import time

import psutil
import pytest

from compress.jobs import jobs
from compress.jobs.launchers import launcher_of
from compress.jobs.ledger import get_ledger
from compress.recipe.layout import ATTEMPT, RESULT
from compress.recipe.load import load
from tests.compress.jobs.jobs_kit import FINISH, home_of, run_it, script, until
from zoo.files import write_json


@pytest.fixture
def home(tmp_path):
    with home_of(tmp_path):
        yield tmp_path


def submit():
    return jobs.submit(load("static_int8"), "mine", launcher="fake")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is only the clock to go by")
def test_a_step_of_the_clock_starts_no_live_process_twice_and_cancel_ends_it(home, monkeypatch):
    """What was attacked: the time of the machine's start moved by 30 s, and then a new worker."""
    script(home, 'echo start >> "$1/starts"\nsleep 600\n')
    job = submit()
    (job.folder / ATTEMPT).write_text("first")
    handle = launcher_of("fake").start(job.folder)
    facts = {**handle.facts, "host": socket.gethostname(), "since": time.time(), "attempt": "first"}
    get_ledger().change(job.id, state="running", started=time.time(), process=facts, starts=1)
    until(lambda: (job.folder / "starts").is_file())
    began = psutil.boot_time()
    monkeypatch.setattr("psutil._pslinux.boot_time", lambda: began + 30)
    threading.Timer(0.3, jobs.cancel, (job.id,)).start()
    assert run_it(job).state == "cancelled"
    assert handle.poll() is not None and (job.folder / "starts").read_text() == "start\n"


def test_a_clock_that_went_back_makes_no_good_end_a_failure(home):
    script(home, FINISH + 'touch -d "1 hour ago" "$1/result.json"\n')
    assert run_it(submit()).state == "done"


def test_the_result_of_an_earlier_start_is_not_this_ones(home):
    script(home, 'touch -d "1 hour" "$1/result.json"\n')
    job = submit()
    write_json(job.folder / RESULT, {"attempt": "earlier"})
    assert run_it(job).state == "failed"
    script(home, FINISH)
    jobs.retry(job.id)
    assert run_it(job).state == "done"


def test_what_ended_well_while_no_worker_looked_is_not_started_again(home):
    script(home, 'echo start >> "$1/starts"\n' + FINISH)
    job = submit()
    dead = {"pid": 2**22 - 1, "born": "another boot/1", "host": socket.gethostname(), "since": 1.0, "attempt": "first"}
    get_ledger().change(job.id, state="running", started=time.time(), process=dead, starts=1)
    write_json(job.folder / RESULT, {"attempt": "first"})
    assert run_it(job).state == "done" and not (job.folder / "starts").exists()
