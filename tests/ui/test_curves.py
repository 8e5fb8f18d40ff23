from tests.ui.figure_kit import parts
from ui import curves

LINES = [
    {"time": 1, "stage": "finetune", "note": "begins"},
    {"time": 2, "stage": "finetune", "step": 1, "total": 9, "rate": None, "loss": 3.0, "hinge_full": 0.5},
    {"time": 3, "stage": "finetune", "step": 5, "total": 9, "rate": 1.0, "loss": 2.0, "hinge_full": 0.25},
    {"time": 4, "stage": "search", "step": 2, "total": 8, "best_f1": 60.0, "front": [[1.0, 60.0], [0.5, 40.0]]},
    {"time": 5, "stage": "search", "step": 4, "total": 8, "best_f1": 61.0, "front": [[0.5, 40.0], [1.0, 60.0]]},
    {"time": 6, "stage": "search", "step": 8, "total": 8, "best_f1": True, "front": [[1.0, 62.0], [0.4, 50.0], [0.5]]},
    {"time": 7, "stage": "evaluate", "step": 1, "total": 1, "f1": 70.0},
]


def test_losses_share_a_panel_and_bookkeeping_is_no_curve():
    found = curves.series(LINES)
    assert list(found) == [("finetune", "loss"), ("search", "best_f1"), ("evaluate", "f1")]
    assert found["finetune", "loss"] == {"loss": ([1, 5], [3, 2]), "hinge_full": ([1, 5], [0.5, 0.25])}
    assert found["search", "best_f1"] == {"best_f1": ([2, 4], [60, 61])}


def test_every_curve_is_drawn_and_one_value_is_none():
    drawn = curves.draw_curves(LINES)
    assert drawn is not None
    data = parts(drawn)["data"]
    assert [(t["name"], t["mode"]) for t in data] == [
        ("loss", "lines"), ("hinge full", "lines"), ("best f1", "lines")
    ]  # fmt: skip
    titles = [a["text"] for a in parts(drawn)["layout"]["annotations"]]
    assert titles == ["finetune: loss", "search: best f1"]
    assert curves.single_values(LINES) == ["evaluate: f1 70"]
    assert curves.draw_curves(LINES[-1:]) is None


def test_too_many_panels_leave_the_newest():
    stages = range(curves.PANELS + 3)
    many = [{"stage": f"s{i}", "step": step, "total": 2, "f1": float(i)} for i in stages for step in (1, 2)]
    drawn = curves.draw_curves(many)
    assert drawn is not None and len(parts(drawn)["data"]) == curves.PANELS
    assert parts(drawn)["data"][-1]["y"] == [float(curves.PANELS + 2)] * 2


def test_nothing_told_is_nothing_drawn():
    assert curves.draw_curves([{"stage": "a", "note": "x"}]) is None and curves.draw_growth(LINES[:3]) is None


def test_the_front_grows_and_broken_points_are_left_out():
    assert curves.fronts(LINES) == [[(0.5, 40.0), (1.0, 60.0)], [(0.4, 50.0), (1.0, 62.0)]]
    drawn = curves.draw_growth(LINES)
    assert drawn is not None
    older, newest = parts(drawn)["data"]
    assert newest["name"] == "now" and newest["x"] == [40.0, 100.0] and older["name"] == "earlier"
    assert "compute" in parts(drawn)["layout"]["xaxis"]["title"]["text"]
    assert parts(drawn)["layout"]["yaxis"]["title"]["text"] == "F1"
    told = curves.draw_growth([*LINES, {"stage": "search", "best_accuracy": 1.0}])
    assert told is not None and parts(told)["layout"]["yaxis"]["title"]["text"] == "Accuracy"


def test_many_fronts_leave_a_few_and_latencies_are_milliseconds():
    lines = [{"front": [[10.0 + i, 50.0 + i]]} for i in range(20)]
    drawn = curves.draw_growth(lines)
    assert drawn is not None
    data = parts(drawn)["data"]
    assert len(data) == curves.EARLIER + 1 and data[-1]["x"] == [29.0]
    assert "ms" in parts(drawn)["layout"]["xaxis"]["title"]["text"]


def test_an_architecture_search_marks_its_best_and_what_was_measured_of_it():
    points = [[3.0, 50.0, 0, "l2"], [5.0, 61.0, 1, "l4"], [4.0, 61.0, 1, "l3"], [9.0], ["x", 1, 1, "broken"]]
    lines = [{"stage": "search", "step": 3, "best": "l3", "best_accuracy": 61.0, "points": points}]
    drawn = curves.draw_candidates(lines)
    assert drawn is not None and curves.draw_growth(lines) is None
    every, best = parts(drawn)["data"]
    assert every["x"] == [3.0, 5.0, 4.0] and every["marker"]["color"] == [0, 1, 1]
    assert best["x"] == [4.0] and best["y"] == [61.0], "of equals the fastest"
    assert parts(drawn)["layout"]["yaxis"]["title"]["text"] == "Accuracy"
    later = curves.draw_candidates(lines, [{"name": "search", "result": None}, {"result": {"measured_ms": 4.4}}])
    assert later is not None and parts(later)["data"][1]["x"] == [4.0, 4.4]
    assert list(parts(later)["data"][1]["text"]) == ["best: 4 ms predicted", "4.4 ms measured"]
    assert curves.draw_candidates(LINES) is None and ("search", "points") not in curves.series(lines)


def test_the_latency_limit_is_a_line_while_the_search_runs_and_after():
    limit = 8.25
    line = {"stage": "search", "step": 1, "best_f1": 50.0, "points": [[3.0, 50.0, 0, "l2"]]}
    while_running = curves.draw_candidates([{**line, "limit_ms": limit}, {"stage": "finetune", "step": 1}])
    after = curves.draw_candidates([line], [{"result": {"limit_ms": limit}}, {"result": None}])
    for drawn in (while_running, after):
        assert drawn is not None
        layout = parts(drawn)["layout"]
        (shape,) = layout["shapes"]
        assert (shape["x0"], shape["x1"]) == (limit, limit) and layout["annotations"][0]["text"] == "limit 8.25 ms"
    assert ("search", "limit_ms") not in curves.series([{**line, "limit_ms": limit}])
    without = curves.draw_candidates([{**line, "limit_ms": None}])
    assert without is not None and "shapes" not in parts(without)["layout"]


def test_bars_leave_out_what_is_not_known():
    data = parts(curves.draw_bars({"ms": {"A": 2.0, "B": 1.0}, "F1": {"A": None, "B": 70.0}}))["data"]
    assert [list(t["y"]) for t in data] == [["A", "B"], ["B"]] and data[1]["marker"]["color"][0] == curves.COLOURS[1]
