import csv
import io
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest

from ui import budget, figures
from ui.explore import pareto
from ui.explore.rivals import Rival
from zoo.answers import KeptWindow
from zoo.lengths import Front


def marks(svg):
    root = ET.fromstring(f"<div>{svg}</div>")  # a hint follows it
    return {int(g.attrib["data-index"]): g.attrib for g in root.iter("g") if "data-index" in g.attrib}


@pytest.mark.parametrize("axis", pareto.AXES)
def test_every_point_is_a_button_of_its_kind(front, axis):
    found = marks(pareto.draw_front(front, front.points[1], axis))
    assert sorted(found) == list(range(len(budget.everything(front))))
    assert [found[i]["class"] for i in range(5)] == [
        "mark free", "mark current", "mark free", "mark free", "mark dominated"
    ]  # fmt: skip
    assert "79.20" in found[1]["aria-label"] and found[1]["tabindex"] == "0"


def test_marks_lie_inside_and_better_is_higher(front):
    root = ET.fromstring(f"<div>{pareto.draw_front(front, front.full)}</div>")
    places = {}
    for g in root.iter("g"):
        if "data-index" in g.attrib:
            circle = g[0].attrib
            places[int(g.attrib["data-index"])] = (float(circle["cx"]), float(circle["cy"]))
    assert all(0 < x < pareto.WIDTH and 0 < y < pareto.HEIGHT for x, y in places.values())
    assert places[0][0] < places[3][0] and places[0][1] > places[3][1]


def test_a_front_of_one_point_can_be_drawn(front):
    assert marks(pareto.draw_front(Front(front.full, [front.full]), front.full))


def test_no_front_is_said():
    assert "no searched front" in pareto.draw_front(None, None)


def test_latency_follows_this_machine(front):
    assert "40.0 ms" in marks(pareto.draw_front(front, None, "ms", full_ms=40))[3]["aria-label"]


def test_the_csv_holds_all_points(front):
    rows = list(csv.DictReader(io.StringIO(pareto.write_csv(front))))
    assert [row["dominated"] for row in rows] == ["0", "0", "0", "0", "1"]
    assert rows[1]["fractions"] == "0.8 0.4" and float(rows[1]["f1"]) == 79.2 and rows[1]["tokens_at_384"] == "307 154"


def test_the_plot_and_the_csv_are_of_the_fronts_metric(front):
    points = [replace(p, metrics={"matthews": p.score, "accuracy": 50.0}) for p in front.everything]
    other = Front(points[-1], points[:-1])
    drawn = pareto.draw_front(other, other.full)
    assert "Matthews 79.20 at" in drawn and "F1" not in drawn
    first, *_ = csv.DictReader(io.StringIO(pareto.write_csv(other)))
    assert list(first)[3:5] == ["matthews", "accuracy"] and float(first["matthews"]) == 70.0


def place_rivals(front, *places):
    """Rivals by share of the MACs, score and latency."""
    points = [replace(front.full, macs_ratio=ratio, metrics={"f1": f1}, p50_ms=ms) for ratio, f1, ms in places]
    return [Rival(f"r<{i}>", not i, point, "" if point.p50_ms else "late") for i, point in enumerate(points)]


def test_rivals_have_marks_of_their_own_after_those_of_the_front(front):
    drawn = pareto.draw_front(front, front.full, rivals=place_rivals(front, (0.5, 90, 7), (1.2, 60, None)))
    found = marks(f"<div>{drawn}</div>")
    assert [found[i]["class"] for i in (5, 6)] == ["mark rival searched", "mark rival plain"]
    assert found[5]["aria-label"] == "r<0>: F1 90.00 at 50.0 %"
    timed = pareto.draw_front(front, front.full, "ms", 40, place_rivals(front, (0.5, 90, 7), (1.2, 60, None)))
    found = marks(f"<div>{timed}</div>")
    assert found[5]["aria-label"] == "r<0>: F1 90.00 at 14.0 ms" and 6 not in found
    assert "r&lt;1&gt;: on the compute axis only, since late" in timed
    far = pareto.draw_front(front, front.full, rivals=place_rivals(front, (8.0, 90, 7)))
    assert 5 not in marks(f"<div>{far}</div>") and "beyond the plot, at 800 %" in far and "At " not in far


def test_a_sentence_says_which_gives_more_at_the_budget(front):
    two = place_rivals(front, (0.5, 74.24, 10), (0.7, 79.8, 21))
    at_six = pareto.compare(front, front.points[1], "macs", rivals=two)
    assert at_six == (
        "At 60.0 % of the compute this model gives F1 79.2 (n = 10, few), the searched architecture r<0> gives 74.2: "
        "this model 5.0 more. At the 50.0 % of the compute that r<0> takes, this model gives 70.0."
    )
    below = pareto.compare(front, front.points[0], "macs", rivals=two)
    assert below.startswith("At 50.0 % of the compute this model gives F1 70.0") and "takes" not in below
    above = pareto.compare(front, front.points[2], "macs", rivals=two)
    assert "the int8 model r<1> gives 79.8: neither more. At the 70.0 %" in above
    cheap = pareto.compare(front, front.points[0], "macs", rivals=place_rivals(front, (0.2, 60, None)))
    assert cheap.endswith("At the 20.0 % of the compute that r<0> takes, this model has no point.")
    timed = pareto.compare(front, front.points[0], "ms", 40, two)
    assert timed.startswith("At 20.0 ms this model gives F1 70.0") and timed.endswith("74.2: it 4.2 more.")
    assert pareto.compare(front, front.full, "macs") == ""


def test_the_csv_names_whose_point_a_row_is(front):
    rows = list(csv.DictReader(io.StringIO(pareto.write_csv(front, "own", place_rivals(front, (0.5, 74.2, None))))))
    assert [row["model"] for row in rows] == ["own"] * 5 + ["r<0>"]
    assert [rows[-1][key] for key in ("macs_ratio", "f1", "p50_ms", "dominated")] == ["0.5", "74.2", "", ""]


def test_latencies_become_a_box_a_name():
    figure = figures.draw_latencies({"a": [1.0, 2.0], "int8 (ONNX)": [3.0, 4.0]})
    traces = figure.to_plotly_json()["data"]
    assert [trace["name"] for trace in traces] == ["a", "int8<br>(ONNX)"] and list(traces[0]["x"]) == [1, 2]


def test_kept_tokens_become_a_map():
    kept = np.array([[1, 1, 1], [1, 0, 1]], bool)
    figure = figures.draw_kept(KeptWindow(["a", "b", "c"], [None] * 3, kept))
    (trace,) = figure.to_plotly_json()["data"]
    assert [list(row) for row in trace["z"]] == [[1, 1, 1], [1, 0, 1]] and list(trace["y"]) == ["layer 1", "layer 2"]
