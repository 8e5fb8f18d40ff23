"""What one wants, and the presets that it brings first."""

import pytest

from compress.recipe import load as recipe
from tests.ui.page_kit import PRESET, Driver, contents, words
from ui.compress.presets import EARLIER

MINE = f"{EARLIER}b"


@pytest.fixture
def compose(built):
    """The tab Compress, a preset chosen, an earlier job and a name from elsewhere among what was on offer."""
    held = {"preset": PRESET, "source": "own", "data": "own", "task": "own", "form": contents()}
    return built.compress, Driver(built.demo, built.compress.parts, held)


def test_what_one_wants_brings_its_presets_first(compose):
    tab, driver = compose
    p, offered = tab.parts, [("mine (job b)", MINE), ("x", "x")]
    wanted = driver.send(tab.choosing.take_goal, None, goal="fewer weights", choices=offered)
    keys = [key for _, key in wanted[p.preset]["choices"]]
    assert wanted[p.preset]["value"] == keys[0] == "compress_minilm_l6" and "prune" in keys[1]
    assert sorted(keys) == sorted([*recipe.shipped(), MINE]), "all are offered still, and an earlier job's"
    assert wanted[p.form]["value"]["kind"] == "train"
    assert "BUDGET_ZOO_DATA" in words(wanted, p.about) and p.preset.choices[0][1] == PRESET
