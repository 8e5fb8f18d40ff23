"""Queries with passages as people have them, and texts to embed."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from compress.data import uploads
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
    ("name", "text", "columns", "gains"),
    [
        ("a.jsonl", lines({"query": "q", "passages": [*"abcd"], "is_selected": [0, 0, 1, 0]}), {}, {2: 1.0}),
        ("a.jsonl", lines({"query": "q", "passages": [*"abc"], "labels": [1, 0, 0]}), {}, {0: 1.0}),
        ("a.jsonl", lines({"query": "q", "passages": [*"ab"], "labels": [0, 1]}), {"relevant": "labels"}, {1: 1.0}),
        ("a.jsonl", lines({"query": "q", "passages": [*"abc"], "labels": [0, 2.5, 1]}), {}, {1: 2.5, 2: 1.0}),
        ("a.jsonl", lines({"query": "q", "passages": [*"ab"], "is_selected": [False, True]}), {}, {1: 1.0}),
        ("a.csv", "query,passages,is_selected\nq,\"['a', 'b', 'c']\",\"[0, 0, 1]\"\n", {}, {2: 1.0}),
        ("a.jsonl", lines({"query": "q", "passages": {"passage_text": [*"ab"], "is_selected": ["0", "1"]}}), {},
         {1: 1.0}),
        ("a.jsonl", lines({"Query": "q", "Passages": [*"abc"], "Is_Selected": [0, 0, 1]}), {}, {2: 1.0}),
        # These are places: in a column of that name, and in a list that is shorter than the passages.
        ("a.jsonl", lines({"query": "q", "passages": [*"ab"], "relevant": [1, 0]}), {}, {0: 1.0, 1: 1.0}),
        ("a.jsonl", lines({"query": "q", "passages": [*"abc"], "labels": [1, 0]}), {}, {0: 1.0, 1: 1.0}),
        ("a.jsonl", lines({"query": "q", "passages": [*"abc"], "labels": [2]}), {}, {2: 1.0}),
    ],
)  # fmt: skip
def test_a_list_that_says_of_each_passage_whether_it_is_relevant_is_none_of_places(
    name, text, columns, gains, tmp_path
):
    (tmp_path / name).write_text(text, encoding="utf-8")
    (one,) = load_queries(str(tmp_path / name), "train", Intake(columns=columns))
    assert one.passages == tuple("abcd"[: len(one.passages)]) and dict(one.gains) == gains


def test_lists_in_cells_are_lists_of_passages_and_gains_everywhere(tmp_path):
    (one,) = queries(tmp_path / "a.csv", 'query,positive,negative\nq,"[\'x\', \'y\']","[""z""]"\n')
    assert (one.passages, dict(one.gains)) == (("z", "x", "y"), {1: 1.0, 2: 1.0})
    (one,) = queries(tmp_path / "b.csv", 'query,passages,relevant,gains\nq,"[\'x\', \'y\']","[1, 0]","[2, 3]"\n')
    assert (one.passages, dict(one.gains)) == (("x", "y"), {0: 3.0, 1: 2.0})
    (one,) = queries(tmp_path / "c.csv", "query,passage,is_selected\nq,x,0\nq,y,1\n")
    assert (one.passages, dict(one.gains)) == (("x", "y"), {1: 1.0})


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("id,query,passage,label\n1,q,a,0\n2,q,b,1\n3,r,c,1\n4,r,a,0\n",
         [("1", "q", ("a", "b"), {1: 1.0}), ("3", "r", ("c", "a"), {0: 1.0})]),
        ("id,query,positive,negative\n1,q,a,x\n2,q,b,x\n", [("1", "q", ("x", "a", "b"), {1: 1.0, 2: 1.0})]),
        ("id,query,passages,relevant\n1,q,a,0\n2,q,b,1\n", [("1", "q", ("a", "b"), {1: 1.0})]),
    ],
)  # fmt: skip
def test_ids_of_rows_do_not_part_a_query(text, found, tmp_path):
    (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    intake = Intake()
    read = load_queries(str(tmp_path / "a.csv"), "train", intake)
    assert [(one.id, one.query, one.passages, dict(one.gains)) for one in read] == found
    assert "Every row has an id of its own: rows with the same query were put together." in intake.notes


def test_ids_of_queries_keep_them_apart(tmp_path):
    """Ids that come again are of queries; so are those of rows that have all passages of one."""
    read = queries(tmp_path / "a.csv", "id,query,passage,label\n1,q,a,1\n1,q,b,0\n2,q,c,1\n")
    assert [(one.id, one.passages) for one in read] == [("1", ("a", "b")), ("2", ("c",))]
    rows = [{"id": i, "query": "q", "passages": [f"{i}", "b"], "relevant": [0]} for i in range(2)]
    assert [(one.id, one.passages) for one in queries(tmp_path / "a.jsonl", lines(*rows))] == [
        ("0", ("0", "b")), ("1", ("1", "b")),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"query": "q", "passages": ["a"], "relevant": [1]}, "numbered from 0 to 0"),
        ({"query": "q", "passages": "a", "relevant": [0]}, "no list of texts"),
        ({"query": "q", "passages": ["a"]}, "no list of numbers"),
        ({"query": "q", "passages": ["a", "b"], "relevant": [0, 1], "gains": [2]}, "one for each of “relevant”"),
        ({"query": "q", "passages": ["a"], "relevant": [0], "gains": ["x"]}, "no list of numbers above 0"),
        ({"query": "q", "passages": [*"abc"], "is_selected": [0, 1]}, "does not have 0 or 1 for each of 3 passages"),
        ({"query": "q", "passage": "a", "label": 10**400}, "no number from 0 on"),
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


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
def test_plain_text_is_read_whatever_it_was_saved_as(encoding, tmp_path, monkeypatch):
    monkeypatch.setattr(uploads, "get_settings", lambda: SimpleNamespace(home=tmp_path / "home", on_space=False))
    passages = [f"Zoë came to the café {i}" for i in range(5)]
    (tmp_path / "a.txt").write_bytes("\r\n".join([*passages, ""]).encode(encoding))
    intake = Intake()
    assert [e.first for e in load_pairs(EMBEDDINGS, str(tmp_path / "a.txt"), "train", intake)] == passages
    assert [("Windows-1252" in note) for note in intake.notes] == [True] * (encoding == "cp1252")
    kept = uploads.accept(tmp_path / "a.txt", task="embeddings")
    parts = [load_pairs(EMBEDDINGS, str(path), role, Intake()) for role, path in kept.parts.items()]
    assert sorted(e.first for part in parts for e in part) == passages
    (tmp_path / "b.txt").write_bytes("sentence1\tsentence2\tscore\nZoë\tÉva\t3\n".encode(encoding))
    (one,) = load_pairs(EMBEDDINGS, str(tmp_path / "b.txt"), "train", Intake())
    assert (one.first, one.second, one.label) == ("Zoë", "Éva", 3.0)
