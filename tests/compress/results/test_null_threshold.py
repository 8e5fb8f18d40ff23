"""A recipe's threshold of "no answer": what the report scores by, and what is packaged says, without training anew."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from torchmetrics.functional.text import squad

from compress.data.squad import load_squad
from compress.recipe.load import load, shipped, stages_of
from compress.results.score import score_entry
from compress.run.inputs import fingerprint
from compress.run.run import run
from tests.zoo.abstaining_kit import make_silent
from zoo import catalog
from zoo.answers import NoAnswer
from zoo.ask import QuestionAnswerer
from zoo.files import read_json

pytestmark = pytest.mark.usefixtures("own_home")


@pytest.fixture(scope="module")
def made(tiny_model, tiny_data, tmp_path_factory) -> tuple[list[str], Path, Path]:
    """Changes that quantize a tiny model by `static_int8` and score ten questions, the model, and the questions.

    Half of the questions have no answer; the model's own threshold is 7.5.
    """
    root = tmp_path_factory.mktemp("made")
    model, file = make_silent(tiny_model, root / "silent"), root / "second.json"
    (model / "config.json").write_text(json.dumps({**read_json(model / "config.json"), "null_threshold": 7.5}))
    data = read_json(tiny_data.evaluation)
    asked = [qa for article in data["data"] for paragraph in article["paragraphs"] for qa in paragraph["qas"]]
    for qa in asked[::2]:
        qa |= {"is_impossible": True, "answers": []}
    file.write_text(json.dumps(data))
    changes = [f"model={model}", f"dataset.train={tiny_data.train}", f"dataset.evaluation={file}"]
    settings = ["dataset.version_2=true", "budgets.points=0", "evaluate.latency_rounds=0", "package.name=tiny"]
    return [*changes, *settings], model, file


def by_hand(model: Path, file: Path, threshold: float) -> dict[str, float]:
    """F1 and exact match by torchmetrics of what the float model says best, "no answer" and spans compared here."""
    opened, examples = QuestionAnswerer(catalog.find(str(model)), "torch", 1), load_squad(str(file), "validation")
    said: list[dict[str, Any]] = []
    for example in examples:
        answers = opened.ask(example.question, example.context, None, NoAnswer(True), 10_000).answers
        null = next(answer for answer in answers if answer.start < 0)
        span = next(answer for answer in answers if answer.start >= 0)
        text = "" if null.score - span.score > threshold else span.text
        said.append({"id": example.id, "prediction_text": text})
    right = [[answer["text"] for answer in example.answers] or [""] for example in examples]
    targets = [
        {"id": e.id, "answers": {"text": texts, "answer_start": [0] * len(texts)}}
        for e, texts in zip(examples, right, strict=True)
    ]
    return {key: float(value) for key, value in squad(said, targets).items()}


def test_the_report_and_what_is_packaged_have_the_recipe_s_threshold(made, tmp_path):
    changes, model, file = made
    assert len({by_hand(model, file, threshold)["f1"] for threshold in (7.5, -3.5, 0)}) > 1
    for threshold, heard in ((None, 7.5), (-3.5, -3.5), (0, 0)):
        more = [] if threshold is None else [f"evaluate.null_threshold={threshold}"]
        run(load("static_int8", [*changes, *more]), tmp_path / "run")
        scores, folder = read_json(tmp_path / "run" / "evaluate" / "scores.json"), tmp_path / "run" / "package"
        expected = by_hand(model, file, heard)
        assert scores["float"]["f1"] == pytest.approx(expected["f1"], abs=1e-3), threshold
        assert scores["float"]["em"] == pytest.approx(expected["exact_match"], abs=1e-3)
        for name in ("tiny", "tiny-float"):
            stated, entry = read_json(folder / name / "config.json"), catalog.find(str(folder / name))
            assert stated.get("null_threshold") == (heard or None) and entry.null_threshold == heard, name
            assert entry.no_answer
            told = f"more than {heard:g}" if heard else ""
            assert told in str(entry.metrics.get("remark", "")) and bool(entry.metrics.get("remark")) is bool(told)
        again = score_entry(str(folder / "tiny"), str(file))
        assert again["f1"] == scores["int8"]["f1"] and again["null_threshold"] == heard
    log = (tmp_path / "run" / "progress.jsonl").read_text().splitlines()
    begun = [json.loads(line) for line in log]
    anew = {row["stage"] for row in begun if "begins anew" in str(row.get("message", row))}
    assert anew == {"evaluate", "package"}, "nothing is quantized again"


@pytest.mark.parametrize("name", shipped())
def test_it_undoes_no_training_and_no_search(name):
    recipe = load(name)
    if not recipe.dataset.type.has_spans:
        return
    other = recipe.model_copy(update={"evaluate": recipe.evaluate.model_copy(update={"null_threshold": -2.0})})
    stages = stages_of(recipe.kind, recipe.model_dump())
    undone = {key for key, stage in stages.items() if fingerprint(recipe, stage, "") != fingerprint(other, stage, "")}
    assert undone == {"evaluate", "package"}


@pytest.mark.parametrize("wrong", [".nan", ".inf", "much"])
def test_what_is_no_number_is_refused(wrong):
    with pytest.raises(Exception, match="null_threshold"):
        load("static_int8", ["dataset.version_2=true", f"evaluate.null_threshold={wrong}"])
