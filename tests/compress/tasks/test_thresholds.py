"""Scores at a threshold of "no answer", against answers decided by hand and torchmetrics' F1."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from compress.__main__ import app
from compress.results.score import score_entry
from compress.tasks.subject import Asked
from compress.tasks.subjects import subject_for
from tests.zoo.abstaining_kit import make_silent
from zoo import catalog, torchvision_fix
from zoo.ask import QuestionAnswerer
from zoo.engines.base import EngineOutput
from zoo.errors import UserError
from zoo.features import load_tokenizer

torchvision_fix.mend()
from torchmetrics.functional.text import squad  # noqa: E402

CONTEXT = "The deep lake of Baikal lies in Russia and freezes in month 1."
WORDS = [None, "1", None, "lake", "Russia", None, "Baikal", "deep"]  # gold answers, None: unanswerable


class Margins:
    """An engine that scores its first token above its one good span, the number at the end, as the question says."""

    name, layers = "margins", 2

    def __init__(self, tokenizer: Any):
        self.tokenizer = tokenizer

    def run(self, batch, lengths):
        logits = np.full((*batch["input_ids"].shape, 2), -50, np.float32)
        for row, ids in enumerate(batch["input_ids"]):
            count = int(batch["attention_mask"][row].sum())
            logits[row, 0] = margin_of(self.tokenizer.decode(ids[:count].tolist())) / 2
            logits[row, count - 3] = 0.0  # before the full stop and [SEP]
        return EngineOutput(logits)


def margin_of(text: str) -> float:
    """A number for a question: as many as its words `the`, less 4."""
    return text.split("[SEP]")[0].lower().count(" the") - 4.0


def examples(folder: Path) -> Path:
    """Questions of margins -4 to -1 and 1 to 4, half of them without an answer."""
    qas = []
    for i, word in enumerate(WORDS):
        answers = [{"text": word, "answer_start": CONTEXT.index(word)}] if word else []
        question = " ".join(["what", *["the"] * (i + (i > 3))]) + "?"
        qas.append({"id": str(i), "question": question, "answers": answers, "is_impossible": not answers})
    path = folder / "questions.json"
    path.write_text(json.dumps({"data": [{"paragraphs": [{"context": CONTEXT, "qas": qas}]}]}))
    return path


def f1_of(said: list[str]) -> float:
    """By torchmetrics."""
    predictions = [{"id": str(i), "prediction_text": text} for i, text in enumerate(said)]
    targets = [{"id": str(i), "answers": {"text": [word or ""], "answer_start": [0]}} for i, word in enumerate(WORDS)]
    return float(squad(predictions, targets)["f1"])


@pytest.mark.parametrize(("threshold", "silent"), [(-3.0, 6), (0.0, 4), (3.0, 1), (None, 4)])
def test_questions_above_the_threshold_have_no_answer(tiny_model, tmp_path, threshold, silent):
    subject, tokenizer = subject_for("squad_v2"), load_tokenizer(tiny_model)
    asked = subject.read(str(examples(tmp_path)))
    margins = [i + (i > 3) - 4.0 for i in range(len(WORDS))]  # -4 to -1 and 1 to 4
    said = ["" if margin > (threshold or 0) else "1" for margin in margins]
    assert said.count("") == silent
    settings = {} if threshold is None else {"null_threshold": threshold}
    scores = subject.score(Margins(tokenizer), tokenizer, asked, settings=settings)
    assert scores["f1"] == pytest.approx(f1_of(said), abs=1e-3)
    right = [not text for text, word in zip(said, WORDS, strict=True) if word is None]
    assert scores["NoAns_f1"] == pytest.approx(100 * sum(right) / len(right))


@pytest.fixture(scope="module")
def able(tiny_model, tmp_path_factory) -> Path:
    return make_silent(tiny_model, tmp_path_factory.mktemp("able") / "tiny-squad2")


@pytest.fixture(scope="module")
def middle(able, tmp_path_factory) -> tuple[float, list[str], Path]:
    """A threshold between the margins of two questions, what is said at it, and the questions.

    Answers are those that the entry ranks highest, "no answer" and spans apart, compared here by hand.
    """
    file = examples(tmp_path_factory.mktemp("data"))
    opened, rows = QuestionAnswerer(catalog.find(str(able)), "torch", 1), []
    for each in json.loads(file.read_text())["data"][0]["paragraphs"][0]["qas"]:
        answers = opened.ask(each["question"], CONTEXT, n_best=1000).answers
        null, span = (next(a for a in answers if (a.start < 0) is is_null) for is_null in (True, False))
        rows.append((null.score - span.score, span.text))
    ranked = sorted(margin for margin, _ in rows)
    threshold = (ranked[3] + ranked[4]) / 2
    assert ranked[4] - ranked[3] > 1e-4
    return threshold, ["" if margin > threshold else text for margin, text in rows], file


def test_an_entry_is_scored_at_its_own_threshold_and_at_a_persons(able, middle, tmp_path):
    threshold, said, file = middle
    by_person = score_entry(str(able), str(file), task=Asked(null_threshold=threshold), engine="torch")
    assert by_person["f1"] == pytest.approx(f1_of(said), abs=1e-3) and by_person["null_threshold"] == threshold
    plain = score_entry(str(able), str(file), engine="torch")
    assert plain["null_threshold"] == 0.0
    never = score_entry(str(able), str(file), task=Asked("squad_v2", null_threshold=1e3), engine="torch")
    assert never["NoAns_f1"] == 0.0
    config = json.loads((able / "config.json").read_text())
    (able / "config.json").write_text(json.dumps({**config, "null_threshold": threshold}))
    try:
        assert score_entry(str(able), str(file), engine="torch") == {**by_person, "machine": by_person["machine"]}
        back = score_entry(str(able), str(file), task=Asked(null_threshold=0), engine="torch")
        assert back["f1"] == plain["f1"] and back["null_threshold"] == 0
    finally:
        (able / "config.json").write_text(json.dumps(config))


def test_the_command_line_scores_at_one(able, middle, tiny_model, tmp_path):
    threshold, said, file = middle
    words = ["evaluate", "--entry", able, "--eval-file", file, "--json", tmp_path / "scores.json", "--engine", "torch"]

    def call(*more: object) -> None:
        CliRunner().invoke(app, [str(word) for word in (*words, *more)], catch_exceptions=False)

    call("--null-threshold", threshold)
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["f1"] == pytest.approx(f1_of(said), abs=1e-3) and scores["null_threshold"] == threshold
    with pytest.raises(UserError, match="number such as"):
        call("--null-threshold", "inf")
    with pytest.raises(UserError, match="name the task squad_v2 as well"):
        call("--entry", tiny_model, "--null-threshold", "1")
    with pytest.raises(UserError, match="“no answer” is for questions"):
        call("--entry", "minilm-l6-sst2-length-adaptive-int8", "--null-threshold", "1")
    told = " ".join(CliRunner().invoke(app, ["evaluate", "--help"]).output.split())
    assert "in logits: the larger, the more rarely; it may be negative" in told
