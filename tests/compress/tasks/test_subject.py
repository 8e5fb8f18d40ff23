"""What a recipe is about: which examples a split holds, what is kept out of training, what data are called."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from compress.data import texts
from compress.data.names import HELD_PART, data_name
from compress.data.texts import TextExample
from compress.recipe.load import load
from compress.tasks.metrics import squad_scores
from compress.tasks.subject import Reading
from compress.tasks.subjects import subject_for, subject_of
from zoo.ask import predict
from zoo.engines.base import EngineOutput
from zoo.errors import UserError
from zoo.features import load_tokenizer
from zoo.tasks import QUESTIONS, TEXTS

NO_TITLES = ["dataset.titles=null", "dataset.validation_titles=null", "dataset.evaluation_titles=null"]


def questions(tiny_data, *changes: str) -> Any:
    sources = [f"dataset.{part}={getattr(tiny_data, part)}" for part in ("train", "validation", "evaluation")]
    return load("length_adaptive_tiny", [*sources, *NO_TITLES, *changes])


def about(glue, *changes: str) -> Any:
    return load("length_adaptive_sst2", [f"dataset.train={glue}", f"dataset.evaluation={glue}", *changes])


def test_parts_of_questions(tiny_data):
    subject = subject_of(questions(tiny_data))
    assert (subject.primary, subject.noun, subject.padded) == ("f1", "questions", 384)
    assert len(subject.load("train")) == 25
    some = subject.load("validation", 4, 1)
    assert some == subject.load("validation", 4, 1) != subject.load("validation", 4, 2) and len(some) == 4
    assert len(subject_of(questions(tiny_data, "dataset.max_train_examples=7")).load("train")) == 7
    with pytest.raises(ValueError, match="no split"):
        subject.load("test")


def test_all_windows_of_questions_become_samples_with_keys(tiny_data, tiny_model):
    subject, tokenizer = subject_of(questions(tiny_data)), load_tokenizer(tiny_model)
    examples = subject.load("train")
    made = subject.samples(tokenizer, examples)
    assert len({sample.key for sample in made}) == len(made) == len(subject.windows(tokenizer, examples))
    nothing = [replace(e, answers=[], impossible=True) for e in examples]
    second = subject_of(questions(tiny_data, "dataset.task=squad_v2"))
    for about_it, what in ((subject, []), (subject, nothing), (second, nothing)):
        with pytest.raises(UserError, match="has an answer"):
            about_it.samples(tokenizer, what)
    assert len(second.samples(tokenizer, [*nothing, examples[0]])) > len(nothing)
    lost = [replace(examples[0], context="word " * 400, answers=[{"text": " ", "answer_start": 4}])]
    with pytest.raises(UserError, match="no usable question"):
        subject.samples(tokenizer, lost)


def test_of_texts_nothing_is_learned_that_is_chosen_or_reported_by(glue):
    recipe = about(glue)
    subject = subject_of(recipe)
    held, reported, learned = (subject.load(part) for part in ("validation", "evaluation", "train"))
    whole = texts.load_texts(subject.task, glue, "train")
    known = subject.fingerprints(held) | subject.fingerprints(reported)
    assert [e for e in whole if not texts.fingerprint([e]) & known] == learned
    assert 0 < len(held) < 4 * len(whole) / HELD_PART and subject.everything_learned() == subject.fingerprints(learned)
    plain = subject_of(about(glue, f"dataset.validation={glue}"))
    assert {e.id for e in plain.load("train")} > {e.id for e in learned}, "what was held out is learned where it may be"
    assert len(subject_of(about(glue, "dataset.max_train_examples=9")).load("train")) == 9
    with pytest.raises(UserError, match="were trained on"):
        subject.refuse_overlap(subject.fingerprints(learned[:1]), learned)


def test_what_is_reported_on_is_not_chosen_by_either(glue, tmp_path):
    held = subject_of(about(glue)).load("validation")
    row = {"sentence": held[0].first, "label": held[0].label, "idx": 0}
    (tmp_path / "reported.jsonl").write_text(json.dumps(row) + "\n")
    subject = subject_of(about(glue, f"dataset.evaluation={tmp_path / 'reported.jsonl'}"))
    left, known = subject.load("validation"), subject.fingerprints(subject.load("evaluation"))
    assert 0 < len(left) < len(held) and not subject.fingerprints(left) & known
    assert not subject.fingerprints(subject.load("train")) & known


def test_data_that_are_all_reported_on_teach_nothing(glue):
    file = glue / "sst2" / "train.jsonl"
    with pytest.raises(UserError, match="Take other data"):
        subject_of(about(glue, f"dataset.evaluation={file}")).load("train")


def test_what_is_only_calibrated_with_stays_whole(glue):
    recipe = load("static_int8", ["dataset.task=sst2", f"dataset.train={glue}", f"dataset.evaluation={glue}"])
    assert len(subject_of(recipe).load("train")) == 161
    assert subject_of(recipe).load("validation") == subject_of(recipe).load("train"), "it has none of its own"


def test_the_hub_s_own_data_are_meant_by_a_word(monkeypatch):
    seen: list[tuple[Any, ...]] = []
    monkeypatch.setattr(texts, "load_texts", lambda *asked: seen.append(asked) or [TextExample("1", "a", None, 1)])
    recipe = load("static_int8", ["dataset.task=mnli", "dataset.train=null", "dataset.evaluation=hub"])
    subject = subject_of(recipe)
    subject.load("train")
    subject.load("evaluation")
    assert [asked[1:3] for asked in seen] == [(None, "train"), (None, "validation_matched")]
    named = subject.description(9815)
    assert (named["dataset"], named["split"]) == ("budget-zoo-examples", "validation_matched")
    assert load("static_int8", ["dataset.task=mnli"]).dataset.train == "hub", "the bundled examples are questions"


def test_xnli_of_the_hub_is_reported_on_test_and_chosen_on_validation(monkeypatch):
    seen: list[tuple[Any, ...]] = []
    monkeypatch.setattr(texts, "load_texts", lambda *asked: seen.append(asked) or [TextExample("1", "a", None, 1)])
    data = ["dataset.train=hub", "dataset.validation=hub", "dataset.evaluation=hub"]
    recipe = load("nncf_xnli_zh", data)
    subject = subject_of(recipe)
    subject.part("validation")
    subject.part("evaluation")
    subject_for("xnli_zh").read("hub")
    assert [asked[2] for asked in seen] == ["validation", "test", "test"]
    assert subject.description(5010)["split"] == "test" and "remark" in subject.description(5009)
    assert data_name(recipe.dataset, "evaluation") == "XNLI (zh): facebook/xnli (zh, test)"


def test_data_are_called_by_their_names(glue, tiny_data):
    bare = ["evaluate.dataset_name=null", "evaluate.dataset_split=null"]
    named = subject_of(about(glue, *bare)).description(872)
    assert named == {"metric": "SST-2", "task": "sst2", "dataset": "glue", "config": "sst2", "columns": "sentence"}
    assert "872" in subject_of(about(glue, *bare)).description(25)["remark"]
    asked = subject_of(questions(tiny_data)).description(10)
    assert asked == {"metric": "SQuAD 1.1", "task": "squad", "dataset": "evaluation.json"}
    again = subject_of(questions(tiny_data, "dataset.task=squad_v2", "dataset.evaluation=hub")).description(10)
    assert again["metric"] == "SQuAD 2.0" and again["dataset"] == "rajpurkar/squad_v2"


class Silent:
    """An engine that would rather say that there is no answer, and else takes the second token from the end."""

    name, layers = "silent", 2

    def run(self, batch, lengths):
        logits = np.zeros((*batch["input_ids"].shape, 2), np.float32)
        logits[:, 0] = 9
        for row, count in enumerate(batch["attention_mask"].sum(1)):
            logits[row, count - 2] = 5
        return EngineOutput(logits)


def test_a_span_is_asked_for_where_every_question_has_an_answer(tiny_data, tiny_model, tmp_path):
    """A model that learned to say that there is none is scored on SQuAD 1.1 as any other is."""
    tokenizer = load_tokenizer(tiny_model)
    whole = json.loads(tiny_data.evaluation.read_text())
    whole["data"][0]["paragraphs"][0]["qas"][0] |= {"is_impossible": True, "answers": []}
    second = tmp_path / "second.json"
    second.write_text(json.dumps(whole))
    for file, metric in ((tiny_data.evaluation, "SQuAD 1.1"), (second, "SQuAD 2.0")):
        subject = subject_of(questions(tiny_data, "dataset.version_2=true", f"dataset.evaluation={file}"))
        examples = subject.load("evaluation")
        scores = subject.score(Silent(), tokenizer, examples, settings={"squad_v2": True})
        assert subject.description(10)["metric"] == metric
        if metric == "SQuAD 1.1":
            spans = predict(Silent(), tokenizer, [(e.question, e.context) for e in examples])  # a span each
            right = {e.id: [answer["text"] for answer in e.answers] for e in examples}
            said = {e.id: span.text for e, span in zip(examples, spans, strict=True)}
            assert all(said.values()) and scores["f1"] == squad_scores(said, right)["f1"]
            assert "NoAns_f1" not in scores
        else:
            assert scores["NoAns_f1"] == 100 and scores["HasAns_f1"] == 0 and scores["f1"] == 10


class Oracle:
    """An engine that takes a text of more than five tokens for class 1."""

    name, layers = "oracle", 2

    def run(self, batch, lengths):
        said = np.where(batch["attention_mask"].sum(1) > 5, 1.0, -1.0).astype(np.float32)
        return EngineOutput(np.stack([-said, said], 1))


def test_labels_are_compared_by_their_names(tiny_model):
    subject, tokenizer = subject_for("sst2"), load_tokenizer(tiny_model)
    examples = [TextExample("1", "the", None, 0), TextExample("2", "the of and in is the", None, 1)]
    assert subject.score(Oracle(), tokenizer, examples) == {"accuracy": 100.0, "n": 2}
    turned = {"id2label": {"0": "positive", "1": "negative"}}
    assert subject.score(Oracle(), tokenizer, examples, settings=turned)["accuracy"] == 0.0
    with pytest.raises(UserError, match="trained for the task"):
        subject.score(Oracle(), tokenizer, examples, settings={"id2label": {"0": "toxic", "1": "fine"}})


def test_a_head_that_fits_is_kept_and_another_is_drawn(tiny_model, tmp_path):
    import torch

    torch.manual_seed(0)
    model = subject_for("sst2").load_model(tiny_model, 0.1, length_drop_layers=[1])
    assert (model.head, model.classifier.out_features, model.drop_layers, model.dropout) == (
        TEXTS,
        2,
        (1,),
        0.1,
    )
    assert model.keep_first and model.config["id2label"] == {"0": "negative", "1": "positive"}
    model.save(tmp_path)
    again = subject_for("sst2").load_model(tmp_path)
    torch.testing.assert_close(again.classifier.weight, model.classifier.weight)
    assert subject_for("stsb").load_model(tmp_path).classifier.out_features == 1
    assert subject_for("squad").load_model(tmp_path).head is QUESTIONS
    assert subject_for("squad_v2").load_model(tiny_model).keep_first


def test_windows_are_as_long_as_is_read(tiny_model):
    tokenizer, long = load_tokenizer(tiny_model), [TextExample("1", "the " * 300, None, 0)]
    lengths = [len(subject_for("sst2", n).windows(tokenizer, long)[0].input_ids) for n in (128, 40)]
    assert lengths == [128, 40]
    made = subject_of(load("length_adaptive_sst2"), Reading(max_length=64, stride=0)).samples(tokenizer, long)
    assert len(made[0].window.input_ids) == 64 and made[0].label == 0 and made[0].key == "1"
