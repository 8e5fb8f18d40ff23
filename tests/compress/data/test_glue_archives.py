"""GLUE's archives as they unpack: names, columns and quotes, against how the Hub's version reads the same files."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from compress.data import glue
from compress.data.intake import Intake
from compress.data.texts import has_split, load_texts
from compress.recipe.load import load
from compress.tasks.subjects import subject_of
from zoo.errors import UserError
from zoo.tasks import find_task

PARSES = "sentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse\tsentence2_parse"
MNLI = f"index\tpromptID\tpairID\tgenre\t{PARSES}\tsentence1\tsentence2"
SNLI = f"index\tcaptionID\tpairID\t{PARSES}\tsentence1\tsentence2"
NLI = ("entailment", "neutral", "contradiction")
TREE = "( a b )\t( c d )\t(ROOT (X a))\t(ROOT (X c))"
MRPC = "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String"

# By task: folder, file, its lines, the Hub's names of both texts and of the label, and the label's classes.
FILES = [
    (
        "cola", "CoLA", "dev.tsv",
        ['gj04\t1\t\tThe "sailors" rode the breeze.', 'gj04\t0\t*\t"Them mix', 'c_13\t1\t\t"All" of it.'],
        ("sentence", None, "label"), (),
    ),
    ("sst2", "SST-2", "dev.tsv", ["sentence\tlabel", "it 's a charm . \t1", "`` oh '' , no \t0"],
     ("sentence", None, "label"), ()),
    (
        "mrpc", "MRPC", "dev.tsv",
        [MRPC, '1\t1\t2\t"He said no," she said.\tHe said: "no', '0\t3\t4\t"All whole."\t"Both ""of"" them."'],
        ("#1 String", "#2 String", "Quality"), (),
    ),
    (
        "stsb", "STS-B", "dev.tsv",
        ["index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore",
         "0\tmain-captions\tMSRvid\t2012test\t0001\tnone\tnone\tA plane.\tAn air plane.\t5.000",
         '1\tmain-news\theadlines\t2013\t7\tnone\tnone\t"Yes"\t"Yes" he said\t2.75'],
        ("sentence1", "sentence2", "score"), None,
    ),
    (
        "qqp", "QQP", "dev.tsv",
        ["id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate",
         '201359\t303345\t303346\tWhat is ""gross"" income?\t"What is it?\t0',
         "40\t81\t82\tHow is this", "broken in two?\tHow?\t1",
         '41\t83\t84\t"Who?"\t"Who?"\t1'],
        ("question1", "question2", "is_duplicate"), (),
    ),
    (
        "mnli", "MNLI", "dev_matched.tsv",
        [f"{MNLI}\tlabel1\tlabel2\tlabel3\tlabel4\tlabel5\tgold_label",
         f'0\t63735\t63735n\tslate\t{TREE}\t"New rights.\t"Everyone likes it."\tneutral\tneutral\tneutral\tneutral\t'
         "entailment\tneutral",
         f"1\t1\t1c\tslate\t{TREE}\tHe came.\tHe did not.\t{'contradiction	' * 5}contradiction"],
        ("sentence1", "sentence2", "gold_label"), NLI,
    ),
    (
        "mnli_mm", "MNLI", "dev_mismatched.tsv",
        [f"{MNLI}\tlabel1\tlabel2\tlabel3\tlabel4\tlabel5\tgold_label",
         f"0\t7\t7e\tletters\t{TREE}\tAsk us.\tYou may ask.\t{'entailment	' * 5}entailment"],
        ("sentence1", "sentence2", "gold_label"), NLI,
    ),
    (
        "mnli", "MNLI", "train.tsv",
        [f"{MNLI}\tlabel1\tgold_label", f'0\t3\t3e\tfiction\t{TREE}\t"Well," he said.\t"Well.\tentailment\tentailment'],
        ("sentence1", "sentence2", "gold_label"), NLI,
    ),
    (
        "mnli", "SNLI", "dev.tsv",
        [f"{SNLI}\tlabel1\tlabel2\tlabel3\tlabel4\tlabel5\tgold_label",
         f'0\t1#2\t1#2r1n\t{TREE}\tTwo women.\t"Sisters\tneutral\tentailment\tneutral\tneutral\tneutral\tneutral',
         f"1\t1#3\t1#3r1n\t{TREE}\tA man.\tA boy.\tneutral\tcontradiction\tneutral\tcontradiction\tentailment\t-"],
        ("sentence1", "sentence2", "gold_label"), NLI,
    ),
    (
        "qnli", "QNLI", "dev.tsv",
        ["index\tquestion\tsentence\tlabel", '0\tWhat came?\t"As it was.\tentailment',
         '1\t"Who?"\t"I."\tnot_entailment'],
        ("question", "sentence", "label"), ("entailment", "not_entailment"),
    ),
    (
        "rte", "RTE", "dev.tsv",
        ["index\tsentence1\tsentence2\tlabel", '0\t"Dana Reeve" died.\tShe died.\tnot_entailment',
         '1\t"It works."\t"It ""really"" works."\tentailment'],
        ("sentence1", "sentence2", "label"), ("entailment", "not_entailment"),
    ),
]  # fmt: skip
IDS = [f"{folder}/{file}" for _, folder, file, *_ in FILES]


def written(folder: Path, name: str, lines: list[str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def of_hub(path: Path, keys, classes) -> list[tuple[str, str | None, float]]:
    """The rows as the loading script of the Hub's set makes them: no quotes, rows with an absent cell left out."""
    with path.open(encoding="utf-8-sig", newline="\n") as lines:
        if path.parent.name == "CoLA":
            rows = [
                {"sentence": row[3], "label": row[1]}
                for row in csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
            ]
        else:
            rows = list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
    first, second, label = keys
    found = []
    for row in rows:
        cells = [row[first], row[second] if second else "", row[label]]
        if None in cells or row[label] == "-":  # no majority: the Hub has -1, which nobody learns from
            continue
        number = float(row[label]) if not classes else classes.index(row[label])
        found.append((row[first], row[second] if second else None, number))
    return found


@pytest.mark.parametrize(("task", "folder", "file", "lines", "keys", "classes"), FILES, ids=IDS)
@pytest.mark.parametrize("root", [False, True], ids=["its folder", "the folder of all"])
def test_an_archive_is_read_as_it_unpacks(tmp_path, task, folder, file, lines, keys, classes, root):
    place = written(tmp_path / folder, file, lines)
    known, intake = find_task(task), Intake()
    split = "train" if file.startswith("train") else known.validation_split
    examples = load_texts(known, tmp_path if root and folder in glue.FOLDERS.values() else place, split, intake)
    expected = of_hub(place / file, keys, classes)
    assert [(e.first, e.second, e.label) for e in examples] == expected and expected
    lost = [line for line in intake.sentences if "lack cells" in line]
    assert lost == (["2 lines of GLUE's file lack cells: they were left out, as by the Hub's version."] * (
        task == "qqp"))  # fmt: skip


def test_microsofts_own_files_of_paraphrases_are_read(tmp_path):
    train = [MRPC, '1\t702876\t702977\tAmrozi said "no".\t"He said no\t'.rstrip("\t"), "0\t5\t6\tOne.\tTwo."]
    written(tmp_path, "msr_paraphrase_train.txt", train)
    written(tmp_path, "msr_paraphrase_test.txt", [MRPC, '1\t7\t8\t"PCCW" said.\t"PCCW said.'])
    task, intake = find_task("mrpc"), Intake()
    learned = load_texts(task, tmp_path, "train")
    assert [(e.first, e.second, e.label) for e in learned] == [
        ('Amrozi said "no".', '"He said no', 1), ("One.", "Two.", 0)
    ]  # fmt: skip
    (told,) = load_texts(task, tmp_path, "validation", intake)
    assert (told.first, told.second, told.label) == ('"PCCW" said.', '"PCCW said.', 1)
    assert any("test set of MRPC was read" in line for line in intake.sentences)
    written(tmp_path, "dev.tsv", [MRPC, "0\t9\t10\tThree.\tFour."])  # GLUE's own comes first
    assert [e.first for e in load_texts(task, tmp_path, "validation")] == ["Three."]


def test_both_validation_sets_of_mnli_are_told_apart(tmp_path):
    _, _, matched, lines, *_ = FILES[5]
    written(tmp_path, matched, lines)
    assert not has_split(tmp_path, find_task("mnli_mm"))
    written(tmp_path, "dev_mismatched.tsv", FILES[6][3])
    assert has_split(tmp_path, find_task("mnli_mm"))
    assert [len(load_texts(find_task(name), tmp_path)) for name in ("mnli", "mnli_mm")] == [2, 1]


def test_a_recipe_takes_the_folder(tmp_path):
    rows = [f"gj04\t{i % 2}\t{'' if i % 2 else '*'}\tSentence {i} came." for i in range(8)]
    written(tmp_path, "train.tsv", rows[:6])
    written(tmp_path, "dev.tsv", rows[6:])
    recipe = load("static_int8", ["dataset.task=cola", f"dataset.train={tmp_path}", f"dataset.evaluation={tmp_path}"])
    subject = subject_of(recipe)
    assert [e.label for e in subject.load("train")] == [0, 1, 0, 1, 0, 1]
    assert [(e.first, e.label) for e in subject.load("evaluation")] == [
        ("Sentence 6 came.", 0), ("Sentence 7 came.", 1)
    ]  # fmt: skip


def test_a_folder_without_the_file_says_what_it_may_be_called(tmp_path):
    with pytest.raises(UserError, match=r"nor CoLA/dev\.tsv of GLUE's archive"):
        load_texts(find_task("cola"), tmp_path)


def test_a_table_with_other_columns_keeps_its_quotes_meaning(tmp_path):
    """Four cells alone are no CoLA, and a person's own columns no archive."""
    written(tmp_path, "dev.tsv", ["source\tlabel\toriginal\tsentence", 'x\t1\t\t"He said ""no""."'])
    assert [e.first for e in load_texts(find_task("cola"), tmp_path)] == ['He said "no".']
    written(tmp_path, "dev.tsv", ["question1\tquestion2\tis_duplicate", '"Who ""is""?"\tWho?\t1'])
    assert [e.first for e in load_texts(find_task("qqp"), tmp_path)] == ['Who "is"?']
