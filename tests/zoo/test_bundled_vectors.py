"""The sentence encoder that ships, as people get it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from scipy import stats

from ui.samples import SAMPLES
from zoo import card, catalog
from zoo.embed import TextEmbedder, cosine, cosine_of_pairs
from zoo.lengths import non_dominated

NAME = "minilm-l6-embeddings-length-adaptive-int8"
LINES = (
    "A warm windowsill brings basil through the cold months.",
    "The museum is closed in winter.",
    "The train to Turin leaves at nine from the second platform.",
    "Two kittens sleep in a basket beside the stove.",
    "Ada Lovelace wrote the first program for a machine that was never built.",
    "Salt lowers the temperature at which water freezes.",
)
QUESTIONS = (
    "How do I keep basil alive in winter?",
    "Can I visit the museum in January?",
    "When does the train leave?",
    "Where are the small cats?",
    "Who was the first programmer?",
    "Why is salt strewn on icy roads?",
)


@pytest.fixture(scope="module", params=["onnxruntime", "openvino"])
def encoder(request):
    return TextEmbedder(catalog.find(NAME), request.param, threads=1)


def test_every_question_finds_its_line_at_every_budget(encoder):
    for point in encoder.entry.front.everything:
        questions, lines = encoder.embed(QUESTIONS, point.config), encoder.embed(LINES, point.config)
        assert np.allclose(np.linalg.norm(np.vstack([questions, lines]), axis=1), 1, atol=1e-5)
        assert cosine(questions, lines).argmax(1).tolist() == [*range(len(LINES))], str(point.config)


def test_more_budget_is_nearer_to_full_length(encoder):
    texts = [*QUESTIONS, *LINES, *(text for _, first, second in SAMPLES["embeddings"] for text in (first, second))]
    full = encoder.embed(texts)
    some = [point for point in encoder.entry.front.points if not point.config.is_full][::5]
    near = [cosine_of_pairs(encoder.embed(texts, point.config), full).mean() for point in some]
    assert len(near) == 3 and near == sorted(near) and 0.7 < near[0] < 0.8 and 0.98 < near[-1] < 1


def test_a_budget_drops_tokens(encoder):
    text = LINES[4]
    cheapest = encoder.ask(text, LINES[0], encoder.entry.front.points[0].config)
    full = encoder.ask(text, LINES[0])
    assert cheapest.macs_ratio < 0.6 and full.macs_ratio == 1
    assert cheapest.kept[0].kept[-1].sum() < full.kept[0].kept[-1].sum()


def test_the_front_and_the_card_tell_the_same():
    entry = catalog.find(NAME)
    front = entry.front
    assert front and non_dominated(front.points) == front.points and len(front.points) > 5
    assert all(point.p50_ms for point in front.everything) and front.measured_on["n"] == 1500
    assert card.read(entry.card)["metrics"]["spearman"] == pytest.approx(entry.metrics["spearman"])


def test_likeness_is_what_its_front_says(data, encoder):
    """Spearman by scipy, of cosines of the vectors, on pairs that nothing was learned from or chosen by."""
    path = data / "glue" / "stsb" / "validation.jsonl"
    if not path.is_file():
        pytest.skip("no STS-B here: BUDGET_ZOO_DATA holds no glue/stsb")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    front = encoder.entry.front
    for point in (front.points[0], front.full):
        firsts, seconds = (
            encoder.embed([row[key] for row in rows], point.config) for key in ("sentence1", "sentence2")
        )
        correlation: Any = stats.spearmanr(cosine_of_pairs(firsts, seconds), [row["label"] for row in rows])
        assert 100 * correlation.statistic == pytest.approx(point.metrics["spearman"], abs=0.5), (
            "engines of other CPUs round else"
        )
