"""Checkpoints as the Hub has them, in a real browser: one that may say "no answer", and one that is a pickle."""

from __future__ import annotations

import os
from math import ceil, floor

import pytest
import torch
from safetensors.torch import load_file

from tests.browser.fold_kit import unfold
from tests.zoo.abstaining_kit import PASSAGE, QUESTION, make_silent
from zoo import catalog
from zoo.ask import QuestionAnswerer
from zoo.tensors import SINGLE

playwright = pytest.importorskip("playwright.sync_api")
expect = playwright.expect
# An element shows all that it holds, and so does whatever holds it.
FITS = """selector => {
    let e = document.querySelector(selector);
    if (!e) return false;
    for (; e; e = e.parentElement) if (e.scrollWidth > e.clientWidth) return false;
    return true;
}"""


@pytest.fixture(scope="module")
def folder(tiny_model, tmp_path_factory):
    """A pickle alone, of a model whose name tells of SQuAD 2.0 and which would rather not answer."""
    folder = make_silent(tiny_model, tmp_path_factory.mktemp("hub") / "tiny-squad2")
    torch.save(load_file(folder / SINGLE), folder / "pytorch_model.bin")
    (folder / SINGLE).unlink()
    return folder


def test_a_pickle_is_converted_and_may_say_that_there_is_no_answer(page, url, outside, folder):
    page.goto(url)
    expect(page.locator("#answer h3")).to_be_visible()
    unfold(page)
    page.locator("#no-answer input").uncheck()  # each checkpoint comes with what it learned
    unfold(page)
    page.get_by_text("Another checkpoint").click()
    page.locator("#other-model :is(input, textarea)").fill(str(folder))
    page.locator("#load").click()
    expect(page.locator("#hint")).to_contain_text("pytorch_model.bin")
    expect(page.locator("#convert")).to_be_visible()

    page.locator("#convert").click()
    expect(page.locator("#convert")).not_to_be_visible()
    expect(page.locator("#hint")).not_to_be_visible()
    expect(page.locator("#no-answer input")).to_be_checked()
    page.locator("#question textarea").fill(QUESTION)
    page.locator("#passage textarea").fill(PASSAGE)
    page.locator("#ask").click()
    expect(page.locator("#answer h3")).to_have_text("No answer in this passage")
    expect(page.locator("#stamp")).to_contain_text("threads")

    page.set_viewport_size({"width": 400, "height": 900})
    for selector in ("#budget input[type=number]", "#no-answer", "#load"):  # nothing is cut off on a phone
        page.wait_for_function(FITS, arg=selector)
    page.locator("#no-answer input").uncheck()
    page.wait_for_function(
        "passage => passage.includes(document.querySelector('#answer h3')?.innerText || 'nothing yet')", arg=PASSAGE
    )
    assert (folder / SINGLE).is_file() and not outside


def test_a_slider_says_how_readily_there_is_no_answer(page, url, outside, tiny_model, tmp_path):
    make_silent(tiny_model, tmp_path / "tiny-squad2")
    page.goto(url)
    expect(page.locator("#answer h3")).to_be_visible()
    slider, box = page.locator("#null-threshold input[type=range]"), page.locator("#null-threshold input[type=number]")
    unfold(page)
    page.locator("#no-answer input").uncheck()
    expect(slider).to_be_disabled()
    unfold(page)
    page.get_by_text("Another checkpoint").click()
    page.locator("#other-model :is(input, textarea)").fill(str(tmp_path / "tiny-squad2"))
    page.locator("#load").click()
    expect(page.locator("#no-answer input")).to_be_checked()
    expect(slider).to_be_enabled()
    expect(box).to_have_value("0")
    page.locator("#question textarea").fill(QUESTION)
    page.locator("#passage textarea").fill(PASSAGE)
    page.locator("#ask").click()
    answer = page.locator("#answer h3")
    expect(answer).to_have_text("No answer in this passage")
    opened = QuestionAnswerer(catalog.find(str(tmp_path / "tiny-squad2")), "torch", 1).ask(QUESTION, PASSAGE)
    null, span = (next(a for a in opened.answers if (a.start < 0) is is_null) for is_null in (True, False))
    margin = null.score - span.score
    above, below = ceil(margin), floor(margin)  # just beside where the one passes the other

    slider.fill(str(min(above, 10)))  # the slider ends at 10
    if above > 10:
        box.fill(str(above))
    expect(answer).to_have_text(span.text)
    expect(page.locator("#full-answer h3")).to_have_text(span.text)
    box.fill(str(below))
    expect(answer).to_have_text("No answer in this passage")
    box.fill(str(above))
    expect(answer).to_have_text(span.text)
    if folder := os.environ.get("BUDGET_ZOO_SHOTS"):
        page.screenshot(path=f"{folder}/threshold.png", full_page=True)
    page.locator("#no-answer input").uncheck()
    expect(slider).to_be_disabled()
    page.set_viewport_size({"width": 400, "height": 900})
    page.wait_for_function(FITS, arg="#null-threshold")
    assert not outside
