"""What a run left in its folder, read back; and what a recipe is expected to take."""

from __future__ import annotations

import json
import time

import pytest

from compress.jobs.estimate import estimate
from compress.jobs.ledger import get_ledger
from compress.jobs.limits import Limits, Watch, folder_size
from compress.recipe import layout
from compress.recipe.load import load
from compress.run import traces
from tests.compress.text_kit import write_glue
from zoo.settings import get_settings


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("BUDGET_ZOO_HOME", str(tmp_path / "home"))
    get_settings.cache_clear()
    yield tmp_path / "home"
    monkeypatch.undo()
    get_settings.cache_clear()


def written(path, *lines):
    path.write_text("".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines))
    return path


def test_a_run_stands_where_its_last_lines_say(tmp_path):
    at = {"stage": "search", "step": 7, "total": 9, "eta_s": 1.5}
    told = written(
        tmp_path / "p", {"stage": "finetune", "step": 5, "total": 5, "eta_s": 0}, at, {"stage": "search", "note": "x"}
    )
    assert traces.latest_step(told) == at
    written(tmp_path / "p", at, '{"stage": "search", "st')
    assert traces.latest_step(told) == at, "half a line of a killed process does not count"
    written(tmp_path / "p", at, {"stage": "package", "note": "done"})
    assert traces.latest_step(told) == {"stage": "package", "step": 0, "total": 0, "eta_s": None}
    assert traces.latest_step(tmp_path / "absent")["stage"] is None


def test_the_end_of_a_long_log_is_read_alone(tmp_path):
    log = written(tmp_path / "log", *(f"line {n} {'x' * 100}\n" for n in range(20_000)), "bar 1\rbar 2\rbar 3")
    lines = traces.tail(log, 2000).split("\n")
    assert len(lines) == 2000 and lines[-1] == "bar 3" and lines[-2].startswith("line 19999")
    assert traces.tail(log, 1) == "bar 3" and traces.tail(tmp_path / "absent") == ""
    (tmp_path / "log").write_bytes(b"\xff\xfe\n")
    assert traces.tail(tmp_path / "log")


def test_what_the_criterion_measured_is_found_in_the_run(tmp_path):
    assert traces.sensitivity(tmp_path) is None
    at = tmp_path / "quantize" / layout.CRITERION
    at.parent.mkdir()
    written(at, {"holds": True, "returned": []})
    assert traces.sensitivity(tmp_path) is None, "all integers held: nothing was measured"
    written(at, {"returned": ["words"], "sensitivity": {"rows": [{"name": "words"}], "windows": 3}})
    found = {"rows": [{"name": "words"}], "windows": 3, "returned": ["words"], "kept_float": []}
    assert traces.sensitivity(tmp_path) == found


def test_progress_is_thinned_but_keeps_notes_and_the_end(tmp_path):
    lines = [{"stage": "a", "step": n, "total": 3000} for n in range(3000)]
    lines.insert(1500, {"stage": "a", "note": "begins anew"})
    written(tmp_path / "progress.jsonl", *lines, "nonsense\n", {"stage": "b", "step": 1, "total": 1})
    found = traces.progress(tmp_path)
    first = [line for line in found if line["stage"] == "a"]
    assert 400 < len(first) <= layout.PER_STAGE and len(found) == len(first) + 1
    assert first[0]["step"] == 0 and first[-1]["step"] == 2999 and {"stage": "a", "note": "begins anew"} in first
    assert traces.progress(tmp_path / "absent") == []


@pytest.mark.parametrize(
    ("current", "state", "expected"),
    [
        ("evaluate", "running", ["done", "running", "waiting"]),
        ("evaluate", "failed", ["done", "failed", "waiting"]),
        ("quantize", "failed", ["done", "failed", "waiting"]),
        ("evaluate", "cancelled", ["done", "waiting", "waiting"]),
        (None, "queued", ["done", "waiting", "waiting"]),
    ],
)
def test_stages_stand_where_they_are(tmp_path, current, state, expected):
    (tmp_path / "quantize").mkdir()
    written(tmp_path / "quantize/done.json", {"seconds": 3.5, "result": {"bytes": 7}})
    found = traces.stages(tmp_path, "quantize", current, state)
    assert [stage["name"] for stage in found] == ["quantize", "evaluate", "package"]
    assert [stage["state"] for stage in found] == expected
    assert (found[0]["seconds"], found[0]["result"], found[1]["seconds"]) == (3.5, {"bytes": 7}, None)


@pytest.mark.parametrize(("recipe", "first"), [(None, "finetune"), ("false", "finetune"), ("true", "teacher")])
def test_a_stage_that_the_recipe_leaves_out_is_not_shown(tmp_path, recipe, first):
    if recipe:
        (tmp_path / "recipe.yaml").write_text(f"distill:\n  apply: {recipe}\n")
    found = traces.stages(tmp_path, "length_adaptive", None, "failed")
    assert (found[0]["name"], found[0]["state"]) == (first, "failed")
    assert all(stage["state"] == "waiting" for stage in found[1:])


def test_a_watch_looks_now_and_then(tmp_path):
    now = [0.0]
    watch = Watch(tmp_path, time.time(), Limits(1, 100, 1000, 0), clock=lambda: now[0])
    asked = []
    for _ in range(4):
        assert watch.exceeded(lambda: asked.append(1) or 50) is None
        now[0] += 0.4
    assert len(asked) == 2, "memory is looked at once a second"
    (tmp_path / "big").write_bytes(bytes(2000))
    assert watch.exceeded(lambda: 50) is None, "the folder is looked at every five seconds"
    now[0] += 5
    assert "Its folder holds" in (watch.exceeded(lambda: 50) or "") and folder_size(tmp_path) == 2000
    now[0] = 3601
    assert "longer than the 1 hours" in (watch.exceeded(lambda: 50) or "")


def test_an_estimate_comes_from_the_recipes_arithmetic(home):
    small, large = (estimate(load("static_int8", [f"budgets.points={n}"])) for n in (1, 60))
    assert small["minutes"] and large["minutes"]
    assert 0 < small["minutes"] < large["minutes"] and "billion products a second" in small["basis"]
    assert 0.5 < small["memory_gib"] < 4 and 0 < small["disk_gib"] < 2
    trained = estimate(load("length_adaptive_tiny"))
    assert trained["minutes"] and trained["minutes"] > small["minutes"] and trained["memory_gib"] > small["memory_gib"]


def test_an_estimate_knows_what_rounding_takes_of_memory(home):
    common = ["model=minilm-l6-qa", "aimet.batch_size=16", "aimet.max_length=384"]
    found = {}
    for scope in ("full", "deploy"):
        found[scope] = estimate(load("minilm_l6_w8a8_squad", [*common, f"aimet.scope={scope}"]))["memory_gib"]
    assert 7 < found["full"] < 12, "one that ran beside others took 9.8"
    assert 3 < found["deploy"] < 6


@pytest.mark.parametrize(
    ("changes", "basis"),
    [
        (["model=owner/name"], "not known before it is downloaded"),
        (["dataset.evaluation=owner/name"], "data are not known before"),
        (["dataset.titles=[No such article]"], "cannot be counted"),
    ],
)
def test_an_estimate_does_not_guess(home, changes, basis):
    found = estimate(load("static_int8", changes))
    assert found["minutes"] is None and basis in found["basis"] and found["memory_gib"] > 0


def test_an_estimate_trusts_an_earlier_job_of_the_same_recipe(home):
    job = get_ledger().create(load("static_int8", ["package.title=Another title"]), "x", "", "local")
    get_ledger().change(job.id, state="done", started=1000.0, ended=1090.0, starts=1)
    found = estimate(load("static_int8"))
    assert found["minutes"] == 1.5 and job.id in found["basis"]
    assert estimate(load("static_int8", ["quantize.calibration_samples=7"]))["basis"] != found["basis"]


def test_texts_are_counted_for_an_estimate(home, tmp_path):
    glue = write_glue(tmp_path / "glue")
    changes = ["model=minilm-l6-qa", f"dataset.train={glue}", f"dataset.evaluation={glue}"]
    found = estimate(load("length_adaptive_sst2", changes))
    assert found["minutes"] and found["minutes"] > 0 and "arithmetic" in found["basis"]
    longer = estimate(load("length_adaptive_sst2", [*changes, "finetune.epochs=900"]))
    assert longer["minutes"] and longer["minutes"] > found["minutes"]
    away = estimate(load("length_adaptive_sst2", [*changes, "dataset.train=hub"]))
    assert away["minutes"] is None and "downloaded" in away["basis"]
