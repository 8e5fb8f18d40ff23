"""The classifiers that ship, as people get them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from compress.results.score import score_entry
from ui.samples import SAMPLES
from zoo import card, catalog
from zoo.classify import TextClassifier
from zoo.lengths import non_dominated
from zoo.tasks import find_task

NAME, PAIRS = "minilm-l6-sst2-length-adaptive-int8", "minilm-l6-mnli-length-adaptive-int8"
ALIKE = "minilm-l6-w8a8-stsb-int8"
REPORTED = {
    NAME: ("sst2", "glue", 872),
    PAIRS: ("mnli", "glue/mnli/validation_matched_part.jsonl", 6079),
    ALIKE: ("stsb", "glue", 1500),
}


@pytest.fixture(scope="module", params=["onnxruntime", "openvino"])
def classifier(request):
    return TextClassifier(catalog.find(NAME), request.param, threads=1)


def test_it_tells_praise_from_blame_at_every_budget(classifier):
    praise, blame = (text for _, text in SAMPLES["sst2"][:2])
    for point in classifier.entry.front.everything:
        assert classifier.classify(praise, config=point.config).labels[0].name == "positive"
        assert classifier.classify(blame, config=point.config).labels[0].name == "negative"


def test_a_budget_drops_tokens_and_keeps_the_first(classifier):
    text = SAMPLES["sst2"][0][1]
    cheapest = classifier.classify(text, config=classifier.entry.front.points[0].config)
    full = classifier.classify(text)
    assert cheapest.macs_ratio < 0.6 and full.macs_ratio == 1
    assert cheapest.kept[0].kept[-1].sum() < full.kept[0].kept[-1].sum()
    assert np.all(cheapest.kept[0].kept[:, 0]), "[CLS] is what is classified"


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_a_pair_is_judged_at_every_budget(engine):
    judge = TextClassifier(catalog.find(PAIRS), engine, threads=1)
    apples = "He bought three red apples at the market.", "He bought apples."
    said = {"entailment": apples, "neutral": SAMPLES["mnli"][1][1:], "contradiction": SAMPLES["mnli"][0][1:]}
    front = judge.entry.front
    assert front and len(front.points) > 5
    for point in front.everything:
        for label, (premise, hypothesis) in said.items():
            assert judge.classify(premise, hypothesis, config=point.config).labels[0].name == label


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_sentences_that_are_more_alike_have_a_higher_score(engine):
    judge = TextClassifier(catalog.find(ALIKE), engine, threads=1)
    scores = [judge.classify(one, other).score for _, one, other in SAMPLES["stsb"][:3]]
    same, related, unrelated = (math.nan if score is None else score for score in scores)
    assert 5.5 > same > 4 and 2 > related > 0.5 > unrelated > -0.5


@pytest.mark.parametrize("name", REPORTED)
def test_the_front_and_the_card_tell_the_same(name):
    entry, (task, _, count) = catalog.find(name), REPORTED[name]
    front = entry.front
    assert front and non_dominated(front.points) == front.points
    assert all(p.p50_ms for p in front.everything) and front.measured_on["n"] == count
    metric = find_task(task).primary
    assert card.read(entry.card)["metrics"][metric] == pytest.approx(entry.metrics[metric])


@pytest.mark.parametrize("name", REPORTED)
def test_it_scores_what_its_card_says(data, name):
    entry, (task, source, count) = catalog.find(name), REPORTED[name]
    if not (data / "glue" / task).is_dir():
        pytest.skip(f"no {task} here: BUDGET_ZOO_DATA holds no glue/{task}")
    report, metric = score_entry(name, str(data / source), task=task), find_task(task).primary
    assert report["n"] == count
    assert report[metric] == pytest.approx(entry.metrics[metric], abs=0.5), "engines of other CPUs round else"
