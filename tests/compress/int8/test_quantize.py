"""The recipe `quantize`: a checkpoint as it is in eight-bit integers, packaged, without training."""

from __future__ import annotations

import json
import shutil

import pytest

from compress.data.fingerprints import TRAINED_ON, load_fingerprints, save_fingerprints
from compress.data.squad import fingerprint, load_squad
from compress.recipe.groups import Budgets
from compress.recipe.load import load
from compress.recipe.quantize import QuantizeRecipe
from compress.results import quantized
from compress.run.run import run
from tests.compress.recipe_kit import context, unread
from zoo import card, catalog
from zoo.ask import QuestionAnswerer
from zoo.errors import UserError
from zoo.files import read_json
from zoo.lengths import ladder

QUICK = ["evaluate.latency_rounds=1", "quantize.calibration_samples=6", "package.name=tiny-int8"]


@pytest.fixture(scope="module")
def checkpoint(tiny_model, tmp_path_factory):
    """The tiny model as one that may drop tokens at its second layer, and that was trained on something else."""
    folder = shutil.copytree(tiny_model, tmp_path_factory.mktemp("checkpoint") / "tiny")
    config = read_json(folder / "config.json")
    (folder / "config.json").write_text(json.dumps({**config, "length_drop_layers": [1]}))
    save_fingerprints(folder / TRAINED_ON, {"0123456789ab"})
    return folder


@pytest.fixture(scope="module")
def made(own_home, checkpoint, tiny_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("static")
    sources = [f"model={checkpoint}", f"dataset.train={tiny_data.train}", f"dataset.evaluation={tiny_data.train}"]
    run(load("static_int8", [*sources, *QUICK, "budgets.points=2", "budgets.drop=0.5"]), folder)
    from zoo import library

    return folder, library.listing().rows


def test_the_entry_loads_answers_and_is_in_the_catalogue(made):
    folder, rows = made
    entry = catalog.find(str(folder / "package/tiny-int8"))
    assert entry.engines == ["onnxruntime", "openvino", "torch"] and entry.method == "static-int8"
    assert entry.front and entry.front.full.config.is_full
    configs = {point.config.fractions for point in [*entry.front.everything]}
    assert configs <= {(1.0, 1.0), (1.0, 0.75), (1.0, 0.5)} and (1.0, 1.0) in configs
    reply = QuestionAnswerer(entry, "onnxruntime", 1).ask("Who?", "Marie Curie was born in Warsaw.")
    assert reply.answers[0].text in "Marie Curie was born in Warsaw."
    assert {"tiny-int8", "tiny-int8-float"} <= {row.name for row in rows}


def test_its_source_is_packaged_beside_it_since_nobody_else_has_it(made, checkpoint):
    folder, _ = made
    entry = catalog.find(str(folder / "package/tiny-int8"))
    assert entry.full_precision == "tiny-int8-float" and entry.parameters == catalog.find(str(checkpoint)).parameters
    assert entry.float_folder == folder / "package/tiny-int8-float"
    for path in folder.glob("package/*/*"):
        assert str(folder).encode() not in path.read_bytes() and str(checkpoint).encode() not in path.read_bytes()


def test_the_card_says_that_it_reports_on_what_it_was_calibrated_with(made):
    folder, _ = made
    told = card.read((folder / "package/tiny-int8/README.md").read_text())["body"]
    assert "the same questions were used to calibrate and to report" in told and "train.json" in told
    assert load_fingerprints(folder / "package/tiny-int8") == {"0123456789ab"}, "only what was trained on"


@pytest.mark.parametrize("recipe", ["dynamic_int8", "static_int8"])
def test_the_card_says_that_operators_were_chosen_by_what_it_reports_on(checkpoint, tiny_data, tmp_path, recipe):
    def note(evaluation: str) -> str:
        data = [f"model={checkpoint}", f"dataset.train={tiny_data.train}", f"dataset.evaluation={evaluation}"]
        ready = load(recipe, [*data, "criterion.apply=true", "criterion.max_trials=2"])
        return quantized.provenance(context(ready, tmp_path / "package")).get("note", "")

    assert "chosen by the questions that are reported on" in note(tiny_data.train)
    assert note(tiny_data.evaluation) == ""


def test_other_questions_to_report_on_need_no_such_note(checkpoint, tiny_data, tmp_path):
    sources = [f"model={checkpoint}", f"dataset.train={tiny_data.train}", f"dataset.evaluation={tiny_data.evaluation}"]
    run(load("static_int8", [*sources, *QUICK, "budgets.points=0"]), tmp_path)
    entry = catalog.find(str(tmp_path / "package/tiny-int8"))
    assert "note" not in entry.provenance and entry.metrics["n"] == 10
    assert entry.front and len(entry.front.everything) == 1


def test_ranges_found_in_every_run_need_no_calibration(checkpoint, tiny_data, tmp_path):
    sources = [f"model={checkpoint}", "dataset.train=no-such.json", f"dataset.evaluation={tiny_data.evaluation}"]
    off = ["quantize.calibration_samples=128", "budgets.points=0"]  # the first as by default
    result = run(load("dynamic_int8", [*sources, *QUICK, *off]), tmp_path)
    assert result["quantize"]["calibration_windows"] == 0
    entry = catalog.find(str(tmp_path / "package/tiny-int8"))
    assert entry.method == "dynamic-int8" and "calibrated on" not in entry.provenance


def test_a_report_on_what_the_model_was_trained_on_is_refused(checkpoint, tiny_data, tmp_path):
    known = shutil.copytree(checkpoint, tmp_path / "known")
    save_fingerprints(known / TRAINED_ON, fingerprint(load_squad(tiny_data.evaluation)))
    changes = [f"model={known}", f"dataset.train={tiny_data.train}", f"dataset.evaluation={tiny_data.evaluation}"]
    with pytest.raises(UserError, match="were trained on"):
        run(load("static_int8", [*changes, *QUICK]), tmp_path / "run")
    assert "were trained on" in (tmp_path / "run/failure.txt").read_text()


def test_the_offline_presets_may_report_on_the_bundled_questions():
    known = load_fingerprints(catalog.find("minilm-l6-qa").folder)
    assert known and not known & fingerprint(load_squad("examples"))
    for name in ("static_int8", "dynamic_int8"):
        preset = load(name)
        assert (preset.model, preset.dataset.train, preset.dataset.evaluation) == ("minilm-l6-qa", *["examples"] * 2)


def test_lengths_step_down_evenly_where_the_model_learned_to_drop():
    config = {"num_hidden_layers": 3, "length_drop_layers": [1, 2]}
    made = [c.fractions for c in ladder(config, Budgets(points=2, drop=0.4))]
    assert made == [(1, 1, 1), (1, 0.8, 0.64), (1, 0.6, 0.36)]
    assert [c.fractions for c in ladder({"num_hidden_layers": 3}, Budgets())] == [(1, 1, 1)]
    assert len(ladder(config, Budgets(points=0))) == 1


def test_its_faults_are_told_like_any_recipes():
    for change, message in [
        ("finetune.epochs=1", "no key finetune.epochs"),
        ("budgets.drop=2", "budgets.drop: should be less than 1"),
        ("kind=length_adaptive", "dataset.validation: is missing"),
    ]:
        with pytest.raises(UserError, match=message):
            load("static_int8", [change])


def test_every_key_is_read(made):
    assert unread(QuantizeRecipe, made[0]) == set()
