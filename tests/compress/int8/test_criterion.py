"""The accuracy criterion: what goes back to float, and what is said where nothing helps; and graphs that are mixed."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from compress.data.squad import load_squad
from compress.int8.criterion import REPORT, Scorer, answering, loss_of, meet
from compress.int8.graph import calibrate_checkpoint, calibration_windows, store_graph
from compress.int8.simulation import simulate
from compress.int8.stage import write_int8
from compress.progress import Progress
from compress.recipe.load import load
from compress.recipe.quantize import QuantizeRecipe
from compress.recipe.stage import StageContext
from compress.recipe.training_groups import Criterion
from compress.tasks.subjects import examples_to_choose
from tests.compress.recipe_kit import load_as
from tests.zoo.model_kit import portable
from zoo.engines.onnx import OnnxEngine
from zoo.engines.openvino import OpenVinoEngine
from zoo.errors import UserError
from zoo.features import make_windows, pad
from zoo.files import read_json, write_json
from zoo.graph import MODEL_FILE, read
from zoo.lengths import LengthConfig

NAMES = ["a", "b", "c", "d", "e", "f"]


def search(score, names=NAMES, **wishes):
    wishes = {"relative": False, "tolerable_loss": 1.0, **wishes}
    return meet(Criterion(apply=True, **wishes), score, 90.0, lambda: names)


def test_nothing_goes_back_where_all_integers_hold():
    def order():
        raise AssertionError("nobody has to measure anything")

    found = meet(Criterion(apply=True, relative=False, tolerable_loss=1), lambda kept: 89.5, 90.0, order)
    assert found.holds and found.best.kept_float == () and len(found.trials) == 1
    assert found.best.loss == pytest.approx(0.5)


def test_the_one_that_hurts_goes_back_alone():
    found = search(lambda kept: 89.5 if "b" in kept else 80.0)
    assert found.holds and found.best.kept_float == ("b",)
    assert [trial.kept_float for trial in found.trials] == [(), ("a",), ("b",)]


def test_several_go_back_where_one_does_not_do_those_that_helped_most_first():
    gains = {"a": 1.0, "b": 3.0, "c": 2.0}
    found = search(lambda kept: 83.5 + sum(gains.get(name, 0) for name in kept), max_trials=10)
    assert found.holds and found.best.kept_float == ("b", "c", "a")
    assert found.best.score == pytest.approx(89.5)


def test_that_none_holds_is_a_result_with_the_best_one():
    found = search(lambda kept: 70.0 + len(kept), max_trials=6)
    assert not found.holds and len(found.trials) == 6
    assert found.best.score == max(trial.score for trial in found.trials) == 73.0
    alike = search(lambda kept: 70.0, max_trials=6)
    assert alike.best.kept_float == (), "of two alike the smaller one"
    assert len(search(lambda kept: 70.0, max_trials=1).trials) == 1
    assert len(search(lambda kept: 70.0, names=["a"], max_trials=9).trials) == 2


def test_losses_are_shares_or_points():
    assert loss_of(Criterion(relative=True), 45.0, 90.0) == 0.5
    assert loss_of(Criterion(relative=False), 45.0, 90.0) == 45.0
    assert loss_of(Criterion(relative=True), 91.0, 90.0) < 0
    with pytest.raises(ValueError, match=r"write 0\.01 for 1 %"):
        Criterion(relative=True, tolerable_loss=1.5)


def stage(tiny_model, data, folder, **wishes):
    sources = [f"model={tiny_model}", f"dataset.train={data.train}"]
    sources += ["quantize.keep_float=[words]", "quantize.calibration_samples=6", "evaluate.threads=1"]
    recipe = load_as(QuantizeRecipe, "static_int8", sources)
    recipe.criterion = Criterion(apply=True, relative=False, max_questions=4, **wishes)
    return StageContext(recipe, folder, folder, Progress(None, "quantize", bar=False))


def test_a_stage_returns_products_to_float_and_reports_every_trial(tiny_model, tiny_data, tmp_path):
    """Scored by the products in float: three of them are needed, and all trials are known at a second start."""
    scored = []

    def score(folder):
        floats = [name for name in read(folder / MODEL_FILE)[0] if name.startswith("layers.") and name.endswith(".w")]
        scored.append(floats)
        return 80.0 + len(floats)

    ctx = stage(tiny_model, tiny_data, tmp_path, tolerable_loss=7.0, max_trials=9)
    facts = write_int8(ctx, tiny_model, scorer=Scorer(score, lambda: 90.0, "points", 4))
    told = facts["criterion"]
    assert told["holds"] and told["score"] == 83.0 and len(told["returned"]) == 3
    weights, _ = read(tmp_path / MODEL_FILE)
    assert sorted(facts["kept_float"]) == sorted(["words", *told["returned"]])
    assert all(f"{name}.w" in weights and f"{name}.q" not in weights for name in facts["kept_float"])
    assert sum(name.endswith(".q") for name in weights) == 8 - 3
    report = read_json(tmp_path / REPORT)
    assert len(report["trials"]) == told["trials"] == len(scored) and report["trials"][0]["kept_float"] == []
    kls = [row["kl"] for row in report["sensitivity"]["rows"]]
    assert kls == sorted(kls, reverse=True) and len(kls) == 9
    assert report["kept_float"] == facts["kept_float"] and report["returned"] == told["returned"]

    def never(_folder=None):
        raise AssertionError("this was scored before")

    again = write_int8(ctx, tiny_model, scorer=Scorer(never, never, "points", 4))
    assert again == facts


def test_questions_are_scored_by_f1_and_a_lost_criterion_is_told(tiny_model, tiny_data, tmp_path):
    ctx = stage(tiny_model, tiny_data, tmp_path, tolerable_loss=0.0, max_trials=2)
    scorer = answering(ctx.recipe, tiny_model, 4, ctx.progress)
    assert (scorer.n, scorer.metric) == (4, "f1") and 0 <= scorer.exact() <= 100
    facts = write_int8(ctx, tiny_model, scorer=Scorer(scorer.quantized, lambda: 101.0, "f1", 4))
    told = facts["criterion"]
    assert not told["holds"] and told["trials"] == 2 and told["loss"] >= 1
    assert (tmp_path / MODEL_FILE).is_file(), "the best one that was found"


def test_operators_are_chosen_by_what_is_not_reported_on(tiny_model, tiny_data, tmp_path):
    ctx = stage(tiny_model, tiny_data, tmp_path)
    ctx.progress = Progress(tmp_path / "progress.jsonl", "quantize", shown=False)
    everything, data = {one.id for one in load_squad(tiny_data.train)}, ctx.recipe.dataset

    def chosen_by(evaluation: Path) -> set[str]:
        data.evaluation = str(evaluation)
        return {one.id for one in examples_to_choose(ctx.recipe, ctx.progress)}

    assert chosen_by(tiny_data.evaluation) == everything
    part, content = tmp_path / "part.json", read_json(Path(tiny_data.train))
    passage = content["data"][0]["paragraphs"].pop(0)
    write_json(part, content)
    assert chosen_by(part) == {one["id"] for one in passage["qas"]}
    assert not (tmp_path / "progress.jsonl").exists()
    assert chosen_by(tiny_data.train) == everything
    assert "chosen by questions that are reported on" in (tmp_path / "progress.jsonl").read_text()
    with pytest.raises(UserError, match="to choose operators by are reported on"):
        changes = [f"dataset.{split}={tiny_data.evaluation}" for split in ("validation", "evaluation")]
        changes += [f"dataset.{key}=null" for key in ("titles", "validation_titles", "evaluation_titles")]
        recipe = load("train_tiny", [f"dataset.train={tiny_data.train}", *changes, "criterion.apply=true"])
        examples_to_choose(recipe, ctx.progress)


def test_without_a_criterion_nothing_is_scored(tiny_model, tiny_data, tmp_path):
    ctx = stage(tiny_model, tiny_data, tmp_path)
    ctx.recipe.criterion = Criterion()
    facts = write_int8(ctx, tiny_model)
    assert "criterion" not in facts and facts["kept_float"] == ["words"]


def test_unknown_products_and_nothing_to_quantize_are_told(tiny_model, tiny_data, tmp_path):
    ctx = stage(tiny_model, tiny_data, tmp_path)
    ready = calibrate_checkpoint(tiny_model, ctx.recipe.quantize, partial(calibration_windows, ctx.recipe))
    with pytest.raises(UserError, match=r"No product is called 'layers\.9\.\*'"):
        store_graph(ready, tmp_path, ctx.recipe.quantize, ["layers.9.*"])
    with pytest.raises(UserError, match="leaves every product in float"):
        store_graph(ready, tmp_path, ctx.recipe.quantize, ["layers.*"])
    ctx.recipe.quantize = ctx.recipe.quantize.model_copy(update={"keep_float": ["nothing"]})
    with pytest.raises(UserError, match="No product is called 'nothing'"):
        calibrate_checkpoint(tiny_model, ctx.recipe.quantize, partial(calibration_windows, ctx.recipe))


def test_an_absent_backend_is_told_before_anything_is_computed(tiny_model, tiny_data, tmp_path, monkeypatch):
    ctx = stage(tiny_model, tiny_data, tmp_path)
    ctx.recipe.quantize = ctx.recipe.quantize.model_copy(update={"neural_compressor": True})
    monkeypatch.setitem(sys.modules, "neural_compressor", None)
    monkeypatch.setitem(sys.modules, "neural_compressor.torch", None)
    with pytest.raises(UserError, match="pip install neural-compressor-pt"):
        write_int8(ctx, tiny_model)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("dialect", ["portable", "onnxruntime", "openvino"])
def test_products_in_float_and_in_integers_mix_in_every_dialect(tiny_model, tiny_data, tmp_path, dialect):
    ctx = stage(tiny_model, tiny_data, tmp_path)
    ready = calibrate_checkpoint(tiny_model, ctx.recipe.quantize, partial(calibration_windows, ctx.recipe))
    kept = store_graph(ready, tmp_path, ctx.recipe.quantize, ["layers.0.qkv", "layers.1.expand"])["kept_float"]
    assert kept == ["words", "layers.0.qkv", "layers.1.expand"]
    weights, spec = read(tmp_path / MODEL_FILE)
    twin = simulate(ready.model, weights)
    batch = pad(make_windows(ready.tokenizer, ["Who was born?"], ["Marie Curie was born in Warsaw."]))
    lengths = np.array([LengthConfig((1.0, 0.5)).tokens(int(batch["attention_mask"].sum()))])
    if dialect == "portable":
        start, end, *_ = portable(weights, spec)(batch, lengths)
    else:
        out = (OnnxEngine if dialect == "onnxruntime" else OpenVinoEngine).open(tmp_path, 1).run(batch, lengths)
        start, end = out.start, out.end
    with torch.no_grad():
        tensors = {key: torch.from_numpy(value) for key, value in batch.items()}
        expected = twin(**tensors, lengths=torch.from_numpy(lengths)).logits.numpy()
        exact = ready.model(**tensors, lengths=torch.from_numpy(lengths)).logits.numpy()
    far = np.median(np.abs(np.stack([start, end], -1) - expected))
    assert far < 0.1 * np.median(np.abs(expected - exact))
