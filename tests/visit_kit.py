"""A visit of the running page with a stopwatch and a camera: `python -m tests.visit_kit FOLDER [ADDRESS]`.

Prints how long the app takes to be there, its first answer, an answer to one's own question, and what a move of the
slider takes until it is painted; leaves pictures of every tab, light and dark, wide and narrow, in the folder.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.browser.conftest import ROOT, end_worker, find_chromium, free_port, stop, wait_until_up

PATIENCE_MS = 240_000  # the first answer waits for models to be loaded
SIZES = {"wide": (1440, 900), "narrow": (400, 800)}
TABS = ("explore", "compare", "compress", "jobs", "models")
MOVES = 60
# From the event that a move causes to the frame after the one that shows it: what a hand on the slider waits for.
WATCH = """() => {
  window.moves = [];
  window.addEventListener("input", (event) => {
    if (!event.isTrusted) return;  // the page's own, of a move that was counted
    const begun = performance.now();
    requestAnimationFrame(() => setTimeout(() => window.moves.push(performance.now() - begun)));
  }, true);
}"""


def drag(page: Page) -> list[float]:
    """Milliseconds of each move while the slider is drawn from its middle to both ends."""
    page.evaluate(WATCH)
    box = page.locator("#budget input[type=range]").bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, middle)
    page.mouse.down()
    for step in range(MOVES):
        share = 0.5 + 0.45 * (step / MOVES) * (-1) ** (step // (MOVES // 4))
        page.mouse.move(box["x"] + box["width"] * share, middle)
    page.mouse.up()
    page.wait_for_timeout(500)
    return [float(move) for move in page.evaluate("window.moves")]


def photograph(browser: Browser, address: str, folder: Path) -> None:
    """Every tab in every size, light and dark."""
    for size, (width, height) in SIZES.items():
        for theme in ("light", "dark"):
            context = browser.new_context(viewport={"width": width, "height": height})
            context.set_default_timeout(PATIENCE_MS)
            page = context.new_page()
            page.goto(f"{address}/?__theme={theme}")
            expect(page.locator("#answer h3")).to_be_visible(timeout=PATIENCE_MS)
            for tab in TABS:
                if size == "wide":
                    page.locator(f"#tab-{tab}-button").click()
                else:
                    page.goto(f"{address}/?__theme={theme}&tab={tab}")
                page.wait_for_timeout(2500)
                page.screenshot(path=folder / f"{tab}-{size}-{theme}.png", full_page=True)
            context.close()


def visit(browser: Browser, address: str) -> None:
    """What one does first, with the seconds that it takes."""
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.set_default_timeout(PATIENCE_MS)
    begun = time.monotonic()
    page.goto(address)
    expect(page.locator("#answer h3")).to_be_visible(timeout=PATIENCE_MS)
    print(f"the page with its first answer: {time.monotonic() - begun:.1f} s")
    page.locator("#passage textarea").fill("Our shop in Bern opens at nine. On Sundays it stays closed.")
    page.locator("#question textarea").fill("When does the shop open?")
    begun = time.monotonic()
    page.locator("#question textarea").press("Enter")
    expect(page.locator("#answer h3")).to_contain_text("nine", timeout=PATIENCE_MS)
    print(f"one's own question: {time.monotonic() - begun:.2f} s")
    expect(page.locator("#stamp")).to_contain_text("threads", timeout=PATIENCE_MS)
    print(f"its latency, measured: {time.monotonic() - begun:.1f} s")
    moves = sorted(drag(page))
    most, usual = moves[min(len(moves) - 1, int(0.9 * len(moves)))], statistics.median(moves)
    print(f"a move of the slider: median {usual:.0f} ms, p90 {most:.0f} ms, most {moves[-1]:.0f} ms of {len(moves)}")
    page.close()


@contextmanager
def app() -> Generator[str]:
    """An app of its own, with the seconds until it answers."""
    port, begun = free_port(), time.monotonic()
    with tempfile.TemporaryDirectory() as home:
        env = {**os.environ, "BUDGET_ZOO_HOME": home, "HF_HUB_OFFLINE": "1"}
        process = subprocess.Popen([sys.executable, "app.py", "--port", str(port)], cwd=ROOT, env=env)
        try:
            wait_until_up(f"http://127.0.0.1:{port}/", process)
            print(f"the app is there: {time.monotonic() - begun:.1f} s")
            yield f"http://127.0.0.1:{port}"
        finally:
            stop(process)
            end_worker(Path(home))


def main() -> None:
    """Visits the address that is given, or an app of its own."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
        if sys.argv[2:]:
            visit(browser, sys.argv[2])
            photograph(browser, sys.argv[2], folder)
        else:
            with app() as address:
                visit(browser, address)
                photograph(browser, address, folder)
        browser.close()


if __name__ == "__main__":
    main()
