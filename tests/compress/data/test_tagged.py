"""Sentences with labels: every layout that people have, by value, and what is wrong, by line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from compress.data import hub_sets, tagged, uploads
from compress.data.examples import TaggedExample
from compress.data.intake import Intake
from compress.data.tags import is_tag
from tests.compress.tag_kit import conll, sentences
from zoo.errors import UserError
from zoo.settings import get_settings
from zoo.tag import spans_of
from zoo.tasks import find_task

TOKENS, CONLL = find_task("tokens"), find_task("conll2003")
EXPECTED = [(("EU", "rejects", "call"), ("B-ORG", "O", "O")), (("Peter", "Blackburn"), ("B-PER", "I-PER"))]
COLUMNS = """-DOCSTART- -X- -X- O

EU NNP B-NP B-ORG
rejects VBZ B-VP O
call NN I-NP O

Peter NNP B-NP B-PER
Blackburn NNP I-NP I-PER
"""
TWO = "EU\tB-ORG\nrejects\tO\ncall\tO\n\n\nPeter\tB-PER\nBlackburn\tI-PER"
OBJECTS = [{"tokens": list(words), "ner_tags": list(tags)} for words, tags in EXPECTED]
NUMBERS = [{"id": "a", "tokens": ["EU", "rejects", "call"], "ner_tags": [3, 0, 0]},
           {"id": "b", "tokens": ["Peter", "Blackburn"], "ner_tags": [1, 2]}]  # fmt: skip


def read(tmp_path: Path, name: str, text: str, task=TOKENS, **said) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return [(e.words, e.tags) for e in tagged.load_sentences(task, path, intake=Intake(**said))]


def lines(rows) -> str:
    return "\n".join(map(json.dumps, rows))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.conll", COLUMNS),
        ("a.txt", COLUMNS.replace("\n", "\r\n")),
        ("a.iob", TWO),
        ("a.bio", TWO.replace("\t", " ")),
        ("a.tsv", "\ufeff" + TWO),
        ("a.conll", "# id = 1\n" + TWO.replace("\n\n\n", "\n\n# text = Peter Blackburn\n")),
        ("a.jsonl", lines(OBJECTS)),
        ("a.json", json.dumps(OBJECTS)),
        ("a.json", json.dumps({"data": OBJECTS})),
        ("a.jsonl", lines([{"words": row["tokens"], "tags": row["ner_tags"]} for row in OBJECTS])),
        ("a.jsonl", lines([{"tokens": ["-DOCSTART-"], "ner_tags": ["O"]}, *OBJECTS])),
    ],
)
def test_every_layout_says_the_same(name, text, tmp_path):
    assert read(tmp_path, name, text) == EXPECTED


def test_numbers_are_the_tasks_or_what_a_person_says(tmp_path):
    assert read(tmp_path, "a.jsonl", lines(NUMBERS), CONLL) == EXPECTED
    values = {"O": "0", "B-PER": "1", "I-PER": "2", "B-ORG": "3"}
    assert read(tmp_path, "a.jsonl", lines(NUMBERS), values=values) == EXPECTED
    with pytest.raises(UserError, match="line 1: the label 3 is a number.*label_values"):
        read(tmp_path, "a.jsonl", lines(NUMBERS))


def test_a_label_goes_by_another_name_once(tmp_path):
    """Two names that change places are not changed back."""
    said = read(tmp_path, "a.conll", TWO, values={"B-PER": "B-ORG", "B-ORG": "B-PER"})
    assert [tags for _, tags in said] == [("B-PER", "O", "O"), ("B-ORG", "I-PER")]


def test_columns_go_by_their_numbers_or_names(tmp_path):
    parts = read(tmp_path, "a.conll", COLUMNS, columns={"ner_tags": "2"})
    assert parts[0] == (("EU", "rejects", "call"), ("NNP", "VBZ", "NN"))
    rows = lines([{"toks": row["tokens"], "gold": row["ner_tags"]} for row in OBJECTS])
    assert read(tmp_path, "a.jsonl", rows, columns={"tokens": "toks", "ner_tags": "gold"}) == EXPECTED
    with pytest.raises(UserError, match="columns without names"):
        read(tmp_path, "a.conll", COLUMNS, columns={"ner_tags": "pos"})


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.conll", "EU B-ORG\nrejects\n", "line 2: 1 column here, 2 in the first line"),
        ("a.conll", "EU\nrejects\n", "line 1: 1 column here"),
        ("a.conll", "EU B-ORG\nin Spain O\n", "line 2: 3 columns here, 2 in the first line"),
        ("a.conll", "EU - (ORG*)\n", "line 1: “.ORG..” is no label"),
        ("a.jsonl", lines([*OBJECTS, {"tokens": ["a", "b"], "ner_tags": ["O"]}]), "line 3: 2 words have 1 label[.]"),
        ("a.jsonl", lines([{"tokens": "EU rejects", "ner_tags": ["O"]}]), "line 1: there is no list “tokens”"),
        ("a.jsonl", lines([{"tokens": [1], "ner_tags": ["O"]}]), "line 1: “1” is no word"),
        ("a.jsonl", lines([{"tokens": ["a"], "ner_tags": [None]}]), "line 1: “None” is no label"),
        ("a.jsonl", lines([{"tokens": ["a"]}]), "there is no list “ner_tags”"),
        ("a.jsonl", '{"tokens": ', "line 1: this is no JSON"),
        ("a.csv", "tokens,ner_tags\n", "has no sentences"),
        ("a.conll", "\n\n", "has no sentences"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(name, text, message, tmp_path):
    with pytest.raises(UserError, match=message):
        read(tmp_path, name, text)


def test_wrong_sentences_can_be_left_out_whole(tmp_path):
    path = tmp_path / "a.conll"
    path.write_text("EU B-ORG\nrejects\n\nPeter B-PER\nBlackburn I-PER\n", encoding="utf-8")
    intake = Intake(skip=True)
    assert [e.words for e in tagged.load_sentences(TOKENS, path, intake=intake)] == [("Peter", "Blackburn")]
    assert intake.left_out == 1 and "line 2" in intake.first


def test_a_closed_task_has_its_labels_alone(tmp_path):
    with pytest.raises(UserError, match="line 1: the label “B-DISH” is none of O, B-PER"):
        read(tmp_path, "a.conll", "soup B-DISH\n", CONLL)
    assert read(tmp_path, "a.conll", "EU b-org\n", CONLL) == [(("EU",), ("B-ORG",))]


@pytest.mark.parametrize("mark", "BIMELSU")
def test_every_mark_that_is_read_counts_as_one(mark, tmp_path):
    """What says which column has the labels, and what counts entities, agree on what a mark is."""
    assert is_tag(f"{mark}-PER") and spans_of([f"{mark}-PER"]) == [("PER", 0, 0)]
    (sentence,) = read(tmp_path, "a.conll", f"B-PER Ada\n{mark}-PER King\n")
    assert sentence == (("Ada", "King"), ("B-PER", f"{mark}-PER"))


def test_bmes_is_read_and_its_labels_stand_in_its_order(tmp_path):
    (sentence,) = read(tmp_path, "a.bmes", "北 B-LOC\n京 M-LOC\n市 E-LOC\n的 O\n他 S-PER\n")
    assert sentence == (tuple("北京市的他"), ("B-LOC", "M-LOC", "E-LOC", "O", "S-PER"))
    assert spans_of(sentence[1]) == [("LOC", 0, 2), ("PER", 4, 4)]
    labels = tagged.labels_in([TaggedExample("", *sentence)])
    assert labels == ["O", "B-LOC", "E-LOC", "M-LOC", "S-PER"]


def test_labels_stand_in_one_order():
    tags = ("I-PER", "B-ORG", "O", "B-PER", "I-LOC")
    assert tagged.labels_in([TaggedExample("", ("w",) * 5, tags)]) == ["O", "I-LOC", "B-ORG", "B-PER", "I-PER"]


@pytest.mark.parametrize("column", ["ner_tags", "tags"])
def test_a_data_set_of_the_hub_names_its_numbers(column, monkeypatch):
    """As CoNLL-2003 and WNUT have them there: lists of a ClassLabel, with marks between documents."""
    datasets = pytest.importorskip("datasets")
    names = ["O", "B-PER", "I-PER", "B-ORG"]
    features = datasets.Features(
        {
            "tokens": datasets.Sequence(datasets.Value("string")),
            column: datasets.Sequence(datasets.ClassLabel(names=names)),
        }
    )
    rows = [{"tokens": ["-DOCSTART-"], column: [0]}, *({"tokens": r["tokens"], column: r["ner_tags"]} for r in NUMBERS)]
    data = datasets.Dataset.from_list(rows, features=features)
    monkeypatch.setattr(hub_sets, "_load", lambda *_: data)
    for task in (TOKENS, find_task("conll2003")):
        examples = tagged.load_sentences(task, "some/one", intake=Intake())
        assert [(e.words, e.tags) for e in examples] == EXPECTED
    assert hub_sets.open_set(hub_sets.Source("some/one"), "train").names == {column: tuple(names)}


def test_no_data_of_its_own():
    with pytest.raises(UserError, match="Token labels has no data of its own"):
        tagged.load_sentences(TOKENS, None)


@pytest.mark.parametrize("name", ["own.conll", "own.txt", "own.jsonl"])
def test_an_upload_is_stored_in_parts_that_share_no_sentence(name, tmp_path, monkeypatch):
    monkeypatch.setenv("BUDGET_ZOO_HOME", str(tmp_path / "home"))
    get_settings.cache_clear()
    given = sentences(30, seed=5)
    path = tmp_path / name
    path.write_text(tagged.to_lines(given) if name.endswith("jsonl") else conll(given), encoding="utf-8")
    upload = uploads.accept(path, task="tokens")
    assert upload.told.startswith("30 sentences for Token labels") and "split by sentence" in upload.told
    parts = {role: tagged.load_sentences(TOKENS, at) for role, at in upload.parts.items()}
    assert sorted((e.words, e.tags) for part in parts.values() for e in part) == sorted(
        (e.words, e.tags) for e in given
    )
    marks = [{tagged.identity(e) for e in part} for part in parts.values()]
    assert all(marks) and sum(map(len, marks)) == len(set().union(*marks))
    assert upload.labels == ["O", "B-GAME", "I-GAME", "B-PLACE", "I-PLACE"]


def test_a_spreadsheet_and_one_label_are_refused(tmp_path):
    for name, text, message in (
        ("a.xlsx", "x", r"give a file that ends in .conll.*saved as CSV"),
        ("a.conll", "a O\n\nb O\n\nc O\n", "all words have the one label O"),
    ):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        with pytest.raises(UserError, match=message):
            uploads.accept(path, task="tokens")
    with pytest.raises(UserError, match="give a file that ends in .json"):
        uploads.accept(tmp_path / "a.conll", task="sst2")


def test_wnut_is_read_whole(data):
    """As its README counts it, with kinds and entities of the test set as its paper does."""
    folder = data / "ner" / "wnut17"
    if not folder.is_dir():
        pytest.skip("no WNUT here")
    task = find_task("wnut_17")
    parts = {split: tagged.load_sentences(task, folder, split) for split in ("train", "validation", "test")}
    assert {split: len(part) for split, part in parts.items()} == {"train": 3394, "validation": 1009, "test": 1287}
    assert set(tagged.labels_in(parts["train"])) == set(task.labels)
    assert sum(tag.startswith("B-") for e in parts["test"] for tag in e.tags) == 1079
