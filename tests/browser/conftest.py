"""A running app and a page of a real browser; everything here is skipped where there is no Chromium."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from zoo import catalog

ROOT = Path(__file__).parents[2]
STARTUP_SECONDS = 60  # 15 are promised, on a machine that does nothing else
WAIT_MS = 60_000


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


@pytest.fixture(scope="session")
def url(tmp_path_factory):
    """Where the app answers; BUDGET_ZOO_TEST_URL names one that runs already."""
    if running := os.environ.get("BUDGET_ZOO_TEST_URL"):
        yield running.rstrip("/")
        return
    if not any(entry.front for entry in catalog.bundled()):
        pytest.skip("no length-adaptive model is bundled yet")
    home, port = tmp_path_factory.mktemp("home"), free_port()
    proxied = ("http_proxy", "https_proxy", "all_proxy")
    env = {k: v for k, v in os.environ.items() if k.lower() not in proxied}
    # No network, so that a journey that needs one fails fast; no_proxy for gradio's own start-up call.
    env |= {"BUDGET_ZOO_HOME": str(home), "HF_HUB_OFFLINE": "1", "NO_PROXY": "127.0.0.1,localhost"}
    with (home / "log.txt").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "app.py", "--port", str(port)], cwd=ROOT, env=env, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            wait_until_up(f"http://127.0.0.1:{port}/", process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            try:
                process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    assert "Traceback" not in (home / "log.txt").read_text()


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
