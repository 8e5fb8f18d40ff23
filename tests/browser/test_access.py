"""Whether everybody can use the page: axe-core's judgement of every tab, a name for each, a focus that is seen."""

from __future__ import annotations

import pytest

playwright = pytest.importorskip("playwright.sync_api")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")
expect = playwright.expect

TABS = ("explore", "compare", "compress", "jobs", "models")
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}
SEEN = """() => {
  const at = document.activeElement, framed = at.closest("label, .block, form, .mark");
  const drawn = (el) => { const s = getComputedStyle(el);
    return (s.outlineStyle !== "none" && parseFloat(s.outlineWidth) >= 1 && s.outlineColor !== "rgba(0, 0, 0, 0)")
      || (el.classList.contains("mark") && getComputedStyle(el.querySelector("circle")).strokeWidth !== "1px"); };
  return { name: at.ariaLabel || at.id || at.className.toString() || at.tagName, nowhere: at === document.body,
    seen: drawn(at) || (framed !== null && drawn(framed)) };
}"""


@pytest.fixture(scope="module")
def still(browser, url):
    """The page with its first answer and figures; colours change at once, so that none is judged half-way."""
    context = browser.new_context(viewport={"width": 1440, "height": 900}, color_scheme="light")
    context.set_default_timeout(60_000)
    opened = context.new_page()
    opened.goto(url)
    expect(opened.locator("#answer h3")).to_be_visible()
    expect(opened.locator("#stamp")).to_contain_text("threads")
    opened.add_style_tag(content="* { transition: none !important; animation: none !important; }")
    yield opened
    context.close()


def go(page, tab):
    page.locator(f"#tab-{tab}-button").click()
    expect(page.locator(f"#tab-{tab}-button[aria-selected=true]")).to_be_visible()


def faults(page):
    expect(page.locator(".old")).to_have_count(0)  # who tabs through the budget asks again: dimmed until it is answered
    found = axe.Axe().run(page, options=RULES).response["violations"]
    return [(v["id"], node["target"], node["html"][:160]) for v in found for node in v["nodes"]]


def test_the_keyboard_reaches_everything_and_shows_where_it_is(still):
    reached = []
    while len(reached) < 140:
        still.keyboard.press("Tab")
        at = still.evaluate(SEEN)
        if reached and at["name"] == "copy-link":
            break  # once around
        reached += [] if at["nowhere"] else [at]  # as for a moment after a list has closed
    assert [at["name"] for at in reached if not at["seen"]] == []
    assert {"copy-link", "ask", "Budget", "csv", "What was kept"} <= {at["name"] for at in reached}


@pytest.mark.parametrize(
    ("tab", "there"),
    [
        ("compare", {"compare-go"}),
        ("compress", {"to-source"}),
        ("jobs", {"refresh-jobs"}),
        ("models", {"fetch-models"}),
    ],
)
def test_the_keyboard_goes_through_every_other_tab(still, tab, there):
    go(still, tab)
    still.locator(f"#tab-{tab}-button").focus()
    reached = []
    for _ in range(120):
        still.keyboard.press("Tab")
        at = still.evaluate(SEEN)
        if reached and at["name"] == "copy-link":
            break
        reached += [] if at["nowhere"] else [at]
    assert [at["name"] for at in reached if not at["seen"]] == []
    assert there <= {at["name"] for at in reached}


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_no_fault_on_any_tab(still, dark):
    go(still, "explore")
    if still.evaluate("document.body.classList.contains('dark')") is not dark:
        still.locator("#dark-mode").click()
    still.evaluate(
        "document.querySelectorAll('#tab-explore button.label-wrap:not(.open)').forEach((fold) => fold.click())"
    )
    for tab in TABS:
        go(still, tab)
        assert not faults(still), tab
        expect(still).to_have_title(f"{tab.capitalize()} · Budget Zoo")
        assert still.get_by_role("heading", level=2).count() >= 1


def test_a_phone_has_no_fault_either(still):
    still.set_viewport_size({"width": 400, "height": 800})
    go(still, "explore")
    assert not faults(still)
