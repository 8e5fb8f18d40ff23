"""Details of the Explore tab that only a browser shows: where a click lands, and what scrolls into view."""

from __future__ import annotations

import pytest

playwright = pytest.importorskip("playwright.sync_api")
expect = playwright.expect

# Two marks of which the one that is drawn later covers the other's centre: its name, and where that is.
COVERED = """() => {
  const marks = [...document.querySelectorAll('#front .mark')].map((mark) => {
    const box = mark.lastElementChild.previousElementSibling.getBoundingClientRect();
    const reach = mark.firstElementChild.getBoundingClientRect();
    return { mark, x: box.left + box.width / 2, y: box.top + box.height / 2, r: reach.width / 2 };
  });
  for (const [i, one] of marks.entries())
    for (const other of marks.slice(i + 1)) {
      const away = Math.hypot(one.x - other.x, one.y - other.y);
      if (away > 2 && away < other.r - 1 && !one.mark.classList.contains('current'))
        return { name: one.mark.getAttribute('aria-label'), x: one.x, y: one.y };
    }
  return null;
}"""


def test_where_marks_cover_each_other_the_nearest_is_meant(page, url):
    page.set_viewport_size({"width": 400, "height": 900})  # where they lie closest
    page.goto(url)
    expect(page.locator("#stamp")).to_contain_text("threads")
    page.locator("#front").scroll_into_view_if_needed()
    found = page.evaluate(COVERED)
    assert found, "the bundled front has such marks"
    on_top = page.evaluate(
        "([x, y]) => document.elementFromPoint(x, y).closest('[data-index]').getAttribute('aria-label')",
        [found["x"], found["y"]],
    )
    assert on_top != found["name"]
    page.mouse.click(found["x"], found["y"])
    expect(page.locator("#front .mark.current")).to_have_attribute("aria-label", found["name"])


def test_the_answer_scrolls_into_view_within_its_card(page, url):
    page.goto(url)
    expect(page.locator("#answer h3")).to_be_visible()
    page.locator("#passage textarea").fill("Bees fly over the meadow. " * 60 + "The Angara flows out of Lake Baikal.")
    page.locator("#question textarea").fill("Which river flows out of Lake Baikal?")
    page.locator("#question textarea").press("Enter")
    expect(page.locator("#marked .highlighted .text").first).to_contain_text("Angara")
    page.wait_for_function(
        "() => { const text = document.querySelector('#marked'), found = text.querySelector('.highlighted');"
        " const outer = text.getBoundingClientRect(), inner = found.getBoundingClientRect();"
        " return text.scrollTop > 100 && inner.top >= outer.top && inner.bottom <= outer.bottom + 1; }"
    )


def test_the_ask_card_is_as_tall_as_what_stands_beside_it(page, url):
    page.set_viewport_size({"width": 1440, "height": 900})
    page.goto(url)
    expect(page.locator("#answer h3")).to_be_visible()
    ask, answer = (page.locator(f"#{name}-card").bounding_box() for name in ("ask", "answer"))
    assert abs(ask["y"] + ask["height"] - answer["y"] - answer["height"]) < 40


def test_leaving_the_budget_s_box_as_it_was_asks_nothing(page, url):
    page.goto(url)
    expect(page.locator("#stamp")).to_contain_text("threads")
    asked = []
    page.on("request", lambda request: asked.append(request.url) if "/queue/join" in request.url else None)
    page.locator("#budget input[type=number]").focus()
    page.keyboard.press("Tab")
    page.wait_for_timeout(600)
    expect(page.locator("#latency-card.old")).to_have_count(0)
    expect(page.locator("#stamp")).to_contain_text("threads")
    assert len(asked) <= 1, "a look, and no run"
