"""Searches and scaled encoders beside each other, from a run that is finished up to its predictor."""

from __future__ import annotations

import json

import pytest

from bench.__main__ import main
from bench.nas import METHODS, SCALED, Bench, scaled, spread
from compress.nas.space import Arch
from compress.recipe.load import load
from compress.run.run import run
from tests.compress.nas.nas_kit import SPACE, milliseconds
from zoo.errors import UserError

PREDICTED = {arch: milliseconds(arch) for arch in SPACE}


@pytest.fixture(scope="module")
def trained(tiny_model, tiny_data, tmp_path_factory):
    root = tmp_path_factory.mktemp("nas-bench")
    changes = [
        f"model={tiny_model}",
        f"dataset.train={tiny_data.train}",
        f"dataset.validation={tiny_data.validation}",
        f"dataset.evaluation={tiny_data.evaluation}",
        *(f"dataset.{key}=null" for key in ("titles", "validation_titles", "evaluation_titles")),
        "space.layers=[1, 2]",
        "space.hidden=[16, 32]",
        "space.intermediate=[16, 64]",
        "space.step=8",
        "supernet.apply=false",
        "supernet.order=false",
        "tune.epochs=0.3",
        "finetune.epochs=0.3",
        "latency_table.rows=30",
        "latency_table.tokens=32",
        "latency_table.rounds=3",
        "latency_table.seconds=0.05",
        "latency_table.retries=0",
        "search.population=2",
        "search.children=1",
        "search.band=[0.1, 1.0]",
        "search.max_examples=5",
        "evaluate.max_questions=5",
    ]
    recipe = load("nas_tiny", changes)
    for stage in ("generate_data", "order", "supernet", "tune", "latency_table", "predictor"):
        run(recipe, root, stage=stage)
    return root


def test_all_ways_get_the_same_limit_and_cost(trained, tmp_path, capsys):
    command = ["nas", str(trained), "--limits", "1", "--seeds", "2", "--sample", "2", "--json", str(tmp_path / "r")]
    assert main(command) == 0
    told = json.loads((tmp_path / "r").read_text())
    rows = told["rows"]
    assert [(r["method"], r["seed"]) for r in rows] == [
        *((m, s) for s in range(2) for m in METHODS),
        *((m, 0) for m in SCALED),
    ]
    for row in rows:
        assert row["predicted_ms"] <= row["limit_ms"] and row["measured_ms"] > 0 and 0 <= row["score"] <= 100
        assert row["scored"] == (2 if row["method"] in SCALED else 3)
    assert len(told["agreement"]["keys"]) == 2 and -1 <= told["agreement"]["spearman"] <= 1
    assert "| narrower layers | " in capsys.readouterr().out
    (here,) = (trained / "bench-nas").iterdir()
    lines = (here / "scores.jsonl").read_text()
    assert main(command) == 0 and (here / "scores.jsonl").read_text() == lines, "what was scored is not scored again"
    assert json.loads((tmp_path / "r").read_text())["rows"] == rows


def test_a_choice_can_be_fine_tuned_before_it_is_reported(trained):
    bench = Bench(trained, "finetune")
    arch = bench.base.space.smallest
    assert 0 <= bench.final_score(arch) <= 100
    assert (bench.folder / "reported" / arch.key / "model.safetensors").is_file()


def test_a_limit_without_scaled_encoders_is_told_before_anything_is_searched(trained):
    bench = Bench(trained)
    with pytest.raises(UserError, match=r"No encoder scaled .* the fastest takes 0\.\d+ of what the largest does"):
        bench.rows([1.0, 1e-6], [77])
    assert not list(bench.folder.glob("searches/*-77.jsonl"))


def test_scaled_encoders_keep_depth_or_proportions():
    limit = 0.5 * PREDICTED[SPACE.largest]
    made = scaled(SPACE, PREDICTED, limit)
    shallow, narrow = made["fewer layers"], made["narrower layers"]
    assert (shallow.hidden, shallow.intermediate) == (48, 96) and shallow.layers < 3
    assert narrow.layers == 3 and narrow.intermediate == 2 * narrow.hidden < 96
    assert all(PREDICTED[arch] <= limit for arch in made.values())
    assert scaled(SPACE, PREDICTED, 0.0) == {}


def test_a_sample_goes_from_the_fastest_to_the_slowest():
    archs = spread(PREDICTED, 5)
    times = [PREDICTED[arch] for arch in archs]
    assert times == sorted(times) and archs[0] == SPACE.smallest and archs[-1] == SPACE.largest
    assert len(spread(PREDICTED, 10_000)) == len(SPACE) and isinstance(archs[1], Arch)


def test_another_run_is_refused(tmp_path, tiny_data):
    from compress.recipe.load import save

    save(load("nas_tiny"), tmp_path / "recipe.yaml")
    with pytest.raises(UserError, match="no run of the kind nas that has"):
        Bench(tmp_path)
    save(load("static_int8"), tmp_path / "recipe.yaml")
    with pytest.raises(UserError, match="no run of the kind nas"):
        Bench(tmp_path)
