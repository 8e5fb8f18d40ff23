from tests.ui.figure_kit import parts
from ui.figures import COLOURS
from ui.jobs import sensitivity

ROWS = [
    {"name": "layers.0.qkv", "kl": 0.1, "share": 0.2, "parameters": 100},
    {"name": "words", "kl": 0.4, "share": 0.8, "parameters": 12_000},
    {"name": "layers.0.<b>", "kl": 0.0, "share": 0.0, "parameters": 1},
]
REPORT = {
    "rows": ROWS,
    "together": 0.75,
    "windows": 32,
    "approach": "static",
    "returned": ["words"],
    "kept_float": ["words"],
}


def test_the_most_sensitive_is_on_top_and_what_went_back_is_marked():
    drawn = sensitivity.draw(REPORT)
    assert drawn is not None
    told = parts(drawn)
    kept, back = told["data"]
    assert list(back["y"]) == ["words"] and back["name"] == sensitivity.BACK and back["marker"]["color"] == COLOURS[2]
    assert list(kept["y"]) == ["layers.0.qkv", "layers.0.<b>"] and list(kept["x"]) == [0.1, 0.0]
    axis = told["layout"]["yaxis"]
    assert axis["categoryarray"][0] == "words" and axis["autorange"] == "reversed" and told["layout"]["showlegend"]


def test_what_the_recipe_leaves_in_float_is_told_apart():
    drawn = sensitivity.draw({**REPORT, "kept_float": ["words", "layers.0.qkv"]})
    assert drawn is not None
    assert [(trace["name"], list(trace["y"])) for trace in parts(drawn)["data"]] == [
        (sensitivity.STAYS, ["layers.0.<b>"]),
        (sensitivity.BACK, ["words"]),
        (sensitivity.NEVER, ["layers.0.qkv"]),
    ]


def test_nothing_returned_is_one_colour():
    drawn = sensitivity.draw({**REPORT, "returned": [], "kept_float": []})
    assert drawn is not None and [trace["name"] for trace in parts(drawn)["data"]] == [sensitivity.STAYS]


def test_the_table_says_all_and_how_it_was_measured():
    lines = sensitivity.tabulate(REPORT).splitlines()
    assert lines[2] == "| words | 0.4 | 80.0 % | 12,000 | returned to float |"
    assert lines[3].startswith("| layers&#46;0&#46;qkv | 0.1 | 20.0 % | 100 |") and "<b>" not in "".join(lines)
    assert "static ranges" in lines[-1] and "over 32 inputs" in lines[-1] and lines[-1].endswith("at once.")


def test_without_a_report_there_is_nothing():
    for nothing in (None, {}, {"rows": []}):
        assert sensitivity.draw(nothing) is None and sensitivity.tabulate(nothing) == ""
