import html

from ui.models import views as modelviews
from ui.replies import describe_row
from zoo.shelf import Row

ROWS = [
    Row(
        "mini",
        "bundled",
        "Mini",
        "qa",
        "length-drop",
        "base/one",
        22_000_000,
        45_000_000,
        76.45,
        None,
        False,
        "mit",
        metric="f1",
    ),
    Row("ann/int8", "hub", "", "", "", "", None, None, None, None, True, "", url="https://hub/ann/int8"),
    Row(
        "mine",
        "local",
        "My | <b>",
        "qa",
        "quantize",
        "mini",
        None,
        23_100_000,
        75.9,
        31.24,
        True,
        "mit",
        "",
        "/f",
        metric="matthews",
    ),
]


def test_the_table_keeps_numbers_as_numbers_and_gaps_as_gaps():
    first, hub, mine = (dict(zip(modelviews.HEADERS, row, strict=True)) for row in modelviews.tabulate(ROWS, ["mine"]))
    assert [first[key] for key in ("MB", "score", "metric", "p50 ms", "from")] == [45.0, 76.5, "F1", None, "bundled"]
    assert (hub["MB"], hub["score"], hub["metric"], hub["int8"]) == (None, None, "", "yes")
    assert (mine["compare"], first["compare"], mine["p50 ms"]) == (modelviews.ON, modelviews.OFF, 31.2)
    assert modelviews.HEADERS[modelviews.NAME] == "model" and len(modelviews.TYPES) == len(modelviews.HEADERS)


def test_filters_offer_what_occurs():
    words = ["any", "length-drop", "quantize"]
    assert modelviews.options(ROWS, "method") == [(word, word) for word in words]
    assert ("your result", "local") in modelviews.options(ROWS, "origin")


def test_four_ticks_are_the_most():
    assert modelviews.toggle(["a"], "b", 4) == (["a", "b"], "") and modelviews.toggle(["a", "b"], "a", 4) == (["b"], "")
    ticked, told = modelviews.toggle(list("abcd"), "e", 4)
    assert ticked == list("abcd") and "At most 4" in told


def test_what_others_wrote_is_escaped():
    told = modelviews.describe(ROWS[2])
    assert "<b>" not in told and "| " not in told and "Matthews 75&#46;9" in told and "31&#46;2 ms" in told
    assert modelviews.describe(ROWS[1]).startswith("## ann&#47;int8")


def test_predicted_latency_stands_beside_measured_where_a_search_made_it():
    made = {"predicted latency, ms": 4.0, "measured latency, ms": 5.0, "latency measured with": "128 tokens"}
    told = html.unescape(modelviews.describe(ROWS[2], {"provenance": made}))
    assert "latency predicted 4 ms, measured 5 ms (-20 %) at 128 tokens" in told
    for lacking in ({}, {**made, "measured latency, ms": "soon"}, {**made, "predicted latency, ms": 0}):
        assert "predicted" not in modelviews.describe(ROWS[2], {"provenance": lacking})


def test_the_endpoint_tells_no_folders():
    assert "/f" not in describe_row(ROWS[2]).values() and describe_row(ROWS[2])["metric"] == "matthews"
    assert describe_row(ROWS[1])["url"]


def test_what_was_published_stands_beside_a_result_of_the_same_method():
    facts = {"provenance": {"recipe": "aimet_w8a8"}, "metrics": {"metric": "STS-B", "pearson": 85.8}}
    sentence = "AIMET, MiniLM-L12: Pearson 88.73 in full precision, 88.68 compressed."
    assert html.unescape(modelviews.describe(ROWS[2], facts)).endswith(sentence)
    card = f"## Measured\n\nPublished for this method and task: {sentence}\n"
    assert "Published" not in modelviews.describe(ROWS[2], facts, card), "the card says it below"
    for other in ({}, {**facts, "metrics": {"metric": "?"}}, {**facts, "provenance": "?"}, {"provenance": {}}):
        assert "Published" not in modelviews.describe(ROWS[2], other)
