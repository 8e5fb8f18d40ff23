"""The recipe kind `nas` from end to end on a tiny model: what is shipped, what was measured, what is refused."""

from __future__ import annotations

import shutil
from importlib.util import find_spec

import numpy as np
import pytest

from compress.nas.predictor import Predictor
from compress.nas.search import winner_of
from compress.nas.space import Arch
from compress.nas.table import Table
from compress.recipe.load import KINDS, load
from compress.recipe.nas import NasRecipe
from compress.recipe.place import absolute
from compress.run.run import run
from tests.compress.recipe_kit import context, load_as, unread
from zoo.errors import UserError
from zoo.files import read_json, write_json


@pytest.fixture(scope="module")
def changes(tiny_model, tiny_data) -> list[str]:
    return [
        f"model={tiny_model}",
        f"dataset.train={tiny_data.train}",
        f"dataset.validation={tiny_data.validation}",
        f"dataset.evaluation={tiny_data.evaluation}",
        *(f"dataset.{key}=null" for key in ("titles", "validation_titles", "evaluation_titles")),
        "space.layers=[1, 2]",
        "space.hidden=[16, 32]",
        "space.intermediate=[16, 64]",
        "space.step=8",
        "supernet.relation_heads=2",
        "latency_table.rows=40",
        "latency_table.tokens=32",
        "latency_table.rounds=3",
        "latency_table.seconds=0.05",
        "latency_table.retries=0",
        "search.limit_ms=50",
        "search.band=[0.2, 0.8]",
        "evaluate.latency_rounds=2",
    ]


@pytest.fixture(scope="module")
def finished(changes, tmp_path_factory):
    root = tmp_path_factory.mktemp("nas")
    return root, run(load("nas_tiny", changes), root)


def test_every_stage_ran_and_the_winner_is_within_the_limit(finished):
    root, results = finished
    assert list(results) == list(KINDS["nas"].stages)
    arch, told = winner_of(root / "search")
    table, predictor = Table.load(root / "latency_table"), Predictor.load(root / "predictor")
    assert len(table.rows) == 40 == results["latency_table"]["rows"]
    assert results["predictor"]["onnxruntime_int8"]["n"] >= 1
    assert told["limit_ms"] == 50
    assert len(told["points"]) == 6 == results["search"]["scored"]
    for point in told["points"]:
        there = Arch.from_json(point["arch"])
        assert point["predicted_ms"] <= told["limit_ms"]
        assert predictor.predict([there], told["mode"])[0] * told["pace"] == pytest.approx(point["predicted_ms"])
        assert list(point["metrics"])[0] == told["metric"] == "f1" and point["score"] == point["metrics"]["f1"]
    left = [point for point in told["points"] if point["key"] not in told["passed_over"]]
    best = max(left, key=lambda point: (point["score"], -point["predicted_ms"]))
    assert best["key"] == told["winner"]["key"] == arch.key
    assert 0 < told["winner"]["measured_ms"] <= told["limit_ms"]
    over = [point["measured_ms"] for point in told["points"] if point["key"] in told["passed_over"]]
    assert all(ms > told["limit_ms"] for ms in over)


def test_a_predictor_that_learned_from_few_rows_says_so_in_the_log_the_result_and_the_card(finished):
    root, results = finished
    said = results["predictor"]["onnxruntime_int8"]
    rows, held = said["learned_from"], said["n"]
    words = f"predicted from {rows} rows only and were checked on {held}"
    assert 30 < rows < 40 and ("spearman" in said) == (held > 1)
    for stage in (said, results["search"], results["evaluate"], read_json(root / "search" / "search.json")):
        assert words in stage["notice"]
    assert words in (root / "progress.jsonl").read_text()
    assert words in (root / "package" / "tiny-nas-qa-int8" / "README.md").read_text()


def test_the_table_is_of_the_operators_that_the_finished_model_has(finished):
    """What divides outlying columns down is a multiplication a product, which the table must not leave out."""
    from compress.nas.base import base_of
    from compress.nas.timed import made_up
    from zoo.graph import read

    root, _ = finished
    recipe, stages = load_as(NasRecipe, root), list(KINDS["nas"].stages)
    ctx = context(recipe, root / "evaluate", {name: root / name for name in stages[: stages.index("evaluate")]}, root)
    arch, setup = winner_of(root / "search")[0], base_of(ctx).setup
    finished_weights, _ = read(root / "quantize" / "model.int8.onnx")
    table = made_up(arch, setup, integers=True)
    assert set(finished_weights) <= set(table), "an operator of the finished model was never timed"
    assert {name for name in table if name not in finished_weights} <= {
        f"layers.{i}.{part}.x_factor" for i in range(arch.layers) for part in ("qkv", "project", "expand", "contract")
    }
    plain = base_of(context(load_as(NasRecipe, root, ["quantize.smoothing=0"]), ctx.folder, ctx.inputs, root)).setup
    assert not any(name.endswith("x_factor") for name in made_up(arch, plain, integers=True))


def test_the_result_is_a_plain_checkpoint_and_two_entries(finished):
    import torch
    from transformers import BertForQuestionAnswering

    from zoo import catalog
    from zoo.ask import QuestionAnswerer
    from zoo.modeling import LengthAdaptiveModel

    root, results = finished
    arch, _ = winner_of(root / "search")
    folder = root / "finetune"
    assert Arch.from_config(read_json(folder / "config.json")) == arch and not (folder / "start").exists()
    ids = torch.arange(5, 25)[None]
    with torch.no_grad():
        theirs = BertForQuestionAnswering.from_pretrained(folder).eval()(ids)
        ours = LengthAdaptiveModel.load(folder)(ids, torch.ones_like(ids))
    torch.testing.assert_close(ours.logits[..., 0], theirs.start_logits, atol=1e-5, rtol=1e-5)

    assert results["package"]["entries"] == ["tiny-nas-qa", "tiny-nas-qa-int8"]
    entry = catalog.find(str(root / "package" / "tiny-nas-qa-int8"))
    assert (entry.method, entry.metric) == ("nas-int8", "f1") and entry.front
    answered = QuestionAnswerer(entry, engine="onnxruntime").ask("Who came?", "In May, the queen came.")
    assert answered is not None
    told = entry.provenance
    assert told["architecture"] == arch.key and "ptq" in told["search"] and told["recipe"] == "nas"


def test_predicted_stands_beside_measured(finished):
    root, results = finished
    after = read_json(root / "evaluate" / "search.json")
    made, real = after["finished"], results["evaluate"]
    assert made["measured_ms"] == real["measured_ms"] == after["winner"]["measured_ms"] > 0
    assert made["pace"] == pytest.approx(made["made_up_ms"] / after["winner"]["measured_made_up_ms"])
    assert made["off"] == pytest.approx(made["predicted_ms"] * made["pace"] / made["measured_ms"] - 1)
    told = read_json(root / "package" / "tiny-nas-qa-int8" / "entry.json")["provenance"]
    assert told["predicted latency, ms"] == pytest.approx(made["predicted_ms"], abs=1e-3)
    assert told["measured latency, ms"] == pytest.approx(made["measured_ms"], abs=1e-3)
    assert "32 tokens, batch 1" in told["latency measured with"]
    card = (root / "package" / "tiny-nas-qa-int8" / "README.md").read_text()
    assert "**predicted latency, ms**" in card and "**measured latency, ms**" in card
    for stage in ("search", "evaluate"):
        assert {"predicted_ms", "measured_ms"} <= set(list(results[stage])[:4]), "Jobs shows the first four"


def test_a_finished_model_that_breaks_the_limit_says_so_in_the_log_the_result_and_the_card(
    finished, changes, tmp_path, monkeypatch
):
    from compress.nas import finish

    root = shutil.copytree(finished[0], tmp_path / "run")
    slow = {"p50_ms": 88.8, "p90_ms": 90.0, "noise": 0.0, "n": 5}
    took = read_json(root / "search" / "search.json")["winner"]["measured_ms"]
    monkeypatch.setattr(finish, "time_in_turn", lambda *_: [slow, {"p50_ms": 2 * took}])
    results = run(load("nas_tiny", [*changes, "evaluate.latency_rounds=1"]), root)
    limit = results["search"]["limit_ms"]
    assert results["evaluate"]["limit_kept"] is False and results["evaluate"]["measured_ms"] == 88.8
    words = f"the finished model takes 88.8 ms, more than the limit of {limit:.3g} ms"
    assert words in (root / "progress.jsonl").read_text()
    card = (root / "package" / "tiny-nas-qa-int8" / "README.md").read_text()
    assert "**latency limit**: not kept by the finished model" in card
    assert f"took {took:.3g} ms in the search takes {2 * took:.3g} ms now" in (root / "progress.jsonl").read_text()
    assert "**pace of the machine**: 2.00 times the milliseconds of the search, in the end" in card
    assert finished[1]["evaluate"]["limit_ms"] == finished[1]["search"]["limit_ms"]


def test_a_score_is_that_of_the_file_that_would_be_shipped(finished, changes, tmp_path):
    """Int8 and float differ, and the archive keeps what `Scorer.score` says."""
    from compress.nas.base import base_of
    from compress.nas.candidates import Candidates

    root, _ = finished
    recipe = load_as(NasRecipe, root)
    stages = list(KINDS["nas"].stages)
    inputs = {name: root / name for name in stages[: stages.index("search")]}
    ctx = context(recipe, tmp_path, inputs, root)
    told = read_json(root / "search" / "search.json")["points"][0]
    judge = Candidates(ctx, base_of(ctx))
    assert judge.score(Arch.from_json(told["arch"])) == told["metrics"]
    assert told["metrics"]["n"] == len(judge.examples)


def test_a_finished_search_is_not_done_again_and_a_killed_one_goes_on(finished, changes, tmp_path):
    root = tmp_path / "again"
    shutil.copytree(finished[0], root)
    recipe = load("nas_tiny", changes)
    archive = root / "search" / "archive.jsonl"
    lines = archive.read_text().splitlines(keepends=True)
    scores = [line for line in lines if '"key": "l' in line]
    kept = "".join(scores[:3])
    archive.write_text(kept)
    (root / "search" / "done.json").unlink()
    (root / "search" / "search.json").unlink()
    before = read_json(root / "tune" / "done.json")
    results = run(recipe, root, stage="search")
    assert read_json(root / "tune" / "done.json") == before and archive.read_text().startswith(kept)
    was = read_json(finished[0] / "search" / "search.json")
    points = read_json(root / "search" / "search.json")["points"]
    assert [point["key"] for point in points] == [point["key"] for point in was["points"]]
    assert [point["metrics"] for point in points] == [point["metrics"] for point in was["points"]]
    assert results["search"]["scored"] == 6


def test_a_supernet_and_a_table_that_are_there_are_taken(finished, changes, tmp_path):
    root, _ = finished
    measuring = ("rows", "rounds", "seconds", "retries")  # and training are over, and their keys refused
    idle = ("supernet.", *(f"latency_table.{key}=" for key in measuring))
    changes = [change for change in changes if not change.startswith(idle)]
    more = [
        f"supernet.checkpoint={root / 'supernet'}",
        f"latency_table.table={root / 'latency_table' / 'table.json'}",
        "search.approach=fp",
        "search.calibration_samples=16",
        "search.scoring=finetune",
        "search.population=2",
        "search.generations=0",
        "finetune.epochs=0.3",
    ]
    results = run(load("nas_tiny", [*changes, *more]), tmp_path / "run", stage=None)
    assert results["supernet"]["taken_from"] and results["generate_data"] == {} == results["order"]
    assert Table.load(tmp_path / "run" / "latency_table").rows == Table.load(root / "latency_table").rows
    told = read_json(tmp_path / "run" / "search" / "search.json")
    assert told["scoring"] == "finetune" and told["approach"] == "fp" and len(told["points"]) == 2
    assert not list((tmp_path / "run" / "search" / "candidates").glob("*/model.safetensors"))
    assert all(np.isfinite(point["score"]) for point in told["points"])


def test_limits_tables_and_spaces_that_do_not_fit_are_refused(finished, changes, tmp_path):
    root = tmp_path / "run"
    shutil.copytree(finished[0], root)
    with pytest.raises(
        UserError, match=r"Nothing in the search space takes 8e-07 ms or less: the fastest encoder, l1-h16-f16"
    ):
        run(load("nas_tiny", [*changes, "search.limit_ms=0.000001"]), root, stage="search")
    path = root / "latency_table" / "table.json"
    data = read_json(path)
    write_json(tmp_path / "other.json", {**data, "machine": {**data["machine"], "cpu": "Another"}})
    with pytest.raises(UserError, match="The latency table is from another machine"):
        run(load("nas_tiny", [*changes, f"latency_table.table={tmp_path / 'other.json'}"]), root, stage="latency_table")
    with pytest.raises(UserError, match="latency_table.modes does not measure"):
        load("nas_tiny", [*changes, "search.mode=openvino_int8"])


@pytest.mark.parametrize("name", ["nas_minilm_l6", "nas_mnli"])
def test_the_recipes_that_take_hours_are_valid(name):
    made = load_as(NasRecipe, name)
    assert made.kind == "nas" and made.search.mode in made.latency_table.modes and made.latency_table.rows >= 1000


def test_what_it_will_take_is_estimated(changes):
    from compress.jobs.estimate import estimate

    whole, small = (estimate(load("nas_tiny", [*changes, f"latency_table.rows={rows}"])) for rows in (4000, 40))
    assert whole["minutes"] and small["minutes"]
    assert whole["minutes"] - small["minutes"] == pytest.approx(3960 * (0.05 + 0.2) / 60, rel=0.05)
    trained = estimate(load("nas_tiny", [*changes, "search.scoring=finetune", "finetune.epochs=1000"]))
    assert trained["minutes"] and trained["minutes"] > small["minutes"] > 0 and small["memory_gib"] > 0
    assert estimate(load("nas_tiny", [*changes, "supernet.steps=null"]))["minutes"] is None


def test_a_job_gets_whole_paths_and_names_what_it_lacks(changes, finished, tmp_path, monkeypatch):
    from compress.jobs import jobs
    from compress.recipe import kind

    root, _ = finished
    shutil.copytree(root / "supernet", tmp_path / "net")
    shutil.copy(root / "latency_table" / "table.json", tmp_path / "table.json")
    (tmp_path / "text.txt").write_text("A line.\n")
    monkeypatch.chdir(tmp_path)
    more = ["supernet.checkpoint=net", "latency_table.table=table.json", "generate_data.text=text.txt"]
    made = absolute(load_as(NasRecipe, "nas_tiny", [*changes, *more]))
    assert made.supernet.checkpoint == str(tmp_path / "net") and made.generate_data.text == str(tmp_path / "text.txt")
    assert made.latency_table.table == str(tmp_path / "table.json")
    jobs.check(made)
    monkeypatch.setattr(kind, "find_spec", lambda name: None if name == "ray" else find_spec(name))
    with pytest.raises(UserError, match="Ray is not installed"):
        jobs.check(load("nas_tiny", [*changes, "latency_table.workers=2"]))


def test_texts_are_searched_for_too(tiny_model, tiny_changes_of_texts, tmp_path):
    from zoo import catalog

    results = run(load("nas_mnli", [f"model={tiny_model}", *tiny_changes_of_texts]), tmp_path / "run")
    arch, told = winner_of(tmp_path / "run" / "search")
    assert told["metric"] == "accuracy" and results["finetune"]["arch"] == arch.key
    entry = catalog.find(str(tmp_path / "run" / "package" / "minilm-nas-mnli-int8"))
    assert (entry.task, entry.method, entry.metric) == ("classification", "nas-int8", "accuracy")
    assert entry.score is not None and 0 <= entry.score <= 100


@pytest.fixture
def tiny_changes_of_texts(changes, tmp_path) -> list[str]:
    import json

    for name, count in (("train", 120), ("evaluation", 9)):
        pairs = [
            (f"A {name} man eats {i} apples.", ("He eats.", "He sleeps.", "He likes it.")[i % 3]) for i in range(count)
        ]
        rows = [{"premise": a, "hypothesis": b, "label": i % 3, "idx": i} for i, (a, b) in enumerate(pairs)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    kept = [change for change in changes if not change.startswith(("dataset.", "model="))]
    return [
        *kept,
        f"dataset.train={tmp_path / 'train.jsonl'}",
        f"dataset.evaluation={tmp_path / 'evaluation.jsonl'}",
        "generate_data.text=examples",
        "generate_data.workers=1",
        "generate_data.block_tokens=32",
        "supernet.steps=2",
        "supernet.batch_size=4",
        "supernet.order_blocks=2",
        "tune.epochs=0.1",
        "finetune.epochs=0.1",
        "search.population=2",
        "search.generations=0",
        "search.max_examples=5",
        "quantize.calibration_samples=4",
    ]


def test_every_key_is_read_or_refused(finished):
    assert unread(NasRecipe, finished[0]) == set()
