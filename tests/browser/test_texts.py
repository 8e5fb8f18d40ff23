"""A classifier in the explorer, in a real browser: loaded from a folder, asked, shared, and compared with itself."""

from __future__ import annotations

import re

import pytest

from tests.browser.fold_kit import unfold
from tests.zoo.classifier_kit import make_entry

playwright = pytest.importorskip("playwright.sync_api")
expect = playwright.expect

LABELS = {"0": "contradiction", "1": "entailment", "2": "neutral"}


@pytest.fixture(scope="module")
def folder(tiny_model, tmp_path_factory):
    return make_entry(tiny_model, tmp_path_factory.mktemp("texts"), LABELS).folder


def test_a_classifier_shows_pairs_labels_and_what_was_kept(page, url, outside, folder):
    page.goto(url)
    expect(page.locator("#answer h3")).to_be_visible()
    expect(page.locator("#stamp")).to_contain_text("threads")
    unfold(page)
    page.get_by_text("Another checkpoint").click()
    page.locator("#other-model :is(input, textarea)").fill(str(folder))
    page.locator("#load").click()
    expect(page.locator("#question label")).to_contain_text("Premise")
    expect(page.locator("#passage label")).to_contain_text("Hypothesis")
    expect(page.locator("#bars .label")).to_have_count(3)
    expect(page.locator("#answer h3")).to_contain_text(re.compile("entailment|neutral|contradiction"))
    expect(page.locator("#verdict")).to_contain_text("full length")
    expect(page.locator("#marked")).not_to_be_visible()
    expect(page.locator("#stamp")).to_contain_text("threads")
    expect(page.locator("#kept .highlighted .text").first).to_be_visible()
    page.wait_for_function("new URLSearchParams(location.search).get('model').endsWith('int8')")

    shown = page.locator("#question textarea").input_value()
    page.locator("#another").click()
    expect(page.locator("#question textarea")).not_to_have_value(shown)
    page.locator("#question textarea").fill("")
    page.locator("#ask").click()
    expect(page.locator("#notice")).to_contain_text("no text")

    # Back to questions by the switch, which has appeared since there are both.
    page.locator("#task label", has_text="questions").click()
    expect(page.locator("#passage label")).to_contain_text("Passage")
    expect(page.locator("#answer h3")).to_contain_text("Russia")
    expect(page.locator("#marked .highlighted .text").first).to_be_visible()
    expect(page.locator("#bars")).not_to_be_visible()
    assert not outside
