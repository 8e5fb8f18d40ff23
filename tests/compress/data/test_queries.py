"""Queries with passages as people have them, and texts to embed."""

from __future__ import annotations

import json

import pytest

from compress.data.intake import Intake
from compress.data.pairs import load_pairs
from compress.data.queries import in_one_corpus, load_queries, to_lines
from zoo.errors import UserError
from zoo.tasks import find_task

EMBEDDINGS = find_task("embeddings")


def queries(path, text):
    path.write_text(text, encoding="utf-8")
    return load_queries(str(path), "train", Intake())


def lines(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.jsonl", lines({"query": "q", "passages": ["a", "b"], "relevant": [1]})),
        ("a.jsonl", lines({"query": "q", "passages": ["a", "b"], "relevant": 1})),
        ("a.jsonl", lines({"query": "q", "passages": {"passage_text": ["a", "b"], "is_selected": [0, 1]}})),
        ("a.jsonl", lines({"question": "q", "positive": "b", "negative": ["a"]})),
        ("a.csv", "query,passage,label\nq,a,0\nq,b,1\n"),
        ("a.tsv", "query\ttext\tscore\nq\ta\t0\nq\tb\t1\n"),
    ],
)
def test_queries_are_read_however_they_come(name, text, tmp_path):
    (one,) = queries(tmp_path / name, text)
    assert (one.query, one.passages, dict(one.gains)) == ("q", ("a", "b"), {1: 1.0})
    (tmp_path / "again.jsonl").write_text(to_lines([one]), encoding="utf-8")
    (again,) = load_queries(str(tmp_path / "again.jsonl"), "train", Intake())
    assert (again.passages, dict(again.gains)) == (one.passages, dict(one.gains))


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"query": "q", "passages": ["a"], "relevant": [1]}, "numbered from 0 to 0"),
        ({"query": "q", "passages": "a", "relevant": [0]}, "no list of texts"),
        ({"query": "q", "passages": ["a"]}, "no list of numbers"),
        ({"query": "q", "passages": ["a", "b"], "relevant": [0, 1], "gains": [2]}, "one for each of “relevant”"),
        ({"query": "q", "passages": ["a"], "relevant": [0], "gains": ["x"]}, "no list of numbers above 0"),
        ({"query": "q"}, "there are no passages"),
        ({"query": "", "passages": ["a"], "relevant": [0]}, "no text under “query”"),
        ({"query": "q", "passage": "a", "label": "good"}, "no number from 0 on"),
        ({"query": "q", "passages": ["a"], "relevant": []}, "no query with a relevant passage"),
    ],
)
def test_a_wrong_row_is_named(row, said, tmp_path):
    with pytest.raises(UserError, match=said):
        queries(tmp_path / "a.jsonl", lines(row))


def test_a_search_is_among_the_passages_of_all_queries(tmp_path):
    rows = [
        {"query": "q", "passages": ["a", "b"], "relevant": [1]},
        {"query": "r", "passages": ["b", "c"], "relevant": [1]},
    ]
    one, other = in_one_corpus(queries(tmp_path / "a.jsonl", lines(*rows)))
    assert one.passages is other.passages and one.passages == ("a", "b", "c")
    assert (dict(one.gains), dict(other.gains)) == ({1: 1.0}, {2: 1.0})


def test_texts_to_embed_are_pairs_with_and_without_a_label_or_plain_text(tmp_path):
    def read(name, text):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return [(e.first, e.second, e.label) for e in load_pairs(EMBEDDINGS, str(tmp_path / name), "train", Intake())]

    assert read("a.csv", "sentence1,sentence2,similarity\na,b,0.25\n") == [("a", "b", 0.25)]
    assert read("a.tsv", "text1\ttext2\tscore\na\tb\t80\n") == [("a", "b", 80.0)]
    assert read("a.jsonl", lines({"anchor": "a", "positive": "b"})) == [("a", "b", None)]
    assert read("b.jsonl", lines({"text": "a"})) == [("a", None, None)]
    assert read("a.txt", "a passage\n\nanother\n") == [("a passage", None, None), ("another", None, None)]
    with pytest.raises(UserError, match=r"line 1: the label “high” is not a number"):
        read("c.jsonl", lines({"sentence1": "a", "sentence2": "b", "score": "high"}))
