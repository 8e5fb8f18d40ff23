"""The latency predictor: right on what it has not seen, never falling, and silent on what it does not know."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from compress.nas.predictor import BASES, Predictor, errors, fit, train
from compress.nas.space import GENES
from compress.recipe.nas_groups import LatencyPredictor
from tests.compress.nas.nas_kit import SPACE, milliseconds, table
from zoo.errors import UserError
from zoo.files import read_json, write_json

MODE = "onnxruntime_int8"


@pytest.fixture(scope="module")
def trained():
    return train(table(), LatencyPredictor(held_out=0.2))


def test_it_predicts_rows_it_has_not_seen(trained):
    predictor, held = trained
    told = predictor.error[MODE]
    assert told["n"] == len(held[MODE]) == round(0.2 * (len(SPACE) - 8))
    assert told["mape"] < 3 and told["spearman"] > 0.99, "the made-up rows are noisy by 2 %"
    archs = list(SPACE)
    exact = np.array([milliseconds(a) for a in archs])
    assert errors(predictor.predict(archs, MODE), exact)["mape"] < 2


@pytest.mark.parametrize("basis", BASES)
def test_it_never_falls_as_a_size_rises(basis):
    chance = np.random.default_rng(1)
    archs = list(SPACE)
    wild = np.array([milliseconds(a) for a in archs]) * np.exp(chance.normal(0, 0.5, len(archs)))
    made = dict(zip(archs, fit(archs, wild, basis).predict(archs), strict=True))
    for arch, ms in made.items():
        for name in GENES:
            for other in SPACE.moved(arch, name):
                if getattr(other, name) > getattr(arch, name):
                    assert made[other] >= ms - 1e-9, (arch, other)
    assert min(fit(archs, wild, basis).weights) >= 0


def test_bends_and_jumps_help_where_there_are_some():
    archs = list(SPACE)
    times = np.array([milliseconds(a) for a in archs])
    off = {basis: errors(fit(archs, times, basis).predict(archs), times)["mape"] for basis in BASES}
    assert off["steps"] < off["physics"] / 2 and off["hinges"] < off["physics"]


def test_a_row_that_went_wrong_changes_little():
    archs = list(SPACE)
    times = np.array([milliseconds(a) for a in archs])
    spoiled = times.copy()
    spoiled[::15] *= 3
    off = errors(fit(archs, spoiled, "steps").predict(archs), times)
    assert off["mape"] < 2.5


def test_auto_takes_what_predicts_best(trained):
    told = trained[0].error[MODE]
    assert told["basis"] == min(told["folds_mape"], key=told["folds_mape"].get) != "physics"
    assert train(table(), LatencyPredictor(basis="physics"))[0].error[MODE]["basis"] == "physics"


def test_it_comes_back_from_its_file(trained, tmp_path):
    predictor = trained[0]
    predictor.save(tmp_path / "predictor.json")
    again = Predictor.load(tmp_path)
    np.testing.assert_allclose(again.predict(list(SPACE), MODE), predictor.predict(list(SPACE), MODE))


def test_another_machine_another_mode_and_other_sizes_are_refused(trained, tmp_path):
    predictor = trained[0]
    predictor.save(tmp_path / "predictor.json")
    data = read_json(tmp_path / "predictor.json")
    write_json(tmp_path / "other.json", {**data, "machine": {**data["machine"], "cores": 999}})
    with pytest.raises(UserError, match="The latency predictor is from another machine"):
        Predictor.load(tmp_path / "other.json")
    with pytest.raises(UserError, match=r"knows onnxruntime_int8, not torch_fp32"):
        predictor.predict([SPACE.largest], "torch_fp32")
    wider = type(SPACE).spanned((1, 4), (16, 48), (16, 96), 8, 8)
    with pytest.raises(UserError, match="has seen layers from 1 to 3, l4-.* has 4"):
        predictor.predict([wider.largest], MODE)
    (tmp_path / "broken.json").write_text("{}")
    with pytest.raises(UserError, match="no latency predictor"):
        Predictor.load(tmp_path / "broken.json")


def test_a_table_that_is_too_small_is_refused():
    made = table()
    small = SimpleNamespace(modes=[MODE], of=lambda _mode: made.rows[:5], machine={}, setup={})
    with pytest.raises(UserError, match="measure 20 at least"):
        train(small, LatencyPredictor())  # type: ignore[arg-type]
