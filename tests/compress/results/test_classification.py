"""Texts through the recipes: every kind runs on tiny sets like SST-2, STS-B and MNLI, from its start to entries."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from compress.data.texts import TextExample, fingerprint
from compress.recipe.load import load
from compress.results.evaluate import texts_beside
from compress.results.score import score_entry
from compress.run.run import run
from compress.tasks.subjects import subject_of
from tests.compress.recipe_kit import context
from tests.compress.text_kit import SHARED
from zoo import card, catalog
from zoo.classify import TextClassifier
from zoo.errors import UserError
from zoo.files import read_json
from zoo.lengths import Front

pytestmark = pytest.mark.usefixtures("own_home")

QUICK = [
    "quantize.calibration_samples=8",
    "evaluate.latency_rounds=2",
    "package.title=A tiny classifier",
]


def changes(glue: Path, model: Path, name: str) -> list[str]:
    return [f"model={model}", f"dataset.train={glue}", f"dataset.evaluation={glue}", f"package.name={name}", *QUICK]


ADAPTIVE = [
    "finetune.epochs=8",
    "finetune.batch_size=8",
    "finetune.dropout=0",
    "finetune.learning_rate=3e-3",
    "length_drop.epochs=1",
    "length_drop.batch_size=8",
    "length_drop.dropout=0",
    "length_drop.learning_rate=1e-3",
    "length_drop.drop_layers=[0, 1]",
    "length_drop.length_drop_ratio_bound=[0.4, 0.4]",
    "search.lower_ratio=[0.5, 0.5]",
    "search.iterations=1",
    "search.population=3",
    "search.mutations=2",
    "search.crossovers=1",
    "evaluate.length_config=(100, 40)",
]


@pytest.fixture(scope="module")
def adaptive(glue, tiny_model, tmp_path_factory) -> Path:
    """The folder of a finished run of `length_adaptive_sst2`."""
    folder = tmp_path_factory.mktemp("adaptive")
    run(load("length_adaptive_sst2", [*changes(glue, tiny_model, "tiny-sst2"), *ADAPTIVE]), folder)
    return folder


@pytest.fixture(scope="module")
def teacher(adaptive) -> Path:
    return adaptive / "package" / "tiny-sst2"


INT8 = "tiny-sst2-length-adaptive-int8"


def test_a_classifier_for_every_budget_is_made_and_measured(adaptive):
    scores, front = read_json(adaptive / "evaluate/scores.json"), Front.load(adaptive / "evaluate/front.json")
    stamp = scores["measured_on"]
    assert front.metric == "accuracy" and list(front.full.metrics) == ["accuracy"]
    assert scores["int8"] == front.full.metrics and scores["float"]["n"] == 25
    assert scores["int8"]["accuracy"] > 70, "a telling word in each sentence is learned, and kept in eight bits"
    assert (stamp["task"], stamp["metric"], stamp["dataset"], stamp["config"], stamp["split"], stamp["n"]) == (
        "sst2",
        "SST-2",
        "nyu-mll/glue",
        "sst2",
        "validation",
        25,
    )
    assert "25 texts were scored" in stamp["remark"] and "872" in stamp["remark"]
    assert stamp["padded_to_128"]["lengths"] == "(100, 40)" and stamp["padded_to_128"]["accuracy"] >= 0
    assert len(front.points) + len(front.dominated) >= 3 and all(p.p50_ms for p in front.everything)
    assert any("validation_accuracy" in p.extra for p in front.everything)
    result = read_json(adaptive / "result.json")["stages"]
    assert result["evaluate"]["int8_accuracy"] == front.full.score and 0 <= result["search"]["best_accuracy"] <= 100


def test_what_is_reported_or_searched_on_is_not_learned(adaptive, glue):
    recipe = load(adaptive)
    subject = subject_of(recipe)
    learned, held, reported = (fingerprint(subject.load(part)) for part in ("train", "validation", "evaluation"))
    assert learned and held and not learned & held and not learned & reported and not held & reported
    assert fingerprint([TextExample("", SHARED)]) <= reported
    windows = read_json(adaptive / "finetune/done.json")["result"]["windows"]
    assert windows == len(subject.load("train")) < 161 - 1
    known = set(read_json(adaptive / "package" / INT8 / "trained_on.json")["contexts"])
    assert known >= learned and not known & (held | reported)
    with pytest.raises(UserError, match="were trained on"):
        score_entry(str(adaptive / "package" / INT8), str(glue / "sst2" / "train.jsonl"))


def test_the_entries_classify_and_say_what_they_are(adaptive, teacher):
    whole, small = catalog.find(str(teacher)), catalog.find(str(adaptive / "package" / INT8))
    assert (whole.task, small.task, small.metric) == ("classification", "classification", "accuracy")
    assert small.score == small.front.full.score  # type: ignore[union-attr]
    assert read_json(small.folder / "config.json")["id2label"] == {"0": "negative", "1": "positive"}
    cheapest = small.front.everything[0].config  # type: ignore[union-attr]
    for engine in ("onnxruntime", "openvino", "torch"):
        verdict = TextClassifier(small, engine).classify("the deep lake", config=cheapest)
        assert verdict.labels[0].name in ("negative", "positive")
        assert verdict.kept[0].kept[:, 0].all(), "the first token is what the head reads"


def test_the_cards_are_of_a_classifier(adaptive, teacher):
    for folder in (teacher, adaptive / "package" / INT8):
        text = (folder / "README.md").read_text()
        found = card.read(text)
        assert (found["pipeline_tag"], found["task"]) == ("text-classification", "classification")
        assert list(found["metrics"]) == ["accuracy"] and found["budget_zoo"]["metric"] == "accuracy"
        (result,) = found["model-index"][0]["results"]
        assert result["dataset"] == {
            "type": "nyu-mll/glue", "name": "nyu-mll/glue", "config": "sst2", "split": "validation"
        }  # fmt: skip
        assert "**labels**: negative, positive" in text and "| Accuracy |" in text and "F1" not in text
        assert "TextClassifier(find(" in text and ".classify(" in text and "question" not in text.split("## Use")[1]
    points = card.read((adaptive / "package" / INT8 / "README.md").read_text())["points"]
    assert points and {"Accuracy", "lengths at 128"} <= set(points[0])


def test_an_entry_is_scored_on_its_task(adaptive, glue):
    entry = adaptive / "package" / INT8
    stored = read_json(adaptive / "evaluate/scores.json")["int8"]["accuracy"]
    full = score_entry(str(entry), str(glue))
    assert (full["accuracy"], full["n"], full["task"], full["macs_ratio"]) == (stored, 25, "sst2", 1)
    part = score_entry(str(entry), str(glue), config="(64, 32)", max_questions=5, engine="torch", task="sst-2")
    assert (part["n"], part["config"], part["engine"]) == (5, [0.5, 0.25], "torch") and part["macs_ratio"] < 1
    assert score_entry(str(entry), str(glue), budget=1)["config"] == list(
        Front.load(entry / "front.json").everything[0].config.fractions
    )
    with pytest.raises(UserError, match="name a task of texts"):
        score_entry(str(entry), str(glue), task="squad")
    with pytest.raises(UserError, match="which mnli is not about"):
        score_entry(str(entry), str(glue), task="mnli")


def test_an_entry_that_does_not_say_its_task_is_asked_for_it(teacher, glue, tmp_path):
    shutil.copytree(teacher, tmp_path / "mute")
    config = read_json(teacher / "config.json")
    (tmp_path / "mute" / "config.json").write_text(json.dumps({**config, "finetuning_task": None}))
    with pytest.raises(UserError, match="--task sst2"):
        score_entry(str(tmp_path / "mute"), str(glue))
    assert score_entry(str(tmp_path / "mute"), str(glue), task="sst2")["n"] == 25


def test_a_score_is_learned_in_training_that_simulates_int8(glue, tiny_model, tmp_path):
    wanted = [
        *changes(glue, tiny_model, "tiny-stsb"),
        "dataset.task=stsb",
        "finetune.epochs=2",
        "finetune.learning_rate=2e-3",
        "aware.apply=true",
        "aware.calibration_samples=8",
        "quantize.calibration_samples=128",  # as by default: training settles the ranges
    ]
    run(load("finetune_glue", wanted), tmp_path)
    scores = read_json(tmp_path / "evaluate/scores.json")
    assert list(scores["int8"]) == ["pearson", "spearman"]
    assert abs(scores["int8"]["pearson"] - scores["float"]["pearson"]) < 25
    small = catalog.find(str(tmp_path / "package" / "tiny-stsb-int8"))
    assert small.metric == "pearson" and list(small.metrics)[:2] == ["pearson", "spearman"]
    text = (small.folder / "README.md").read_text()
    assert "| Pearson |" in text and "it gives a score" in text and 'classify("A text ...", "Another ...")' in text
    verdict = TextClassifier(small).classify("the lake", "the chess")
    assert verdict.score is not None and not verdict.labels


def test_lengths_of_a_score_are_learned_from_it(glue, tiny_model, tmp_path):
    short = ["finetune.epochs=1", "search.iterations=0", "search.population=2", "evaluate.length_config=null"]
    wanted = [*changes(glue, tiny_model, "tiny-stsb"), *ADAPTIVE, *short, "dataset.task=stsb"]
    result = run(load("length_adaptive_sst2", wanted), tmp_path)
    told = [json.loads(line) for line in (tmp_path / "progress.jsonl").read_text().splitlines()]
    assert any(line.get("kl_smallest", 0) > 0 for line in told), "the student's score is compared with the teacher's"
    assert "best_pearson" in result["search"]


def test_a_classifier_is_pruned_and_taught_at_once(glue, tiny_model, teacher, tmp_path):
    wanted = [
        *changes(glue, tiny_model, "tiny-pruned"),
        "dataset.task=sst2",
        "finetune.epochs=2",
        "prune.apply=true",
        "prune.pattern=4x1",
        "prune.frequency=1",
        "prune.target_sparsity=0.5",
        "distill.apply=true",
        f"distill.teacher={teacher}",
        "criterion.apply=true",
        "criterion.max_questions=6",
        "criterion.max_trials=2",
    ]
    stages = run(load("finetune_glue", wanted), tmp_path)
    assert stages["teacher"]["samples"] == stages["train"]["windows"]
    assert stages["train"]["zeros"]["operators"] == pytest.approx(0.5, abs=0.02)
    assert stages["quantize"]["criterion"]["metric"] == "accuracy" and stages["quantize"]["criterion"]["n"] == 6
    assert stages["package"]["entries"] == ["tiny-pruned", "tiny-pruned-int8"]


def test_a_checkpoint_with_labels_in_another_order_is_quantized_as_it_is(glue, teacher, tmp_path):
    other = tmp_path / "turned"
    shutil.copytree(teacher, other)
    config = read_json(other / "config.json")
    turned = {"id2label": {"0": "POSITIVE", "1": "NEGATIVE"}, "label2id": {"POSITIVE": 0, "NEGATIVE": 1}}
    (other / "config.json").write_text(json.dumps({**config, **turned}))
    for name in ("entry.json", "trained_on.json", "README.md"):
        (other / name).unlink()
    wanted = [*changes(glue, other, "tiny-static"), "dataset.task=sst2", "budgets.points=1"]
    stages = run(load("static_int8", wanted), tmp_path / "run")
    scores = read_json(tmp_path / "run/evaluate/scores.json")
    straight = score_entry(str(teacher), str(glue))["accuracy"]
    assert scores["float"]["accuracy"] == pytest.approx(100 - straight, abs=0.01)
    assert stages["quantize"]["configurations"] == 2 and stages["quantize"]["calibration_windows"] == 8
    provenance = catalog.find(str(tmp_path / "run/package/tiny-static")).provenance
    assert provenance["calibrated on"] == "SST-2: glue" and "the same texts" in provenance["note"]


def test_pruned_once_for_texts(glue, tiny_model, teacher, tmp_path):
    wanted = [
        *changes(glue, tiny_model, "tiny-once"),
        "dataset.task=sst2",
        "dataset.validation=held-out",
        "dataset.titles=null",
        "dataset.validation_titles=null",
        "dataset.evaluation_titles=null",
        f"distill.teacher={teacher}",
        "pretrain.steps=3",
        "quantize.calibration_samples=128",  # as by default: training settles the ranges
        "lock.max_length=128",
        "aware.max_length=128",
    ]
    stages = run(load("prune_once_tiny", wanted), tmp_path)
    assert stages["lock"]["sparsity"] > 0.8 and stages["package"]["entries"] == ["tiny-once", "tiny-once-int8"]
    assert catalog.find(str(tmp_path / "package/tiny-once-int8")).task == "classification"


def test_mnli_reports_the_mismatched_set_where_there_is_one(glue, tiny_model, tmp_path):
    wanted = [*changes(glue, tiny_model, "tiny-mnli"), "dataset.task=mnli", "finetune.epochs=1"]
    run(load("finetune_glue", wanted), tmp_path)
    stamp = read_json(tmp_path / "evaluate/scores.json")["measured_on"]
    assert stamp["n"] == 18 and stamp["beside"]["task"] == "mnli_mm" and stamp["beside"]["n"] == 15
    assert 0 <= stamp["beside"]["int8"]["accuracy"] <= 100
    metrics = catalog.find(str(tmp_path / "package/tiny-mnli-int8")).metrics
    assert metrics["mnli_mm"] == {**stamp["beside"]["int8"], "n": 15} and metrics["columns"] == "premise, hypothesis"


def test_what_the_data_lack_is_said(glue, tiny_model, tmp_path):
    shutil.copytree(glue, tmp_path / "glue")
    for name in ("matched", "mismatched"):
        (tmp_path / "glue/mnli" / f"validation_{name}.jsonl").rename(tmp_path / "glue/mnli/validation.jsonl")
    recipe = load("length_adaptive_mnli", [*changes(tmp_path / "glue", tiny_model, "x")])
    subject = subject_of(recipe)
    assert len(subject.load("evaluation")) == 15, "validation.jsonl stands in for the matched set"
    others, lacking = texts_beside(context(recipe, tmp_path), subject, set())
    assert others == [] and lacking == "MNLI, mismatched: not in these data"
    assert "9,815" in subject.description(15)["remark"]


def test_the_mismatched_set_of_the_hub_is_found_by_its_split(glue, tmp_path, monkeypatch):
    asked: list[tuple[str, str, str]] = []
    rows = {"premise": "a", "hypothesis": "b", "label": 0}

    def hub(name, config, split):
        asked.append((name, config, split))
        return [rows, {**rows, "premise": "known"}]

    monkeypatch.setattr("datasets.load_dataset", hub)
    known = fingerprint([TextExample("", "known", "b")])
    for source in ("hub", "me/glue:validation_matched"):
        recipe = load("length_adaptive_mnli", [f"dataset.train={glue}", f"dataset.evaluation={source}"])
        others, lacking = texts_beside(context(recipe, tmp_path), subject_of(recipe), known)
        assert [e.first for e in others] == ["a"] and not lacking, "what was trained on is left out"
    assert asked == [(name, "mnli", "validation_mismatched") for name in ("nyu-mll/glue", "me/glue")]
