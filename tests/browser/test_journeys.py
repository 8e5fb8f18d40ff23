"""What people do on the Explore tab, in a real browser on the real app."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.browser.fold_kit import UNITS, unfold

playwright = pytest.importorskip("playwright.sync_api")
expect = playwright.expect

SLIDER, NUMBER = "#budget input[type=range]", "#budget input[type=number]"
MEASURED = "#latency table"


def open_page(page, url, query=""):
    """The page with its first answer."""
    page.goto(url + query)
    expect(page.locator("#answer h3")).to_be_visible()


def wait_for_compute(page, most):
    """Until the card shows at most so many percent of the MACs; it is drawn anew with each answer."""
    page.wait_for_function(
        "most => parseFloat(document.querySelector('#readout dd')?.innerText) <= most", arg=float(most)
    )


def wait_for_width(page, most):
    """Until the page is no wider than the screen."""
    page.wait_for_function("most => document.documentElement.scrollWidth <= most", arg=most)


def wait_for_dark(page, wanted):
    page.wait_for_function("wanted => document.body.classList.contains('dark') === wanted", arg=wanted)


def settle(page):
    """Until the last wish is answered and measured."""
    expect(page.locator("#stamp")).to_contain_text("threads")


def linked(page, key):
    return parse_qs(urlsplit(page.url).query).get(key, [None])[0]


def wait_for_link(page, key, value):
    page.wait_for_function(
        "([key, value]) => new URLSearchParams(location.search).get(key) === value", arg=[key, str(value)]
    )


def test_open_ask_and_read(page, url, outside):
    open_page(page, url)
    page.locator("#question textarea").fill("Which river flows out of Lake Baikal?")
    page.locator("#question textarea").press("Enter")
    expect(page.locator("#answer h3")).to_contain_text("Angara")
    expect(page.locator("#full-answer h3")).to_contain_text("Angara")
    expect(page.locator("#marked .highlighted")).to_contain_text("Angara")
    expect(page.locator("#verdict")).to_contain_text("full length")
    expect(page.locator(MEASURED)).to_contain_text("fp32, full length")
    settle(page)
    expect(page.locator("#stamp")).to_contain_text(re.compile(r"VNNI|AMX"))
    expect(page.locator("#spread .js-plotly-plot .trace.boxes")).to_have_count(3)
    expect(page.locator("#heat .js-plotly-plot")).to_be_visible()
    expect(page.locator("#kept .highlighted .text").first).to_be_visible()
    assert not outside


def test_next_example_is_one_click(page, url):
    open_page(page, url)
    before = page.locator("#passage textarea").input_value()
    page.locator("#another").click()
    expect(page.locator("#passage textarea")).not_to_have_value(before)
    start = page.locator("#passage textarea").input_value()[:40]
    expect(page.locator("#marked")).to_contain_text(start)
    expect(page.locator("#answer h3")).to_be_visible()


def test_a_passage_keeps_its_lines(page, url):
    open_page(page, url)
    page.locator("#passage textarea").fill("Paris is by the Seine.\nLyon is by the Rhone.\n\nRome is by the Tiber.")
    page.locator("#question textarea").fill("Which river is by Lyon?")
    page.locator("#question textarea").press("Enter")
    expect(page.locator("#marked")).to_contain_text("Tiber")
    expect(page.locator("#marked .highlighted .text").first).to_be_visible()
    tops = [page.locator("#marked .text", has_text=town).bounding_box()["y"] for town in ("Paris", "Lyon", "Rome")]
    line = tops[1] - tops[0]  # a mark's padding adds some pixels to a line that has one: which it is, a model says
    assert line > 10 and 1.7 * line < tops[2] - tops[1] < 2.6 * line, "an empty line is one, too"


def test_a_drag_ends_at_its_last_value(page, url):
    open_page(page, url)
    slider = page.locator(SLIDER)
    box = slider.bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, middle)
    page.mouse.down()
    for step in range(30):
        page.mouse.move(box["x"] + box["width"] * (0.5 + step / 50), middle)
    page.mouse.move(box["x"] + box["width"] * 0.3, middle, steps=5)
    page.mouse.up()
    value = float(slider.input_value())
    minimum, maximum = (float(slider.get_attribute(key)) for key in ("min", "max"))
    assert minimum < value < minimum + 0.5 * (maximum - minimum)
    wait_for_link(page, "budget", f"{value:g}")
    expect(page.locator(NUMBER)).to_have_value(f"{value:g}")
    settle(page)
    wait_for_compute(page, max(value, minimum + 10))
    assert linked(page, "budget") == f"{value:g}"


# What the hand says, before anybody can stop it, and what of that arrives at the slider.
COUNT = """selector => {
  window.moves = { made: 0, heard: [] };
  window.addEventListener("input", (event) => { window.moves.made += event.isTrusted; }, true);
  const slider = document.querySelector(selector);
  slider.addEventListener("input", () => window.moves.heard.push(slider.value));
}"""


def test_a_drawn_slider_is_heard_now_and_then_and_in_the_end(page, url):
    """Gradio takes a tenth of a second for an event: the hand would wait for each of them."""
    open_page(page, url)
    slider = page.locator(SLIDER)
    page.evaluate(COUNT, SLIDER)
    box = slider.bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, middle)
    page.mouse.down()
    for step in range(40):
        page.mouse.move(box["x"] + box["width"] * (0.5 + 0.4 * step / 40), middle)
    page.mouse.up()
    moves = page.evaluate("window.moves")
    assert moves["made"] > 20 and 2 <= len(moves["heard"]) < moves["made"] / 2, moves
    assert moves["heard"][-1] == slider.input_value()


def test_keys_and_the_number_box_move_it_too(page, url):
    open_page(page, url)
    slider = page.locator(SLIDER)
    before = float(slider.input_value())
    slider.focus()
    for _ in range(10):
        slider.press("ArrowLeft")
    after = before - 10 * float(slider.get_attribute("step"))
    wait_for_link(page, "budget", f"{after:g}")
    wait_for_compute(page, after)
    page.locator(NUMBER).fill("97")
    page.locator(NUMBER).press("Tab")
    wait_for_link(page, "budget", "97")
    expect(slider).to_have_value("97")
    settle(page)
    expect(page.locator(".toast-wrap .error")).to_have_count(0)
    expect(page.locator("#notice")).not_to_be_visible()


def test_another_unit_keeps_the_point(page, url):
    open_page(page, url)
    settle(page)  # the units that want a measurement are there now
    unfold(page, UNITS)
    config = page.locator("#binding .config").inner_text().splitlines()[0]
    for unit in ("F1 points lost", "speed-up", "milliseconds", "% of compute"):
        switch = page.locator("#unit label", has_text=unit)
        if switch.count():
            switch.click()
            expect(page.locator("#unit label.selected")).to_contain_text(unit)
            expect(page.locator("#binding .config")).to_contain_text(config)


def test_a_click_on_the_front_moves_the_slider(page, url):
    open_page(page, url)
    settle(page)
    before = page.locator(SLIDER).input_value()
    mark = page.locator("#front .mark.free").first
    said = mark.get_attribute("aria-label")
    mark.click()
    expect(page.locator("#front .mark.current")).to_have_attribute("aria-label", said)
    expect(page.locator(SLIDER)).not_to_have_value(before)
    unfold(page, UNITS)
    expect(page.locator("#binding .config")).to_contain_text("picked on the plot")
    with page.expect_download() as download:
        page.locator("#csv").click()
    assert download.value.suggested_filename.endswith(".csv")
    assert "macs_ratio" in download.value.path().read_text().splitlines()[0]


def test_a_permalink_brings_back_what_was_selected(page, url):
    open_page(page, url, "?budget=90&unit=macs&engine=torch")
    expect(page.locator(SLIDER)).to_have_value("90")
    unfold(page)
    expect(page.locator("#engine label.selected")).to_contain_text("PyTorch")
    wait_for_link(page, "engine", "torch")
    assert linked(page, "model") and linked(page, "unit") == "macs"


def test_a_link_carries_ones_own_text_back_goes_back_and_a_reload_loses_nothing(page, url):
    open_page(page, url)
    question, passage = page.locator("#question textarea"), page.locator("#passage textarea")
    passage.fill("Ada keeps bees.\n\tGrace keeps a goat called Ünal.")
    question.fill("Who keeps a goat?")
    question.press("Enter")
    expect(page.locator("#answer h3")).to_contain_text("Grace")
    link = page.evaluate("budgetZoo.packTexts().then((texts) => location.search + texts)")
    assert "#t=" in link and "goat" not in link

    page.locator("#tab-models-button").click()
    wait_for_link(page, "tab", "models")
    page.go_back()
    expect(page.locator("#tab-explore-button[aria-selected=true]")).to_be_visible()
    expect(question).to_have_value("Who keeps a goat?")
    question.fill("Who keeps bees?")
    page.reload()
    expect(question).to_have_value("Who keeps bees?")
    expect(page.locator("#answer h3")).to_contain_text("Ada")

    page.goto("about:blank")
    page.goto(url + link)
    expect(question).to_have_value("Who keeps a goat?")
    expect(passage).to_have_value("Ada keeps bees.\n\tGrace keeps a goat called Ünal.")
    page.reload()
    expect(question).to_have_value("Who keeps a goat?")
    question.fill("Who is called Ünal?")
    page.wait_for_function("!location.hash")
    page.reload()
    expect(question).to_have_value("Who is called Ünal?")


def test_a_link_brings_who_is_compared(page, url):
    name = "minilm-l6-qa-length-adaptive-int8"
    page.goto(f"{url}?tab=compare&a={name}:100&b={name}:40&c=minilm-l6-qa:100")
    budgets = [page.locator(f"#compare-budget-{letter} input[type=range]") for letter in "ABC"]
    for box, percent in zip(budgets, ("100", "40", "100"), strict=True):
        expect(box).to_have_value(percent)
    budgets[1].focus()
    budgets[1].press("ArrowLeft")
    wait_for_link(page, "b", f"{name}:39")
    assert linked(page, "a") == f"{name}:100" and linked(page, "c") == "minilm-l6-qa:100"
    page.locator("#compare-question textarea").fill("Who keeps a goat?")
    link = page.evaluate("budgetZoo.packTexts().then((texts) => location.search + texts)")
    page.goto("about:blank")
    page.goto(url + link)
    expect(page.locator("#compare-question textarea")).to_have_value("Who keeps a goat?")
    expect(budgets[1]).to_have_value("39")


def test_a_permalink_outlives_a_slow_start(page, url):
    # What the page writes into the address late here stands there at once, before the server is asked what it says.
    page.add_init_script(
        "const later = setTimeout; window.setTimeout = (f, ms, ...a) => later(f, ms === 150 ? 0 : ms, ...a);"
    )
    open_page(page, url, "?budget=90&unit=macs&engine=torch")
    expect(page.locator(SLIDER)).to_have_value("90")
    unfold(page)
    expect(page.locator("#engine label.selected")).to_contain_text("PyTorch")


def test_a_broken_permalink_is_explained(page, url):
    open_page(page, url, "?budget=nonsense&unit=miles&engine=gpu&model=../../etc/passwd")
    for said in ("budget is no number", "link's unit", "link's engine", "press Load"):
        expect(page.locator("#hint")).to_contain_text(said)


def test_a_budget_beyond_the_front_is_explained(page, url):
    open_page(page, url, "?budget=1")
    expect(page.locator("#hint")).to_contain_text("beyond the slider")
    expect(page.locator(SLIDER)).to_have_value(page.locator(SLIDER).get_attribute("min"))


def test_bad_input_is_said_so(page, url):
    open_page(page, url)
    settle(page)
    page.locator("#question textarea").fill("")
    page.locator("#ask").click()
    expect(page.locator("#notice")).to_contain_text("question")
    page.locator("#question textarea").fill("Who?")
    page.locator("#passage textarea").fill("  ")
    page.locator("#ask").click()
    expect(page.locator("#notice")).to_contain_text("passage")
    unfold(page)
    page.get_by_text("Another checkpoint").click()
    for name in ("no/such-model-anywhere", "/no/such/folder", "not a model id!"):
        page.locator("#other-model input, #other-model textarea").fill(name)
        page.locator("#load").click()
        expect(page.locator("#hint")).to_contain_text(name)
        expect(page.locator("#hint")).not_to_contain_text("should not have")
    expect(page.locator("body")).not_to_contain_text("Traceback")


def test_strange_text_is_read_and_shown_as_text(page, url):
    open_page(page, url)
    settle(page)
    page.locator("#question textarea").fill("Who has a 🐝? <b>|$$x$$|</b>")
    hostile = "שלום <img src=x onerror=alert(1)> 🐝 **Ada** has a bee.\u0007 "
    page.locator("#passage textarea").fill(hostile + "Bees fly. " * 2500)
    page.locator("#ask").click()
    expect(page.locator("#notice")).to_contain_text("Cut to the first 20,000")
    expect(page.locator("#notice")).to_contain_text("1 control character removed")
    expect(page.locator("#marked img, #kept img, #answer img, #n-best img")).to_have_count(0)


def test_a_narrow_screen_in_the_dark(page, url):
    page.set_viewport_size({"width": 400, "height": 800})
    open_page(page, url)
    settle(page)
    page.get_by_text("More answers").click()
    expect(page.locator("#n-best table")).to_be_visible()
    wait_for_width(page, 400)
    page.set_viewport_size({"width": 330, "height": 800})
    page.wait_for_function(
        "() => { const box = document.querySelector('#question textarea'), card = document.querySelector('#ask-card');"
        " return box.clientHeight > 60 && box.scrollHeight <= box.clientHeight + 1"
        " && document.querySelector('#ask').getBoundingClientRect().right < card.getBoundingClientRect().right; }"
    )  # a question of several lines is seen in whole, and its button within its card
    page.set_viewport_size({"width": 400, "height": 800})
    was = page.evaluate("document.body.classList.contains('dark')")
    page.locator("#dark-mode").click()
    wait_for_dark(page, not was)
    page.reload()
    expect(page.locator("#answer h3")).to_be_visible()
    wait_for_dark(page, not was)
