"""What a classifier says: several labels at once, one of them, a probability or a score, as transformers has it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from compress.results.score import score_entry
from ui.explore.labels import draw_labels
from ui.reading import reading_of
from ui.replies import describe_verdict
from zoo import card, catalog, torchvision_fix
from zoo.answers import NO_LABEL, Label, Reply
from zoo.classify import TextClassifier
from zoo.errors import UserError
from zoo.features import load_tokenizer
from zoo.rank import PassageRanker

torchvision_fix.mend()
import transformers  # noqa: E402

TEXT = "The Angara is the only river that leaves the lake."
SEVERAL = {"problem_type": "multi_label_classification", "id2label": {0: "toxic", 1: "insult", 2: "threat"}}
SIGMOID = "torch.nn.modules.activation.Sigmoid"
IDENTITY = "torch.nn.modules.linear.Identity"


def made(tiny_model: Path, folder: Path, outputs: int, **settings: Any) -> Path:
    """A random classifier that transformers saves with these settings."""
    torch.manual_seed(2)
    config = transformers.BertConfig.from_pretrained(tiny_model, num_labels=outputs)
    model = transformers.BertForSequenceClassification(config)
    with torch.no_grad():
        model.classifier.weight.mul_(3)
    model.save_pretrained(folder)
    load_tokenizer(tiny_model).save_pretrained(str(folder))
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))
    return folder


def pipeline(folder: Path, **options: Any) -> dict[str, float]:
    """What transformers' own pipeline says, by label."""
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder)
    pipe = transformers.TextClassificationPipeline(model=model, tokenizer=load_tokenizer(folder))  # type: ignore[arg-type]
    return {row["label"]: row["score"] for row in pipe(TEXT, top_k=None, **options)}


def verdict_of(folder: Path) -> Reply:
    return TextClassifier(catalog.find(str(folder)), "torch", 1).classify(TEXT)


def test_several_labels_have_a_sigmoid_each_in_page_api_and_card(tiny_model, tmp_path):
    folder = made(tiny_model, tmp_path / "toxic", 3, **SEVERAL)
    verdict, right = verdict_of(folder), pipeline(folder)
    assert {one.name: one.probability for one in verdict.labels} == pytest.approx(right, abs=1e-5)
    assert sum(right.values()) != pytest.approx(1, abs=0.05), "they do not add up to 1"
    held = {name for name, chance in right.items() if chance > 0.5}
    assert 0 < len(held) < 3 and {one.name for one in verdict.chosen} == held
    told = describe_verdict(verdict)
    assert told["multi_label"] and set(told["chosen"]) == held
    assert {one["label"]: one["probability"] for one in told["labels"]} == pytest.approx(right, abs=1e-5)
    assert draw_labels(verdict, verdict).count('class="label best"') == len(held)
    entry = catalog.find(str(folder))
    text = card.render(entry)
    assert "several may hold at once" in text and "logits.sigmoid()" in text and "argmax" not in text
    assert reading_of(entry).optional, "of no task that has one label a text"


def test_several_labels_are_not_scored_as_one(tiny_model, tmp_path):
    folder = made(tiny_model, tmp_path / "toxic", 3, **SEVERAL)
    with pytest.raises(UserError, match="gives toxic, insult, threat.*Several of them may hold at once"):
        score_entry(str(folder), "hub", task="mnli")


@pytest.mark.parametrize(
    "stated",
    [{"sentence_transformers": {"activation_fn": IDENTITY}}, {"sbert_ce_default_activation_function": IDENTITY}],
)
def test_a_cross_encoder_of_the_hub_ranks_by_its_output_as_it_is(tiny_model, tmp_path, stated):
    folder, lines = (
        made(tiny_model, tmp_path / "ranker", 1, **stated),
        ("Baikal is deep.", "Who?", "A river leaves it."),
    )
    entry = catalog.find(str(folder))
    assert (entry.task, reading_of(entry).first) == ("ranking", "Query")
    matches = PassageRanker(entry, "torch", 1).ask(TEXT, "\n".join(lines)).matches
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        scores = [float(model(**load_tokenizer(folder)(TEXT, line, return_tensors="pt")).logits) for line in lines]
    assert [match.text for match in matches] == [lines[i] for i in sorted(range(3), key=lambda i: -scores[i])]
    assert [match.score for match in matches] == pytest.approx(sorted(scores, reverse=True), abs=1e-5)


def test_no_label_and_two_labels_at_once_are_said():
    def reply(*chances: float) -> Reply:
        rows = [Label(name, i, 0.0, chance) for i, (name, chance) in enumerate(zip("abc", chances, strict=True))]
        return Reply((), [], [], 1.0, labels=sorted(rows, key=lambda row: -row.probability), several=True)

    both, none = reply(0.9, 0.2, 0.7), reply(0.1, 0.2, 0.3)
    assert (both.words, both.probability) == ("a, c", None) and (none.words, none.probability) == (NO_LABEL, None)
    assert both.agrees(reply(0.6, 0.4, 0.8)) and not both.agrees(none) and none.agrees(reply(0.0, 0.0, 0.4))
    assert reply(0.1, 0.8, 0.3).probability == 0.8


@pytest.mark.parametrize(
    ("settings", "apply"),
    [
        ({"sentence_transformers": {"activation_fn": SIGMOID}}, "sigmoid"),
        ({"sbert_ce_default_activation_function": SIGMOID}, "sigmoid"),
        ({"problem_type": "regression"}, "none"),
        ({"problem_type": "regression", "sentence_transformers": {"activation_fn": IDENTITY}}, "none"),
        ({"problem_type": "regression", "sentence_transformers": {"activation_fn": SIGMOID}}, "sigmoid"),
    ],
)
def test_one_output_is_a_probability_or_a_score_as_the_configuration_says(tiny_model, tmp_path, settings, apply):
    folder = made(tiny_model, tmp_path / "reranker", 1, **settings)
    (right,) = pipeline(folder, function_to_apply=apply).values()
    verdict, entry = verdict_of(folder), catalog.find(str(folder))
    assert verdict.score == pytest.approx(right, abs=1e-5) and not verdict.labels and not verdict.notices
    kind = "probability" if apply == "sigmoid" else "score"
    text = card.render(entry)
    assert f"it gives a {kind}" in text and ("sigmoid()" in text) == (kind == "probability")
    assert (reading_of(entry).scale == (0.0, 1.0)) == (kind == "probability")


def test_one_output_that_nothing_is_said_of_is_shown_as_it_comes_and_told(tiny_model, tmp_path):
    folder = made(tiny_model, tmp_path / "mute", 1)
    (right,) = pipeline(folder, function_to_apply="none").values()
    verdict = verdict_of(folder)
    assert (
        verdict.score == pytest.approx(right, abs=1e-5) and "does not say what its one output is" in verdict.notices[0]
    )


def test_one_of_several_labels_keeps_its_softmax(tiny_model, tmp_path):
    folder = made(tiny_model, tmp_path / "plain", 3)
    verdict = verdict_of(folder)
    assert {one.name: one.probability for one in verdict.labels} == pytest.approx(pipeline(folder), abs=1e-5)
    assert len(verdict.chosen) == 1 and not verdict.several
