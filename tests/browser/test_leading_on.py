"""A finished job leads on, in a real browser: to Explore, to a comparison with its original, and to publishing."""

from __future__ import annotations

import re
import shutil

import pytest

from compress.jobs.ledger import get_ledger
from compress.recipe.load import load
from tests.browser.fold_kit import unfold
from zoo import library
from zoo.catalog import MODELS
from zoo.files import read_json, write_json
from zoo.settings import get_settings

playwright = pytest.importorskip("playwright.sync_api")
expect = playwright.expect

MINUTES = 60_000
REPORT = {"inputs": "", "contents": {}, "seconds": 3.0, "result": {"float_f1": 83.0, "int8_f1": 82.7, "n": 10_570}}


@pytest.fixture
def finished(site, monkeypatch):
    """The id of a job that has made what is bundled, under a name of its own."""
    monkeypatch.setenv("BUDGET_ZOO_HOME", str(site.home))
    get_settings.cache_clear()
    job = get_ledger().create(load("static_int8"), "led on", "", "local")
    assert get_ledger().change(job.id, ("queued",), state="ready to publish")
    made = job.folder / "package" / "led-on-int8"
    shutil.copytree(MODELS / "minilm-l6-qa-length-adaptive-int8", made)
    write_json(made / "entry.json", {**read_json(made / "entry.json"), "name": made.name, "title": "Led on, int8"})
    write_json(job.folder / "evaluate" / "done.json", REPORT)
    library.register(made)
    monkeypatch.undo()
    get_settings.cache_clear()
    return job.id


@pytest.mark.timeout(300)
def test_a_finished_job_leads_on(page, url, finished, outside):
    page.goto(f"{url}?tab=jobs&job={finished}")
    table = page.locator("#before-after")
    expect(table).to_contain_text("as small")
    expect(table.locator("tbody tr").last).to_contain_text("82.7")
    expect(table.locator("tbody tr").last).to_contain_text("n = 10,570")

    page.locator("#publish-job").click()
    expect(page.locator("#publish-entry input")).to_have_value("led-on-int8")
    expect(page.locator("#publish-name :is(input, textarea)")).to_have_value("led-on-int8")
    page.locator("#publish-close").click()

    page.locator("#result-compare").click()
    expect(page.locator("#tab-compare-button[aria-selected=true]")).to_be_visible()
    expect(page.locator("#compare-model-A input")).to_have_value("MiniLM-L6 for questions")
    expect(page.locator("#compare-model-B input")).to_have_value("Led on, int8")
    page.locator("#compare-go").click()
    expect(page.locator("#compare-table tbody tr").nth(1)).to_contain_text("n = 3,000", timeout=2 * MINUTES)

    page.locator("#tab-jobs-button").click()
    page.locator("#result-explore").click()
    expect(page.locator("#tab-explore-button[aria-selected=true]")).to_be_visible()
    unfold(page)
    expect(page.locator("#model input")).to_have_value("Led on, int8")
    expect(page.locator("#answer h3")).to_be_visible()
    expect(page.locator("#readout")).to_contain_text("n = 3,000")

    # It is in every list: here beside the bundled ones, and among what a recipe can start from.
    page.reload()
    expect(page.locator("#answer h3")).to_be_visible()
    unfold(page)
    page.locator("#model input").click()
    expect(page.get_by_role("option", name="MiniLM-L6 for questions", exact=True)).to_be_visible()
    expect(page.get_by_role("option", name="Led on, int8")).to_be_visible()
    page.keyboard.press("Escape")
    page.locator("#tab-compress-button").click()
    page.locator("#to-source").click()
    page.locator("#source label", has_text="one of these").click()
    page.locator("#source-zoo input").click()
    expect(page.get_by_role("option", name="Led on, int8")).to_be_visible()
    expect(page.get_by_role("option", name=re.compile("sentiment"))).to_have_count(0)
    expect(page.locator("#source-zoo")).to_contain_text("are not offered")
    assert not outside


def test_what_cannot_start_is_said_at_the_check(page, url):
    page.goto(f"{url}?tab=compress")
    expect(page.locator("#preset-costs")).to_contain_text("GiB")
    expect(page.locator("#preset-about")).to_contain_text("Here it takes")
    page.locator("#to-source").click()
    page.locator("#source-task input").click()
    page.get_by_role("option", name="SST-2").click()
    page.locator("#to-settings").click()
    page.locator("#to-check").click()
    expect(page.locator("#compress-notice")).to_contain_text("could make a head for SST-2")
    expect(page.locator("#start-job")).to_be_disabled()


def test_a_table_that_holds_nothing_offers_a_way_back(page, url):
    page.set_viewport_size({"width": 1440, "height": 900})
    page.goto(f"{url}?tab=models")
    cell = page.locator("#models [role=gridcell]", has_text="minilm-l6-qa").first
    expect(cell).to_be_visible()
    widths = page.evaluate(
        "() => [...document.querySelectorAll('#models *')].filter((e) => e.scrollWidth > e.clientWidth + 1 "
        "&& getComputedStyle(e).overflowX !== 'visible' && e.querySelector('[role=gridcell]')).length"
    )
    assert widths == 0, "no column is cut"
    page.locator("#model-search :is(input, textarea)").fill("no such thing")
    expect(page.locator("#models-counted")).to_contain_text("0 models: nothing fits")
    page.locator("#clear-filters").click()
    expect(cell).to_be_visible()
    expect(page.locator("#model-search :is(input, textarea)")).to_have_value("")
    expect(page.locator("#clear-filters")).not_to_be_visible()
