"""The recipe `nncf` from beginning to end on the tiny model: its stages, what they leave, and the command line."""

from __future__ import annotations

import json
import shutil
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from compress.__main__ import app, main
from compress.nncf.export import graph_weights
from compress.nncf.stages import plan_of_recipe, windows_to_check
from compress.nncf.store import load_model, open_simulated
from compress.recipe.load import load
from compress.recipe.nncf import NncfRecipe
from compress.results.simulated import score_simulated
from compress.run.inputs import contents, fingerprint
from compress.run.run import run
from compress.tasks.subjects import subject_of
from tests.compress.recipe_kit import load_as, unread
from tests.compress.text_kit import mnli
from zoo import catalog
from zoo.ask import QuestionAnswerer
from zoo.errors import UserError
from zoo.features import load_tokenizer, make_windows, pad
from zoo.files import read_json, write_json
from zoo.graph import read
from zoo.modeling import LengthAdaptiveModel
from zoo.tasks import QUESTIONS

QUICK = ["evaluate.latency_rounds=1"]


@pytest.fixture(scope="module")
def sources(tiny_model, tiny_data):
    return [
        f"model={tiny_model}",
        f"dataset.train={tiny_data.train}",
        f"dataset.validation={tiny_data.validation}",
        f"dataset.evaluation={tiny_data.evaluation}",
        *(f"dataset.{part}titles=null" for part in ("", "validation_", "evaluation_")),
        *QUICK,
    ]


@pytest.fixture(scope="module")
def made(sources, tmp_path_factory):
    folder = tmp_path_factory.mktemp("nncf")
    return folder, run(load("nncf_tiny", sources), folder)


def test_every_engine_is_scored_and_agrees(made):
    folder, results = made
    scores = read_json(folder / "evaluate/engines.json")
    assert set(scores["engines"]) == {"float", "simulated", "onnxruntime", "openvino"}
    assert results["quantize"]["graph"] == "house" and results["quantize"]["distance"] < 0.1
    simulated, real = scores["engines"]["simulated"]["f1"], scores["engines"]["onnxruntime"]["f1"]
    assert abs(simulated - real) <= 10.01, "of ten questions one may round either way"
    assert scores["measured_on"]["n"] == scores["engines"]["float"]["n"] == 10


def test_the_entries_load_and_answer(made):
    folder, results = made
    assert results["package"]["entries"] == ["tiny-qa-nncf", "tiny-qa-nncf-int8"]
    entry = catalog.find(str(folder / "package/tiny-qa-nncf-int8"))
    assert entry.method == "nncf-int8"
    assert catalog.find(str(folder / "package/tiny-qa-nncf")).method == "none"
    reply = QuestionAnswerer(entry, "onnxruntime", 1).ask("Who?", "Marie Curie was born in Warsaw.")
    assert reply.answers[0].text in "Marie Curie was born in Warsaw."


def test_the_simulation_opens_from_the_run_and_from_the_entry(made):
    """An input on the edge of two integers rounds either way in float, which moves few logits by a step of rounding; a
    wrong scale or range moves all of them."""
    folder, _ = made
    entry = folder / "package/tiny-qa-nncf-int8"
    questions = catalog.examples()
    firsts, seconds = [e["question"] for e in questions], [e["context"] for e in questions]
    batches = [pad([window]) for window in make_windows(load_tokenizer(entry), firsts, seconds)]
    learned = graph_weights(
        load_model(folder / "nncf")[0], {key: torch.from_numpy(value) for key, value in batches[0].items()}
    )
    for name, value in read(entry / catalog.GRAPH)[0].items():
        np.testing.assert_array_equal(value, learned[name], err_msg=name)
    engines = [open_simulated(place, 1) for place in (folder, entry)]
    distances = []
    for batch in batches:
        lengths = np.full((1, 2), batch["input_ids"].shape[1])
        one, other = (engine.run(batch, lengths).logits for engine in engines)
        distances.append(np.abs(one - other).ravel())
    distance = np.concatenate(distances)
    assert np.median(distance) < 1e-5 and np.mean(distance > 1e-3) < 0.25
    with pytest.raises(UserError, match="holds nothing"):
        open_simulated(folder / "teacher", 1)


def test_fp32_and_the_simulation_side_by_side(made, tiny_data, tmp_path):
    folder, _ = made
    scores, out = read_json(folder / "evaluate/engines.json")["engines"], tmp_path / "scores.json"
    for name, words in (
        (folder, "NNCF simulated, learned ranges, placement products  F1 "),
        (folder / "package/tiny-qa-nncf", "NNCF simulated, int8 graph  F1 "),
        (folder / "package/tiny-qa-nncf-int8", "NNCF simulated, int8 graph  F1 "),
    ):
        line = ["evaluate", "--quantsim", "--entry", str(name), "--eval-file", str(tiny_data.evaluation)]
        done = CliRunner().invoke(app, [*line, "--json", str(out)], catch_exceptions=False)
        assert done.exit_code == 0 and done.stdout.startswith("fp32 ") and f"\n{words}" in done.stdout
        report = read_json(out)
        assert report["by"] == "NNCF" and report["n"] == 10
        one_question = 0 if name == folder else 10.01  # of ten: see the test before
        assert report["simulated"]["f1"] == pytest.approx(scores["simulated"]["f1"], abs=one_question)
        assert report["loss"] == pytest.approx(report["float"]["f1"] - report["simulated"]["f1"])


def test_what_nncf_has_not_simulated_is_told(made, tiny_data, tmp_path):
    folder, _ = made
    packaged = shutil.copytree(folder / "package", tmp_path / "package")
    facts = read_json(packaged / "tiny-qa-nncf-int8/entry.json")
    write_json(packaged / "tiny-qa-nncf-int8/entry.json", {**facts, "method": "static-int8"})
    begun = tmp_path / "begun"
    begun.mkdir()
    shutil.copy(folder / "recipe.yaml", begun)
    for name in (*(packaged / each for each in ("tiny-qa-nncf", "tiny-qa-nncf-int8")), begun):
        with pytest.raises(UserError, match="holds no simulation of AIMET or NNCF"):
            score_simulated(str(name), str(tiny_data.evaluation))


def test_the_checkpoint_is_scored_again_without_training(made, sources, tmp_path, monkeypatch, capsys):
    folder, _ = made
    again = shutil.copytree(made[0], tmp_path / "run")
    shutil.rmtree(again / "evaluate")
    stamp = (again / "nncf/done.json").read_bytes()
    target = tmp_path / "out" / "model.onnx"
    monkeypatch.setattr("sys.argv", ["compress", "run", str(again), "--stage", "evaluate", "--to-onnx", str(target)])
    main_ends_well()
    assert (again / "nncf/done.json").read_bytes() == stamp
    before, after = (read_json(at / "evaluate/engines.json")["engines"] for at in (folder, again))
    assert before == after
    assert "graph house" in capsys.readouterr().out
    import onnxruntime

    session = onnxruntime.InferenceSession(target.read_bytes(), providers=["CPUExecutionProvider"])
    for tokens in (7, 19):
        feed = {part.name: np.ones((2, tokens), np.int64) for part in session.get_inputs()}
        said: Any = session.run(None, feed)
        assert [out.shape for out in said] == [(2, tokens)] * 2


def main_ends_well():
    try:
        main()
    except SystemExit as end:
        assert not end.code


def test_a_configuration_from_the_command_line_stands_in_the_run(sources, tmp_path, monkeypatch):
    config = tmp_path / "mine.json"
    config.write_text(json.dumps({"compression": {"algorithm": "quantization", "ignored_scopes": ["{re}no such"]}}))
    changes = [part for change in sources for part in ("--set", change)]
    command = ["compress", "run", "nncf_tiny", "--folder", str(tmp_path / "run"), "--nncf-config", str(config)]
    monkeypatch.setattr("sys.argv", [*command, "--set", "distill.apply=false", *changes])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    kept = getattr(load(tmp_path / "run"), "nncf_config", "")
    assert json.loads(kept) == json.loads(config.read_text())


def pairs(folder, subset, splits):
    (folder / subset).mkdir(parents=True)
    for split, rows in splits.items():
        lines = [json.dumps({**row, "idx": i}) for i, row in enumerate(rows)]
        (folder / subset / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize("name", ["nncf_minilm_l6_xnli", "nncf_xnli_zh"])
def test_entailment_is_learned_on_one_set_and_reported_on_another(name, tiny_model, tmp_path):
    learned = {"train": mnli(45, 5), "validation_matched": mnli(6, 6), "validation": mnli(6, 9), "test": mnli(6, 6)}
    train = pairs(tmp_path / "glue", "mnli" if name.endswith("xnli") else "zh", learned)
    reported = train
    if name.endswith("xnli"):
        reported = pairs(tmp_path / "xnli", "en", {"validation": mnli(6, 9), "test": mnli(9, 8)})
    changes = [
        f"model={tiny_model}",
        f"dataset.train={train}",
        f"dataset.evaluation={reported}",
        "finetune.epochs=1",
        "tune.epochs=1",
        "tune.batch_size=8",
        *QUICK,
    ]
    recipe = load_as(NncfRecipe, name, changes)
    results = run(recipe, tmp_path / "run")
    checked = windows_to_check(recipe, load_tokenizer(tmp_path / "run/nncf"))
    assert len(checked) > 4 * QUESTIONS.compared, "a text has few logits"
    scores = read_json(tmp_path / "run/evaluate/scores.json")["measured_on"]
    assert scores["task"] == ("xnli_en" if name.endswith("xnli") else "xnli_zh")
    assert results["evaluate"]["n"] == (9 if name.endswith("xnli") else 6)
    made = results["package"]["entries"][-1]
    assert catalog.find(str(tmp_path / "run/package" / made)).task == "classification"


def test_roberta_runs_by_its_published_configuration(tiny_model, tmp_path):
    config = {
        **read_json(tiny_model / "config.json"),
        "model_type": "roberta",
        "architectures": ["RobertaForSequenceClassification"],
        "id2label": {"0": "CONTRADICTION", "1": "NEUTRAL", "2": "ENTAILMENT"},
        "type_vocab_size": 1,
    }
    torch.manual_seed(0)
    source = tmp_path / "roberta"
    LengthAdaptiveModel(config).save(source)
    for part in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(tiny_model / part, source / part)
    data = pairs(tmp_path / "glue", "mnli", {"train": mnli(30, 5), "validation_matched": mnli(6, 6)})
    changes = [f"model={source}", f"dataset.train={data}", f"dataset.evaluation={data}", "tune.epochs=1", *QUICK]
    recipe = load_as(NncfRecipe, "nncf_mnli", changes)
    assert plan_of_recipe(recipe).samples == 24
    results = run(recipe, tmp_path / "run")
    assert results["quantize"]["graph"] == "house" and results["nncf"]["samples"] == 24
    assert results["evaluate"]["n"] == 6


def test_the_published_configuration_for_questions_runs(sources, tmp_path):
    changes = [*sources, "tune.epochs=1", "tune.batch_size=4", "tune.learning_rate=1e-7", "tune.range_step=0.02"]
    results = run(load("nncf_squad", changes), tmp_path / "run")
    begun, ended = (dict(load_model(tmp_path / "run/nncf" / at)[0].named_parameters()) for at in ("start", ""))
    lows = {key: low.detach() for key, low in begun.items() if key.endswith("input_low")}
    assert any(float((ended[key].detach() - low).abs().max()) > 1e-3 for key, low in lows.items())
    assert results["nncf"]["samples"] == min(32, results["nncf"]["windows"])
    assert results["nncf"]["remarks"]
    assert results["quantize"]["graph"] == "house"
    entry = catalog.find(str(tmp_path / "run/package" / results["package"]["entries"][-1]))
    weights, _ = read(entry.folder / catalog.GRAPH)
    assert all(f"layers.{i}.{part}.zero" in weights for i in range(2) for part in ("qkv", "project", "contract"))
    told = [
        QuestionAnswerer(entry, name, 1).ask("Who?", "Marie Curie was born in Warsaw.") for name in entry.engines[:2]
    ]
    assert entry.engines[:2] == ["onnxruntime", "openvino"] and told[0].answers[0].text == told[1].answers[0].text


@pytest.fixture(scope="module")
def controlled(sources, tmp_path_factory):
    """The folder and the results of a run whose accuracy was controlled."""
    folder = tmp_path_factory.mktemp("controlled")
    changes = [*sources, "control.max_drop=5", "nncf.subset_size=4", "evaluate.latency_tokens=100"]
    return folder, run(load("nncf_post_training", changes), folder)


def test_accuracy_control_keeps_the_loss_below_its_bound(controlled):
    folder, results = controlled
    assert results["nncf"]["drop"] <= 5 and results["nncf"]["file"] == "model.nncf.xml"
    assert set(read_json(folder / "evaluate/engines.json")["engines"]) == {"float", "openvino"}
    assert results["package"]["entries"] == []


def test_what_is_controlled_by_is_heard(controlled, sources, tiny_data):
    changes = [*sources, f"dataset.validation={tiny_data.train}"]
    for name, same in (("nncf_post_training", False), ("nncf_tiny", True)):  # where nothing is controlled by it
        one, other = (load_as(NncfRecipe, name, more) for more in (sources, changes))
        stage = one.stages["nncf"]
        assert (fingerprint(one, stage, "") == fingerprint(other, stage, "")) is same
        assert (str(tiny_data.validation) in contents(one, stage)) is not same


def test_latency_is_measured_of_what_runs_where_there_is_no_graph_of_ours(controlled, sources, tiny_data):
    folder, results = controlled
    stamp = read_json(folder / "evaluate/engines.json")["measured_on"]
    recipe = load_as(NncfRecipe, "nncf_post_training", sources)
    subject = subject_of(recipe)
    windows = subject.windows(load_tokenizer(folder / "finetune"), subject.read(str(tiny_data.evaluation)))
    lengths = [len(window.input_ids) for window in windows]
    assert abs(stamp["latency_tokens"] - 100) == min(abs(length - 100) for length in lengths)
    assert stamp["latency_rounds"] == 1 and set(stamp["p50_ms"]) == {"float", "openvino"}
    assert all(results["evaluate"][f"{name}_ms"] == ms > 0 for name, ms in stamp["p50_ms"].items())


def test_every_key_is_read_or_refused(made, controlled):
    assert unread(NncfRecipe, made[0], controlled[0]) == set()
