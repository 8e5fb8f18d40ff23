"""What checkpoints read, and a real tiny classifier asked as the page asks."""

import pytest

from tests.zoo.classifier_kit import LABELS, OTHER, TEXT, make_entry
from ui import reading, samples
from ui.desk import Desk
from zoo.errors import UserError
from zoo.lengths import LengthConfig
from zoo.measuring import BUDGET, FULL
from zoo.tasks import TASKS, TEXTS

HALF = LengthConfig((0.7, 0.5))


@pytest.mark.parametrize(
    ("labels", "metrics", "first", "second", "button"),
    [
        (["negative", "positive"], {}, "Sentence", "", "Classify"),
        (["NEGATIVE", "POSITIVE"], {}, "Sentence", "", "Classify"),
        (["contradiction", "neutral", "entailment"], {}, "Premise", "Hypothesis", "Classify"),
        (["LABEL_0"], {}, "First sentence", "Second sentence", "Score"),
        (["LABEL_0", "LABEL_1"], {"accuracy": 1.0, "task": "qqp"}, "First question", "Second question", "Classify"),
        (["no", "yes"], {"columns": "claim, source"}, "Claim", "Source", "Classify"),
        (["no", "yes"], {"columns": "claim"}, "Claim", "", "Classify"),
        (["no", "yes"], {"task": "nonsense"}, "Text", "Second text, for pairs", "Classify"),
        (["no", "yes"], {"task": "squad"}, "Text", "Second text, for pairs", "Classify"),
    ],
)
def test_boxes_and_button_follow_the_task_the_columns_or_the_labels(
    make_classifier, labels, metrics, first, second, button
):
    found = reading.reading_of(make_classifier("c", labels, metrics))
    assert (found.first, found.second, found.button) == (first, second, button)
    assert found.optional == (first == "Text") and (found.scale == (0, 5)) == (button == "Score")
    assert all(sample.first and bool(sample.second) == bool(second and first != "Text") for sample in found.samples)


def test_every_text_task_has_something_to_try(make_classifier):
    for task in TASKS.values():
        if task.type is TEXTS:
            found = reading.reading_of(make_classifier(task.name, ["a", "b"], {"task": task.name}))
            assert len(found.samples) >= 3 and all(bool(s.second) == (len(task.columns) == 2) for s in found.samples)
    texts = [text for rows in samples.SAMPLES.values() for row in rows for text in row[1:]]
    assert max(map(len, texts)) < 200


def test_questions_need_a_passage_and_texts_only_what_they_read(make_classifier, entry):
    assert not reading.reading_of(entry).is_whole("q", " ") and reading.reading_of(entry).is_whole("q", "p")
    assert reading.reading_of(make_classifier("one", ["negative", "positive"])).is_whole("t", "")
    assert not reading.reading_of(make_classifier("two", ["LABEL_0"])).is_whole("t", None)
    assert reading.reading_of(make_classifier("any", ["x", "y"])).is_whole("t", "")


@pytest.fixture(scope="module")
def tiny(tiny_model, tmp_path_factory):
    return make_entry(tiny_model, tmp_path_factory.mktemp("zoo"), LABELS)


@pytest.fixture(scope="module")
def real(tiny):
    return Desk(lambda name: tiny)


def test_a_real_classifier_is_asked_compared_and_timed_like_a_questioner(real, tiny, monkeypatch, tmp_path):
    from types import SimpleNamespace

    monkeypatch.setattr("zoo.latency.disturbed", lambda: False)
    monkeypatch.setattr("zoo.latency.get_settings", lambda: SimpleNamespace(home=tmp_path, threads=1))
    monkeypatch.setattr("zoo.measuring.MEASURE_SECONDS", 0.05)
    said = real.ask(tiny, "onnxruntime", f"{TEXT}\x07", OTHER, HALF)
    full, in_float = real.reference(tiny, "onnxruntime", TEXT, OTHER)
    assert in_float and said.texts == (TEXT, OTHER) and said.words in LABELS.values()
    assert isinstance(said.agrees(full), bool) and full.probability
    found = real.measure(tiny, "onnxruntime", TEXT, OTHER, HALF)
    assert found.tokens == said.tokens == [len(said.kept[0].tokens)]
    assert found.timings[BUDGET].p50_ms > 0 and FULL in found.speedups


def test_the_second_text_is_left_out_where_none_is_read(real, tiny):
    assert real.ask(tiny, "torch", TEXT, "", None).tokens == real.runner(tiny, "torch", TEXT, " ", None).tokens
    assert real.ask(tiny, "torch", TEXT, " ", None).texts == (TEXT,)


def test_a_classifier_is_opened_for_as_many_texts_as_it_reads(tiny_model, tmp_path):
    one = make_entry(tiny_model, tmp_path / "one", {"0": "negative", "1": "positive"})
    pair = make_entry(tiny_model, tmp_path / "pair", {"0": "contradiction", "1": "entailment", "2": "neutral"})
    either = make_entry(tiny_model, tmp_path / "either", {"0": "no", "1": "yes"})
    opened = [reading.open_model(entry, "torch") for entry in (one, pair, either)]
    assert [getattr(model, "texts", 0) for model in opened] == [1, 2, None]
    assert [model.prepare(TEXT, OTHER).texts for model in opened] == [(TEXT,), (TEXT, OTHER), (TEXT, OTHER)]
    with pytest.raises(UserError, match="second text is empty"):
        opened[1].prepare(TEXT, " ")
    assert opened[0].prepare(TEXT, "").texts == opened[2].prepare(TEXT, None).texts == (TEXT,)


def test_models_for_questions_stay_what_they_were():
    from zoo import catalog
    from zoo.ask import QuestionAnswerer

    assert isinstance(reading.open_model(catalog.find("minilm-l6-qa"), "torch"), QuestionAnswerer)
