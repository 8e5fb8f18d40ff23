"""The first opening of a model from elsewhere happens in a child process, and its verdict is remembered."""

from __future__ import annotations

import os
import resource
import shutil
import sys
from pathlib import Path

import onnx
import pytest

from tests.zoo import hostile_kit as kit
from tests.zoo.encoder_kit import checkpoint
from zoo import catalog, confined, on_trial, onnx_files, pulling, trial
from zoo.errors import UserError
from zoo.settings import get_settings
from zoo.shelf import Row
from zoo.tokenizer_files import FILE


@pytest.fixture
def children(tmp_path, monkeypatch) -> list[str]:
    """Models are tried, with a home of this test's own; the modules that children ran are noted."""
    monkeypatch.setenv("BUDGET_ZOO_TRIAL", "true")
    monkeypatch.setenv("BUDGET_ZOO_HOME", str(tmp_path / "home"))
    get_settings.cache_clear()
    noted, run = list[str](), confined.run

    def noting(module: str, arguments: list[str], patience: float):
        noted.append(module)
        return run(module, arguments, patience)

    monkeypatch.setattr(confined, "run", noting)
    return noted


@pytest.fixture
def quick(monkeypatch) -> None:
    """What the child does is done here, which spares a process."""

    class Ended:
        returncode, stdout, stderr = 0, "", ""

    def run(module: str, arguments: list[str], patience: float) -> Ended:
        ended = Ended()
        for bound in ("limit", "hasten"):
            monkeypatch.setattr(on_trial, bound, lambda *_: None)
        try:
            on_trial.main(*arguments)
        except UserError as error:
            ended.returncode, ended.stderr = trial.REFUSED, " ".join(str(error).split())
        return ended

    monkeypatch.setattr(confined, "run", run)


@pytest.fixture
def stock(tiny_model, tmp_path) -> Path:
    return kit.make_stock(tmp_path / "models" / "stock", tiny_model)


def test_a_model_is_tried_once_wherever_its_files_lie(stock, tmp_path, children):
    entry = catalog.find(str(stock))
    assert (entry.task, children) == ("qa", [trial.MODULE])
    catalog.find(str(stock))
    shutil.copytree(stock, tmp_path / "copy")
    catalog.find(str(tmp_path / "copy"))
    catalog.checkpoint_of(str(stock))
    assert len(children) == 1
    kit.config(layer_norm_eps=1e-6)(stock)
    catalog.find(str(stock))
    assert len(children) == 2


@pytest.mark.parametrize("family", ["mobilebert", "deberta-v2"])
def test_what_transformers_computes_is_read_and_run_within_the_limits(family, tiny_model, tmp_path, children):
    """Its code alone maps half a gigabyte, which is none of the model's."""
    checkpoint(tmp_path / "m", family, tiny_model, "classification")
    entry = catalog.find(str(tmp_path / "m"))
    assert (entry.task, children) == ("classification", [trial.MODULE])


def test_a_touched_file_is_hashed_and_not_tried_anew(stock, children, quick):
    catalog.find(str(stock))
    os.utime(stock / FILE)
    catalog.find(str(stock))
    assert len(list((get_settings().home / "trials").glob("*.json"))) == 2  # one of the place, one of the content


def test_verdicts_of_other_readers_do_not_hold(stock, children, monkeypatch):
    catalog.find(str(stock))
    monkeypatch.setattr(trial, "_readers", lambda: "others")
    catalog.find(str(stock))
    assert len(children) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are Linux's here")
@pytest.mark.parametrize("name", kit.PROGRAMS)
def test_a_graph_that_is_a_program_ends_in_the_child(stock, children, name):
    kit.PROGRAMS[name](stock)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for _ in range(2):
        with pytest.raises(UserError, match=r"more memory or time|does not run|cannot be opened"):
            catalog.find(str(stock))
    assert len(children) == 1, "what is refused is remembered, too"
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 5, "a loop has two seconds"


def test_a_graph_of_the_hub_is_parsed_by_a_child_alone(stock, children, local_hub, monkeypatch, tmp_path):
    model = onnx.load(str(stock / "model.onnx"))
    files = {"model.onnx": b"\x12\xff no graph", "config.json": (stock / "config.json").read_bytes()}
    local_hub.put("ann/broken", files)
    onnx.save_model(
        model, str(tmp_path / "model.onnx"), save_as_external_data=True, location="numbers", size_threshold=0
    )
    local_hub.put("ann/split", {**files, **{n: (tmp_path / n).read_bytes() for n in ("model.onnx", "numbers")}})
    monkeypatch.setattr(onnx_files, "skeleton", lambda path: pytest.fail("parsed in the process that serves"))
    folder, _ = pulling.pull("ann/split")
    assert (folder / "numbers").is_file() and children == [trial.MODULE]
    with pytest.raises(UserError, match="is no ONNX file, or it is cut short") as refusal:
        pulling.pull("ann/broken")
    assert "model.onnx" in str(refusal.value) and len(children) == 2


def test_what_the_child_says_is_told_with_the_folder_that_was_asked_for(stock, tmp_path, children, quick):
    kit.STOCK["a stock graph without numbers"](stock)
    moved = tmp_path / "moved"
    for folder in (stock, shutil.copytree(stock, moved)):
        with pytest.raises(UserError, match=f"table in {folder}/model.onnx holds values that are no finite numbers"):
            catalog.find(str(folder))


def test_a_child_that_takes_too_long_is_no_lasting_verdict(stock, children, monkeypatch):
    monkeypatch.setattr(trial, "PATIENCE", -1000)
    for _ in range(2):
        with pytest.raises(UserError, match="took too long"):
            catalog.find(str(stock))
    assert len(children) == 2
    assert not list((get_settings().home / "trials").glob("*"))


def test_a_panic_in_the_child_is_a_sentence(stock, children, quick):
    kit.tokenizer(normalizer={"type": "Replace", "pattern": {"Regex": "(a+a+)+b"}, "content": "z"})(stock)
    with pytest.raises(UserError, match="is no tokenizer that reads text: Onig.*retry-limit"):
        catalog.find(str(stock))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_float_weights_are_read_without_a_framework(tiny_model, tmp_path, children, quick, value):
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    catalog.find(str(folder))
    kit.weights(value)(folder)
    with pytest.raises(UserError, match="no finite numbers"):
        catalog.find(str(folder))


def test_bundled_models_and_own_results_are_not_tried(children, int8):
    from zoo import library

    row: Row = library.register(int8)
    assert catalog.find(row.name).folder == int8
    assert catalog.find("minilm-l6-qa").task == "qa"
    assert not children
