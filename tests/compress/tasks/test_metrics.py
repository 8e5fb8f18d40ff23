from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from compress.tasks.metrics import (
    accuracy,
    class_f1,
    exact_match,
    f1,
    matthews,
    normalize_answer,
    pearson,
    ranking_scores,
    spearman,
    squad_scores,
    task_scores,
)
from zoo.tasks import find_task

WORDS = st.lists(
    st.sampled_from(["the", "The", "a", "an", "cat", "Cat.", "dog", "1,642", "e-mail", "Ünder", "—", "!", "天"]),
    max_size=6,
).map(" ".join)


@pytest.fixture(scope="module")
def reference():
    from zoo import torchvision_fix

    torchvision_fix.mend()
    from torchmetrics.functional.text import squad

    return squad


@settings(deadline=None, max_examples=200)
@given(rows=st.lists(st.tuples(WORDS, st.lists(WORDS, min_size=1, max_size=3)), min_size=1, max_size=4))
def test_scores_are_those_of_torchmetrics(reference, rows):
    predictions = [{"id": str(i), "prediction_text": said} for i, (said, _) in enumerate(rows)]
    targets = [
        {"id": str(i), "answers": {"text": answers, "answer_start": [0] * len(answers)}}
        for i, (_, answers) in enumerate(rows)
    ]
    theirs = reference(predictions, targets)
    ours = squad_scores(
        {str(i): said for i, (said, _) in enumerate(rows)},
        {str(i): list(answers) for i, (_, answers) in enumerate(rows)},
    )
    assert ours["exact_match"] == pytest.approx(float(theirs["exact_match"]), abs=1e-3)
    assert ours["f1"] == pytest.approx(float(theirs["f1"]), abs=1e-3)
    assert ours["total"] == len(rows)


@given(WORDS, WORDS)
def test_f1_is_symmetric_and_bounded(a, b):
    assert f1(a, b) == f1(b, a)
    assert 0 <= f1(a, b) <= 1
    assert exact_match(a, b) == (normalize_answer(a) == normalize_answer(b))


def test_known_values():
    assert normalize_answer(" The  Eiffel-Tower! ") == "eiffeltower"
    assert f1("deep blue lake", "the blue lake") == pytest.approx(0.8)
    assert exact_match("An apple.", "apple") == 1


def test_a_question_left_out_is_wrong_even_where_there_is_no_answer():
    assert squad_scores({}, {"1": ["x"], "2": []})["f1"] == 0


def test_squad_2_tells_the_groups_apart():
    references = {"1": ["a cat", "dog"], "2": [], "3": ["bird"], "4": []}
    scores = squad_scores({"1": "dog", "2": "", "3": "", "4": "fish"}, references)
    assert scores == {
        "exact_match": 50.0, "f1": 50.0, "total": 4,
        "HasAns_exact": 50.0, "HasAns_f1": 50.0, "HasAns_total": 2,
        "NoAns_exact": 50.0, "NoAns_f1": 50.0, "NoAns_total": 2,
    }  # fmt: skip


def test_squad_1_has_no_groups_and_keeps_answers_of_articles():
    assert squad_scores({"1": "the"}, {"1": ["the", "cat"]}) == {"exact_match": 100.0, "f1": 100.0, "total": 1}


def test_nothing_to_score():
    with pytest.raises(ValueError, match="no questions"):
        squad_scores({}, {})


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10**6), size=st.integers(2, 40), kinds=st.integers(1, 4))
def test_scores_of_classes_are_those_of_scikit_learn(seed, size, kinds):
    from sklearn import metrics as theirs  # it comes with nncf

    chance = np.random.default_rng(seed)
    said, true = chance.integers(0, kinds, size), chance.integers(0, kinds, size)
    assert accuracy(said, true) == pytest.approx(theirs.accuracy_score(true, said))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of one class only
        assert matthews(said, true) == pytest.approx(theirs.matthews_corrcoef(true, said))
        assert class_f1(said % 2, true % 2) == pytest.approx(theirs.f1_score(true % 2, said % 2))


@settings(deadline=None, max_examples=60)
@given(
    pairs=st.lists(
        st.tuples(st.integers(0, 50), st.integers(0, 5) | st.floats(0, 5, width=16)), min_size=3, max_size=30
    )
)
def test_correlations_are_covariances_over_deviations(pairs):
    said, true = (np.array(column, dtype=np.float64) for column in zip(*pairs, strict=True))
    said /= 10
    if np.ptp(said) == 0 or np.ptp(true) == 0:
        assert pearson(said, true) == spearman(said, true) == 0
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of columns that hardly vary
        assert pearson(said, true) == pytest.approx(np.corrcoef(said, true)[0, 1], abs=1e-6)
    ranks = [[(np.sum(part < x) + np.sum(part <= x) + 1) / 2 for x in part] for part in (said, true)]
    assert spearman(said, true) == pytest.approx(np.corrcoef(ranks)[0, 1], abs=1e-9)


@pytest.mark.parametrize(
    ("metric", "said", "true", "value"),
    [
        (matthews, [1, 1, 0, 0, 1], [1, 0, 0, 0, 1], 4 / 6),  # (2 * 2 - 1 * 0) / sqrt(3 * 2 * 2 * 3)
        (matthews, [0, 1, 2, 2], [0, 1, 1, 2], 7 / 10),  # (3 * 4 - 5) / sqrt((16 - 6) * (16 - 6))
        (matthews, [0, 0, 0], [0, 1, 1], 0.0),
        (pearson, [1, 2, 3, 4], [2, 1, 4, 3], 3 / 5),
        (pearson, [1.0, 2.0, 3.0], [0.0, 4.0, 5.0], 5 / 28**0.5),  # 5 / sqrt(2 * 14)
        (pearson, [1, 2, 3], [7, 7, 7], 0.0),
        (spearman, [1, 2, 2, 4], [10, 30, 20, 40], 0.9**0.5),  # 4.5 / sqrt(4.5 * 5)
        (spearman, [1, 1, 1], [1, 2, 3], 0.0),
    ],
)
def test_correlations_computed_by_hand(metric, said, true, value):
    assert metric(np.array(said), np.array(true)) == pytest.approx(value, abs=1e-9)


def test_a_task_s_scores():
    said, true = [1, 1, 0, 0], [1, 0, 0, 1]
    assert task_scores(find_task("mrpc"), said, true) == {"f1": 50.0, "accuracy": 50.0, "n": 4}
    assert task_scores(find_task("cola"), [1, 1], [0, 1]) == {"matthews": 0.0, "n": 2}
    scores = task_scores(find_task("stsb"), np.array([1.0, 2.0, 3.0]), [0.0, 4.0, 5.0])
    assert scores["spearman"] == pytest.approx(100) and 90 < scores["pearson"] < 100
    for said, true in (([], []), ([1], [1, 2])):
        with pytest.raises(ValueError, match="do not fit"):
            task_scores(find_task("sst2"), said, true)


def test_rankings_as_sklearn_scores_them_and_by_hand():
    chance = np.random.default_rng(0)
    scores = [chance.permutation(25).astype(float) for _ in range(9)]
    gains = [np.where(chance.random(25) < 0.2, chance.integers(1, 4, 25), 0).astype(float) for _ in range(9)]
    for worth in gains:
        worth[3] = max(worth[3], 1)
    said = ranking_scores(("recall_at_1", "mrr_at_10", "ndcg_at_10"), scores, gains)
    expected = np.mean([ndcg_score([worth], [score], k=10) for score, worth in zip(scores, gains, strict=True)])
    assert said["ndcg_at_10"] == pytest.approx(100 * expected) and said["n"] == 9
    # Two queries: the relevant one is third of three; two relevant ones of which one is first.
    by_hand = ranking_scores(("recall_at_1", "mrr_at_10"), [[3, 2, 1], [1, 5, 2]], [[0, 0, 1], [0, 1, 1]])
    assert by_hand == {"recall_at_1": 25.0, "mrr_at_10": pytest.approx(100 * (1 / 3 + 1) / 2), "n": 2}
    # Where all score the same nothing was ranked: the relevant passage counts as the last.
    assert ranking_scores(("mrr_at_10",), [[0.5] * 4], [[1, 0, 0, 0]])["mrr_at_10"] == 25.0
    late = ranking_scores(("mrr_at_10", "ndcg_at_10"), [-np.arange(12)], [[0] * 11 + [1]])
    assert late == {"mrr_at_10": 0.0, "ndcg_at_10": 0.0, "n": 1}
    with pytest.raises(ValueError, match="no relevant passage"):
        ranking_scores(("mrr_at_10",), [[1, 2]], [[0, 0]])
