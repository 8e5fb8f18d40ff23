"""A model that labels words in the explorer, in a real browser: loaded from a folder, asked, at another budget."""

from __future__ import annotations

import pytest

from tests.browser.fold_kit import unfold
from tests.zoo.tagger_kit import make_entry

playwright = pytest.importorskip("playwright.sync_api")
expect = playwright.expect


@pytest.fixture(scope="module")
def folder(tiny_model, tmp_path_factory):
    return make_entry(tiny_model, tmp_path_factory.mktemp("tags")).folder


def test_labelled_words_are_marked_and_listed(page, url, outside, folder):
    page.goto(url)
    expect(page.locator("#answer h3")).to_be_visible()
    unfold(page)
    page.get_by_text("Another checkpoint").click()
    page.locator("#other-model :is(input, textarea)").fill(str(folder))
    page.locator("#load").click()
    expect(page.locator("#question label")).to_contain_text("Text")
    expect(page.locator("#passage")).not_to_be_visible()
    expect(page.locator("#n-best tbody tr").first).to_be_visible()
    expect(page.locator("#marked .highlighted .label").first).to_be_visible()
    # The rest of the text's line has none. One that another answer has just replaced has no size at all.
    page.wait_for_function(
        "s => parseFloat(getComputedStyle(document.querySelector(s)).fontSize) > 8", arg="#marked .highlighted .label"
    )
    expect(page.locator("#bars")).not_to_be_visible()
    expect(page.locator("#verdict")).to_contain_text("full length")
    expect(page.locator("#stamp")).to_contain_text("threads")

    page.locator("#question textarea").fill("")
    page.locator("#ask").click()
    expect(page.locator("#notice")).to_contain_text("no text to label")

    # Back to questions: their marks have no names beside them.
    page.locator("#task label", has_text="questions").click()
    expect(page.locator("#passage label")).to_contain_text("Passage")
    expect(page.locator("#marked .highlighted .text").first).to_be_visible()
    expect(page.locator("#marked .highlighted .label")).to_have_count(0)
    assert not outside
