from __future__ import annotations

import pytest

from compress.tasks.metrics import METRICS
from zoo.errors import UserError
from zoo.metrics import METRIC_NAMES
from zoo.tasks import QUESTIONS, TASKS, TEXTS, find_task


def test_every_task_is_whole():
    for name, task in TASKS.items():
        assert task.name == name and task.primary in task.metrics and 1 <= len(task.columns) <= 2
        assert set(task.metrics) <= set(METRIC_NAMES)  # so that people read their names
        if task.is_open:
            assert not task.labels and not task.hub and task.with_labels(["b", "a"]).outputs == (2 - task.regression)
        elif task.type is TEXTS:
            assert set(task.metrics) <= set(METRICS) and task.config
            assert task.outputs == (1 if task.regression else len(task.labels)) and bool(task.labels) != task.regression


def test_names_are_found_however_they_are_spelled():
    assert find_task("SST-2").name == "sst2" and find_task("mnli-mm").validation_split == "validation_mismatched"
    assert find_task("xnli").config == "en" and find_task("xnli:de").config == "de"
    assert find_task("squad_v2").type is QUESTIONS and find_task("stsb").regression
    with pytest.raises(UserError, match="choose one of cola"):
        find_task("wnli")


def test_xnli_is_chosen_on_validation_and_reported_on_test_as_published():
    xnli = find_task("xnli_zh")
    assert [xnli.split(part) for part in ("train", "validation", "evaluation")] == ["train", "validation", "test"]
    mnli = find_task("mnli")
    assert mnli.split("evaluation") == mnli.split("validation") == "validation_matched"


def test_a_checkpoint_s_labels_may_come_in_another_order():
    mnli = find_task("mnli")
    assert mnli.order_of(["CONTRADICTION", "neutral", "Entailment"]) == [2, 1, 0]
    assert mnli.order_of(["LABEL_0", "LABEL_1", "LABEL_2"]) is None, "no name, no order"
    assert mnli.may_have(["LABEL_0", "1", "class_2"]) and not mnli.may_have(["LABEL_0", "LABEL_1"])
    assert find_task("rte").order_of(["Not-Entailment", "entailment"]) == [1, 0]
    assert mnli.order_of(["no", "yes", "maybe"]) is None and mnli.order_of(["entailment", "neutral"]) is None
    assert find_task("stsb").order_of(["whatever"]) == [0]


def test_labels_that_differ_by_spelling_alone_are_told_apart():
    mine = find_task("labels").with_labels(["Positive", "positive", "negative"])
    assert mine.order_of(["positive", "negative", "Positive"]) == [2, 0, 1]
    assert mine.order_of(["POSITIVE", "positive", "negative"]) is None, "which of them is which nobody says"
    assert find_task("labels").with_labels(["Positive", "negative"]).order_of(["NEGATIVE", "positive"]) == [1, 0]
