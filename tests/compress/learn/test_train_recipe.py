"""The recipe that prunes, distils and simulates rounding in one training, from its start to its entries."""

from __future__ import annotations

import shutil
import zlib

import numpy as np
import pytest
import torch

from compress.data.fingerprints import load_fingerprints
from compress.int8.ranges import grid, load_ranges
from compress.learn.pruning.report import zeros_left, zeros_stored
from compress.recipe.length_adaptive import LengthAdaptiveRecipe
from compress.recipe.load import KINDS, load
from compress.recipe.place import absolute
from compress.recipe.train import TrainRecipe
from compress.recipe.training_groups import PRUNING_TYPES
from compress.results.verify import verify_loading
from compress.run.run import run
from tests.compress.recipe_kit import load_as, unread
from zoo import catalog
from zoo.errors import UserError
from zoo.features import load_tokenizer
from zoo.files import read_json
from zoo.graph import read
from zoo.modeling import LengthAdaptiveModel

LINEARS = ("query", "key", "value", "project", "expand", "contract")
FLOAT, INT8 = "tiny-qa-trained", "tiny-qa-trained-int8"


@pytest.fixture(scope="module")
def trained(own_home, tiny_model, tmp_path_factory):
    """The folder of a finished run."""
    folder = tmp_path_factory.mktemp("trained")
    run(load("train_tiny", [f"model={tiny_model}", "prune.target_sparsity=0.6"]), folder)
    return folder


def test_every_stage_ran_and_tells_what_it_did(trained):
    stages = read_json(trained / "result.json")["stages"]
    assert list(stages) == list(KINDS["train"].stages)
    assert stages["teacher"]["samples"] == stages["train"]["windows"] == 30
    assert stages["train"]["zeros"]["operators"] == pytest.approx(0.6, abs=0.01)
    assert stages["package"]["entries"] == [FLOAT, INT8]


def stored_zeros(folder) -> float:
    """Looks at the zeros that training left: all are in the packaged model and its int8 file. Returns their share."""
    model = LengthAdaptiveModel.load(folder / "train")
    packaged = LengthAdaptiveModel.load(folder / "package" / FLOAT)
    weights, _ = read(folder / "package" / INT8 / "model.int8.onnx")
    zeros = count = 0
    for i, layer in enumerate(model.blocks):
        gone = {name: (getattr(layer, name).weight == 0) for name in LINEARS}
        zeros += sum(int(zero.sum()) for zero in gone.values())
        count += sum(zero.numel() for zero in gone.values())
        for name, zero in gone.items():
            assert (getattr(packaged.blocks[i], name).weight[zero] == 0).all(), name
        gone["qkv"] = torch.cat([gone.pop(name) for name in LINEARS[:3]])
        for name, zero in gone.items():
            assert (weights[f"layers.{i}.{name}.q"].T[zero.numpy()] == 0).all(), name
    return zeros / count


def test_the_zeros_survive_rounding_and_export(trained):
    assert stored_zeros(trained) > 0.59


@pytest.mark.parametrize("approach", [name for name in PRUNING_TYPES if name != "snip_momentum"])  # that is `trained`
def test_zeros_of_every_pruning_survive_rounding_and_export(own_home, tiny_model, tmp_path, approach):
    start, changes = tiny_model, [f"prune.approach={approach}"]
    if approach != "pattern_lock":
        changes.append("prune.target_sparsity=0.6")
    else:
        model = LengthAdaptiveModel.load(tiny_model)
        with torch.no_grad():
            for layer in model.blocks:
                for name in LINEARS:
                    getattr(layer, name).weight.view(-1)[::3] = 0
        start = tmp_path / "sparse"
        model.save(start)
        load_tokenizer(tiny_model).save_pretrained(str(start))
    settings = load("train_tiny", [f"model={start}", "distill.apply=false", *changes])
    told = run(settings, tmp_path / "run")["train"]["zeros"]
    assert stored_zeros(tmp_path / "run") == pytest.approx(told["operators"], abs=1e-4)
    assert told["operators"] == pytest.approx(1 / 3 if approach == "pattern_lock" else 0.6, abs=0.01)


def test_the_int8_file_has_the_ranges_that_training_learned(trained):
    learned = load_ranges(trained / "train" / "ranges.json")
    weights, _ = read(trained / "package" / INT8 / "model.int8.onnx")
    for name, found in learned.items():
        seen, _ = found.smoothed(0.75)
        scale, zero = grid(seen.low, seen.high)
        assert float(weights[f"{name}.x_scale"]) == pytest.approx(scale)
        assert int(weights[f"{name}.x_zero"]) == zero


@pytest.mark.parametrize("recipe", ["dynamic_int8", "static_int8"])
def test_another_recipe_settles_the_ranges_of_that_checkpoint_as_it_says(trained, tiny_data, tmp_path, recipe):
    data = [f"dataset.train={tiny_data.train}", f"dataset.evaluation={tiny_data.evaluation}", "budgets.points=0"]
    quick = ["quantize.calibration_samples=6" if recipe == "static_int8" else "quantize.calibration_samples=128"]
    told = run(load(recipe, [f"model={trained / 'train'}", *data, *quick]), tmp_path, "quantize")["quantize"]
    assert told["calibration_windows"] == (6 if recipe == "static_int8" else 0)
    weights, learned = read(tmp_path / "quantize" / "model.int8.onnx")[0], load_ranges(trained / "train/ranges.json")
    ranges = {name for name in weights if name.endswith(".x_scale")}
    assert len(ranges) == (len(learned) if recipe == "static_int8" else 0)
    assert "are not used" in (tmp_path / "progress.jsonl").read_text()


def test_the_entries_say_how_they_were_made(trained):
    for name in (FLOAT, INT8):
        entry = catalog.find(str(trained / "package" / name))
        assert entry.method.startswith("pruned-distilled-quantization-aware")
        assert entry.provenance["recipe"] == "train" and "searched on" not in entry.provenance
        assert load_fingerprints(entry.folder)


def test_the_cards_of_a_pruned_model_say_what_its_zeros_are_good_for(trained):
    whole = LengthAdaptiveModel.load(trained / "train")
    sizes = {}
    for name, file in ((FLOAT, "model.safetensors"), (INT8, "model.int8.onnx")):
        entry = catalog.find(str(trained / "package" / name))
        told = entry.provenance["zeros"]
        assert told["operators"] == pytest.approx(0.6, abs=0.01)
        zeros = sum(int((weight == 0).sum()) for weight in whole.parameters())
        assert told["model"] == pytest.approx(zeros / sum(w.numel() for w in whole.parameters()), abs=1e-4)
        content = (entry.folder / file).read_bytes()
        sizes[name] = told["compressed_bytes"]
        assert told["bytes"] == len(content) and sizes[name] == len(zlib.compress(content, 6)) < len(content)
        packed = f"{sizes[name] / 1e6:.1f} MB packed"
        text = (entry.folder / "README.md").read_text()
        assert "smaller when compressed, not faster" in text and packed in text and "**zeros**" not in text
    assert sizes[FLOAT] != sizes[INT8]
    zeros = zeros_left(trained / "train")
    assert zeros == {key: entry.provenance["zeros"][key] for key in zeros}
    graph = trained / "package" / INT8 / "model.int8.onnx"
    assert zeros_stored(zeros, graph)["compressed_bytes"] == sizes[INT8]
    assert zeros_stored({**zeros, "operators": 0.9}, graph) == {}, "it has not so many"


def test_what_loads_back_differently_is_refused(trained, tmp_path):
    good = verify_loading(trained / "package" / INT8, trained / "train")
    assert good and all(share < 0.15 for share in good.values())
    wrong = shutil.copytree(trained / "train", tmp_path / "wrong")
    model = LengthAdaptiveModel.load(wrong)
    with torch.no_grad():
        model.qa_outputs.weight.mul_(-1)
    model.save(wrong)
    shutil.copy(wrong / "model.safetensors", trained / "package" / FLOAT / "model.safetensors")
    with pytest.raises(UserError, match="says something else"):
        verify_loading(trained / "package" / FLOAT, trained / "train")


def test_a_recipe_that_cannot_work_is_told_before_any_step(tiny_model, tmp_path):
    for change, words in (
        ("prune.end_step=1000", "end_step"),
        ("prune.pattern=7x1", "pattern"),
        ("aware.start_step=500", "start_step"),
    ):
        recipe = load("train_tiny", [f"model={tiny_model}", "distill.apply=false", change])
        folder = tmp_path / change.replace("=", "-")
        with pytest.raises(UserError, match=words):
            run(recipe, folder)
        told = (folder / "progress.jsonl").read_text()
        assert '"step": 1' not in told
    for change in ("prune.target_sparsity=1.2", "prune.start_step=5 prune.end_step=2", "aware.calibration_samples=0"):
        with pytest.raises(UserError, match=change.split()[-1].split("=")[0].split(".")[-1]):
            load("train_tiny", change.split())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("prune.end_step=1000", "prune.end_step is 1000, but the training has only 8 steps"),
        ("prune.pattern=7x1", "pattern"),
        ("aware.start_step=500", "aware.start_step is 500"),
        ("aware.freeze_step=500", "aware.freeze_step is 500"),
    ],
)
def test_a_step_out_of_reach_is_told_before_the_teacher_is_asked(tiny_model, tmp_path, change, words):
    recipe = load("train_tiny", [f"model={tiny_model}", change])
    assert recipe.distill.apply  # type: ignore[attr-defined]
    with pytest.raises(UserError, match=words):
        run(recipe, tmp_path)
    assert not (tmp_path / "train").exists() and not list((tmp_path / "teacher").glob("*.f32*"))


def test_pruned_channels_are_cut_out(tiny_model, tmp_path):
    changes = ["prune.pattern=channelx1", "prune.scope=local", "distill.apply=false", "aware.apply=false"]
    run(load("train_tiny", [f"model={tiny_model}", *changes]), tmp_path, "teacher")
    result = run(load("train_tiny", [f"model={tiny_model}", *changes]), tmp_path, "train")
    assert result["train"]["cut"]["intermediate_size"] == [64, 32]
    assert LengthAdaptiveModel.load(tmp_path / "train").shape.intermediate == 32


def test_a_job_gets_whole_paths_of_teachers_and_averaged_checkpoints(tiny_model, monkeypatch):
    monkeypatch.chdir(tiny_model.parent)
    recipe = load_as(TrainRecipe, "train_tiny", [f"model={tiny_model.name}", f"distill.teacher={tiny_model.name}"])
    made = absolute(recipe)
    assert made.model == made.distill.teacher == str(tiny_model)
    changes = [f"average.checkpoints=[{tiny_model.name}]"]
    averaged = absolute(load_as(LengthAdaptiveRecipe, "length_adaptive_tiny", changes))
    assert averaged.average.checkpoints == [str(tiny_model)]


def test_sparse_weights_stay_sparse_where_products_share_a_matrix(trained):
    """Query, key and value are one matrix in the graph; the query's part is scaled, which leaves its zeros."""
    model = LengthAdaptiveModel.load(trained / "train")
    weights, _ = read(trained / "package" / INT8 / "model.int8.onnx")
    for i, layer in enumerate(model.blocks):
        joined = torch.cat([layer.query.weight, layer.key.weight, layer.value.weight]).T.detach().numpy()
        assert not np.any(weights[f"layers.{i}.qkv.q"][joined == 0])


def test_every_key_is_read_or_refused(trained):
    assert unread(TrainRecipe, trained) == set()
