"""Files of data with something changed at random, or of nothing but noise: they are read, or the fault is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress.data import uploads
from tests.fuzz_kit import changed, damaged, tries
from zoo.errors import UserError

QUICK = tries(25)
QUESTIONS: list[Any] = [
    {"question": f"who {i}?", "context": f"The cat {i} sat.", "answers": [{"text": "cat", "answer_start": 4}]}
    for i in range(4)
]
GOOD: dict[str, tuple[Any, ...]] = {
    "squad": (QUESTIONS, {"data": [{"title": "t", "paragraphs": [{"context": "The cat sat.", "qas": QUESTIONS}]}]}),
    "sst2": ([{"sentence": f"text {i}", "label": i % 2} for i in range(4)],),
    "several": ([{"text": f"text {i}", "label": ["a", "b"][: i % 3]} for i in range(4)],),
    "labels": ([{"text": f"text {i}", "label": "ab"[i % 2]} for i in range(4)],),
    "tokens": ([{"tokens": ["The", f"cat{i}"], "ner_tags": ["O", "B-A"]} for i in range(4)],),
    "search": (
        [{"query": f"q{i}", "passages": [f"p{i}", "x"], "relevant": [0]} for i in range(4)],
        [{"query": f"q{i}", "positive": [f"p{i}"], "negative": "n"} for i in range(4)],
        [{"query": f"q{i}", "passage": f"p{i}", "label": 1} for i in range(4)],
    ),
    "embeddings": ([{"sentence1": f"a{i}", "sentence2": f"b{i}", "label": i / 4} for i in range(4)],),
}


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    monkeypatch.setattr(uploads, "folder", lambda *_: tmp_path / "uploads")


def take(folder: Path, suffix: str, raw: bytes, task: str, skip: bool) -> None:
    path = folder / f"data{suffix}"
    path.write_bytes(raw)
    try:
        uploads.accept(path, task=task, skip=skip)
    except UserError as error:
        assert len(str(error)) > 20


@pytest.mark.parametrize("task", GOOD)
@QUICK
@given(data=st.data())
def test_changed_rows(tmp_path_factory, task, data):
    rows = data.draw(changed(data.draw(st.sampled_from(GOOD[task]))))
    lines = data.draw(st.booleans()) and isinstance(rows, list)
    text = "\n".join(map(json.dumps, rows)) if lines else json.dumps(rows)
    folder = tmp_path_factory.mktemp("fuzzed")
    take(folder, ".jsonl" if lines else ".json", text.encode(), task, data.draw(st.booleans()))


TABLE = 'question,context,answer,sentence,label\nwho?,"The ""cat"", sat.",cat,good,1\nwho?,The dog sat.,dog,bad,0\n'
WORDS = "-DOCSTART- O\n\nThe O\ncat B-A\n\nA O\ndog B-A\n"


@pytest.mark.parametrize(
    ("task", "suffix"),
    [("squad", ".csv"), ("sst2", ".tsv"), ("tokens", ".conll"), ("tokens", ".csv"), ("embeddings", ".txt")],
)
@QUICK
@given(data=st.data())
def test_damaged_tables(tmp_path_factory, task, suffix, data):
    good = (WORDS if suffix == ".conll" else TABLE.replace(",", "\t") if suffix == ".tsv" else TABLE).encode()
    raw = data.draw(st.one_of(damaged(good), damaged(good.decode().encode("utf-16")), st.binary(max_size=60)))
    take(tmp_path_factory.mktemp("fuzzed"), suffix, raw, task, data.draw(st.booleans()))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("deep.json", "[" * 100_000, "no JSON|not valid JSON|nested"),
        ("deep.json", '{"data":' * 100_000, "no JSON|not valid JSON|nested"),
        ("deep.jsonl", "[" * 100_000, "no JSON"),
        ("wide.csv", ",".join(f"c{i}" for i in range(1_000_000)) + "\n1\n", "1,000,000 columns, over the limit"),
        ("wide.tsv", "\t".join("c" for i in range(1_000_000)) + "\n1\n", "1,000,000 columns, over the limit"),
    ],
)
def test_nests_and_a_million_columns(tmp_path, name, content, said):
    path = tmp_path / name
    path.write_text(content)
    for task in ("squad", "sst2", "search", "embeddings"):
        with pytest.raises(UserError, match=said):
            uploads.accept(path, task=task)


def test_labels_nested_without_end(tmp_path):
    path = tmp_path / "labels.jsonl"
    path.write_text(
        "".join(json.dumps({"text": f"t{i}", "label": "[" * 50_000 + "xy"[i % 2]}) + "\n" for i in range(4))
    )
    assert uploads.accept(path, task="several").examples == 4, "what is no list is a label like any other"
