"""`python -m zoo ask`: what models say, from arguments and from standard input, is what they say elsewhere."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.zoo.model_kit import both
from zoo.__main__ import app
from zoo.asking import config_of, lines, open_entry
from zoo.catalog import find, open_folder
from zoo.errors import UserError
from zoo.features import load_tokenizer

QA, STSB, MNLI = (
    "minilm-l6-qa-length-adaptive-int8", "minilm-l6-w8a8-stsb-int8", "minilm-l6-mnli-length-adaptive-int8",
)  # fmt: skip
PASSAGE = "The lake was dug by monks in 1340. It is nine metres deep."
QUESTIONS = ["Who dug the lake?", "How deep is it?"]


def call(*words: object, given: str = "") -> str:
    result = CliRunner().invoke(app, [str(word) for word in words], input=given, catch_exceptions=False)
    return result.stdout


def test_questions_from_standard_input_within_a_budget():
    said = call("ask", QA, "--second", PASSAGE, "--budget", 60, given="\n".join([*QUESTIONS, "", " "]))
    entry = find(QA)
    assert entry.front is not None
    opened, config = open_entry(entry), entry.front.at("macs", 60).point.config
    best = [opened.ask(question, PASSAGE, config).answers[0] for question in QUESTIONS]
    assert said.splitlines() == [f"{answer.text}\t{answer.probability:.3f}" for answer in best]
    assert best[0].text.endswith("monks")


def test_all_that_is_said_as_json(tmp_path):
    (tmp_path / "passage.txt").write_text(PASSAGE)
    told = json.loads(call("ask", QA, QUESTIONS[1], "--second-file", tmp_path / "passage.txt", "--json"))
    best = told["answers"][0]
    assert PASSAGE[best["start"] : best["end"]] == best["text"] and "nine" in best["text"]
    ids = load_tokenizer(find(QA).folder)(QUESTIONS[1], PASSAGE)["input_ids"]
    assert told["macs_ratio"] == 1.0 and told["tokens"] == [len(ids)]


def test_pairs_by_tabs_or_as_objects():
    rows = "The bread is burnt.\tThe bread is fine.\n" + json.dumps({"first": "A ferry.", "second": "A boat."}) + "\n"
    said = call("ask", MNLI, given=rows).splitlines()
    opened = open_entry(find(MNLI))
    for line, pair in zip(said, [("The bread is burnt.", "The bread is fine."), ("A ferry.", "A boat.")], strict=True):
        label = opened.ask(*pair).labels[0]
        assert line == f"{label.name} {label.probability:.3f}"
    score = float(call("ask", STSB, "A man plays the guitar.", "Someone plays an instrument."))
    assert 2 < score < 5


def test_vectors_go_into_a_file(tmp_path, tiny_model):
    both("bert-embeddings", tmp_path / "model")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "model" / name).write_bytes((tiny_model / name).read_bytes())
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    vocabulary = len(json.loads((tiny_model / "tokenizer.json").read_text())["model"]["vocab"])
    if vocabulary > config["vocab_size"]:
        import torch
        from safetensors.torch import load_file, save_file

        path = tmp_path / "model" / "model.safetensors"
        weights = load_file(path)
        torch.manual_seed(0)
        weights["embeddings.word_embeddings.weight"] = torch.randn(vocabulary, config["hidden_size"])
        save_file(weights, path, metadata={"format": "pt"})
        (tmp_path / "model" / "config.json").write_text(json.dumps({**config, "vocab_size": vocabulary}))
    out = tmp_path / "vectors.npy"
    assert "2 vectors of 32 numbers" in call("ask", tmp_path / "model", "--npy", out, given="a lake\nthe monks\n")
    vectors = np.load(out)
    opened = open_entry(open_folder(tmp_path / "model"), "torch")
    likeness = opened.ask("a lake", "the monks").matches[0].score
    assert vectors[0] @ vectors[1] == pytest.approx(likeness, abs=1e-6)
    with pytest.raises(UserError, match="gives no embeddings"):
        call("ask", QA, "a", "--npy", out)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a", ("a", "z")),
        ("a\tb", ("a", "b")),
        ('{"first": "a"}', ("a", "z")),
        ('{"first": "a", "second": "b"}', ("a", "b")),
        ("{a}", ("{a}", "z")),
    ],
)
def test_lines(line, expected):
    assert list(lines([line + "\r\n"], "z")) == [expected]


def test_what_cannot_be_asked_is_refused():
    with pytest.raises(UserError, match="Line 2 is no JSON object with `first`"):
        list(lines(["a", '{"text": "a"}'], None))
    with pytest.raises(UserError, match="either --budget or --config"):
        config_of(find(QA), 50, "(1, 1, 1, 1, 1, 1)")
    with pytest.raises(UserError, match="no front"):
        config_of(find("minilm-l6-qa"), 50, None)
