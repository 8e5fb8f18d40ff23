"""What people do at once while `bench soak` kills things: each act says what became of it, or raises."""

from __future__ import annotations

import itertools
import json
import logging
import os
import random
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from gradio_client import Client

from compress.jobs import jobs
from compress.jobs.launchers import run_command
from compress.jobs.workers import get_workers
from compress.recipe.load import load
from zoo import catalog, proposing, publishing
from zoo.commits import follow
from zoo.errors import UserError

log = logging.getLogger(__name__)

ROOT = Path(__file__).parents[1]
STARTUP = 120.0  # seconds that the app may take to answer
OPEN_JOBS = 3  # at once
# Of the local Hub, see `tests/hub_server.py`; in each list the first call of that kind goes well.
FAULTS: list[dict[str, list[Any]]] = [
    {},
    {"commit": ["drop"]},
    {"commit": [504]},
    {"commit": ["stale"]},
    {"upload": [500]},
    {"upload": ["gone"]},
    {"info": [429, 503]},
    {"create": [409]},
    {"whoami": [503]},
    {"preupload": [1.5]},
]
PUBLISHED = "minilm-l6-w8a8-stsb-int8"
PROPOSER = "hf_other"  # a token of the local Hub that may only open pull requests at the writer's repositories
MEASURED = 6  # questions: what their lengths need is kept, so that the page soon holds all of it
JOB = ("budgets.points=0", "evaluate.max_questions=4", "evaluate.latency_rounds=1")


class Page:
    """The app in a process of its own, at the same address however often it is killed.

    Args:
        home: of everything that it keeps.
        command: what starts it, before its options.
    """

    def __init__(self, home: Path, command: tuple[str, ...] = (sys.executable, "app.py")):
        self._home, self._command = home, command
        self._port = _free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self.is_up = threading.Event()
        self.log = home / "app.log"  # what it says
        self._process: subprocess.Popen[bytes] | None = None
        self._died: list[float] = []
        self.came = 0.0  # the moment when it last began to answer

    def start(self) -> None:
        """Starts it and waits until it answers.

        Raises:
            UserError: it does not.
        """
        environment = {**os.environ, "BUDGET_ZOO_HOME": str(self._home), "BUDGET_ZOO_PRESET": "full"}
        with self.log.open("ab") as said:
            self._process = subprocess.Popen(
                [*self._command, "--host", "127.0.0.1", "--port", str(self._port)],
                cwd=ROOT,
                env=environment,
                stdout=said,
                stderr=said,
            )
        end = time.monotonic() + STARTUP
        while True:
            with suppress(OSError):
                urllib.request.urlopen(self.url, timeout=5).close()
                break
            if self._process.poll() is not None or time.monotonic() > end:
                said = self.log.read_text(errors="replace").strip()[-500:]
                raise UserError(f"The app did not start. Its last words: {said}")
            time.sleep(0.1)
        self.came = time.monotonic()
        self.is_up.set()

    def note(self, words: str) -> None:
        """Writes between what it says what befell it, and when."""
        with suppress(OSError), self.log.open("a", encoding="utf-8") as said:  # its disk may be full
            said.write(f"soak {time.strftime('%X')}: {words}\n")

    def kill(self) -> None:
        """Kills it as the kernel would, without a word."""
        self.note("the app is killed")
        self.is_up.clear()
        self._died.append(time.monotonic())
        if self._process:
            self._process.kill()
            self._process.wait()

    def was_down(self, since: float) -> bool:
        """Whether it was killed since then, or came back only afterwards."""
        return not self.is_up.is_set() or self.came > since or any(moment >= since for moment in self._died)

    def megabytes(self) -> float:
        """What it holds."""
        return psutil.Process(self._process.pid).memory_info().rss / 1e6 if self._process else 0.0


class Acts:
    """Everything that is done, over one page and one home.

    Args:
        endpoint: of a local Hub to publish to; empty for none.
    """

    def __init__(self, page: Page, home: Path, chance: random.Random, endpoint: str = ""):
        self.page, self._home, self._chance, self._endpoint = page, home, chance, endpoint
        self._local = threading.local()
        self._questions = catalog.examples()[:20]
        self._measured = itertools.cycle(self._questions[:MEASURED])
        self._expected: dict[str, str] = {}
        self.submitted: dict[str, str] = {}
        self._recipe = load("dynamic_int8", JOB)

    def all(self) -> dict[str, Callable[[], str]]:
        """The acts by name; publishing where there is a local Hub."""
        acts = {
            "ask": self.ask,
            "ask too": self.ask,
            "measure": self.measure,
            "reload": self.reload,
            "look up": self.look_up,
            "upload": self.upload,
            "jobs": self.work_on_jobs,
        }
        return acts | ({"publish": self.publish, "propose": self.propose} if self._endpoint else {})

    def learn(self) -> None:
        """Notes what every question is answered where nothing is killed."""
        for one in self._questions:
            self._expected[one["question"]] = self._answer(one)

    def ask(self) -> str:
        one = self._chance.choice(self._questions)
        return "right" if self._answer(one) == self._expected[one["question"]] else "wrong"

    def measure(self) -> str:
        one = next(self._measured)
        said = self._client().predict(one["question"], one["context"], api_name="/measure")
        time.sleep(2)
        return "right" if said["timings"]["full"]["p50_ms"] > 0 else "wrong"

    def reload(self) -> str:
        with urllib.request.urlopen(self.page.url, timeout=60) as page:
            text = page.read().decode()
        time.sleep(0.2)
        return "right" if "budgetZoo" in text or "gradio" in text else "wrong"

    def look_up(self) -> str:
        client, submitted = self._client(), list(self.submitted)[-50:]
        listed = client.predict("", api_name="/models")
        known = {row["id"] for row in client.predict(100, api_name="/jobs")}
        time.sleep(0.5)
        return "right" if listed and set(submitted) <= known else "wrong"

    def upload(self) -> str:
        """A file of 100 kB, as a browser sends it."""
        border, name, data = uuid.uuid4().hex, f"{uuid.uuid4().hex}.json", os.urandom(100_000)
        head = f'--{border}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
        body = head.encode() + data + f"\r\n--{border}--\r\n".encode()
        kind = {"Content-Type": f"multipart/form-data; boundary={border}"}
        request = urllib.request.Request(f"{self.page.url}/gradio_api/upload", body, kind)
        with urllib.request.urlopen(request, timeout=60) as said:
            (path,) = json.loads(said.read())
        time.sleep(3)
        return "right" if Path(path).read_bytes() == data else "wrong"

    def work_on_jobs(self) -> str:
        """Submits where few jobs are open, else now and then cancels one or retries what failed."""
        time.sleep(1)
        everything = jobs.jobs()
        waiting = [job for job in everything if job.is_open]
        ended = [job for job in everything if job.state in ("failed", "cancelled")]
        if len(waiting) < OPEN_JOBS:
            job = jobs.submit(self._recipe, f"soak {len(self.submitted)}")
            self.submitted[job.id] = job.name
            return "submitted"
        if ended and self._chance.random() < 0.3:
            jobs.retry(self._chance.choice(ended).id)
            return "retried"
        if self._chance.random() < 0.05:
            jobs.cancel(self._chance.choice(waiting).id)
            return "cancelled"
        return "looked at"

    def publish(self) -> str:
        """A model to the local Hub, with a fault; what went wrong is put right by publishing again."""
        fault = self._chance.choice(FAULTS)
        request = urllib.request.Request(f"{self._endpoint}/faults", json.dumps(fault).encode())
        urllib.request.urlopen(request, timeout=60).close()
        folder, name = catalog.MODELS / PUBLISHED, f"writer/soak-{self._chance.randrange(5)}"
        done = follow(publishing.publish(folder, name, os.environ["HF_TOKEN"], collection=None), log.debug)
        return "right" if done.verified else "wrong"

    def propose(self) -> str:
        """What a token does that may write nothing: its commit is refused in a sentence, its pull request is taken."""
        folder, name = catalog.MODELS / PUBLISHED, f"writer/open-{self._chance.randrange(50)}"
        follow(publishing.publish(folder, name, os.environ["HF_TOKEN"], private=False, collection=None), log.debug)
        try:
            follow(publishing.publish(folder, name, PROPOSER, private=False, collection=None), log.debug)
            return "wrong"
        except UserError:
            time.sleep(2)
        return "right" if follow(proposing.propose(folder, PROPOSER, name), log.debug).number else "wrong"

    def _answer(self, one: dict[str, Any]) -> str:
        said = self._client().predict(one["question"], one["context"], api_name="/answer")
        return said["answers"][0]["text"]

    def _client(self) -> Client:
        """A client of this thread's; another one where the last one's session has ended in an error, or with its page:
        what it still waits for is cancelled under the next question."""
        if getattr(self._local, "client", None) is None or self._local.made < self.page.came:
            self._local.made = time.monotonic()
            # Else httpx reads all authorities' certificates anew for every call.
            options: dict[str, Any] = {"ssl_verify": False, "httpx_kwargs": {"timeout": 120}}
            self._local.client = Client(self.page.url, verbose=False, analytics_enabled=False, **options)
        return self._local.client

    def forget_client(self) -> None:
        """The page was killed: its sessions are gone."""
        self._local.client = None


def _free_port() -> int:
    """One below those that systems give to clients: while the app is down, none of them may take it."""
    for port in random.Random().sample(range(20_000, 30_000), 100):
        with socket.socket() as free, suppress(OSError):
            free.bind(("127.0.0.1", port))
            return port
    raise UserError("No port between 20000 and 30000 is free here. End what holds them.")


def kill_worker() -> bool:
    """Kills a worker of this home; whether there was one."""
    process = get_workers().alive()
    return process is not None and _kill(process["pid"], alone=True)  # what it has started goes on


def kill_run() -> bool:
    """Kills all processes of a job that runs; whether there was one."""
    for job in jobs.jobs():
        pid = (job.process or {}).get("pid")
        if isinstance(pid, int) and _kill(pid):
            return True
    return False


def _kill(pid: int, alone: bool = False) -> bool:
    """Kills a process, with all that it started unless alone; whether it was there."""
    try:
        process = psutil.Process(pid)
        for one in (*([] if alone else process.children(recursive=True)), process):
            with suppress(psutil.NoSuchProcess):
                one.kill()
    except psutil.NoSuchProcess:
        return False
    return True


def running_twice(folders: list[Path]) -> set[str]:
    """Names of the folders that two processes run at this moment."""
    commands = {tuple(run_command(folder)): folder.name for folder in folders}
    seen, twice = set[str](), set[str]()
    for process in psutil.process_iter(["cmdline", "pid", "status"]):
        name = commands.get(tuple(process.info["cmdline"] or ()))
        if name is None or process.info["status"] == psutil.STATUS_ZOMBIE:
            continue
        with suppress(OSError):
            group = os.getpgid(process.info["pid"]) if hasattr(os, "getpgid") else process.info["pid"]
            if group == process.info["pid"]:  # no fork of one that is counted
                (twice if name in seen else seen).add(name)
    return twice
