"""A person's own labels, of texts and of words: from a file on the page to a published int8 entry that is asked."""

from __future__ import annotations

import os
import random
import re
from pathlib import Path

import pytest

from tests.browser.fold_kit import unfold

playwright = pytest.importorskip("playwright.sync_api")
expect = playwright.expect

MINUTES = 60_000
SHOTS = os.environ.get("BUDGET_ZOO_SHOTS")  # a folder for pictures to look at
STARS = {"1": "awful", "2": "poor", "3": "decent", "4": "good", "5": "superb"}
TOWNS = ("Oslo", "Rome", "Paris", "Lima", "Cairo")


def reviews() -> str:
    chance = random.Random(0)
    nouns = ("film", "book", "meal", "hotel", "song", "play", "walk", "game", "boat", "show")
    rows = [
        f"{chance.choice(('The', 'This'))} {noun} was {chance.choice(('really', 'quite', 'simply'))} {word},{star}"
        for star, word in STARS.items()
        for noun in nouns
        for _ in range(4)
    ]
    return "\n".join(["review,stars", *rows])


def tagged() -> str:
    chance, sentences = random.Random(1), []
    for i in range(90):
        town, verb = chance.choice(TOWNS), chance.choice(("left", "saw", "likes", "leaves", "painted"))
        words = [("She", "O"), (verb, "O"), (town, "B-TOWN"), (f"on day {i}".split()[chance.randrange(2)], "O")]
        sentences.append("\n".join(f"{word} {tag}" for word, tag in words))
    return "\n\n".join(sentences)


def shot(page, name):
    if not SHOTS:
        return
    for width in (1440, 400):
        page.set_viewport_size({"width": width, "height": 1000})
        page.wait_for_timeout(400)
        page.screenshot(path=str(Path(SHOTS) / f"{name}-{width}.png"), full_page=True)
    page.set_viewport_size({"width": 1280, "height": 900})


def choose(page, box, words):
    page.locator(f"#{box} input").click()
    page.get_by_role("option", name=words, exact=isinstance(words, str)).click()


def compressed(page, site, url, task, file, content, name, outside, epochs):
    """The page walked from the file to the published entry, which is then open in Explore."""
    page.goto(f"{url}?tab=compress")
    expect(page.locator("#preset-about")).to_contain_text("Here it takes")
    choose(page, "preset", "finetune glue")
    expect(page.locator("#preset-about")).to_contain_text("A task of GLUE")
    page.locator("#to-source").click()
    page.locator("#source label", has_text="one of these").click()
    choose(page, "source-zoo", "MiniLM-L6 for questions")
    choose(page, "source-task", task)
    page.locator("#data label", has_text="my own file").click()
    with page.expect_file_chooser() as chooser:
        page.locator("#own-file button").first.click()
    chooser.value.set_files([{"name": file, "mimeType": "text/plain", "buffer": content.encode()}])
    expect(page.locator("#upload-note")).to_contain_text("✓")
    yield "uploaded"
    page.locator("#to-settings").click()
    page.locator("#recipe-form summary", has_text="Finetune").click()
    page.locator("#field-train-finetune-epochs input").fill(epochs)
    page.locator("#field-train-finetune-epochs input").press("Tab")
    page.locator("#recipe-form summary", has_text="Package").click()
    for key, text in (("name", name), ("title", name)):
        page.locator(f"#field-train-package-{key} :is(input, textarea)").fill(text)
    page.locator("#field-train-package-title :is(input, textarea)").press("Tab")
    page.locator("#to-check").click()
    expect(page.locator("#estimate")).to_contain_text("memory")
    page.locator("#start-job").click()
    expect(page.locator("#job-head")).to_contain_text("ready to publish", timeout=15 * MINUTES)
    yield "made"
    page.locator("#publish-job").click()
    expect(page.locator("#publish-space input")).to_have_value("writer")
    choose(page, "publish-entry", re.compile("int8"))
    expect(page.locator("#publish-name :is(input, textarea)")).to_have_value(f"{name}-int8")
    repo = f"writer/{name}-int8"
    page.locator("#publish-private input").uncheck()
    page.locator("#publish-preview").click()
    expect(page.locator("#publish-files")).to_contain_text("README.md")
    page.locator("#publish-go").click()
    expect(page.locator("#publish-result")).to_contain_text("Published and verified", timeout=3 * MINUTES)
    assert "model.int8.onnx" in site.hub.files(repo)
    page.locator("#tab-explore-button").click()
    unfold(page)
    page.get_by_text("Another checkpoint").click()
    page.locator("#other-model :is(input, textarea)").fill(repo)
    page.locator("#load").click()
    expect(page.locator("#question label")).to_contain_text("Text", timeout=2 * MINUTES)
    yield "open"
    assert not outside


@pytest.mark.timeout(1800)
def test_stars_of_reviews(page, site, url, outside):
    steps = compressed(page, site, url, "Labels of your own", "reviews.csv", reviews(), "stars", outside, "2")
    next(steps)
    expect(page.locator("#column-text input")).to_have_value("review")
    expect(page.locator("#column-label input")).to_have_value("stars")
    page.locator("#label-names :is(input, textarea)").fill("bad=1, meh=3, great=5")
    page.locator("#label-names :is(input, textarea)").press("Tab")
    expect(page.locator("#upload-note")).to_contain_text("200 texts")
    shot(page, "stars-upload")
    next(steps)
    shot(page, "stars-job")
    next(steps)
    page.locator("#question textarea").fill("This hotel was simply superb")
    page.locator("#ask").click()
    expect(page.locator("#bars")).to_contain_text("great")
    for name in ("bad", "2", "meh", "4"):
        expect(page.locator("#bars")).to_contain_text(name)
    shot(page, "stars-explore")
    assert list(steps) == []


@pytest.mark.timeout(1800)
def test_towns_in_sentences(page, site, url, outside):
    steps = compressed(page, site, url, "Token labels", "towns.conll", tagged(), "towns", outside, "8")
    next(steps)
    expect(page.locator("#column-text")).to_have_count(0)
    expect(page.locator("#column-tokens input")).to_have_value(re.compile(r"^1 \("))
    expect(page.locator("#column-ner_tags input")).to_have_value(re.compile(r"^2 \("))
    shot(page, "towns-upload")
    next(steps)
    next(steps)
    page.locator("#question textarea").fill("She saw Lima yesterday")
    page.locator("#ask").click()
    expect(page.locator("#n-best tbody tr").first).to_be_visible()
    shot(page, "towns-explore")
    assert list(steps) == []
