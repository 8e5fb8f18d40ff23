from __future__ import annotations

import json
import shutil
import sys

import pytest
import torch
from filelock import FileLock

from compress.recipe import kind
from compress.recipe.load import KINDS, load
from compress.recipe.stage import Stage
from compress.run import run as runner
from compress.run.inputs import Inputs, fingerprint
from compress.run.run import run
from zoo.errors import UserError
from zoo.settings import get_settings

calls: list[str] = []
failing: list[str] = []


def stage(ctx):
    name = ctx.folder.name
    calls.append(name)
    assert all((folder / "done.json").is_file() for folder in ctx.inputs.values())
    count = len(list(ctx.folder.glob("mark-*")))
    (ctx.folder / f"mark-{count}").touch()
    ctx.progress.update(1, 1, loss=0.5, words="none")
    if name in failing:
        raise RuntimeError("the power failed")
    return {"marks": count + 1, "learning_rate": ctx.recipe.finetune.learning_rate}


@pytest.fixture(autouse=True)
def stages(monkeypatch):
    calls.clear()
    failing.clear()
    made = {
        "finetune": Stage(f"{__name__}:stage", ("dataset", "finetune", "training"), spread=True),
        "search": Stage(f"{__name__}:stage", ("dataset", "search")),
        "package": Stage(f"{__name__}:stage", ("package",)),
    }
    monkeypatch.setattr(Stage, "load", lambda self: stage)
    monkeypatch.setattr(KINDS["length_adaptive"], "stages", made)


def recipe(*changes):
    return load("length_adaptive_tiny", changes)


def test_all_stages_run_once_and_only_once(tmp_path):
    first = run(recipe(), tmp_path)
    assert calls == ["finetune", "search", "package"]
    assert run(recipe(), tmp_path) == first
    assert len(calls) == 3
    assert json.loads((tmp_path / "result.json").read_text()) == {"kind": "length_adaptive", "stages": first}
    assert load(tmp_path) == recipe()
    told = [json.loads(line) for line in (tmp_path / "progress.jsonl").read_text().splitlines()]
    assert [line["stage"] for line in told if line.get("note") == "done"] == calls


TRACKIO = """
import json
from pathlib import Path
LINES = Path(__file__).with_name("lines.jsonl")
def note(**line):
    with LINES.open("a") as file:
        file.write(json.dumps(line) + "\\n")
def init(project, name=None, config=None, resume="never"):
    note(project=project, name=name, epochs=config["finetune"]["epochs"], resume=resume)
def log(metrics, step=None):
    note(metrics=metrics)
def finish():
    note(finished=True)
"""


def test_curves_go_to_trackio_where_the_recipe_says_so(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "trackio", raising=False)
    run(recipe(), tmp_path / "silent")
    with pytest.raises(UserError, match="pip install trackio"):
        run(recipe("training.report_to=trackio"), tmp_path / "absent")
    (tmp_path / "trackio.py").write_text(TRACKIO)
    monkeypatch.syspath_prepend(tmp_path)
    run(recipe("training.report_to=trackio"), tmp_path / "mine")
    told = [json.loads(line) for line in (tmp_path / "lines.jsonl").read_text().splitlines()]
    begun = {
        "project": "budget-zoo",
        "name": "mine",
        "epochs": recipe().model_dump()["finetune"]["epochs"],
        "resume": "allow",
    }
    assert told[0] == begun and told.count(begun) == told.count({"finished": True}) == 3
    assert {"metrics": {"finetune/step": 1, "finetune/loss": 0.5}} in told
    monkeypatch.delitem(sys.modules, "trackio")


def test_where_curves_go_does_not_make_a_run_begin_anew():
    finetune, there = KINDS["length_adaptive"].stages["finetune"], recipe("training.report_to=trackio")
    assert Inputs.of(there, there, finetune, "") == Inputs.of(recipe(), recipe(), finetune, "")
    seeded = recipe("training.seed=9")
    assert Inputs.of(seeded, seeded, finetune, "") != Inputs.of(recipe(), recipe(), finetune, "")


def test_what_a_stage_took_of_memory_goes_back_before_the_next(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "give_back", lambda: calls.append("give_back"))
    run(recipe(), tmp_path)
    assert calls == ["finetune", "give_back", "search", "give_back", "package", "give_back"]


@pytest.mark.parametrize(
    ("change", "again"),
    [
        ("finetune.epochs=9", ["finetune", "search", "package"]),
        ("search.seed=9", ["search", "package"]),
        ("package.title=Other", ["package"]),
        ("evaluate.threads=1", []),
        ("training.checkpoint_minutes=9", []),
        ("dataset.validation_titles=[X*]", ["search", "package"]),  # training does not read them
        ("dataset.titles=[X*]", ["finetune", "search", "package"]),
    ],
)
def test_a_change_redoes_what_depends_on_it(tmp_path, change, again):
    run(recipe(), tmp_path)
    calls.clear()
    results = run(recipe(change), tmp_path)
    assert calls == again
    assert all(result["marks"] == 1 for result in results.values()), "old files were left behind"


@pytest.mark.parametrize(("granted", "processes", "taken"), [("3", "1", 3), ("3", "2", 1), ("1", "2", 1)])
def test_a_stage_takes_the_threads_that_the_settings_grant(tmp_path, monkeypatch, granted, processes, taken):
    before, seen = torch.get_num_threads(), []
    monkeypatch.setattr(Stage, "load", lambda self: lambda ctx: seen.append(torch.get_num_threads()))
    monkeypatch.setenv("BUDGET_ZOO_THREADS", granted)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
    get_settings.cache_clear()
    try:
        run(recipe(), tmp_path)
    finally:
        monkeypatch.undo()
        get_settings.cache_clear()
        torch.set_num_threads(before)
    assert seen == [taken] * 3


def test_an_interrupted_stage_finds_what_it_left(tmp_path):
    failing.append("search")
    with pytest.raises(RuntimeError):
        run(recipe(), tmp_path)
    failing.clear()
    assert run(recipe(), tmp_path)["search"]["marks"] == 2
    assert calls == ["finetune", "search", "search", "package"]


def test_an_interrupted_stage_whose_recipe_changed_begins_anew(tmp_path):
    failing.append("search")
    with pytest.raises(RuntimeError):
        run(recipe(), tmp_path)
    failing.clear()
    assert run(recipe("search.seed=9"), tmp_path)["search"]["marks"] == 1


def test_what_is_redone_is_set_aside_not_lost(tmp_path):
    (tmp_path / "finetune").mkdir()
    (tmp_path / "finetune/model.safetensors").write_text("trained for hours, by hand")
    run(recipe(), tmp_path)
    assert (tmp_path / "finetune.old/model.safetensors").read_text() == "trained for hours, by hand"
    run(recipe("finetune.epochs=9"), tmp_path)
    assert (tmp_path / "finetune.old/done.json").is_file() and not (
        tmp_path / "finetune.old/model.safetensors"
    ).exists()


def test_a_default_that_is_written_out_changes_nothing(tmp_path):
    run(recipe(), tmp_path)
    calls.clear()
    run(recipe("finetune.weight_decay=0.01", "search.seed=0"), tmp_path)
    assert calls == []


def test_the_task_that_always_was_does_not_undo_finished_work(tmp_path):
    run(recipe(), tmp_path)
    calls.clear()
    run(recipe("dataset.task=SQuAD"), tmp_path)
    assert calls == []
    run(recipe("dataset.task=squad_v2"), tmp_path)
    assert calls == ["finetune", "search", "package"]


def test_of_texts_what_is_reported_on_decides_what_is_trained_on(tmp_path):
    def texts(*changes):
        return load("length_adaptive_sst2", ["dataset.train=a", "dataset.evaluation=b", *changes])

    run(texts(), tmp_path)
    for change in ("dataset.evaluation=c", "dataset.validation=d", "dataset.task=cola"):
        calls.clear()
        run(texts(change), tmp_path)
        assert calls == ["finetune", "search", "package"]
    part = Stage("x:y", ("dataset.train", "dataset.titles"))
    marks = [fingerprint(texts(change), part, "") for change in ("dataset.task=cola", "dataset.evaluation=c")]
    assert len({fingerprint(texts(), part, ""), *marks}) == 3


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """A folder with weights, named by the stages `finetune` (as its model) and `search` (as where it starts)."""
    parts = {"finetune": ("model",), "search": ("search",), "package": ("package",)}
    made = {name: Stage(f"{__name__}:stage", keys) for name, keys in parts.items()}
    monkeypatch.setattr(KINDS["length_adaptive"], "stages", made)
    folder = tmp_path / "trained"
    folder.mkdir()
    (folder / "model.safetensors").write_text("weights")
    (folder / "config.json").write_text("{}")
    return folder


@pytest.mark.parametrize(
    ("key", "again"), [("model", ["finetune", "search", "package"]), ("search.start", ["search", "package"])]
)
def test_a_model_that_was_trained_anew_redoes_what_was_made_of_it(tmp_path, trained, key, again):
    run(recipe(f"{key}={trained}"), tmp_path / "run")
    for change in (lambda: None, (trained / "config.json").touch, (trained / "model.safetensors").touch):
        change()
        calls.clear()
        run(recipe(f"{key}={trained}"), tmp_path / "run")
        assert calls == [], "what holds the same weights is the same model"
    (trained / "model.safetensors").write_text("others")
    run(recipe(f"{key}={trained}"), tmp_path / "run")
    assert calls == again
    told = (tmp_path / "run/progress.jsonl").read_text()
    assert "what it names" in told and (tmp_path / "run" / f"{again[0]}.old" / "done.json").is_file()


def test_an_interrupted_stage_whose_model_was_trained_anew_begins_anew(tmp_path, trained):
    failing.append("finetune")
    for written, marks in (("weights", 1), ("weights", 2), ("others", 1)):
        (trained / "model.safetensors").write_text(written)
        with pytest.raises(RuntimeError):
            run(recipe(f"model={trained}"), tmp_path / "run")
        assert len(list((tmp_path / "run/finetune").glob("mark-*"))) == marks


def test_a_file_that_was_edited_redoes_what_was_made_of_it(tmp_path):
    examples = tmp_path / "mine.jsonl"
    for text, again in (("a", ["finetune", "search", "package"]), ("a", []), ("b", ["finetune", "search", "package"])):
        examples.write_text(text)
        calls.clear()
        run(recipe(f"dataset.train={examples}"), tmp_path / "run")
        assert calls == again
    for text in ("c", "d"):  # training does not read what is chosen by
        examples.write_text(text)
        calls.clear()
        run(recipe(f"dataset.validation={examples}"), tmp_path / "other")
    assert calls == ["search", "package"]


@pytest.mark.parametrize(
    "change", ["search.start=/no/such", "search.start=~nobody-here/x", "dataset.evaluation=no.json"]
)
def test_what_a_later_stage_would_miss_is_told_before_the_first(tmp_path, change, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=f"{change.partition('=')[2]}, which stage search"):
        run(recipe(change), "run")
    assert calls == []
    run(recipe(change), "run", stage="finetune")  # which does not need it
    assert calls == ["finetune"]
    (tmp_path / "no.json").touch()
    if change.endswith("no.json"):
        run(recipe(change), "run")
        assert calls == ["finetune", "search", "package"]


def test_a_package_that_is_missing_is_told_before_the_first(tmp_path, monkeypatch):
    monkeypatch.setattr(kind, "find_spec", lambda _name: None)
    with pytest.raises(UserError, match="The engine onnxruntime is not installed. Install it: pip install onnxruntime"):
        run(recipe(), tmp_path)
    assert calls == []


def test_a_model_that_is_gone_does_not_undo_what_was_made_of_it(tmp_path, trained):
    run(recipe(f"model={trained}"), tmp_path / "run")
    shutil.rmtree(trained)
    calls.clear()
    run(recipe(f"model={trained}", "package.title=Other"), tmp_path / "run")
    assert calls == ["package"]


def test_one_stage_needs_those_before_it(tmp_path):
    with pytest.raises(UserError, match="finetune is not done"):
        run(recipe(), tmp_path, "search")
    assert list(run(recipe(), tmp_path, "finetune")) == ["finetune"]
    assert list(run(recipe(), tmp_path, "search")) == ["finetune", "search"]
    assert calls == ["finetune", "search"]
    with pytest.raises(UserError, match="inputs have changed"):
        run(recipe("finetune.epochs=9"), tmp_path, "search")
    with pytest.raises(UserError, match="no stage 'bake'. Choose one of finetune, search, package"):
        run(recipe(), tmp_path, "bake")


def test_two_processes_never_run_one_folder(tmp_path):
    with FileLock(tmp_path / ".lock"), pytest.raises(UserError, match="another process"):
        run(recipe(), tmp_path)
    assert calls == []
    run(recipe(), tmp_path)


def test_the_lock_is_given_back_after_a_fault(tmp_path):
    failing.append("finetune")
    for _ in range(2):
        with pytest.raises(RuntimeError):
            run(recipe(), tmp_path)


def test_a_further_process_of_a_torchrun_writes_nothing(tmp_path, monkeypatch):
    run(recipe(), tmp_path, "finetune")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    calls.clear()
    monkeypatch.setenv("RANK", "1")
    run(recipe(), tmp_path)
    assert calls == []
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_all_processes_of_a_torchrun_meet_equally_often(tmp_path, monkeypatch):
    made = KINDS["length_adaptive"].stages
    before = {"text": Stage(f"{__name__}:stage", ("dataset",)), **made}  # one process's alone, and others follow it
    monkeypatch.setattr(KINDS["length_adaptive"], "stages", before)
    monkeypatch.setattr(Inputs, "are_in", lambda *_of: False)
    met: dict[str, int] = {}
    monkeypatch.setattr(runner, "_agreed", lambda value: met.update(now=met.get("now", 0) + 1) or value)
    times = []
    for rank in ("0", "1"):
        met.clear()
        monkeypatch.setenv("RANK", rank)
        run(recipe(), tmp_path)
        times.append(met["now"])
    assert times[0] == times[1] == 6 and calls == ["text", "finetune", "search", "package", "finetune"]
