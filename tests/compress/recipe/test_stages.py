"""Every stage of the recipe on a tiny model, and what they leave."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from compress.data.fingerprints import TRAINED_ON, load_fingerprints, save_fingerprints
from compress.data.squad import fingerprint, load_squad
from compress.recipe.load import KINDS, load
from compress.run.run import run
from tests.compress.recipe_kit import context
from zoo import card, catalog
from zoo.errors import UserError
from zoo.files import read_json
from zoo.lengths import Front, LengthConfig
from zoo.settings import get_settings

ROOT = Path(__file__).parents[3]
INT8 = "tiny-qa-length-adaptive-int8"


def test_the_run_is_told_as_it_goes(finished_run):
    result = read_json(finished_run / "result.json")
    assert list(result["stages"]) == list(KINDS["length_adaptive"].stages)[1:], "it has no teacher"
    told = [json.loads(line) for line in (finished_run / "progress.jsonl").read_text().splitlines()]
    assert {line["stage"] for line in told} == set(result["stages"])
    assert all(line["step"] <= line["total"] for line in told if "step" in line)


def test_the_front_was_searched_on_other_data_than_it_reports(finished_run):
    searched = Front.load(finished_run / "search/front.json")
    reported = Front.load(finished_run / "evaluate/front.json")
    assert (searched.measured_on["split"], searched.measured_on["n"]) == ("validation", 10)
    assert reported.measured_on["n"] == 10 and reported.measured_on["dataset"] == "evaluation.json"
    every = {p.config for p in [*reported.points, *reported.dominated]}
    assert {p.config for p in searched.everything} <= every
    assert LengthConfig.from_absolute((300, 120)) in every
    assert all(p.p50_ms and p.p50_ms > 0 for p in [reported.full, *reported.points])
    beside = reported.measured_on
    assert beside["float_p50_ms"] > 0 and beside["latency_tokens"] > 0 and isinstance(beside["disturbed"], bool)
    assert reported.measured_on["padded_to_384"]["lengths"] == "(300, 120)"
    assert 0 < reported.measured_on["padded_to_384"]["macs_ratio"] < 1


def test_the_points_are_not_dominated_and_cheapest_first(finished_run):
    points = Front.load(finished_run / "evaluate/front.json").points
    assert all(a.macs_ratio < b.macs_ratio and a.score < b.score for a, b in zip(points, points[1:], strict=False))


def test_the_two_entries_are_complete(finished_run):
    small, whole = (catalog.find(str(finished_run / "package" / name)) for name in (INT8, "tiny-qa"))
    assert small.engines == ["onnxruntime", "openvino", "torch"] and whole.engines == ["torch"]
    assert small.front and small.full_precision == "tiny-qa" and small.float_folder == whole.folder
    assert small.parameters == whole.parameters > 0
    assert whole.weights_dtype == "f16" and small.weights_dtype == "int8"
    scores = read_json(finished_run / "evaluate/scores.json")
    assert whole.metrics["f1"] == scores["float"]["f1"] and small.metrics["f1"] == small.front.full.score
    assert small.metrics["n"] == 10 and small.metrics["cpu"]


def test_cards_say_what_was_measured_and_nothing_of_this_machine(finished_run):
    for name in (INT8, "tiny-qa"):
        folder = finished_run / "package" / name
        told = card.read((folder / "README.md").read_text())
        assert told["license"] == "apache-2.0" and told["title"]
        assert told["metrics"]["f1"] == pytest.approx(catalog.find(str(folder)).metrics["f1"], abs=1e-3)
        assert name in told["body"]
        for path in folder.iterdir():
            assert b"/tmp" not in path.read_bytes() and str(finished_run).encode() not in path.read_bytes()


def test_a_packaged_entry_answers(finished_run):
    from zoo.ask import QuestionAnswerer

    entry = catalog.find(str(finished_run / "package" / INT8))
    assert entry.front
    for engine in ("onnxruntime", "torch"):
        reply = QuestionAnswerer(entry, engine, 1).ask(
            "Who?", "Marie Curie was born in Warsaw.", entry.front.points[0].config
        )
        assert reply.answers[0].text in "Marie Curie was born in Warsaw."


def test_it_is_known_what_was_trained_on(finished_run, tiny_data):
    trained = fingerprint(load_squad(tiny_data.train))
    assert load_fingerprints(finished_run) == load_fingerprints(finished_run / "package" / INT8) == trained


def test_what_was_trained_on_is_read_anew_where_the_model_or_a_file_is_another(tiny_model, tiny_data, tmp_path):
    from compress.tasks.subjects import trained_on

    known, file = shutil.copytree(tiny_model, tmp_path / "known"), tmp_path / "train.json"
    shutil.copy(tiny_data.train, file)
    save_fingerprints(known / TRAINED_ON, {"aa"})

    def told(model: Path) -> set[str]:
        changes = [f"model={model}", f"dataset.train={file}", "dataset.titles=null"]
        return trained_on(context(load("length_adaptive_tiny", changes), tmp_path / "run/evaluate"))

    learned = fingerprint(load_squad(tiny_data.train))
    (tmp_path / "run").mkdir()
    assert told(tiny_model) == learned and told(known) == {"aa", *learned}
    save_fingerprints(known / TRAINED_ON, {"bb"})
    assert told(known) == {"bb", *learned}
    shutil.copy(tiny_data.validation, file)
    assert told(known) == {"bb", *fingerprint(load_squad(tiny_data.validation))}
    file.unlink()
    assert told(known) == {"bb", *fingerprint(load_squad(tiny_data.validation))}, "what is gone does not undo it"


@pytest.mark.parametrize(
    ("stage", "part", "source", "message"),
    [
        ("search", "validation", "train", "the questions to search on were trained on"),
        ("search", "validation", "evaluation", "the questions to search on are reported on"),
        ("evaluate", "evaluation", "train", "the data to report on were trained on"),
    ],
)
def test_data_that_is_known_is_refused(finished_run, tiny_data, tiny_changes, tmp_path, stage, part, source, message):
    from compress.progress import Progress
    from compress.recipe.stage import StageContext

    recipe = load("length_adaptive_tiny", [*tiny_changes, f"dataset.{part}={getattr(tiny_data, source)}"])
    inputs = {name: finished_run / name for name in KINDS[recipe.kind].stages}
    ctx = StageContext(recipe, tmp_path, tmp_path / stage, Progress(None, stage, shown=False), inputs)
    with pytest.raises(UserError, match=message):
        KINDS[recipe.kind].stages[stage].load()(ctx)


def test_search_can_minimise_measured_latency(finished_run, tiny_changes, tmp_path, monkeypatch):
    """The clock is replaced: a configuration takes as long as it has tokens."""
    from compress.tasks import judge
    from zoo.latency import Timing

    def measure(calls, rounds):
        lengths = {name: sum(call.args[2].tokens(100)) for name, call in calls.items()}
        return {name: Timing.from_samples([float(value)] * rounds) for name, value in lengths.items()}

    monkeypatch.setattr(judge, "measure", measure)
    copy = shutil.copytree(finished_run, tmp_path / "run")
    run(load("length_adaptive_tiny", [*tiny_changes, "search.objective=latency"]), copy, "search")
    front = Front.load(copy / "search/front.json")
    assert front.measured_on["objective"] == "latency"
    rows = [json.loads(line) for line in (copy / "search/archive.jsonl").read_text().splitlines()]
    assert all(row["cost"] == row["relative_latency"] != row["macs_ratio"] for row in rows[1:])


def test_search_survives_kill_9(finished_run, tiny_changes, tmp_path):
    changes = [*tiny_changes, "search.iterations=4", "search.population=6"]
    whole, cut = (shutil.copytree(finished_run, tmp_path / name) for name in ("whole", "cut"))
    run(load("length_adaptive_tiny", changes), whole, "search")

    sets = [part for change in changes for part in ("--set", change)]
    command = [
        sys.executable,
        "-m",
        "compress",
        "run",
        "length_adaptive_tiny",
        "--folder",
        str(cut),
        "--stage",
        "search",
    ]
    archive = cut / "search/archive.jsonl"
    archive.unlink()
    process = subprocess.Popen(
        [*command, *sets], cwd=ROOT, stderr=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    try:
        until = time.monotonic() + 120
        while not archive.is_file() or len(archive.read_bytes().splitlines()) < 3:
            assert process.poll() is None and time.monotonic() < until
            time.sleep(0.002)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (cut / "search/done.json").exists()
    before = archive.read_bytes().rpartition(b"\n")[0]
    assert 3 <= len(before.splitlines()) < len((whole / "search/archive.jsonl").read_bytes().splitlines())

    run(load("length_adaptive_tiny", changes), cut, "search")
    assert archive.read_bytes().startswith(before), "what was measured was measured again"
    assert archive.read_bytes() == (whole / "search/archive.jsonl").read_bytes()
    assert (cut / "search/front.json").read_bytes() == (whole / "search/front.json").read_bytes()


def test_two_processes_train_together_and_the_first_does_the_rest(tiny_changes, tmp_path):
    sets = [part for change in tiny_changes for part in ("--set", change)]
    spawn = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "compress"]
    command = [*spawn, "run", "length_adaptive_tiny", "--folder", str(tmp_path), *sets]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in (tmp_path / "progress.jsonl").read_text().splitlines()]
    assert [line["stage"] for line in told if line.get("note") == "done"] == list(KINDS["length_adaptive"].stages)[1:]
    result = read_json(tmp_path / "result.json")["stages"]
    assert result["finetune"]["windows"] == 25
    assert catalog.find(str(tmp_path / "package" / INT8)).front


def test_settings_of_the_tests_stay_out_of_the_home():
    assert str(get_settings().home) == os.environ["BUDGET_ZOO_HOME"]
