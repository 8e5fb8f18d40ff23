"""Double quotes in tables with tabs: those of GLUE's files are characters, those of spreadsheets are not."""

from __future__ import annotations

import csv
import io

import pytest

from compress.data.intake import Intake
from compress.data.texts import load_texts
from zoo.errors import UserError
from zoo.tasks import find_task

# As in GLUE's QNLI: a quote that opens and never closes, one that closes in a later line, one around a whole cell.
QNLI = (
    "index\tquestion\tsentence\tlabel\n"
    '0\tWhat is it?\t"It is so, he wrote.\tentailment\n'
    '1\tWho said "no"?\tNobody did.\tnot_entailment\n'
    '2\t"Who?\t"Ann" and Bob came.\tentailment\n'
    '3\tWhere"\tIn 1" pipes"\tnot_entailment\n'
    '4\t"Why?"\tBecause.\tentailment\n'
)
NOTE = "Double quotes were read as part of the text, since some of them have no second one."


def read(tmp_path, text, task="qnli", name="a.tsv", skip=False):
    path, intake = tmp_path / name, Intake(skip=skip)
    path.write_text(text, encoding="utf-8")
    return load_texts(find_task(task), path, intake=intake), intake


@pytest.mark.parametrize("name", ["dev.tsv", "dev.txt", "dev.csv"])
def test_glues_own_quotes_are_characters_of_the_text(tmp_path, name):
    rows = list(csv.DictReader(io.StringIO(QNLI), delimiter="\t", quoting=csv.QUOTE_NONE))
    examples, intake = read(tmp_path, QNLI, name=name)
    assert [(e.first, e.second) for e in examples] == [(row["question"], row["sentence"]) for row in rows]
    assert [e.label for e in examples] == [0, 1, 0, 1, 0] and len(examples) == 5
    assert intake.sentences == [NOTE]


def test_the_quotes_of_a_spreadsheet_are_none(tmp_path):
    cells = [
        ("index", "question", "sentence", "label"),
        ("0", 'Who said "no"?', "Ann.\nThen Bob.", "entailment"),
        ("1", "Where\tto?", '"There."', "not_entailment"),
        ("2", "Why?", "Because.", "entailment"),
    ]
    out = io.StringIO()
    csv.writer(out, delimiter="\t", lineterminator="\n").writerows(cells)
    examples, intake = read(tmp_path, out.getvalue())
    assert [(e.first, e.second) for e in examples] == [row[1:3] for row in cells[1:]] and not intake.sentences
    ends_in_text = 'label\tsentence\n1\t"Good.\nReally."\n0\tBad.\n'
    examples, _ = read(tmp_path, ends_in_text, "sst2")
    assert [e.first for e in examples] == ["Good.\nReally.", "Bad."], "the line break stands in the last cell"


def test_where_both_stand_the_line_is_refused(tmp_path):
    text = 'sentence\tlabel\n"He said ""no""."\t0\n"Good\t1\nBad.\t0\n'
    with pytest.raises(UserError, match="line 3: this is no TSV"):
        read(tmp_path, text, "sst2")
    examples, intake = read(tmp_path, text, "sst2", skip=True)
    assert [e.first for e in examples] == ['He said "no".', "Bad."] and intake.left_out == 1


@pytest.mark.parametrize(
    ("task", "text", "expected"),
    [
        ("qqp", "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n7\t1\t2\tWho?\tWhom?\t1\n", ("Who?", "Whom?", 1)),
        (
            "mrpc",
            "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n0\t1\t2\tHe came.\tShe.\n",
            ("He came.", "She.", 0),
        ),
        (
            "stsb",
            "index\tgenre\tsentence1\tsentence2\tscore\n0\tmain\tA dog.\tA cat.\t1.250\n",
            ("A dog.", "A cat.", 1.25),
        ),
    ],
)
def test_the_columns_of_glues_own_files_are_known(tmp_path, task, text, expected):
    ((one,), _) = read(tmp_path, text, task)
    assert (one.first, one.second, one.label) == expected
