"""By how much "no answer" has to score above the best span: an entry's own threshold, and a person's."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
import torch

from tests.ui.page_kit import loops_closed
from tests.zoo.abstaining_kit import PASSAGE, QUESTION, make_silent
from tests.zoo.command_kit import call
from ui.api import add_endpoints
from ui.compare.contest import ask_all
from ui.desk import Desk, Wish
from zoo import catalog, torchvision_fix
from zoo.answers import AS_TRAINED, NoAnswer
from zoo.ask import QuestionAnswerer
from zoo.errors import UserError
from zoo.features import load_tokenizer

torchvision_fix.mend()
import transformers  # noqa: E402

SST2 = "minilm-l6-sst2-length-adaptive-int8"
LONGEST = 30  # tokens of an answer


@pytest.fixture(scope="module")
def able(tiny_model, tmp_path_factory) -> Path:
    """A model that was trained for SQuAD 2, by its name, and says "no answer" of `PASSAGE`."""
    return make_silent(tiny_model, tmp_path_factory.mktemp("able") / "tiny-squad2")


@pytest.fixture(scope="module")
def margin(able) -> float:
    """What its first token scores above the best span, by transformers' logits and every span tried."""
    reference = transformers.AutoModelForQuestionAnswering.from_pretrained(able)
    inputs = load_tokenizer(able)(QUESTION, PASSAGE, return_tensors="pt")
    with torch.no_grad():
        out = reference(**inputs)
    start, end = out.start_logits[0].tolist(), out.end_logits[0].tolist()
    inside = [i for i, part in enumerate(inputs.sequence_ids(0)) if part == 1]
    best = max(start[i] + end[j] for i in inside for j in inside if i <= j < i + LONGEST)
    margin = start[0] + end[0] - best
    assert margin > 0.1
    return margin


def with_own(model: Path, folder: Path, **keys: Any) -> Path:
    """A copy whose `config.json` has these keys."""
    shutil.copytree(model, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **keys}))
    return folder


def test_a_persons_threshold_decides_at_the_margin(able, margin):
    asked = QuestionAnswerer(catalog.find(str(able)), "torch", 1)
    for threshold in (-1e3, -3.0, 0.0, margin - 1e-2, margin + 1e-2, 1e3):
        reply = asked.ask(QUESTION, PASSAGE, no_answer=NoAnswer(threshold=threshold))
        assert reply.no_answer is (margin > threshold), threshold
    assert asked.ask(QUESTION, PASSAGE).no_answer


def test_an_entry_s_own_threshold_holds_wherever_it_answers(able, margin, tmp_path):
    shy = with_own(able, tmp_path / "a" / "tiny-squad2", null_threshold=margin + 1)
    bold = with_own(able, tmp_path / "b" / "tiny-squad2", null_threshold=margin - 1)
    entries = {name: catalog.find(str(name)) for name in (able, shy, bold)}
    assert [entry.null_threshold for entry in entries.values()] == [0.0, margin + 1, margin - 1]
    desk = Desk()
    for name, entry in entries.items():
        wins = margin > entry.null_threshold
        assert desk.ask(entry, "torch", QUESTION, PASSAGE, None).no_answer is wins
        assert desk.reference(entry, "torch", QUESTION, PASSAGE)[0].no_answer is wins
        assert call("ask", name, QUESTION, PASSAGE).startswith("(no answer)") is wins
    pair = ask_all(desk, [(str(shy), 100), (str(bold), 100)], QUESTION, PASSAGE)
    assert [one.reply.no_answer for one in pair] == [False, True]
    assert desk.ask(entries[shy], "torch", QUESTION, PASSAGE, None, NoAnswer(threshold=0)).no_answer


@pytest.mark.parametrize("wrong", ["3", True, [1], "nan"])
def test_a_threshold_in_config_json_that_is_none_is_refused_by_name(able, tmp_path, wrong):
    folder = with_own(able, tmp_path / "tiny-squad2", null_threshold=wrong)
    with pytest.raises(UserError, match=r"tiny-squad2: “null_threshold” in config.json should be a number"):
        catalog.find(str(folder))


def test_thresholds_are_kept_apart_by_caches(able, margin):
    desk, entry = Desk(), catalog.find(str(able))
    asked = [NoAnswer(True, margin + 1), NoAnswer(True, margin - 1), AS_TRAINED, NoAnswer(False)]
    said = [desk.reference(entry, "torch", QUESTION, PASSAGE, each)[0].no_answer for each in asked * 2]
    assert said == [False, True, True, False] * 2
    wishes = {Wish("m", "torch", "macs", 100, QUESTION, PASSAGE, None, each) for each in asked}
    assert len(wishes) == len(asked)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf"), 10**400, "2", True])
def test_what_is_no_threshold_is_refused(wrong):
    with pytest.raises(UserError, match="is a number such as"):
        NoAnswer(True, wrong)


@pytest.fixture(scope="module")
def answer(able) -> Iterator[Any]:
    """The endpoint, over the real desk."""
    with loops_closed(), gr.Blocks() as demo:
        add_endpoints(Desk(), str(able), ("", ""), {})
        yield next(event.fn for event in demo.fns.values() if event.api_name == "answer")


def test_the_endpoint_takes_one(able, answer, margin, tiny_model):
    plain = answer(QUESTION, PASSAGE, engine="torch", compare=True)
    assert plain["no_answer"] and plain["full_length"]["answers"][0]["start"] == -1
    said = answer(QUESTION, PASSAGE, engine="torch", null_threshold=margin + 1, compare=True)
    assert not said["no_answer"] and said["full_length"]["answers"][0]["start"] >= 0 and said["same"]
    assert answer(QUESTION, PASSAGE, engine="torch", null_threshold=margin - 1)["no_answer"]
    for options, sentence in (
        ({"null_threshold": float("nan")}, "number such as"),
        ({"null_threshold": float("-inf")}, "number such as"),
        ({"null_threshold": 1.0, "no_answer": False}, "not allowed"),
        ({"null_threshold": 1.0, "model": SST2}, "endpoint classify"),
        ({"null_threshold": 1.0, "model": str(tiny_model)}, "not trained to say"),
    ):
        with pytest.raises(gr.Error, match=sentence):
            answer(QUESTION, PASSAGE, **{"engine": "torch", **options})
    wanted = {"engine": "torch", "no_answer": True, "null_threshold": -1e3, "compare": True}
    untrained = answer(QUESTION, PASSAGE, str(tiny_model), **wanted)
    assert untrained["no_answer"] and untrained["full_length"]["answers"][0]["start"] == -1


def test_the_command_line_takes_one(able, margin, tiny_model, tmp_path):
    above, below = f"{margin + 1:.3f}", f"{margin - 1:.3f}"
    assert not call("ask", able, QUESTION, PASSAGE, "--null-threshold", above).startswith("(no answer)")
    assert call("ask", able, QUESTION, PASSAGE, "--null-threshold", below).startswith("(no answer)")
    assert call("ask", able, QUESTION, PASSAGE, "--null-threshold", "-7").startswith("(no answer)")
    options = ("--null-threshold", "1")
    for words, sentence in (
        ((able, QUESTION, PASSAGE, "--always-answer", *options), "not allowed"),
        ((tiny_model, QUESTION, PASSAGE, *options), "not trained to say"),
        ((SST2, "Fine.", *options), "“no answer” is for questions"),
        ((SST2, "Fine.", "--npy", tmp_path / "x.npy", *options), "“no answer” is for questions"),
        ((able, QUESTION, PASSAGE, "--null-threshold", "nan"), "number such as"),
    ):
        with pytest.raises(UserError, match=sentence):
            call("ask", *words)
    told = " ".join(call("ask", "--help").split())
    assert "--null-threshold" in told and "in logits: the larger, the more rarely; it may be negative" in told
