"""What an architecture search found stands beside the front in a real browser: said, downloaded, opened by a click."""

from __future__ import annotations

import json
import re
import shutil

import pytest

from tests.browser.fold_kit import unfold
from zoo import catalog, library
from zoo.settings import get_settings

playwright = pytest.importorskip("playwright.sync_api")
expect = playwright.expect

NAME = "searched-qa-int8"


@pytest.fixture
def result(site, tmp_path, monkeypatch):
    """The bundled int8 model, registered as one that a search found and that was measured at full length only."""
    entry = next(entry for entry in catalog.bundled() if entry.front and entry.task == "qa")
    folder = shutil.copytree(entry.folder, tmp_path / NAME)
    for name, edit in (("front.json", _one_point), ("entry.json", _searched)):
        made = json.loads((folder / name).read_text())
        edit(made)
        (folder / name).write_text(json.dumps(made))
    monkeypatch.setenv("BUDGET_ZOO_HOME", str(site.home))
    get_settings.cache_clear()
    library.register(folder)
    yield entry
    shutil.rmtree(folder)
    get_settings.cache_clear()


def _one_point(front):
    front["full"]["p50_ms"] *= 0.8
    front["points"], front["dominated"] = [front["full"]], []


def _searched(entry):
    told = {"architecture": "l6-h384-f1536-a12", "predicted latency, ms": 40.0, "measured latency, ms": 50.0}
    entry |= {"name": NAME, "title": "A searched encoder", "method": "nas-int8", "provenance": told}


def test_a_searched_architecture_stands_beside_the_front_and_opens(page, url, result):
    page.goto(url)
    mark, said = page.locator("#front .mark.searched"), page.locator("#front .rivals")
    expect(mark).to_have_count(1)
    expect(mark).to_have_attribute("aria-label", re.compile(f"^{NAME}: F1 .* at 100.0 %.*predicted 40 ms"))
    expect(page.locator("#stamp")).to_contain_text("threads")
    page.locator("#axis label", has_text="latency").click()
    expect(said).to_contain_text(f"searched architecture {NAME} gives")
    expect(said).to_contain_text("ms this model gives F1")
    with page.expect_download() as download:
        page.locator("#csv").click()
    assert download.value.path().read_text().splitlines()[-1].endswith(NAME)

    mark.click()
    unfold(page)
    expect(page.locator("#model input")).to_have_value("A searched encoder")
    expect(page.locator("#facts")).to_contain_text("predicted 40 ms, measured 50 ms (-20 %)")
    expect(page.locator("#stamp")).to_contain_text("threads")
    page.locator("#tab-models-button").click()
    page.locator("#models [role=gridcell]", has_text=NAME).first.click()
    expect(page.locator("#model-head")).to_contain_text("predicted 40 ms, measured 50 ms")
    expect(page.locator(".toast-wrap .error")).to_have_count(0)
