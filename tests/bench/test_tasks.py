from __future__ import annotations

import json
from typing import Any

import pytest

from bench import tasks
from bench.__main__ import main
from compress.recipe.load import load
from tests.compress.text_kit import write_glue
from zoo.settings import get_settings


@pytest.fixture
def real_data(tmp_path, monkeypatch):
    """A data folder as the real one is laid out."""
    monkeypatch.setenv("BUDGET_ZOO_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("BUDGET_ZOO_HOME", str(tmp_path / "home"))
    get_settings.cache_clear()
    write_glue(tmp_path / "data" / "glue")
    yield
    get_settings.cache_clear()


def test_a_task_goes_through_every_way_and_stays_done(tiny_model, real_data, tmp_path, capsys):
    command = ["tasks", "stsb", "--model", str(tiny_model), "--minutes", "0.05", "--json", str(tmp_path / "rows")]
    assert main(command) == 0
    told = json.loads((tmp_path / "rows").read_text())
    names = {
        "fp32, torch",
        *(f"{maker} int8, {engine}" for maker in ("AIMET", "NNCF") for engine in ("onnxruntime", "openvino")),
    }
    assert {row["name"] for row in told["times"]} == names and {row["tokens"] for row in told["times"]} == {32, 128}
    assert all(0 < row["p50_ms"] <= row["p90_ms"] for row in told["times"])
    (row,) = told["rows"]
    assert (row["task"], row["metric"], row["n"]) == ("stsb", "pearson", 20)
    assert {way for way, score in row["scores"].items() if score is not None} == set(tasks.COLUMNS) - {"distilled"}
    assert all(-100 <= score <= 100 for score in row["scores"].values() if score is not None)
    made = tmp_path / "home" / "bench" / "tasks"
    starts: list[Any] = [load(made / way) for way in ("stsb-deploy", "stsb-nncf")]
    for recipe in starts:
        assert recipe.model == str(made / "stsb" / "finetune"), "all start from one float model"
    shown = capsys.readouterr().out
    assert "*STS-B: 20 of our own, not GLUE's 1,500 for validation." in shown and "| fp32, torch | 32 |" in shown
    written = {path: path.stat().st_mtime_ns for path in made.rglob("done.json")}
    assert main(command) == 0 and written == {path: path.stat().st_mtime_ns for path in made.rglob("done.json")}


def test_questions_start_from_what_answers_and_are_distilled_too(tmp_path):
    plans = tasks.plans_of("squad", tmp_path, "base", "answering", 2, 300)
    recipes: dict[str, Any] = {name: load(preset, changes) for name, (preset, changes) in plans.items()}
    assert list(recipes) == ["full", "deploy", "nncf", "nncf-distilled"]
    for name, recipe in recipes.items():
        assert recipe.model == "answering" and not recipe.finetune.apply and recipe.evaluate.max_questions == 300
        if name.startswith("nncf"):
            assert recipe.distill.apply == (name == "nncf-distilled") and recipe.tune.max_minutes == 2
        else:
            minutes = 4 if name == "full" else 2  # everything at once takes longer
            assert recipe.aimet.scope == name and recipe.aimet.max_minutes == minutes
            assert recipe.distill.apply and recipe.aimet.ranges == "sqnr"
            assert recipe.aimet.smoothing == (tasks.SMOOTHING if name == "deploy" else 0)


def test_only_where_trainings_end_points_apart_are_weights_averaged(tmp_path):
    def averages(task):
        plans = tasks.plans_of(task, tmp_path, "base", "answering", 2, 300)
        recipes: list[Any] = [load(*plans[way]) for way in ("full", "deploy")]
        return {recipe.aimet.average for recipe in recipes}

    assert averages("cola") == {0.98} and averages("mrpc") == averages("squad") == {0}


def test_a_task_may_have_a_smoothing_of_its_own(tmp_path):
    def smoothing(task):
        recipe: Any = load(*tasks.plans_of(task, tmp_path, "base", "answering", 2, 300)["deploy"])
        return recipe.aimet.smoothing

    assert smoothing("rte") == tasks.SMOOTHER["rte"] != smoothing("mrpc") == tasks.SMOOTHING


def test_where_texts_are_short_nncf_takes_its_ranges_from_more_of_them(tmp_path):
    def ranges(task, way):
        recipe: Any = load(*tasks.plans_of(task, tmp_path, "base", "answering", 2, 300)[way])
        return recipe.nncf_config is None, recipe.tune.range_step

    assert ranges("cola", "nncf") == ranges("cola", "nncf-distilled") == (True, tasks.STEP)
    assert ranges("mrpc", "nncf") == ranges("squad", "nncf-distilled") == (False, None)


def test_rte_goes_on_from_what_mnli_s_model_has_learned(tmp_path, capsys):
    plans = tasks.plans_of("rte", tmp_path, "base", "answering", 2, 300)
    recipes: dict[str, Any] = {name: load(preset, changes) for name, (preset, changes) in plans.items()}
    assert recipes["full"].model == str(tmp_path / "mnli" / "finetune") and recipes["full"].finetune.apply
    assert {recipes[way].model for way in ("deploy", "nncf")} == {str(tmp_path / "rte" / "finetune")}
    assert main(["tasks", "rte", "mnli", "--folder", str(tmp_path)]) == 2
    assert "rte builds on the model that learns mnli" in capsys.readouterr().err


def test_entailment_is_reported_on_what_mnli_s_model_says(tmp_path, monkeypatch):
    monkeypatch.setenv("BUDGET_ZOO_DATA", str(tmp_path))
    ((way, (preset, changes)),) = tasks.plans_of("xnli_en", tmp_path, "base", "answering", 2, 300).items()
    recipe: Any = load(preset, changes)
    assert way == "nncf" and recipe.model == str(tmp_path / "mnli" / "finetune") and not recipe.finetune.apply
    assert recipe.dataset.evaluation_task == "xnli_en" and recipe.dataset.evaluation.endswith("xnli/en/test.jsonl")


def test_the_table_has_means_of_glue_alone(tmp_path, capsys):
    def row(task, **scores):
        return tasks.Row(task, "accuracy", 10, scores.pop("float"), {way: scores.get(way) for way in tasks.COLUMNS}, "")

    shown = tasks.table(
        [row("rte", float=60.0, full=58.0, int8=60.5), row("qqp", float=80, full=79), row("squad", float=10, full=9)]
    )
    assert "| mean of 2 of GLUE | | | 70.00 | 68.50 (-1.50) |  |  |  |  |" in shown
    assert "| RTE | accuracy | 10 | 60.00 | 58.00 (-2.00) |  | 60.50 (+0.50) |" in shown
    assert main(["tasks", "wnli"]) == 2 and "There is no task 'wnli' here" in capsys.readouterr().err
    assert main(["tasks", "xnli_en", "--folder", str(tmp_path)]) == 2
    assert "on the model that learns mnli" in capsys.readouterr().err
