from __future__ import annotations

from zoo.metrics import METRIC_NAMES, listed, scores_of, shown


def test_keys_have_names_for_people():
    assert (shown("f1"), shown("em"), shown("accuracy"), shown("matthews")) == ("F1", "EM", "Accuracy", "Matthews")
    assert shown("exact_match") == "EM" and shown("bleu") == "bleu"
    assert len(set(METRIC_NAMES.values())) == len(METRIC_NAMES)


def test_only_metrics_are_scores_and_the_first_stays_first():
    facts = {"metric": "SQuAD", "n": 10, "pearson": 88, "spearman": 87.5, "f1": "high", "em": True, "pearsonr": None}
    assert list(scores_of(facts).items()) == [("pearson", 88.0), ("spearman", 87.5)]
    assert scores_of({"exact_match": 70, "f1": 80}) == {"em": 70.0, "f1": 80.0}


def test_scores_in_a_line():
    assert listed({"f1": 75.926, "em": 64.5, "n": 3000}) == "F1 75.93, EM 64.50"
    assert listed({"accuracy": 91}, 1) == "Accuracy 91.0" and listed({}) == ""
