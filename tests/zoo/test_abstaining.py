"""SQuAD-2 checkpoints: "no answer" may win wherever one was trained for it, or a person says so."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from compress.int8.graph import loader
from compress.recipe.load import load
from compress.results.score import score_entry
from tests.zoo.abstaining_kit import PASSAGE, QUESTION, make_silent
from ui.desk import Desk
from zoo import catalog, torchvision_fix
from zoo.abstaining import may_abstain
from zoo.answers import NoAnswer
from zoo.ask import QuestionAnswerer
from zoo.classify import TextClassifier
from zoo.errors import UserError
from zoo.features import load_tokenizer
from zoo.lengths import LengthConfig

torchvision_fix.mend()
import transformers  # noqa: E402

TAGGED = "---\nlicense: mit\ndatasets:\n- rajpurkar/squad_v2\n---\n# A model\n"


@pytest.fixture(scope="module")
def silent(tiny_model, tmp_path_factory) -> Path:
    """A model whose first token beats every span."""
    return make_silent(tiny_model, tmp_path_factory.mktemp("silent") / "model")


@pytest.mark.parametrize(
    ("config", "name", "card", "able"),
    [
        ({}, "deepset/roberta-base-squad2", "", True),
        ({}, "/models/bert_squad_v2.0", "", True),
        ({"_name_or_path": "someone/distilbert-SQuAD-v2"}, "runs/mine", "", True),
        ({}, "runs/mine", TAGGED, True),
        ({}, "runs/mine", "---\ndatasets: squad_v2\n---\n", True),
        ({"squad_v2": False}, "deepset/roberta-base-squad2", TAGGED, False),
        ({"squad_v2": True}, "runs/mine", "", True),
        ({}, "squad2/model", "", False),
        ({}, "bert-base-squad", "---\ndatasets:\n- rajpurkar/squad\n---\nBetter than squad_v2 models.\n", False),
        ({}, "bert-squad-256", "---\n: not [yaml\n---\n", False),
        ({}, "distilbert-squad25", "", False),
    ],
)
def test_what_a_checkpoint_tells(config, name, card, able):
    assert may_abstain(config, name, card) is able


def test_no_answer_may_win_where_the_checkpoint_was_trained_for_it(silent, tmp_path):
    """The null score is the sum of both logits at the first token, as transformers gives them."""
    shutil.copytree(silent, tmp_path / "tiny-squad2")
    able = QuestionAnswerer(catalog.find(str(tmp_path / "tiny-squad2")), "torch", 1)
    plain = QuestionAnswerer(catalog.find(str(silent)), "torch", 1)
    assert able.ask(QUESTION, PASSAGE).no_answer and not plain.ask(QUESTION, PASSAGE).no_answer
    assert plain.ask(QUESTION, PASSAGE, no_answer=NoAnswer(True)).no_answer
    assert not able.ask(QUESTION, PASSAGE, no_answer=NoAnswer(False)).no_answer
    reference = transformers.AutoModelForQuestionAnswering.from_pretrained(silent)
    with torch.no_grad():
        out = reference(**load_tokenizer(silent)(QUESTION, PASSAGE, return_tensors="pt"))
    null = next(a for a in able.ask(QUESTION, PASSAGE).answers if a.start < 0)
    assert null.score == pytest.approx(float(out.start_logits[0, 0] + out.end_logits[0, 0]), abs=1e-3)
    cut = plain.ask(QUESTION, PASSAGE, LengthConfig((0.5, 0.5)), no_answer=NoAnswer(True))
    assert any("may drop at this budget" in notice for notice in cut.notices)


def test_a_person_s_switch_reaches_the_model_from_page_and_api(silent):
    desk, entry = Desk(), catalog.find(str(silent))
    assert not desk.ask(entry, "torch", QUESTION, PASSAGE, None).no_answer
    assert desk.ask(entry, "torch", QUESTION, PASSAGE, None, no_answer=NoAnswer(True)).no_answer
    replies = [
        desk.reference(entry, "torch", QUESTION, PASSAGE, NoAnswer(able))[0].no_answer for able in (None, True, False)
    ]
    assert replies == [False, True, False], "what is kept of an input is kept apart"


def test_a_classifier_is_not_asked_for_no_answer():
    with pytest.raises(UserError, match="“no answer” is for questions"):
        TextClassifier(catalog.find("minilm-l6-sst2-length-adaptive-int8")).ask(
            "A text", None, no_answer=NoAnswer(True)
        )


def write(path: Path, answerable: bool) -> Path:
    answers = [{"text": "Angara", "answer_start": 4}] if answerable else []
    qa = {"id": "1", "question": QUESTION, "answers": answers, "is_impossible": not answerable}
    path.write_text(json.dumps({"data": [{"paragraphs": [{"context": PASSAGE, "qas": [qa]}]}]}))
    return path


def test_scoring_hears_what_the_checkpoint_tells_and_the_person(silent, tmp_path):
    """The one question has no answer: "no answer" has an F1 of 100, any span one of 0."""
    file = str(write(tmp_path / "none.json", answerable=False))
    shutil.copytree(silent, tmp_path / "tiny-squad2")
    able, plain = str(tmp_path / "tiny-squad2"), str(silent)
    scored = {name: score_entry(path, file) for name, path in (("able", able), ("plain", plain))}
    assert (scored["able"]["task"], scored["able"]["f1"]) == ("squad_v2", 100)
    assert (scored["plain"]["task"], scored["plain"]["f1"]) == ("squad", 0)
    assert score_entry(plain, file, task="squad_v2")["f1"] == 100 and score_entry(able, file, task="squad")["f1"] == 0


def test_what_is_made_of_it_stays_able_and_what_learns_otherwise_does_not(silent, tmp_path):
    shutil.copytree(silent, tmp_path / "tiny-squad2")
    recipe = load("static_int8", [f"model={tmp_path / 'tiny-squad2'}"])
    made = loader(recipe)(tmp_path / "tiny-squad2")
    assert made.config["squad_v2"] is True and made.keep_first
    assert "squad_v2" not in loader(load("static_int8", [f"model={silent}"]))(silent).config
