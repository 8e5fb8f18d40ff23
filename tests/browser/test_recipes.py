"""From a recipe to a published model that answers, in a real browser on the real app with a Hub of this machine."""

from __future__ import annotations

import re

import pytest

from compress.jobs.goals import about
from compress.jobs.ledger import get_ledger
from compress.recipe.layout import CRITERION
from compress.recipe.load import load
from tests.browser.fold_kit import unfold
from zoo.files import write_json
from zoo.settings import get_settings

playwright = pytest.importorskip("playwright.sync_api")
expect = playwright.expect

TABS = ("compare", "compress", "jobs", "models")
MINUTES = 60_000
MADE = "minilm-l6-qa-static-int8"
CITIES = ("Kew", "Rome", "Oslo")
CSV = "question,context,answer\n" + "".join(f"Where do bees fly?,Bees fly to {c}.,{c}\n" for c in CITIES)


def open_tab(page, url, tab, query=""):
    page.goto(f"{url}?tab={tab}{query}")
    expect(page.locator(f"#tab-{tab}-button[aria-selected=true]")).to_be_visible()


def go(page, tab):
    page.locator(f"#tab-{tab}-button").click()
    expect(page.locator(f"#tab-{tab}-button[aria-selected=true]")).to_be_visible()


def row(page, table, text):
    """The first cell with a text; gradio keeps a hidden copy of the table, of other elements, to measure by."""
    return page.locator(f"#{table} [role=gridcell]", has_text=text).first


def form(page, key):
    return page.locator(f"#field-quantize-{key} :is(input, textarea)")


def go_to_settings(page):
    page.locator("#to-source").click()
    page.locator("#to-settings").click()
    expect(page.locator("#to-check")).to_be_visible()


def walk_to_start(page):
    expect(page.locator("#preset input")).to_have_value("static int8")
    go_to_settings(page)
    page.locator("#to-check").click()
    expect(page.locator("#estimate")).to_contain_text("memory")
    expect(page.locator("#recipe-yaml")).to_contain_text("kind: quantize")
    expect(page.locator("#command")).to_contain_text("python -m compress submit static_int8")


@pytest.mark.timeout(1200)
def test_start_watch_reload_publish_pull_and_ask(page, site, url, outside):
    open_tab(page, url, "compress")
    walk_to_start(page)
    page.locator("#job-name input, #job-name textarea").fill("journey")
    page.locator("#job-name input, #job-name textarea").press("Tab")
    expect(page.locator("#command")).to_contain_text("--name journey")
    page.locator("#start-job").click()

    expect(page.locator("#tab-jobs-button[aria-selected=true]")).to_be_visible()
    expect(page.locator("#job-head")).to_contain_text("journey")
    expect(page.locator("#job-head")).to_contain_text("running")
    expect(row(page, "jobs", "journey")).to_be_visible()
    page.wait_for_function("new URLSearchParams(location.search).get('job')")
    page.reload()
    expect(page.locator("#job-head")).to_contain_text("journey")
    expect(page.locator("#stages")).to_contain_text("quantize")
    expect(page.locator("#job-log textarea")).not_to_have_value("")
    expect(page.locator("#job-head")).to_contain_text("ready to publish", timeout=10 * MINUTES)
    expect(page.locator("#stages")).not_to_contain_text("◌")
    expect(page.locator("#cancel-job")).to_be_disabled()

    # The timer rests: nothing runs any more.
    asked = []
    page.wait_for_timeout(3000)
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(5000)
    assert not asked

    page.locator("#publish-job").click()
    expect(page.locator("#publish-space input")).to_have_value("writer")
    expect(page.locator("#publish-name :is(input, textarea)")).to_have_value(MADE)
    expect(page.locator("#publish-go")).to_be_disabled()
    page.locator("#publish-private input").uncheck()
    page.locator("#publish-preview").click()
    expect(page.locator("#publish-files")).to_contain_text("README.md")
    expect(page.locator("#publish-files")).to_contain_text("public")
    assert ("models", f"writer/{MADE}") not in site.hub.repos
    page.locator("#publish-go").click()
    expect(page.locator("#publish-result")).to_contain_text("Published and verified", timeout=3 * MINUTES)
    expect(page.locator("#job-head")).to_contain_text(f"writer/{MADE}@")
    assert "front.json" in site.hub.files(f"writer/{MADE}")

    go(page, "models")
    page.locator("#fetch-models").click()
    row(page, "models", f"writer/{MADE}").click()
    expect(page.locator("#model-head")).to_contain_text("Hub")
    expect(page.locator("#to-hub")).to_be_visible()
    page.locator("#to-explore").click()
    expect(page.locator("#tab-explore-button[aria-selected=true]")).to_be_visible()
    unfold(page)
    expect(page.locator("#model input")).to_have_value(re.compile("static int8"), timeout=2 * MINUTES)
    page.locator("#question textarea").fill("Which river flows out of Lake Baikal?")
    page.locator("#ask").click()
    expect(page.locator("#answer h3")).to_contain_text("Angara", timeout=2 * MINUTES)

    assert "hf_writer" not in page.content()
    assert not [path for path in site.home.rglob("*") if path.is_file() and b"hf_writer" in path.read_bytes()]
    assert not outside


@pytest.mark.timeout(600)
def test_again_with_changes_and_cancel(page, url):
    open_tab(page, url, "compress")
    walk_to_start(page)
    page.locator("#start-job").click()
    expect(page.locator("#job-head")).to_contain_text("static_int8")
    page.locator("#cancel-job").click()
    expect(page.locator("#job-head")).to_contain_text("cancelled", timeout=MINUTES)
    expect(page.locator("#retry-job")).to_be_enabled()
    page.locator("#again-job").click()
    expect(page.locator("#preset input")).to_have_value(re.compile(r"\(job "))
    page.locator("#to-check").click()
    expect(page.locator("#command")).to_contain_text(re.compile(r"submit \w{8}"))


def test_a_wrong_value_is_told_on_its_field(page, url):
    open_tab(page, url, "compress")
    go_to_settings(page)
    page.locator("#recipe-form summary", has_text="Quantize").click()
    form(page, "quantize-calibration_samples").fill("0")
    form(page, "quantize-calibration_samples").press("Tab")
    field = page.locator("#field-quantize-quantize-calibration_samples")
    expect(field).to_contain_text("greater than or equal to 1")
    page.locator("#to-check").click()
    expect(page.locator("#compress-notice")).to_contain_text("calibration samples")
    form(page, "quantize-calibration_samples").fill("9")
    page.locator("#to-check").click()
    expect(page.locator("#recipe-yaml")).to_contain_text("calibration_samples: 9")
    page.locator("#back-to-settings").click()
    expect(field).not_to_contain_text("greater")
    expect(form(page, "quantize-calibration_samples")).to_have_value("9")


def test_each_preset_has_its_form_and_a_setting_is_found_by_a_word(page, url):
    open_tab(page, url, "compress")
    expect(page.locator("#preset-about")).to_contain_text(about("static_int8"))
    page.locator("#preset input").click()
    page.get_by_role("option", name="length adaptive tiny").click()
    expect(page.locator("#preset-about")).to_contain_text(about("length_adaptive_tiny"))
    for words, kind in (("length adaptive tiny", "length_adaptive"), ("minilm l6 w8a8 sst2", "aimet_w8a8")):
        page.locator("#preset input").fill(words)  # without the mouse
        expect(page.get_by_role("option", name=words, exact=True)).to_be_visible()
        page.keyboard.press("Enter")
        expect(page.locator("#preset-about")).to_contain_text(about(words.replace(" ", "_")))
        go_to_settings(page)
        expect(page.locator(f".recipe-form[data-kind={kind}]")).to_be_visible()
        for step in ("source", "recipe"):
            page.locator(f"#back-to-{step}").click()
    go_to_settings(page)
    rate = page.locator("#field-aimet_w8a8-finetune-learning_rate")
    expect(rate).not_to_be_visible()
    page.locator("#recipe-form .find").fill("learning rate highest")
    expect(rate).to_be_visible()
    expect(page.locator("#field-aimet_w8a8-dataset-train")).not_to_be_visible()
    assert page.locator(".recipe-form .field").count() < 130


def test_an_own_file_is_taken_or_its_wrong_line_named(page, url, tmp_path):
    open_tab(page, url, "compress")
    page.locator("#to-source").click()
    page.locator("#data label", has_text="my own file").click()
    wrong, right = tmp_path / "wrong.csv", tmp_path / "right.csv"
    wrong.write_text(CSV.replace("Bees fly to Rome.", "Bees stay."))
    right.write_text(CSV)
    page.locator("#own-file input[type=file]").set_input_files(str(wrong))
    expect(page.locator("#upload-note")).to_contain_text("line 3")
    page.locator("#own-file button[aria-label*=lear], #own-file button[aria-label*=emove]").first.click()
    page.locator("#own-file input[type=file]").set_input_files(str(right))
    expect(page.locator("#upload-note")).to_contain_text("3 questions about 3 passages")
    page.locator("#to-settings").click()
    expect(form(page, "dataset-train")).to_have_value(re.compile(r"uploads.*train\.json$"))


def test_an_own_file_of_texts_is_read_for_the_task_that_is_picked(page, url, tmp_path):
    open_tab(page, url, "compress")
    page.locator("#to-source").click()
    page.locator("#data label", has_text="my own file").click()
    expect(page.locator("#upload-note")).to_contain_text("needs `question`")
    mine = tmp_path / "mine.tsv"
    mine.write_text("sentence\tlabel\nfine\tpositive\nbad\tnegative\nso so\t1\n")
    page.locator("#own-file input[type=file]").set_input_files(str(mine))
    expect(page.locator("#upload-note")).to_contain_text("no column question")
    page.locator("#source-task input").click()
    page.get_by_role("option", name="SST-2").click()
    expect(page.locator("#upload-note")).to_contain_text("3 texts for SST-2")
    page.locator("#to-settings").click()
    expect(form(page, "dataset-task")).to_have_value("sst2")
    expect(form(page, "dataset-evaluation")).to_have_value(re.compile(r"uploads.*evaluation\.jsonl$"))


def test_what_eight_bits_cost_is_drawn_for_a_job_that_measured_it(page, site, url, monkeypatch):
    monkeypatch.setenv("BUDGET_ZOO_HOME", str(site.home))
    get_settings.cache_clear()
    job = get_ledger().create(load("static_int8"), "sensitive", "", "local")
    assert get_ledger().change(job.id, ("queued",), state="cancelled")
    monkeypatch.undo()
    get_settings.cache_clear()
    open_tab(page, url, "jobs", f"&job={job.id}")
    expect(page.locator("#job-head")).to_contain_text("sensitive")
    expect(page.locator("#job-sensitivity")).not_to_be_visible()
    rows = [{"name": f"layers.{i}.qkv", "kl": 0.1 * i, "share": i / 10, "parameters": 10 * i} for i in range(5)]
    report = {"rows": rows, "together": 0.5, "windows": 3, "approach": "static"}
    write_json(job.folder / "quantize" / CRITERION, {"sensitivity": report, "returned": ["layers.4.qkv"]})
    page.reload()
    expect(page.locator("#sensitivity .js-plotly-plot .trace.bars")).to_have_count(2)
    expect(page.locator("#sensitivity")).to_contain_text("returned to float")
    page.locator("#sensitivity-table").get_by_text("As a table").click()
    expect(page.locator("#sensitivity-table tbody tr")).to_have_count(5)
    expect(page.locator("#sensitivity-table tbody tr").first).to_contain_text("layers.4.qkv")


def test_side_by_side(page, url):
    open_tab(page, url, "compare")
    page.locator("#compare-many label", has_text="3").click()
    page.locator("#compare-question :is(input, textarea)").fill("Which river flows out of Lake Baikal?")
    page.locator("#compare-go").click()
    expect(page.locator("#compare-table")).to_contain_text("Angara")
    expect(page.locator("#compare-table tbody tr")).to_have_count(3)
    expect(page.locator("#compare-plot .js-plotly-plot .trace.bars")).to_have_count(3)
    expect(page.locator("#compare-stamp")).to_contain_text("threads")
    with page.expect_download() as download:
        page.locator("#compare-csv").click()
    assert download.value.suggested_filename == "comparison.csv"
    assert len(download.value.path().read_text().splitlines()) == 4


def test_from_the_zoo_to_a_card_and_to_a_comparison(page, url, outside):
    open_tab(page, url, "models")
    row(page, "models", "minilm-l6-qa-length").click()
    expect(page.locator("#model-head")).to_contain_text("bundled")
    expect(page.locator("#model-card")).to_contain_text("Budgets")
    page.locator("#model-search :is(input, textarea)").fill("no such thing")
    expect(page.locator("#models-counted")).to_contain_text("0 models")
    page.locator("#model-search :is(input, textarea)").fill("")
    expect(row(page, "models", "minilm-l6-qa-length")).to_be_visible()
    page.locator("#model-search :is(input, textarea)").fill("l6-qa")  # with what other tests made from it
    expect(row(page, "models", "mnli")).to_have_count(0)
    for place in (0, 1):
        row(page, "models", "☐").click()
        expect(page.locator("#ticked .token")).to_have_count(place + 1)
    page.locator("#to-compare").click()
    expect(page.locator("#tab-compare-button[aria-selected=true]")).to_be_visible()
    expect(page.locator("#compare-model-A input")).to_have_value(re.compile("minilm", re.I))
    assert not outside


def test_without_the_hub_the_zoo_says_so_and_shows_what_is_known(page, site, url):
    site.hub.faults["list"] = [403] * 8
    open_tab(page, url, "models")
    page.locator("#fetch-models").click()
    expect(page.locator("#models-banner")).to_be_visible()
    expect(row(page, "models", "minilm-l6-qa")).to_be_visible()
    site.hub.faults.clear()


@pytest.mark.parametrize("tab", TABS)
def test_a_narrow_screen_scrolls_only_down(page, url, tab):
    page.set_viewport_size({"width": 400, "height": 800})
    open_tab(page, url, tab)
    page.wait_for_timeout(1000)
    page.wait_for_function("document.documentElement.scrollWidth <= 400")


def test_an_unknown_job_in_a_link_is_told(page, url):
    open_tab(page, url, "jobs", "&job=00000000")
    expect(page.locator("#jobs-notice")).to_contain_text("00000000")
    expect(page.locator("#job-details")).not_to_be_visible()
