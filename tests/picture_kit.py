"""The picture in the README, taken of the running page: `python -m tests.picture_kit [ADDRESS]`."""

from __future__ import annotations

import sys
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

from tests.browser.conftest import find_chromium
from tests.visit_kit import app

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "page.png"
SIZE = {"width": 1280, "height": 900}
PATIENCE_MS = 240_000  # the first answer waits for models to be loaded


def take(page: Page, address: str, target: Path) -> None:
    """Open the page, wait for its first answer and its latencies, and write what is seen."""
    page.set_default_timeout(PATIENCE_MS)
    page.goto(address)
    expect(page.locator("#answer")).to_contain_text("%", timeout=PATIENCE_MS)
    page.wait_for_timeout(8000)  # what is being measured comes to rest
    page.screenshot(path=target)


def main() -> None:
    """Take the picture of the address that is given, or of an app of its own."""
    if len(sys.argv) > 1:
        _shoot(sys.argv[1])
        return
    with app() as address:
        _shoot(address)


def _shoot(address: str) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=["--no-sandbox"])
        take(browser.new_page(viewport={"width": SIZE["width"], "height": SIZE["height"]}), address, PICTURE)
        browser.close()


if __name__ == "__main__":
    main()
