"""The soak counts what is lost, on a small page of its own; each act does what it says, on the real endpoints."""

from __future__ import annotations

import errno
import io
import os
import random
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from types import SimpleNamespace
from typing import Any
from urllib.error import HTTPError

import gradio as gr
import pytest

from bench import soak, soak_acts, soak_troubles
from bench.soak import Soak, Tally, table, words_of
from bench.soak_acts import Acts, Page, running_twice
from bench.soak_troubles import Clock, Disk
from tests.ui.desk_kit import FakeAnswerer
from tests.ui.page_kit import loops_closed
from ui.api import add_endpoints, add_look_ups
from ui.desk import Desk
from zoo.errors import UserError
from zoo.settings import get_settings

STUB = """
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "6")  # so that half an answer is none
        self.end_headers()
        self.wfile.write(b"gradio")

    def log_message(self, *words):
        pass

ThreadingHTTPServer(("127.0.0.1", int(sys.argv[-1])), Answer).serve_forever()
"""


def test_outcomes_are_told_apart_while_the_page_is_killed(tmp_path, monkeypatch):
    """Each is killed in the first half; the page lives through the second."""
    first, waits, offered = iter(("app", "run", "worker")), iter((0.0, 0.3)), list[Counter[str]]()

    def choose(names: list[str]) -> str:
        offered.append(Counter(names))
        return next(first)

    chance: Any = SimpleNamespace(uniform=lambda low, high: next(waits, 100.0), choice=choose)
    page = Page(tmp_path, (sys.executable, "-c", STUB))

    def read() -> str:
        return "right" if b"gradio" in urllib.request.urlopen(page.url, timeout=5).read() else "wrong"

    def fail(error: Exception) -> str:
        time.sleep(0.02)
        raise error

    acts = {
        "read": read,
        "told": lambda: fail(UserError("The queue is full. Try again later.")),
        "mute": lambda: fail(RuntimeError("boom")),
        "odd": lambda: fail(RuntimeError("Something went wrong that should not have.")),
    }
    page.start()
    try:
        victims = {"run": lambda: False, "worker": lambda: True}
        monkeypatch.setattr(soak, "TROUBLE_EVERY", 0.2)
        tally = Soak(page, acts, victims, chance, troubles={"flood": lambda: None, "frost": lambda: None}).run(3)
    finally:
        page.kill()
    assert tally.kills == Counter(app=1, worker=1) and offered[0] == Counter(worker=5, run=2, app=3)
    assert tally.troubles["flood"] - tally.troubles["frost"] in (0, 1) and tally.troubles["frost"] > 2
    assert tally.acts["read"]["right"] > 5 and set(tally.acts["read"]) <= {"right", "interrupted"}
    assert tally.acts["told"]["refused"] and set(tally.acts["told"]) <= {"refused", "interrupted"}
    for mute in ("mute", "odd"):
        assert tally.acts[mute]["without a word"] and "refused" not in tally.acts[mute]
    assert tally.before > 1 and tally.after > 1
    assert any("answers refused without a word" in fault for fault in tally.faults)
    said = page.log.read_text()
    noted = ["the app is killed", "killed: app", "killed: worker", "flood: from now on", "flood: done"]
    assert all(f": {words}\n" in said for words in noted) and re.search(r"soak [\d:]+: without a word \(mute, ", said)


def test_what_was_lost_stands_in_the_table():
    tally = Tally(
        kills=Counter(worker=3, app=1), states=Counter(done=2), lost=["a"], twice={"b"}, before=100, after=150
    )
    tally.acts["ask"].update(right=9, wrong=1)
    tally.acts["jobs"].update(submitted=3)
    tally.troubles["disk"] = 2
    text = table(tally)
    assert "killed 4 times: 3 × worker, 1 × app; besides 2 × disk" in text
    assert "1 lost, 1 run twice" in text and "+50.0 %" in text
    assert text.endswith("Did not hold: 1 jobs lost, 1 jobs run twice, 1 wrong answers, 50 % more memory.")
    assert "submitted" in text.splitlines()[0] and table(Tally()).endswith("All of it held.")


def test_jobs_are_counted_as_they_end(monkeypatch):
    rows = {name: SimpleNamespace(id=name, name=name, state="failed", is_open=False, reason="killed") for name in "ab"}

    def retry(job_id: str) -> None:
        rows[job_id].state = "done" if job_id == "a" else "failed"

    ills, started = iter(["1 job waits, and no worker runs."]), list[bool]()
    act = SimpleNamespace(jobs=lambda: list(rows.values()), retry=retry, illness=lambda: next(ills, ""))
    monkeypatch.setattr(soak, "jobs", act)
    monkeypatch.setattr(soak, "get_workers", lambda: SimpleNamespace(start=lambda: started.append(True)))
    monkeypatch.setattr(soak.time, "sleep", lambda _: None)
    tally = Tally()
    soak._settle(tally, {"a": "a", "gone": "the lost one"}, patience=0.05)
    assert (tally.lost, tally.endless, tally.states) == (["the lost one"], ["b"], Counter(done=1, failed=1))
    assert started == [True]  # as the page says


def test_two_processes_of_a_folder_are_seen(tmp_path, monkeypatch):
    monkeypatch.setattr(soak_acts, "run_command", lambda folder: ["sh", "-c", "sleep 60 & wait", str(folder)])
    one, other = tmp_path / "one", tmp_path / "other"
    started = [
        subprocess.Popen(soak_acts.run_command(folder), start_new_session=True) for folder in (one, other, other)
    ]
    try:
        end = time.monotonic() + 10
        while running_twice([one, other]) != {"other"} and time.monotonic() < end:
            time.sleep(0.05)
        assert running_twice([one, other]) == {"other"} and running_twice([one]) == set()
    finally:
        for process in started:
            process.kill()
            process.wait()


def test_a_servers_own_words_are_read():
    error = HTTPError("", 429, "", {}, io.BytesIO(b'{"detail": "Wait a while."}'))  # pyright: ignore[reportArgumentType]
    assert words_of(error) == 'detail": "Wait a while.' and words_of(KeyError()) == "KeyError"


@pytest.fixture
def page(tmp_path, monkeypatch):
    """The real endpoints over a stand-in for models, and a home of this test's own."""
    monkeypatch.setenv("BUDGET_ZOO_HOME", str(tmp_path))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setattr("zoo.latency.disturbed", lambda: False)
    get_settings.cache_clear()
    with loops_closed():
        with gr.Blocks(analytics_enabled=False) as demo:
            gr.File()
            add_endpoints(Desk(answerer=FakeAnswerer), "minilm-l6-qa", ("", ""), {"concurrency_limit": 1})
            add_look_ups()
        _, url, _ = demo.launch(prevent_thread_lock=True, quiet=True, ssr_mode=False, _frontend=False)
        yield SimpleNamespace(url=url.rstrip("/"), came=0.0)
        demo.close()


def test_acts_use_the_page_as_people_do(page, tmp_path, monkeypatch):
    monkeypatch.setattr(soak_acts.time, "sleep", lambda _: None)
    acts = Acts(page, tmp_path, random.Random(0))
    acts._questions = acts._questions[:2]
    acts.learn()
    assert "publish" not in acts.all()
    for name in ("ask", "measure", "look up", "upload"):
        assert acts.all()[name]() == "right", name
    first = acts._client()
    assert acts._client() is first
    page.came = time.monotonic()  # it was killed and is there again
    assert acts._client() is not first and acts.ask() == "right"
    acts.submitted["0123abcd"] = "a job that is gone"
    acts._expected = dict.fromkeys(acts._expected, "another answer")
    assert (acts.look_up(), acts.ask()) == ("wrong", "wrong")


def test_jobs_are_submitted_cancelled_and_retried(tmp_path, monkeypatch):
    monkeypatch.setattr(soak_acts.time, "sleep", lambda _: None)
    rows, done = list[SimpleNamespace](), list[str]()

    def submit(recipe: object, name: str) -> SimpleNamespace:
        rows.append(SimpleNamespace(id=name, name=name, is_open=True, state="running"))
        return rows[-1]

    act = SimpleNamespace(jobs=lambda: rows, submit=submit, cancel=done.append, retry=done.append)
    monkeypatch.setattr(soak_acts, "jobs", act)
    acts = Acts(SimpleNamespace(url=""), tmp_path, random.Random(0))  # pyright: ignore[reportArgumentType]
    outcomes = Counter(acts.work_on_jobs() for _ in range(100))
    assert outcomes["submitted"] == len(acts.submitted) == 3 and outcomes["cancelled"] and not outcomes["retried"]
    rows.append(SimpleNamespace(id="x", name="x", is_open=False, state="failed"))
    assert Counter(acts.work_on_jobs() for _ in range(50))["retried"] and "x" in done


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # of huggingface_hub's HTTP client
def test_a_model_is_published_whatever_the_hub_does(page, tmp_path, local_hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_writer")
    monkeypatch.setattr(soak_acts, "FAULTS", [{"commit": ["drop"]}])
    acts = Acts(page, tmp_path, random.Random(0), local_hub.url)
    assert "publish" in acts.all() and acts.publish() == "right"
    assert local_hub.faults["commit"] == [] and any(name.startswith("writer/soak-") for _, name in local_hub.repos)


def test_a_small_disk_is_filled_and_freed(tmp_path, monkeypatch):
    """By a stand-in for the kernel: the disk has 1,000 bytes free, and they are taken to the last."""
    taken, free = list[int](), [1000]

    def allocate(descriptor: int, start: int, size: int) -> None:
        assert start == sum(taken)
        if size > free[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        free[0] -= size
        taken.append(size)

    monkeypatch.setattr(os, "posix_fallocate", allocate)
    monkeypatch.setattr(soak_troubles.time, "sleep", lambda _: taken.append(0))
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=2e9))
    Disk.of(tmp_path).befall()
    assert sum(taken) == 1000 and taken[-1] == 0 and not any(tmp_path.iterdir())
    (tmp_path / "mine").touch()
    with pytest.raises(UserError, match="is no empty folder"):
        Disk.of(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=5e11))
    (tmp_path / "mine").unlink()
    with pytest.raises(UserError, match="500 GB free, too much"):
        Disk.of(tmp_path)


def test_the_clock_of_what_is_started_goes_forward_back_and_right_again(tmp_path):
    asked = "import time; print(time.time(), time.time_ns() / 1e9)"
    with Clock(tmp_path / "ahead") as clock:
        for ahead in (3600, -3600, 0, 3600):
            clock.befall()
            said = subprocess.check_output([sys.executable, "-c", asked], text=True).split()
            assert [float(one) - time.time() for one in said] == pytest.approx([ahead, ahead], abs=30)
    said = subprocess.check_output([sys.executable, "-c", asked], text=True).split()
    assert float(said[0]) - time.time() == pytest.approx(0, abs=30)


@pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # of huggingface_hub's HTTP client
def test_a_token_that_may_only_propose_does(page, tmp_path, local_hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_writer")
    monkeypatch.setattr(soak_acts, "FAULTS", [{}])
    monkeypatch.setattr(soak_acts.time, "sleep", lambda _: None)
    chance: Any = SimpleNamespace(choice=lambda names: names[0], randrange=lambda count: 0)
    acts = Acts(page, tmp_path, chance, local_hub.url)
    assert acts.propose() == "right"
    repo = local_hub.repos["models", "writer/open-0"]
    assert len(repo.offers) == 1 and not any("onnx/model_quantized.onnx" in files for _, _, files in repo.commits)
