"""Classifying with a tiny model: the whole way from text to labels, on every engine."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.zoo.classifier_kit import HALF, LABELS, OTHER, TEXT, make_entry
from zoo import card, catalog, verification
from zoo.answers import find_labels
from zoo.ask import QuestionAnswerer
from zoo.classify import TextClassifier, predict
from zoo.engines import engines_here, names
from zoo.engines.base import GRAPH, TENSORS
from zoo.errors import UserError
from zoo.features import load_tokenizer, make_texts
from zoo.lengths import LengthConfig

OURS = names(GRAPH, TENSORS)  # the engines of what this program computes itself


@pytest.fixture(scope="module")
def entry(tiny_model, tmp_path_factory):
    return make_entry(tiny_model, tmp_path_factory.mktemp("zoo"), LABELS)


@pytest.fixture(scope="module")
def classifier(any_engine, entry):
    return TextClassifier(entry, any_engine, threads=1)


def test_the_catalog_knows_what_it_is(entry, multiplies):
    multiplies(True)
    assert entry.task == "classification" and set(engines_here(entry)) == set(OURS)
    with pytest.raises(UserError, match="made for classification, not for questions"):
        QuestionAnswerer(entry)


def test_a_verdict_is_whole(classifier):
    verdict = classifier.classify(TEXT, OTHER, HALF)
    assert [label.name for label in verdict.labels] == [LABELS[str(label.index)] for label in verdict.labels]
    chances = [label.probability for label in verdict.labels]
    assert sorted(chances, reverse=True) == chances and sum(chances) == pytest.approx(1) and len(chances) == 3
    assert verdict.score is None and verdict.macs_ratio < 1 and not verdict.notices
    (kept,), (count,) = verdict.kept, verdict.tokens
    assert kept.kept.shape == (2, count) and len(kept.tokens) == len(kept.spans) == len(kept.parts)
    assert kept.kept.sum(1).tolist() == list(HALF.tokens(count)) and kept.kept[:, 0].all()
    found = ["", ""]
    for span, part in zip(kept.spans, kept.parts, strict=True):
        if span is not None:
            found[part] += (TEXT, OTHER)[part][slice(*span)]
    assert found == [TEXT.replace(" ", ""), OTHER.replace(" ", "")], "every character is of some token of its text"


def test_full_length_keeps_everything_and_the_order_of_a_pair_matters(classifier):
    one, other = classifier.classify(TEXT, OTHER), classifier.classify(OTHER, TEXT)
    assert one.kept[0].kept.all() and one.macs_ratio == 1
    assert one.labels[0].score != other.labels[0].score
    classifier.runner(TEXT, config=HALF)()


def test_every_engine_says_nearly_the_same(entry, multiplies):
    multiplies(True)
    said = [TextClassifier(entry, name, threads=1).classify(TEXT) for name in OURS]
    scores = [[label.score for label in sorted(v.labels, key=lambda label: label.index)] for v in said]
    assert np.ptp(scores, axis=0).max() < 0.2 * np.std(scores[0])
    assert len({v.labels[0].name for v in said}) == 1


def test_many_texts_are_said_of_as_one_by_one(entry):
    classifier = TextClassifier(entry, "torch", threads=1)
    firsts, seconds = [TEXT, OTHER, TEXT[:20], OTHER], [OTHER, TEXT, TEXT, TEXT]
    done = []
    found = predict(
        classifier.engine, classifier.tokenizer, firsts, seconds, HALF, progress=lambda *at: done.append(at)
    )
    assert found.shape == (4, 3) and done[-1] == (4, 4)
    np.testing.assert_allclose(found[1], found[3], atol=1e-6)
    for row, first, second in zip(found, firsts, seconds, strict=True):
        labels = classifier.classify(first, second, HALF).labels
        np.testing.assert_allclose(sorted(row)[::-1], [label.score for label in labels], atol=1e-5)


def test_a_model_with_one_output_gives_a_score(tiny_model, tmp_path):
    entry = make_entry(tiny_model, tmp_path, {"0": "score"})
    verdict = TextClassifier(entry, "onnxruntime", threads=1).classify(TEXT, OTHER)
    assert verdict.labels == [] and isinstance(verdict.score, float)
    float_score = TextClassifier(entry, "torch", threads=1).classify(TEXT, OTHER).score
    assert verdict.score == pytest.approx(float_score, abs=0.3)


def test_its_card_tells_how_to_use_it_and_its_logits_are_verified(entry):
    scored = replace(entry, metrics={"matthews": 51.25, "dataset": "nyu-mll/glue"}, license="apache-2.0")
    told = card.render(scored)
    assert "TextClassifier(find(" in told and "| Matthews | 51.25 |" in told
    assert card.read(told)["metrics"] == {"matthews": 51.25} and card.read(told)["task"] == "classification"
    found = verification.logits(entry.folder)
    assert [values.shape for values in found.values()] == [(1, 1, 3)] * 2
    full, cheapest = found.values()
    assert not np.allclose(full, cheapest), "the cheapest budget says something else"


def test_what_is_known_of_its_texts_decides_about_the_second(classifier, monkeypatch):
    alone, pair = (classifier.prepare(TEXT, second).windows[0].input_ids for second in (None, OTHER))
    assert alone != pair and classifier.prepare(TEXT, " ").windows[0].input_ids == alone
    monkeypatch.setattr(classifier, "texts", 1)
    assert classifier.prepare(TEXT, OTHER).windows[0].input_ids == alone
    monkeypatch.setattr(classifier, "texts", 2)
    assert classifier.prepare(TEXT, OTHER).windows[0].input_ids == pair
    for nothing in (None, "", " "):
        with pytest.raises(UserError, match="second text is empty"):
            classifier.prepare(TEXT, nothing)


def test_what_cannot_be_classified(classifier):
    for first, second, config, message in [
        (" \x00", None, None, "no text"),
        (TEXT, None, LengthConfig.full(3), "2 layers"),
    ]:
        with pytest.raises(UserError, match=message):
            classifier.classify(first, second, config)
    with pytest.raises(UserError, match="made for qa, not for classifying"):
        TextClassifier(catalog.find("minilm-l6-qa"))


def test_long_texts_are_cut_and_said_to_be(entry):
    classifier = TextClassifier(entry, "torch", threads=1)
    verdict = classifier.classify("lake " * 3000)
    assert verdict.tokens == [512] and classifier.max_length == 512
    assert any("only 512 tokens" in notice for notice in verdict.notices)
    exact = classifier.classify("lake " * 510)
    assert exact.tokens == [512] and not exact.notices


def test_pairs_are_cut_at_the_longer(tiny_model):
    tokenizer = load_tokenizer(tiny_model)
    (window,) = make_texts(tokenizer, ["lake " * 50], ["lake lake lake"], max_length=20)
    assert len(window.input_ids) == 20 and window.parts.count(1) == 3
    assert make_texts(tokenizer, []) == []
    (alone,) = make_texts(tokenizer, ["lake  lake"])
    assert alone.parts == [None, 0, 0, None] and alone.offsets == [None, (0, 4), (6, 10), None]


def test_probabilities_are_a_softmax_over_the_labels():
    best, second = find_labels(np.array([1.0, 1.0 + np.log(3)]), ["a", "b"])
    assert (best.name, best.index) == ("b", 1) and best.probability == pytest.approx(0.75)
    assert second.probability == pytest.approx(0.25) and second.score == 1
