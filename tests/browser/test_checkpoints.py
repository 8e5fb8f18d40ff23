"""Checkpoints as the Hub has them, in a real browser: one that may say "no answer", and one that is a pickle."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from tests.zoo.abstaining_kit import PASSAGE, QUESTION, make_silent
from zoo.tensors import SINGLE

playwright = pytest.importorskip("playwright.sync_api")
expect = playwright.expect
# An element shows all that it holds, and so does whatever holds it.
FITS = "e => { for (; e; e = e.parentElement) if (e.scrollWidth > e.clientWidth) return false; return true; }"


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
    expect(page.locator("#no-answer input")).not_to_be_checked()
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
        assert page.locator(selector).evaluate(FITS), selector
    page.locator("#no-answer input").uncheck()
    expect(page.locator("#answer h3")).not_to_have_text("No answer in this passage")
    assert page.locator("#answer h3").inner_text() in PASSAGE
    assert (folder / SINGLE).is_file() and not outside
