"""The page under load: many clients asking at once, and what look-ups take meanwhile."""

from __future__ import annotations

import json
import logging
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from gradio_client import Client

from bench.report import Json, report
from zoo import catalog
from zoo.errors import UserError
from zoo.settings import get_settings

ROOT = Path(__file__).parents[1]
STARTUP_SECONDS = 120
LOOK_EVERY = 0.25  # seconds between two look-ups
FULL = "queue is full"  # of what gradio tells a client that the queue has no place for


app = typer.Typer()
Questions = list[dict[str, Any]]


@dataclass
class Load:
    """What a run found: answers by what became of them, and milliseconds.

    Attributes:
        outcomes: `right`, `wrong` (another text than a lone client gets), `lost` (an error), `refused` (told that the
            queue is full).
        answers_ms, refused_ms, look_ups_ms: from asking to having it, in a client.
        errors: of `lost`, a few.
        took: seconds from the first question to the last answer.
        client_cpus: CPUs that the clients kept busy meanwhile, on the machine that the app runs on.
    """

    clients: int
    seconds: float
    outcomes: Counter[str] = field(default_factory=Counter[str])
    answers_ms: list[float] = field(default_factory=list[float])
    refused_ms: list[float] = field(default_factory=list[float])
    look_ups_ms: list[float] = field(default_factory=list[float])
    errors: list[str] = field(default_factory=list[str])
    took: float = 0.0
    client_cpus: float = 0.0

    @property
    def rate(self) -> float:
        """Right answers a second."""
        return self.outcomes["right"] / self.took if self.took else 0.0


def run(clients: int, seconds: float) -> tuple[Load, Load]:
    """Starts the app on a free port and loads it: `clients` that ask one after another, then a burst beyond the queue.

    Returns:
        The steady load, and the burst: more questions at once than the queue has places.
    """
    with _served() as url:
        questions, expected = _questions(url)
        steady = Load(clients, seconds)
        _ask_until(url, steady, questions, expected, seconds)
        burst = Load(get_settings().waiting + clients, 0)
        _ask_until(url, burst, questions, expected, None)
    return steady, burst


def table(steady: Load, burst: Load) -> str:
    """Both runs in words."""
    lines = []
    for name, load in (("steady", steady), ("burst", burst)):
        outcomes = ", ".join(f"{load.outcomes[kind]} {kind}" for kind in ("right", "wrong", "lost", "refused"))
        lines.append(f"{name}: {load.clients} clients, {outcomes}")
        if load.took:
            cpus = f"of {os.cpu_count()} CPUs the clients themselves kept {load.client_cpus:.2f} busy"
            lines.append(f"  {load.rate:.1f} right answers a second; {cpus}")
        for what, times in (
            ("answers", load.answers_ms),
            ("refusals", load.refused_ms),
            ("look-ups", load.look_ups_ms),
        ):
            if times:
                p50, p90, p99 = (np.percentile(times, p) for p in (50, 90, 99))
                lines.append(f"  {what}: p50 {p50:.0f} ms, p90 {p90:.0f} ms, p99 {p99:.0f} ms, n {len(times)}")
        lines += [f"  {error}" for error in load.errors]
    return "\n".join(lines)


def as_json(load: Load) -> dict[str, Any]:
    """For a file: counts, answers a second, and percentiles of the times."""
    times = {"answers": load.answers_ms, "refusals": load.refused_ms, "look_ups": load.look_ups_ms}
    percentiles = {
        f"{name}_p{p}_ms": float(np.percentile(values, p)) if values else None
        for name, values in times.items()
        for p in (50, 90, 99)
    }
    rates = {"answers_per_s": load.rate, "client_cpus": load.client_cpus}
    return {"clients": load.clients, "seconds": load.took, **load.outcomes, **rates, **percentiles}


def _ask_until(url: str, load: Load, questions: Questions, expected: dict[str, str], seconds: float | None) -> None:
    """Every client asks for so many seconds, or once where that is None; meanwhile one looks things up."""
    lock, over = threading.Lock(), threading.Event()
    # One after another: people do not open the page in the same instant, and it is asking that is measured.
    clients = [_client(url) for _ in range(load.clients)]
    ready = threading.Barrier(load.clients + 1)

    def ask(number: int) -> None:
        client, chance = clients[number], random.Random(number)
        ready.wait()
        while True:
            one = chance.choice(questions)
            begun = time.perf_counter()
            try:
                reply = client.predict(one["question"], one["context"], api_name="/answer")
                kind = "right" if reply["answers"][0]["text"] == expected[one["question"]] else "wrong"
                problem = ""
            except Exception as error:  # whatever reaches a client is what is counted here
                problem = f"{type(error).__name__}: {error}"
                kind = "refused" if FULL in problem.lower() else "lost"
            with lock:
                load.outcomes[kind] += 1
                if kind in ("right", "refused"):
                    (load.answers_ms if kind == "right" else load.refused_ms).append(
                        1000 * (time.perf_counter() - begun)
                    )
                elif kind == "lost" and len(load.errors) < 3:
                    load.errors.append(problem)
            if end is None or time.monotonic() >= end:
                return

    def look() -> None:
        while not over.is_set():
            begun = time.perf_counter()
            urllib.request.urlopen(_look_up(url), timeout=60).read()  # as the page does, around the queue
            load.look_ups_ms.append(1000 * (time.perf_counter() - begun))
            over.wait(LOOK_EVERY)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(load.clients)]
    looker = threading.Thread(target=look)
    for thread in threads:
        thread.start()
    end = None if seconds is None else time.monotonic() + seconds
    begun, worked = time.monotonic(), time.process_time()
    ready.wait()
    looker.start()
    for thread in threads:
        thread.join()
    load.took = time.monotonic() - begun
    load.client_cpus = (time.process_time() - worked) / load.took
    over.set()
    looker.join()
    for client in clients:
        client.close()


def _questions(url: str) -> tuple[Questions, dict[str, str]]:
    """The bundled questions, and what a client that is alone is answered."""
    client, questions = _client(url), catalog.examples()
    expected = {}
    for one in questions:
        reply = client.predict(one["question"], one["context"], api_name="/answer")
        expected[one["question"]] = reply["answers"][0]["text"]
    return questions, expected


def _look_up(url: str) -> urllib.request.Request:
    name = next(entry.name for entry in catalog.bundled() if entry.front)
    kind = {"Content-Type": "application/json"}
    return urllib.request.Request(f"{url}/gradio_api/run/front", json.dumps({"data": [name]}).encode(), kind)


def _client(url: str) -> Any:
    # Else httpx reads all authorities' certificates anew for every call: most of what a client would compute.
    return Client(url, verbose=False, analytics_enabled=False, ssl_verify=False, httpx_kwargs={"timeout": 120})


@contextmanager
def served() -> Generator[tuple[str, Callable[..., Any]], None, None]:
    """The app in a process of its own: its address, and what asks its endpoint `answer` as a client does."""
    with _served() as url:
        client = _client(url)
        yield url, lambda question, context: client.predict(question, context, api_name="/answer")
        client.close()


@contextmanager
def _served() -> Generator[str, None, None]:
    """The app in a process of its own, at an address that it yields."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory(prefix="budget-zoo-load-") as home:
        environment = {**os.environ, "BUDGET_ZOO_HOME": home, "BUDGET_ZOO_PRESET": "explorer"}
        process = subprocess.Popen(
            [sys.executable, "app.py", "--host", "127.0.0.1", "--port", str(port)],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            end = time.monotonic() + STARTUP_SECONDS
            while True:
                try:
                    urllib.request.urlopen(url, timeout=5).close()
                    break
                except OSError as error:
                    if process.poll() is not None or time.monotonic() > end:
                        raise UserError("The app did not start. Run `python app.py` to see why.") from error
                    time.sleep(0.5)
            yield url
        finally:
            process.terminate()
            process.wait()


@app.command("load")
def command(
    clients: Annotated[int, typer.Option(min=1, metavar="N", help="clients that ask")] = 32,
    seconds: Annotated[float, typer.Option(metavar="S", help="how long they ask, more than 0")] = 60,
    path: Json = None,
) -> None:
    """Many clients asking the app at once, and what look-ups take meanwhile."""
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it tells every request
    if seconds <= 0:
        raise typer.BadParameter("--seconds must be more than 0")
    steady, burst = run(clients, seconds)
    report(table(steady, burst), path, {"steady": as_json(steady), "burst": as_json(burst)})
