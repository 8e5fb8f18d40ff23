"""The classifier that ships, as people get it."""

from __future__ import annotations

import numpy as np
import pytest

from compress.scoring import score_entry
from ui.samples import SAMPLES
from zoo import card, catalog
from zoo.classify import TextClassifier
from zoo.lengths import non_dominated

NAME = "minilm-l6-sst2-length-adaptive-int8"


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
    assert cheapest.kept.kept[-1].sum() < full.kept.kept[-1].sum()
    assert np.all(cheapest.kept.kept[:, 0]), "[CLS] is what is classified"


def test_the_front_and_the_card_tell_the_same():
    entry = catalog.find(NAME)
    front = entry.front
    assert front and non_dominated(front.points) == front.points
    assert all(p.p50_ms for p in front.everything) and front.measured_on["n"] == 872
    assert card.read(entry.card)["metrics"]["accuracy"] == pytest.approx(entry.metrics["accuracy"])


def test_it_scores_what_its_card_says(data):
    entry = catalog.find(NAME)
    if not (data / "glue" / "sst2").is_dir():
        pytest.skip("no SST-2 here: BUDGET_ZOO_DATA holds no glue/sst2")
    report = score_entry(NAME, str(data / "glue"), task="sst2")
    assert report["n"] == 872
    assert report["accuracy"] == pytest.approx(entry.metrics["accuracy"], abs=0.5), "engines of other CPUs round else"
