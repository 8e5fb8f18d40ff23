"""What each task of Explore opens with, and in which order they stand."""

from __future__ import annotations

from tests.ui.page_kit import Driver


def test_tasks_stand_by_use_and_classifying_opens_with_one_sentence(built):
    p, select = built.explore.parts, built.explore.selecting
    assert [name for name, _ in p.task.choices] == [
        "questions",
        "classify text",
        "likeness of texts",
        "rank passages",
        "label words",
    ]
    to = Driver(built.demo, p).send(select.select_task, task="classification", reading="qa")
    assert to[p.model]["value"] == "minilm-l6-sst2-length-adaptive-int8"
    assert (to[p.question]["label"], to[p.passage]["visible"], to[p.passage]["value"]) == ("Sentence", False, "")
    back = Driver(built.demo, p).send(select.select_task, task="qa", reading="sst2")
    assert back[p.model]["value"] == "minilm-l6-qa-length-adaptive-int8"
