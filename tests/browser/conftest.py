"""A running app and a page of a real browser; everything here is skipped where there is no Chromium."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import psutil
import pytest

from tests.hub_server import HubServer
from tests.hub_state import Hub
from zoo import catalog

ROOT = Path(__file__).parents[2]
STARTUP_SECONDS = 60  # 15 are promised, on a machine that does nothing else
WAIT_MS = 60_000
TOKEN = "hf_writer"  # of the Hub's user `writer`


def find_chromium() -> str | None:
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next((found for name in names if (found := shutil.which(name))), None)


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_until_up(url: str, process: subprocess.Popen) -> None:
    last: Exception | None = None
    end = time.monotonic() + STARTUP_SECONDS
    while time.monotonic() < end:
        assert process.poll() is None, "the app ended before it was up"
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except (urllib.error.URLError, OSError) as error:
            last = error
            time.sleep(0.3)
    raise AssertionError(f"the app was not up within {STARTUP_SECONDS} s: {last}")


class Site(NamedTuple):
    """A running app: where it answers, where it writes, and the Hub that it takes for the real one."""

    url: str
    home: Path
    hub: Hub


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The app with its worker and a Hub of this machine."""
    if not any(entry.front for entry in catalog.bundled()):
        pytest.skip("no length-adaptive model is bundled yet")
    home, port = tmp_path_factory.mktemp("home"), free_port()
    ours = {"http_proxy", "https_proxy", "all_proxy", "hf_hub_offline"}
    env = {k: v for k, v in os.environ.items() if k.lower() not in ours}
    with HubServer(tmp_path_factory.mktemp("hub")) as server:
        env |= {
            "BUDGET_ZOO_HOME": str(home),
            "NO_PROXY": "127.0.0.1,localhost",
            "HF_ENDPOINT": server.url,
            "HF_TOKEN": TOKEN,
            "HF_HOME": str(home / "hf"),
            "HF_HUB_DISABLE_XET": "1",
        }
        with (home / "log.txt").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "app.py", "--port", str(port)], cwd=ROOT, env=env, stdout=log, stderr=subprocess.STDOUT
            )
            try:
                wait_until_up(f"http://127.0.0.1:{port}/", process)
                yield Site(f"http://127.0.0.1:{port}", home, server.hub)
            finally:
                stop(process)
                end_worker(home)
    _, raised, what = (home / "log.txt").read_text().partition("Traceback")
    assert not raised, what[:4000]


def stop(process: subprocess.Popen) -> None:
    process.terminate()
    try:
        process.wait(timeout=15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def end_worker(home: Path) -> None:
    """The worker outlives the app, as it should; a test's has to go."""
    for path in (home / "workers").glob("*.json"):
        try:
            process = psutil.Process(json.loads(path.read_text())["pid"])
            words = process.cmdline()
        except (psutil.NoSuchProcess, KeyError, ValueError):  # a zombie counts as none
            continue
        if any("compress" in word for word in words):
            family = [*process.children(recursive=True), process]
            for one in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.kill()
            psutil.wait_procs(family, timeout=10)


@pytest.fixture(scope="session")
def url(request):
    """Where the app answers; BUDGET_ZOO_TEST_URL names one that runs already."""
    if running := os.environ.get("BUDGET_ZOO_TEST_URL"):
        return running.rstrip("/")
    return request.getfixturevalue("site").url


@pytest.fixture(scope="session")
def browser():
    path = find_chromium()
    if path is None:
        pytest.skip("no Chromium was found: install Debian's chromium for the browser journeys")
    sync_api = pytest.importorskip("playwright.sync_api")
    sync_api.expect.set_options(timeout=WAIT_MS)
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def outside():
    """The requests that a page made to anywhere but the app."""
    return []


@pytest.fixture
def page(browser, url, outside):
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(WAIT_MS)
    opened = context.new_page()
    host = urlsplit(url).netloc

    def note(request):
        where = urlsplit(request.url)
        if where.scheme in ("http", "https", "ws", "wss") and where.netloc != host:
            outside.append(request.url)

    opened.on("request", note)
    yield opened
    context.close()
