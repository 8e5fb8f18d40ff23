from __future__ import annotations

from zoo.metrics import METRIC_NAMES, counted, is_few, listed, metric_name, scored, scores_of, timed_on, whole


def test_keys_have_names_for_people():
    assert [*map(metric_name, ("f1", "em", "accuracy", "matthews"))] == ["F1", "EM", "Accuracy", "Matthews"]
    assert metric_name("exact_match") == "EM" and metric_name("bleu") == "bleu"
    assert len(set(METRIC_NAMES.values())) == len(METRIC_NAMES)


def test_only_metrics_are_scores_and_the_first_stays_first():
    facts = {"metric": "SQuAD", "n": 10, "pearson": 88, "spearman": 87.5, "f1": "high", "em": True, "pearsonr": None}
    assert list(scores_of(facts).items()) == [("pearson", 88.0), ("spearman", 87.5)]
    assert scores_of({"exact_match": 70, "f1": 80}) == {"em": 70.0, "f1": 80.0}


def test_scores_in_a_line():
    assert listed({"f1": 75.926, "em": 64.5, "n": 3000}) == "F1 75.93, EM 64.50"
    assert listed({"accuracy": 91}, 1) == "Accuracy 91.0" and listed({}) == ""


def test_a_score_stands_with_its_count_and_few_are_marked():
    assert scored("f1", 82.708, 10_570) == "F1 82.7 (n = 10,570)"
    assert scored("accuracy", 91.25, 40, 2) == "Accuracy 91.25 (n = 40, few)"
    assert counted(None) == "n not stated" and counted(200) == "n = 200"
    assert [is_few(n) for n in (None, 0, 199, 200)] == [False, True, True, False]


def test_a_count_is_one_whatever_a_file_says():
    counts = [whole(value) for value in (40, 40.0, True, "40", -1, float("nan"), 1e300, None)]
    assert counts == [40, 40, None, None, None, None, None, None]


def test_how_a_latency_was_measured_is_said_as_far_as_it_is_stated():
    stamp = {"latency_tokens": 384, "threads": 1, "cpu": "A CPU", "vnni": True, "amx": True, "disturbed": False}
    assert timed_on(stamp) == "384 tokens, 1 thread, A CPU with AMX, undisturbed"
    assert timed_on({**stamp, "amx": False, "threads": 2, "disturbed": True}) == (
        "384 tokens, 2 threads, A CPU with VNNI, the machine was busy"
    )
    assert timed_on({"cpu": "A CPU", "threads": "many"}) == "A CPU" and timed_on({}) == ""
