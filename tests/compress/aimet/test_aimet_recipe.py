"""The recipe kind `aimet_w8a8` on tiny models: its stages, what they leave, and fp32 beside the simulation."""

from __future__ import annotations

import json
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from compress.__main__ import app
from compress.aimet.packing import of_graph
from compress.aimet.simulation import STATE, Simulated, open_simulated
from compress.learn import finetune
from compress.recipe import load as recipes
from compress.recipe.aimet import AimetRecipe
from compress.recipe.load import KINDS, load, shipped
from compress.results import verify
from compress.results.simulated import score_simulated, side_by_side
from compress.run.inputs import fingerprint
from compress.run.run import run
from tests.compress.recipe_kit import unread
from tests.compress.training_kit import Stop, windows
from zoo import card, catalog
from zoo.errors import UserError
from zoo.features import pad
from zoo.files import read_json, write_json
from zoo.lengths import Front

pytestmark = pytest.mark.usefixtures("own_home")

NINE = ("rte", "stsb", "mrpc", "cola", "sst2", "qnli", "qqp", "mnli", "squad")
ENGINES = [name for name in ("onnxruntime", "openvino") if find_spec(name)]
QUICK = [
    "finetune.batch_size=8",
    "finetune.dropout=0",
    "aimet.batch_size=8",
    "aimet.calibration_samples=16",
    "evaluate.latency_rounds=2",
    "evaluate.latency_tokens=40",
]


def texts(glue: Path, model: Path, name: str) -> list[str]:
    return [f"model={model}", f"dataset.train={glue}", f"dataset.evaluation={glue}", f"package.name={name}", *QUICK]


@pytest.fixture(scope="module")
def deployed(glue, tiny_model, tmp_path_factory) -> Path:
    """The folder of a finished run of `minilm_w8a8_sst2` with scope deploy."""
    folder = tmp_path_factory.mktemp("deployed")
    changes = [
        *texts(glue, tiny_model, "tiny-sst2"),
        "aimet.scope=deploy",
        "aimet.per_channel=true",
        "finetune.epochs=8",
        "finetune.learning_rate=3e-3",
        "aimet.epochs=2",
        "aimet.learning_rate=1e-3",
    ]
    run(load("minilm_w8a8_sst2", changes), folder)
    return folder


@pytest.fixture(scope="module")
def simulated(tiny_model, tiny_data, tmp_path_factory) -> Path:
    """The folder of a finished run of `minilm_w8a8_squad` with scope full, of a checkpoint that answers already."""
    folder = tmp_path_factory.mktemp("simulated")
    changes = [
        f"model={tiny_model}",
        f"dataset.train={tiny_data.train}",
        f"dataset.validation={tiny_data.validation}",
        f"dataset.evaluation={tiny_data.evaluation}",
        "dataset.titles=null",
        "dataset.validation_titles=null",
        "finetune.apply=false",
        "aimet.epochs=2",
        "aimet.learning_rate=1e-3",
        "distill.apply=true",
        "distill.hidden_weight=1",
        "distill.attention_weight=0.5",
        "distill.layers=all",
        "package.name=tiny-squad",
        *QUICK,
    ]
    run(load("minilm_w8a8_squad", changes), folder)
    return folder


def test_the_nine_of_the_zoo_ship_for_both_models():
    for task in NINE:
        theirs: Any = load(f"minilm_w8a8_{task}")
        ours: Any = load(f"minilm_l6_w8a8_{task}")
        assert theirs.kind == ours.kind == "aimet_w8a8"
        assert theirs.model == "microsoft/MiniLM-L12-H384-uncased" and "L6" in ours.model
        assert theirs.dataset.task == ours.dataset.task == task
        for made in (theirs, ours):
            aimet = made.aimet
            assert (aimet.scope, aimet.weight_bits, aimet.per_channel) == ("full", 8, False)
            assert (aimet.ranges, aimet.mask, aimet.learn) == ("min_max", "-6", True)
            assert (aimet.weight_decay, aimet.dropout, aimet.warmup_ratio) == (0, 0, 0.1)
        assert theirs.aimet == ours.aimet and theirs.package.name != ours.package.name
    rte: Any = load("minilm_w8a8_rte")
    assert (rte.aimet.learning_rate, rte.aimet.epochs, rte.aimet.batch_size) == (5e-5, 6, 8)
    assert load("minilm_w8a8_rte", ["aimet.mask=-6"]) == rte


def test_deploy_ends_in_integers_that_score_as_the_simulation(deployed):
    result = read_json(deployed / "result.json")["stages"]
    assert result["quantize"]["weight_bits"] == 7 and result["aimet"]["moved"] > 0
    scores = read_json(deployed / "evaluate/scores.json")
    assert scores["float"]["accuracy"] > 75  # it has learned something that rounding could lose
    text = 100 / scores["measured_on"]["n"]
    assert abs(scores["simulated"]["accuracy"] - scores["int8"]["accuracy"]) <= text + 1e-6
    assert scores["float"]["accuracy"] - scores["simulated"]["accuracy"] <= 2 * text
    front = Front.load(deployed / "evaluate/front.json")
    assert front.full.score == scores["int8"]["accuracy"] and front.full.p50_ms
    whole, small = (catalog.find(str(deployed / "package" / name)) for name in ("tiny-sst2", "tiny-sst2-int8"))
    assert small.engines == ["onnxruntime", "openvino", "torch"] and small.float_folder == whole.folder
    assert small.method == "aimet-int8" and (whole.folder / "aimet.safetensors").is_file()
    told = card.read((small.folder / "README.md").read_text())["body"]
    assert "aimet-torch" in told and "scope deploy" in told
    for path in [*whole.folder.iterdir(), *small.folder.iterdir()]:
        assert path.is_dir() or str(deployed).encode() not in path.read_bytes()


def test_what_is_packaged_is_compared_on_many_texts_alike_and_not(deployed, monkeypatch):
    seen, once = [], verify.run_one

    def watched(engine, window, config):
        seen.append(window.input_ids)
        return once(engine, window, config)

    monkeypatch.setattr(verify, "run_one", watched)
    found = verify.verify_loading(deployed / "package/tiny-sst2-int8", deployed / "finetune")
    budgets = ("full length", "the cheapest budget")
    assert set(found) == {f"{engine} at {budget}" for engine in ENGINES for budget in budgets}
    windows = seen[: len(seen) // len(found)]
    assert len(windows) >= 50, "by four logits, of scores for likeness, a good model was refused"
    halves = [(len(ids) - 3) // 2 for ids in windows]
    alike = [ids[1 : 1 + half] == ids[2 + half : -1] for ids, half in zip(windows, halves, strict=True)]
    assert 20 < sum(alike) < len(windows) - 20


def test_ranges_that_were_learned_are_told(deployed):
    held = read_json(deployed / "aimet/learned_ranges.json")
    assert len(held) == 20 and sum(one["first"] != one["learned"] for one in held.values()) > 15


def test_a_short_training_learns_ranges_if_they_move_by_their_width(tiny_model, tiny_data, tmp_path):
    moved = {}
    for step in ("null", "0.01"):
        changes = [
            f"model={tiny_model}",
            f"dataset.train={tiny_data.train}",
            "dataset.titles=null",
            "finetune.apply=false",
            "aimet.epochs=1",
            "aimet.learning_rate=1e-5",
            f"aimet.range_step={step}",
            *QUICK,
        ]
        recipe = load("minilm_w8a8_squad", changes)
        for stage in ("finetune", "aimet"):
            made = run(recipe, tmp_path / step, stage)[stage]
        moved[step] = made["moved"], made["steps"]
    (still, count), (wide, _) = moved["null"], moved["0.01"]
    assert still < 1e-3
    assert 0.002 < wide < 2 * 2**0.5 * 0.01 * count


def test_an_interrupted_training_takes_no_ranges_a_second_time(tiny_model, tiny_data, tmp_path, monkeypatch):
    changes = [
        f"model={tiny_model}",
        f"dataset.train={tiny_data.train}",
        "dataset.titles=null",
        "finetune.apply=false",
        "aimet.scope=deploy",
        "aimet.smoothing=0.5",
        "aimet.epochs=1",
        "aimet.learning_rate=1e-3",
        *QUICK,
    ]
    recipe, taken = load("minilm_w8a8_squad", changes), []
    once = Simulated.calibrate
    monkeypatch.setattr(Simulated, "calibrate", lambda *given: taken.append(True) or once(*given))
    for name in ("straight", "broken"):
        run(recipe, tmp_path / name, "finetune")
    run(recipe, tmp_path / "straight", "aimet")
    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(finetune, "train", Mock(side_effect=Stop))
        run(recipe, tmp_path / "broken", "aimet")
    run(recipe, tmp_path / "broken", "aimet")
    assert len(taken) == 2
    straight, broken = (tmp_path / name / "aimet" for name in ("straight", "broken"))
    assert read_json(broken / "learned_ranges.json") == read_json(straight / "learned_ranges.json")
    kept = load_file(broken / "aimet.safetensors")
    assert all(kept[name].equal(value) for name, value in load_file(straight / "aimet.safetensors").items())
    assert {path.name for path in broken.iterdir()} == {path.name for path in straight.iterdir()}
    assert not (broken / ".calibrated").exists()


def test_the_float_model_teaches_every_layer(simulated):
    lines = [json.loads(line) for line in (simulated / "progress.jsonl").read_text().splitlines()]
    learned = [line for line in lines if line.get("stage") == "aimet" and "hidden_loss" in line]
    assert learned and all(line[key] > 0 for line in learned for key in ("teacher_loss", "attention_loss"))
    # Its teacher is the float model itself: before training nothing but rounding lies between their layers.
    assert 0 < learned[0]["hidden_loss"] < 0.05


def test_a_teacher_without_a_training_or_with_stored_logits_is_refused():
    with pytest.raises(UserError, match="aimet.learn"):
        load("minilm_w8a8_squad", ["distill.apply=true", "aimet.learn=false"])
    with pytest.raises(UserError, match="store_logits"):
        load("minilm_w8a8_squad", ["distill.apply=true", "distill.store_logits=true"])


def test_full_has_no_integers_and_says_so(simulated):
    result = read_json(simulated / "result.json")["stages"]
    assert result["finetune"] == {"applied": False}
    assert result["quantize"]["int8"].startswith("none: scope full is a simulation only")
    assert not list(simulated.rglob("*.onnx"))
    assert result["package"]["entries"] == ["tiny-squad"]
    entry = catalog.find(str(simulated / "package/tiny-squad"))
    assert entry.engines == ["torch"] and not (simulated / "package/.float").exists()
    scores = read_json(simulated / "evaluate/scores.json")
    assert entry.metrics["f1"] == scores["float"]["f1"] and set(scores) == {"float", "simulated", "measured_on"}
    assert "attention mask in the simulation" in entry.provenance


def test_fp32_and_the_simulation_side_by_side(simulated, tiny_data, tmp_path):
    scores = read_json(simulated / "evaluate/scores.json")
    for name in (simulated, simulated / "package/tiny-squad"):
        out = tmp_path / "scores.json"
        line = ["evaluate", "--quantsim", "--entry", str(name), "--eval-file", str(tiny_data.evaluation)]
        done = CliRunner().invoke(app, [*line, "--json", str(out)], catch_exceptions=False)
        assert done.exit_code == 0
        assert done.stdout.startswith("fp32 ") and "\nW8A8 simulated, scope full  F1 " in done.stdout
        report = json.loads(out.read_text())
        assert report["simulated"]["f1"] == pytest.approx(scores["simulated"]["f1"])
        assert report["loss"] == pytest.approx(report["float"]["f1"] - report["simulated"]["f1"])
        assert report["n"] == 10 and report["simulation"]["mask"] == "-6" and report["by"] == "AIMET"


def test_the_int8_entry_knows_its_simulation(deployed, glue):
    report = score_simulated(str(deployed / "package/tiny-sst2-int8"), str(glue), max_questions=9)
    assert report["n"] == 9 and report["simulation"]["scope"] == "deploy" and report["task"] == "sst2"
    assert report["by"] == "AIMET"


def test_each_entry_keeps_a_small_simulation_that_scores_as_the_run_s_own(deployed, glue, tmp_path):
    ran = read_json(deployed / "evaluate/scores.json")["simulated"]["accuracy"]
    names = ("tiny-sst2", "tiny-sst2-int8")
    whole, small = (shutil.copytree(deployed / "package" / name, tmp_path / "apart" / name / name) for name in names)
    facts = read_json(small / "entry.json")
    write_json(small / "entry.json", {key: value for key, value in facts.items() if key != "full_precision"})
    kept = sum((small / name).stat().st_size for name in ("aimet.json", "aimet_encodings.json"))
    assert kept < (small / "model.int8.onnx").stat().st_size
    assert (whole / STATE).stat().st_size < (deployed / "aimet" / STATE).stat().st_size
    assert load_file(whole / STATE)["layers.0.expand.weight"].dtype is torch.int8
    assert not (small / "aimet.safetensors").exists()
    assert read_json(small / "aimet_encodings.json") == read_json(deployed / "aimet/aimet_encodings.json")
    for place, beside in ((whole, "float"), (small, "int8")):
        report = score_simulated(str(place), str(glue))
        assert report["simulated"]["accuracy"] == ran, place
        assert report["loss"] == report[beside]["accuracy"] - ran
        assert bool(report["notices"]) is (beside == "int8")
    batch = {key: torch.from_numpy(value) for key, value in pad([sample.window for sample in windows(6)]).items()}
    with torch.no_grad():
        one, other = (model(**batch).logits for model in (open_simulated(deployed / "aimet"), of_graph(small)))
    assert (one - other).abs().median() < 1e-5


def test_the_bundled_entry_is_simulated_from_its_integers(data):
    name = "minilm-l6-w8a8-stsb-int8"
    report = score_simulated(name, str(data / "glue"), max_questions=24)
    assert report["simulation"] == {"scope": "deploy", "weight_bits": 7, "keep_float": (), "of": "int8 graph"}
    assert report["simulated"]["pearson"] == pytest.approx(report["int8"]["pearson"], abs=0.3)
    text = side_by_side(report)
    assert "names no full-precision model" in text and "W7A8 simulated, scope deploy  Pearson" in text


def test_nothing_else_is_scored_as_a_simulation(simulated, tiny_data, tmp_path):
    with pytest.raises(UserError, match="were trained on"):
        score_simulated(str(simulated), str(tiny_data.train))
    with pytest.raises(UserError, match="holds no simulation of AIMET or NNCF"):
        score_simulated("minilm-l6-qa", str(tiny_data.evaluation))
    line = ["evaluate", "--quantsim", "--entry", str(simulated), "--eval-file", "x", "--json", str(tmp_path / "x")]
    with pytest.raises(UserError, match="full length"):
        CliRunner().invoke(app, [*line, "--budget", "50"], catch_exceptions=False)


def test_starting_ranges_alone_and_both_sets_of_mnli(glue, tiny_model, tmp_path):
    changes = [*texts(glue, tiny_model, "tiny-mnli"), "finetune.epochs=1", "aimet.learn=false", "aimet.ranges=sqnr"]
    result = run(load("minilm_w8a8_mnli", changes), tmp_path)
    assert result["aimet"]["moved"] == 0 and "steps" not in result["aimet"]
    beside = read_json(tmp_path / "evaluate/scores.json")["measured_on"]["beside"]
    assert beside["task"] == "mnli_mm" and beside["n"] == 15 and set(beside) >= {"float", "simulated"}
    entry = catalog.find(str(tmp_path / "package/tiny-mnli"))
    assert entry.provenance["ranges"] == "as found, from sqnr"


def test_a_checkpoint_that_is_not_fine_tuned_is_refused(glue, tiny_model, tmp_path):
    with pytest.raises(UserError, match="make a head for SST-2: set finetune.apply to true, take"):
        run(load("minilm_w8a8_sst2", [*texts(glue, tiny_model, "x"), "finetune.apply=false"]), tmp_path)


def test_what_decides_the_bits_redoes_the_training():
    stage = KINDS["aimet_w8a8"].stages["aimet"]
    marks = {
        fingerprint(load("minilm_w8a8_rte", ["aimet.scope=deploy", *changes]), stage, "")
        for changes in (
            [],
            ["quantize.reduce_range=false"],
            ["quantize.keep_float=[layers.0.qkv]"],
            ["aimet.mask=clamp"],
        )
    }
    assert len(marks) == 4


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        (["quantize.keep_float=[layers.0.qkv]"], "scope full rounds everything"),
        (["quantize.aimet_onnx=true"], "is for aimet.scope deploy"),
        (["aimet.max_length=256"], "read the same windows"),
        (["aimet.smoothing=0.5"], "is for aimet.scope deploy"),
        (["aimet.mask=-7"], "'-6', 'clamp' or 'as_is'"),
    ],
)
def test_what_does_not_go_together_is_refused(changes, why):
    with pytest.raises(UserError, match=why):
        load("minilm_w8a8_rte", changes)


def test_a_recipe_extends_another_group_by_group(tmp_path, monkeypatch):
    path = tmp_path / "mine.yaml"
    path.write_text("extends: minilm_w8a8_sst2\naimet:\n  epochs: 4\npackage:\n  name: mine\n")
    mine: Any = load(path, ["aimet.batch_size=2"])
    base: Any = load("minilm_w8a8_sst2")
    assert (mine.aimet.epochs, mine.aimet.batch_size, mine.package.name) == (4, 2, "mine")
    assert mine.aimet.learning_rate == base.aimet.learning_rate and mine.package.title == base.package.title
    assert "extends" not in recipes.dump(mine)
    path.write_text("extends: ../../etc/passwd\n")
    with pytest.raises(UserError, match="no other shipped recipe"):
        load(path)
    (tmp_path / "round.yaml").write_text("extends: round\n")
    monkeypatch.setattr(recipes, "RECIPES", tmp_path)
    with pytest.raises(UserError, match="no other shipped recipe"):
        load("round")
    assert "round" in shipped()


def test_what_it_will_take_is_told(tiny_model, tiny_data):
    from compress.jobs.estimate import estimate

    changes = [f"model={tiny_model}", f"dataset.train={tiny_data.train}", f"dataset.evaluation={tiny_data.evaluation}"]
    changes += ["dataset.titles=null", f"dataset.validation={tiny_data.validation}", "dataset.validation_titles=null"]
    changes += ["finetune.epochs=1000", "aimet.epochs=1000"]  # the model is tiny
    whole = estimate(load("minilm_w8a8_squad", changes))["minutes"]
    less = estimate(load("minilm_w8a8_squad", [*changes, "finetune.apply=false", "aimet.learn=false"]))["minutes"]
    assert whole and less and 0 < less < whole


def test_every_key_is_read_or_refused(deployed, simulated):
    assert unread(AimetRecipe, deployed, simulated) == set()


def test_full_scope_measures_the_latency_of_the_float_model(simulated):
    stamp = read_json(simulated / "evaluate/scores.json")["measured_on"]
    assert stamp["latency_rounds"] == 2 and set(stamp["p50_ms"]) == {"float"} and stamp["p50_ms"]["float"] > 0
    told = read_json(simulated / "result.json")["stages"]["evaluate"]
    assert told["float_ms"] == stamp["p50_ms"]["float"] and 2 <= stamp["latency_tokens"] <= 384
