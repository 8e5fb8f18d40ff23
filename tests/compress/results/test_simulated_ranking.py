"""Cross-encoders through the recipes of NNCF and AIMET, beside transformers, onnxruntime and sklearn."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import openvino
import pytest
import torch
from sklearn.metrics import ndcg_score

from compress.nncf.control import INTERMEDIATE
from compress.recipe.load import load
from compress.results.score import score_entry
from compress.results.simulated import score_simulated
from compress.run.run import run
from tests.compress.embedding_kit import cross_encoder, transformers, write_queries
from tests.compress.text_kit import BAD, GOOD, sentence
from zoo import catalog, layouts
from zoo.asking import open_entry
from zoo.engines.openvino import properties
from zoo.features import load_tokenizer
from zoo.files import read_json
from zoo.rank import PassageRanker

pytestmark = pytest.mark.usefixtures("own_home")

Scores = list[np.ndarray]  # of the passages of each query
COMMON = ["dataset.task=ranking", "finetune.batch_size=8", "package.name=tiny-rank", "package.layouts=true"]
COMMON += ["evaluate.latency_rounds=0"]
UNTITLED = [f"dataset.{part}titles=null" for part in ("", "validation_", "evaluation_")]
RECIPES = {
    "nncf": ("nncf_tiny", ["finetune.apply=true", "finetune.epochs=6", "finetune.learning_rate=3e-3", *UNTITLED,
                           "tune.max_length=128", "finetune.max_length=128", "tune.epochs=2",
                           "tune.batch_size=8", "tune.learning_rate=1e-3"]),
    "aimet": ("aimet_w8a8", ["aimet.scope=deploy", "finetune.epochs=6", "finetune.learning_rate=3e-3",
                             "aimet.per_channel=true", "aimet.epochs=1", "aimet.batch_size=8",
                             "aimet.learning_rate=5e-5", "aimet.calibration_samples=32"]),
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("queries")
    for name, count, seed in (("train", 40, 1), ("validation", 10, 2), ("evaluation", 16, 3)):
        chance, lines = random.Random(seed), []
        for i in range(count):
            relevant = [0, 2] if i % 3 == 0 else [i % 3]  # those that are about a lake
            passages = [sentence(chance, chance.choice(GOOD if at in relevant else BAD), 6) for at in range(3)]
            lines.append(json.dumps({"query": sentence(chance, "the"), "passages": passages, "relevant": relevant}))
        (folder / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder


@pytest.fixture(scope="module", params=RECIPES)
def made(request, tiny_model, data, tmp_path_factory) -> Path:
    """The folder of a finished run of a recipe."""
    root = tmp_path_factory.mktemp(request.param)
    name, changes = RECIPES[request.param]
    model = cross_encoder(root / "model", tiny_model)
    parts = [f"dataset.{path.stem}={path}" for path in data.glob("*.jsonl")]
    run(load(name, [f"model={model}", *parts, *COMMON, *changes]), root / "run")
    return root / "run"


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def by_transformers(folder: Path, rows: list[dict[str, Any]]) -> Scores:
    """Scores of each query's passages by a float checkpoint."""
    model, tokenizer = transformers.BertForSequenceClassification.from_pretrained(folder), load_tokenizer(folder)
    model = model.float().eval()
    with torch.no_grad():
        return [
            np.array([float(model(**tokenizer([row["query"]], [text], return_tensors="pt")).logits)
                      for text in row["passages"]])
            for row in rows
        ]  # fmt: skip


def by_graph(run: Callable[[dict[str, np.ndarray]], Any], tokenizer_of: Path, rows: list[dict[str, Any]]) -> Scores:
    """The same by whatever runs a graph with the usual inputs, which this program does not run."""
    tokenizer = load_tokenizer(tokenizer_of)

    def score(query: str, text: str) -> float:
        encoded = tokenizer([query], [text], return_tensors="np")
        feed = {name: np.asarray(encoded[name], np.int64) for name in ("input_ids", "attention_mask")}
        feed["token_type_ids"] = np.zeros_like(feed["input_ids"])  # this tokenizer tells no segments
        return np.asarray(run(feed)).item()

    return [np.array([score(row["query"], text) for text in row["passages"]]) for row in rows]


def by_onnxruntime(folder: Path, rows: list[dict[str, Any]]) -> Scores:
    """By the int8 entry's standard graph."""
    session = onnxruntime.InferenceSession(str(folder / layouts.ONNX), providers=["CPUExecutionProvider"])
    return by_graph(lambda feed: session.run(None, feed)[0], folder, rows)


def by_openvino(folder: Path, tokenizer_of: Path, rows: list[dict[str, Any]]) -> Scores:
    """By what NNCF's control left."""
    compiled = openvino.Core().compile_model(str(folder / INTERMEDIATE), "CPU", properties(1))
    return by_graph(lambda feed: compiled(feed)[0], tokenizer_of, rows)


def metrics_of(scores: Scores, rows: list[dict[str, Any]]) -> dict[str, float]:
    """MRR and nDCG at 10 of three passages each, in points of 100."""
    gains = [np.isin(np.arange(len(one)), row["relevant"]).astype(float) for one, row in zip(scores, rows, strict=True)]
    firsts = [next(i for i, at in enumerate(np.argsort(-one), 1) if gain[at])
              for one, gain in zip(scores, gains, strict=True)]  # fmt: skip
    return {
        "mrr_at_10": 100 * float(np.mean([1 / first for first in firsts])),
        "ndcg_at_10": 100 * float(ndcg_score(np.array(gains), np.array(scores), k=10)),
    }


def test_integers_score_near_float_and_the_metric_is_the_fields_own(made, data):
    rows, package = rows_of(data / "evaluation.jsonl"), made / "package"
    floats, integers = catalog.find(str(package / "tiny-rank")), catalog.find(str(package / "tiny-rank-int8"))
    assert (integers.task, integers.metric) == ("ranking", "mrr_at_10")
    exact, rounded = by_transformers(floats.folder, rows), by_onnxruntime(integers.folder, rows)
    spread = np.concatenate(exact).std()
    assert spread > 0.1, "passages that all score alike would compare nothing"
    assert np.median(np.abs(np.concatenate(rounded) - np.concatenate(exact))) < 0.15 * spread
    assert np.corrcoef(np.concatenate(rounded), np.concatenate(exact))[0, 1] > 0.97
    assert floats.metrics["mrr_at_10"] > 85, "which chance does not reach"
    for entry, scores in ((floats, exact), (integers, rounded)):
        expected = metrics_of(scores, rows)
        assert {key: entry.metrics[key] for key in expected} == pytest.approx(expected, abs=0.01)
        assert entry.metrics["n"] == len(rows)
        again = score_entry(str(entry.folder), str(data / "evaluation.jsonl"))
        assert again["mrr_at_10"] == pytest.approx(expected["mrr_at_10"], abs=0.01)


def test_the_entry_sorts_passages_by_these_scores(made, data):
    entry, row = catalog.find(str(made / "package/tiny-rank-int8")), rows_of(data / "evaluation.jsonl")[0]
    ranker = open_entry(entry)
    assert isinstance(ranker, PassageRanker)
    (scores,) = by_onnxruntime(entry.folder, [row])
    matches = ranker.ask(row["query"], "\n".join(row["passages"])).matches
    assert [match.index for match in matches] == list(np.argsort(-scores))
    assert [match.score for match in matches] == pytest.approx(sorted(scores, reverse=True), abs=5e-3)


def test_the_simulation_scores_as_the_integers(made, data):
    report = score_simulated(str(made / "package/tiny-rank-int8"), str(data / "evaluation.jsonl"))
    rows = rows_of(data / "evaluation.jsonl")
    integers = metrics_of(by_onnxruntime(made / "package/tiny-rank-int8", rows), rows)
    floats = metrics_of(by_transformers(made / "package/tiny-rank", rows), rows)
    assert report["simulated"]["mrr_at_10"] == pytest.approx(integers["mrr_at_10"], abs=100 / len(rows) / 2 + 0.01)
    assert report["float"]["mrr_at_10"] == pytest.approx(floats["mrr_at_10"], abs=0.01)
    told = read_json(made / "evaluate" / "scores.json")
    assert told["measured_on"]["n"] == len(rows)


def test_accuracy_is_controlled_by_the_rank_of_the_first_relevant_passage(tiny_model, data, tmp_path):
    """Each query by itself has one, which operators are ranked by; here some go back to float until nothing is lost."""
    path = write_queries(tmp_path / "validation.jsonl", 24, 27)
    model, rows = cross_encoder(tmp_path / "model", tiny_model), rows_of(path)
    parts = [f"dataset.{part}={data}/{part}.jsonl" for part in ("train", "evaluation")] + [f"dataset.validation={path}"]
    common = ["dataset.task=ranking", f"model={model}", *parts, *UNTITLED, "evaluate.latency_rounds=0"]
    guarded = ["control.apply=true", "control.max_drop=0"]
    facts = {}
    for name, more in (("plain", ["control.apply=false"]), ("guarded", guarded)):
        recipe = load("nncf_post_training", [*common, *more])
        facts[name] = [run(recipe, tmp_path / name, stage) for stage in ("finetune", "teacher", "nncf")][-1]["nncf"]
    found = {name: metrics_of(by_openvino(tmp_path / name / "nncf", model, rows), rows) for name in facts}
    expected = metrics_of(by_transformers(model, rows), rows)["mrr_at_10"]
    assert facts["guarded"]["float"] == pytest.approx(expected, abs=0.01)
    assert facts["guarded"]["int8"] == pytest.approx(found["guarded"]["mrr_at_10"], abs=0.01)
    assert found["plain"]["mrr_at_10"] < expected <= found["guarded"]["mrr_at_10"] + 0.01
    assert facts["guarded"]["bytes"] > facts["plain"]["bytes"]
