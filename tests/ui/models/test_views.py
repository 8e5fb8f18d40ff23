import html
from dataclasses import replace

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
        n=10_570,
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
        tokens=384,
        timed="384 tokens, 2 threads, A CPU with VNNI, undisturbed",
    ),
]


def test_the_table_keeps_numbers_as_numbers_and_gaps_as_gaps():
    first, hub, mine = (dict(zip(modelviews.HEADERS, row, strict=True)) for row in modelviews.tabulate(ROWS, ["mine"]))
    assert [first[key] for key in ("MB", "score", "by", "examples")] == [45.0, 76.5, "F1", 10_570]
    assert [first[key] for key in ("p50 ms", "tokens", "from")] == [None, None, "bundled"]
    assert [hub[key] for key in ("MB", "score", "by", "examples")] == [None, None, "", None]
    assert (mine["☑"], first["☑"]) == (modelviews.ON, modelviews.OFF)
    assert (mine["p50 ms"], mine["tokens"]) == (31.2, 384)
    assert modelviews.HEADERS[modelviews.NAME] == "model" and len(modelviews.TYPES) == len(modelviews.HEADERS)


def test_a_score_of_few_examples_has_no_place_that_could_come_first():
    few = replace(ROWS[0], n=40)
    row = dict(zip(modelviews.HEADERS, modelviews.tabulate([few])[0], strict=True))
    assert (row["score"], row["by"], row["examples"]) == (None, "F1 76.5: few", 40)
    assert "F1 76.5 (n = 40, few)" in html.unescape(modelviews.describe(few))
    assert "F1 76.5 (n = 10,570)" in html.unescape(modelviews.describe(ROWS[0]))


def test_filters_offer_what_occurs():
    words = ["any", "length-drop", "quantize"]
    assert modelviews.options(ROWS, "method") == [(word, word) for word in words]
    assert ("yours", "local") in modelviews.options(ROWS, "origin")


def test_four_ticks_are_the_most():
    assert modelviews.toggle(["a"], "b", 4) == (["a", "b"], "") and modelviews.toggle(["a", "b"], "a", 4) == (["b"], "")
    ticked, told = modelviews.toggle(list("abcd"), "e", 4)
    assert ticked == list("abcd") and "At most 4" in told


def test_what_others_wrote_is_escaped():
    told = modelviews.describe(ROWS[2])
    assert "<b>" not in told and "| " not in told and "Matthews 75.9 (n not stated)" in html.unescape(told)
    assert "31.2 ms (median, 384 tokens, 2 threads, A CPU with VNNI, undisturbed)" in html.unescape(told)
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
