"""A newcomer's walk with a stopwatch and a camera: `python -m tests.newcomer_kit FOLDER CHECKPOINT`.

A fresh clone is installed by `make`, its page opened and asked. CHECKPOINT, a folder with a checkpoint for questions,
becomes int8 in the page, is compared with what it was, and is published to a Hub of this machine. Each step is timed
and leaves a picture in FOLDER.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

from tests.browser.conftest import ROOT, end_worker, find_chromium, free_port, stop, wait_until_up
from tests.hub_server import HubServer

PATIENCE_MS, LONG_MS = 60_000, 600_000
WRITER = "hf_writer"  # a token of the Hub of this machine


class Walk:
    """The time since the last step, and a picture of each.

    Args:
        folder: of the pictures.
    """

    def __init__(self, folder: Path):
        self._folder, self._count, self._begun = folder, 0, time.monotonic()
        self._last = self._begun
        folder.mkdir(parents=True, exist_ok=True)

    def step(self, what: str, page: Page | None = None) -> None:
        """Says what took how long."""
        now = time.monotonic()
        print(f"{now - self._begun:7.1f} s  {now - self._last:6.1f} s  {what}", flush=True)
        if page:
            self._count += 1
            page.screenshot(path=self._folder / f"walk-{self._count}.png", full_page=self._count > 1)
        self._last = time.monotonic()


@contextmanager
def running(clone: Path, home: Path, hub: str) -> Generator[str]:
    """The clone's app, as `make run` starts it, at a free port."""
    port = free_port()
    env = {
        key: value for key, value in os.environ.items() if key.lower() not in ("http_proxy", "https_proxy", "all_proxy")
    }
    env |= {"BUDGET_ZOO_HOME": str(home), "HF_HOME": str(home / "hf"), "HF_ENDPOINT": hub, "HF_TOKEN": WRITER}
    env |= {"NO_PROXY": "127.0.0.1,localhost", "HF_HUB_DISABLE_XET": "1"}
    command = [clone / ".venv/bin/python", "app.py", "--port", str(port)]
    process = subprocess.Popen(command, cwd=clone, env=env)
    try:
        wait_until_up(f"http://127.0.0.1:{port}/", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        stop(process)
        end_worker(home)


def ask(page: Page, walk: Walk) -> None:
    """One's own question."""
    expect(page.locator("#answer h3")).to_be_visible()
    walk.step("page with its first answer", page)
    page.locator("#passage textarea").fill("Our shop in Bern opens at nine. On Sundays it stays closed.")
    page.locator("#question textarea").fill("When does the shop open?")
    page.locator("#question textarea").press("Enter")
    expect(page.locator("#answer h3")).to_contain_text("nine")
    walk.step("one's own question answered", page)


def compress(page: Page, walk: Walk, checkpoint: Path) -> None:
    """One's own checkpoint becomes an int8 entry."""
    page.locator("#tab-compress-button").click()
    expect(page.locator("#preset input")).to_have_value("static int8")
    page.locator("#to-source").click()
    page.locator("#source label", has_text="folder").click()
    page.locator("#source-other :is(input, textarea)").fill(str(checkpoint))
    page.locator("#data label", has_text="bundled").click()
    page.locator("#to-settings").click()
    page.locator("#to-check").click()
    expect(page.locator("#estimate")).to_contain_text("memory")
    walk.step("recipe, source and data picked and checked", page)
    page.locator("#start-job").click()
    expect(page.locator("#job-head")).to_contain_text("ready to publish", timeout=LONG_MS)
    walk.step("int8 file made, scored and measured", page)


def compare(page: Page, walk: Walk) -> None:
    """It stands beside what it was made of."""
    page.locator("#result-compare").click()
    expect(page.locator("#tab-compare-button[aria-selected=true]")).to_be_visible()
    page.locator("#compare-go").click()
    expect(page.locator("#compare-table tbody tr").nth(1)).to_contain_text("n = ")
    walk.step("compared with its original", page)


def publish(page: Page, walk: Walk) -> None:
    """It goes to the Hub."""
    page.locator("#tab-jobs-button").click()
    page.locator("#publish-job").click()
    page.locator("#publish-preview").click()
    expect(page.locator("#publish-files")).to_contain_text("README.md")
    page.locator("#publish-go").click()
    expect(page.locator("#publish-result")).to_contain_text("Published and verified")
    walk.step("published and verified", page)


def main() -> None:
    """Walks it, from the folder that this file lies in."""
    folder, checkpoint = Path(sys.argv[1]), Path(sys.argv[2]).absolute()
    with tempfile.TemporaryDirectory() as place, sync_playwright() as playwright:
        clone, home = Path(place) / "budget-zoo", Path(place) / "home"
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.set_default_timeout(PATIENCE_MS)
        expect.set_options(timeout=PATIENCE_MS)
        walk = Walk(folder)
        subprocess.run(["git", "clone", "--quiet", "--depth", "1", f"file://{ROOT}", clone], check=True)
        walk.step("cloned")
        subprocess.run(["make", "--silent", ".venv/.run"], cwd=clone, check=True, stdout=subprocess.DEVNULL)
        walk.step("installed")
        with HubServer(Path(place) / "hub") as hub, running(clone, home, hub.url) as address:
            walk.step("the app answers")
            page.goto(address)
            ask(page, walk)
            compress(page, walk, checkpoint)
            compare(page, walk)
            publish(page, walk)
            made = [name for kind, name in hub.hub.repos if kind == "models"]
            print(f"on the Hub: {', '.join(made)}")
        browser.close()


if __name__ == "__main__":
    main()
