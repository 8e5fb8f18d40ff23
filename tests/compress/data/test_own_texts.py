"""People's own texts with labels: what is stored is what recipes read, and what is wrong is told with its line."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from compress.__main__ import _pairs, app
from compress.data import own_texts, uploads
from compress.data.intake import Intake
from compress.data.texts import fingerprint, labels_in, load_texts
from compress.jobs import jobs
from compress.recipe.load import load
from compress.tasks.subjects import subject_of
from zoo.errors import UserError
from zoo.files import read_json
from zoo.modeling import LengthAdaptiveModel
from zoo.tasks import TASKS, TEXTS, find_task

SENTENCES = [f"film {i}, all in all" for i in range(20)]
TEXT_TASKS = [name for name, task in TASKS.items() if task.type is TEXTS and not task.is_open]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setattr(uploads, "get_settings", lambda: SimpleNamespace(home=tmp_path / "home", on_space=False))
    return tmp_path / "home"


def rows_of(task):
    """A text of the task's columns for every sentence, and its label."""
    label = (lambda i: i % 11 / 2) if task.regression else (lambda i: i % len(task.labels))
    return [
        {column: f"{column}: {s}" for column in task.columns} | {"label": label(i)} for i, s in enumerate(SENTENCES)
    ]


def written(path, rows):
    if path.suffix == ".jsonl":
        text = "\n".join(map(json.dumps, rows))
    else:
        between = "," if path.suffix == ".csv" else "\t"
        lines = [between.join(rows[0]), *(between.join(f'"{value}"' for value in row.values()) for row in rows)]
        text = "\n".join(lines)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl"])
@pytest.mark.parametrize("name", TEXT_TASKS)
def test_every_task_takes_every_kind_of_table(name, suffix, tmp_path, home):
    task = find_task(name)
    given = rows_of(task)
    found = uploads.accept(written(tmp_path / f"mine{suffix}", given), task=name)
    parts = {role: load_texts(task, path) for role, path in found.parts.items()}
    assert [len(parts[role]) for role in ("train", "validation", "evaluation")] == [16, 2, 2]
    assert not any(fingerprint(parts["train"]) & fingerprint(parts[role]) for role in ("validation", "evaluation"))
    read = {(e.first, e.second, e.label) for examples in parts.values() for e in examples}
    assert read == {(*[row[c] for c in task.columns], *[None] * (2 - len(task.columns)), row["label"]) for row in given}
    assert all(path.is_relative_to(home / "uploads") for path in found.parts.values())
    assert (found.examples, found.distinct, found.notices) == (20, 20, [])


@pytest.mark.parametrize(
    ("task", "label", "number"),
    [
        ("sst2", "Positive", 1), ("sst2", " 0 ", 0), ("sst2", "1.0", 1), ("sst2", 1.0, 1), ("sst2", 2, None),
        ("sst2", -1, None), ("sst2", "good", None), ("sst2", True, None), ("sst2", "nan", None), ("sst2", 0.5, None),
        ("mrpc", "not equivalent", 0), ("mrpc", "Not-Equivalent", 0), ("mnli", "contradiction", 2), ("mnli", [], None),
        ("stsb", "2.5", 2.5), ("stsb", 5, 5.0), ("stsb", 5.1, None), ("stsb", "high", None), ("stsb", "nan", None),
    ],
)  # fmt: skip
def test_labels_are_numbers_or_names(task, label, number):
    assert own_texts.label_of(find_task(task), label) == number


@pytest.mark.parametrize(
    ("task", "kind", "text", "said"),
    [
        (
            "sst2",
            "csv",
            "words,label\na,1",
            "line 1: there is no column sentence. Every row needs `sentence` and `label`",
        ),
        ("sst2", "csv", "sentence\na", "line 1: there is no column label"),
        ("mnli", "tsv", "premise\tlabel\na\t1", "line 1: there is no column hypothesis"),
        ("sst2", "csv", "sentence,label\na,1\nb,good", "line 3: the label “good” is not 0 (negative) or 1 (positive)"),
        ("sst2", "csv", "sentence,label\na,1\nb,2", "line 3: the label “2” is not 0 (negative) or 1 (positive)"),
        ("sst2", "csv", "sentence,label\na,1\nb,", "line 3: there is no label"),
        ("sst2", "csv", 'sentence,label\n"a\nb",1\n"  ",1', "line 4: there is no text under “sentence”"),
        ("rte", "tsv", "sentence1\tsentence2\tlabel\na\t\t1", "line 2: there is no text under “sentence2”"),
        ("rte", "tsv", 'sentence1\tsentence2\tlabel\n"""a"""\tb\t0\n"a" b\tc\t1', "line 3: this is no TSV"),
        ("sst2", "csv", "sentence,label\nyes, fine,1", "line 2: 3 cells under 2 columns"),
        ("stsb", "csv", "sentence1,sentence2,label\na,b,much", "line 2: the label “much” is not a number from 0 to 5"),
        ("stsb", "jsonl", '{"sentence1": "a", "sentence2": "b", "label": 9}', "line 1: the label “9” is not a number"),
        (
            "sst2",
            "jsonl",
            '{"sentence": "a", "label": 0}\n{"words": "b", "label": 0}',
            "line 2: there is no text under",
        ),
        ("sst2", "jsonl", '{"sentence": "a"}', "line 1: there is no label. Every row needs"),
        ("sst2", "jsonl", "\n[1]", "line 2: an object is wanted"),
        ("sst2", "jsonl", "{", "line 1: this is no JSON"),
        ("sst2", "csv", "", "mine.csv holds no texts. Every row needs"),
        ("sst2", "csv", "sentence,label\n", "holds no texts"),
        ("sst2", "json", "[]", "mine.json holds no texts"),
        (
            "sst2",
            "xlsx",
            "PK",
            "ends in .json, .jsonl, .csv, .tsv, .txt, not .xlsx. Spreadsheets and Parquet are saved",
        ),
        ("sst2", "csv", "sentence,label\na,1\nb,0\na ,1", "These are 2 different texts; at least 3 are needed"),
    ],
)
def test_the_wrong_line_is_named_with_what_to_do(task, kind, text, said, tmp_path, home):
    path = tmp_path / f"mine.{kind}"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        uploads.accept(path, task=task)
    assert said in str(caught.value) and str(caught.value).startswith(("mine.", "These")) and not home.exists()


@pytest.mark.parametrize(
    ("header", "columns", "dash"),
    [
        ("text,label", {}, True),
        ("text,stars", {}, True),
        ("text,mark", {"label": "mark"}, True),
        ("text,gold_label", {}, False),
        ("text,Gold_Label", {"label": "gold_label"}, False),
    ],
)
def test_a_dash_is_a_label_of_ones_own_unless_it_is_the_one_of_snli(header, columns, dash, tmp_path):
    path, intake = tmp_path / "a.csv", Intake(columns=columns)
    path.write_text(header + "\nfine,+\nbad,-\nso so,0\n", encoding="utf-8")
    labels = labels_in(find_task("labels"), path, "train", intake)
    assert sorted(labels) == (["+", "-", "0"] if dash else ["+", "0"])
    examples = load_texts(find_task("labels").with_labels(labels), path, intake=intake)
    expected = [("fine", "+"), *([("bad", "-")] if dash else []), ("so so", "0")]
    assert [(e.first, e.label) for e in examples] == [(text, labels.index(label)) for text, label in expected]
    assert intake.repairs == ({} if dash else {own_texts.NO_MAJORITY: 1})
    several = find_task("several").with_labels(["+", "-", "0"])
    texts = [e.label for e in load_texts(several, path, intake=Intake(columns=columns))]
    assert texts == ([(0,), (1,), (2,)] if dash else [(0,), (2,)])


def test_the_same_holds_for_json_and_for_closed_tasks(tmp_path):
    rows = [{"premise": s, "hypothesis": "x", "label": "-" if i else "neutral"} for i, s in enumerate(SENTENCES[:3])]
    intake = Intake()
    (one,) = load_texts(find_task("mnli"), written(tmp_path / "a.jsonl", rows), intake=intake)
    assert one.label == 1 and intake.repairs == {own_texts.NO_MAJORITY: 2}
    for column, expected in (("gold_label", ["yes"]), ("label", ["-", "yes"])):
        rows = [{"text": "a", column: "-"}, {"text": "b", column: "yes"}]
        assert labels_in(find_task("labels"), written(tmp_path / "b.jsonl", rows), "train", Intake()) == expected


@pytest.mark.parametrize("cell", ["0.8", "x", "-1", "2", "yes, partly"])
def test_what_is_neither_0_nor_1_in_the_column_of_a_label_is_refused(cell, tmp_path):
    rows = [{"text": "a", "toxic": "1", "insult": "no"}, {"text": "b", "toxic": cell, "insult": "0"}]
    task, columns = find_task("several").with_labels(["toxic", "insult"]), {"label": "toxic, insult"}
    path = written(tmp_path / "a.csv", rows)
    with pytest.raises(UserError, match=f"line 3: “toxic” is “{cell}”, and the column of a label has 1 where it holds"):
        load_texts(task, path, intake=Intake(columns=columns))
    intake = Intake(columns=columns, skip=True)
    assert [e.label for e in load_texts(task, path, intake=intake)] == [(0,)] and intake.left_out == 1


def test_0_and_1_are_read_however_they_are_written(tmp_path):
    rows = [{"text": f"{i}", "toxic": cell} for i, cell in enumerate([1, 1.0, True, "1", "1.00", "Yes", " TRUE "])]
    rows += [{"text": f"{len(rows) + i}", "toxic": cell} for i, cell in enumerate([0, 0.0, False, "0", "No", "", None])]
    rows += [{"text": "14", "toxic": float("nan")}]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({**row, "insult": 1}) + "\n" for row in rows), encoding="utf-8")
    task, intake = find_task("several").with_labels(["toxic", "insult"]), Intake(columns={"label": "toxic,insult"})
    assert [e.label for e in load_texts(task, path, intake=intake)] == [(0, 1)] * 7 + [(1,)] * 8


def test_what_is_no_utf8_is_named_by_its_line(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"sentence,label\nfin\xc3\xa9,1\ncaf\xe9,1\n")
    with pytest.raises(UserError, match="line 3: this is not UTF-8 text. Save the file as UTF-8"):
        uploads.accept(tmp_path / "a.csv", task="sst2")


def test_alike_texts_share_a_part_and_what_is_odd_is_said(tmp_path):
    once = [{"id": "same", "premise": s, "hypothesis": "x", "label": 0} for s in SENTENCES]
    again = [{**row, "premise": row["premise"].replace(" ", "  ")} for row in once]
    again[3]["label"] = 2
    found = uploads.accept(written(tmp_path / "a.jsonl", once + again), task="mnli")
    parts = [load_texts(find_task("mnli"), path) for path in found.parts.values()]
    assert sum(len(fingerprint(part)) for part in parts) == 20 == found.distinct and found.examples == 40
    assert len({e.id for part in parts for e in part}) == 40
    assert found.notices == [
        "No text has the label neutral.",
        "1 texts stand more than once, with different labels.",
    ]
    assert found.told.startswith("40 texts for MNLI, matched, 20 of them different: split by text")


def test_another_task_stores_another_copy(tmp_path, home):
    path = written(tmp_path / "a.csv", rows_of(find_task("mrpc")))
    assert uploads.accept(path, task="mrpc").parts != uploads.accept(path, task="rte").parts
    assert uploads.accept(path, task="mrpc").parts == uploads.accept(path, task="mrpc").parts
    assert len(list((home / "uploads").iterdir())) == 2


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_recipes_and_scores_take_tables_too(suffix, tmp_path):
    task = find_task("mnli")
    table = load_texts(task, written(tmp_path / f"a{suffix}", rows_of(task)))
    assert table == load_texts(task, written(tmp_path / "a.jsonl", rows_of(task))) and len(table) == 20


@pytest.fixture
def cli(monkeypatch, tmp_path):
    """The command line, with the recipes that it would run; `run` and `submit` in turn."""
    made = []
    monkeypatch.setattr(jobs, "submit", lambda recipe, *rest: made.append(recipe) or SimpleNamespace(id="j1"))
    monkeypatch.setattr("compress.__main__.run_recipe", lambda recipe, *rest: made.append(recipe) or {})

    def call(name, *words):
        for start in (["submit", name], ["run", name, "--folder", tmp_path / "run"]):
            told = CliRunner().invoke(app, [str(word) for word in (*start, *words)], catch_exceptions=False)
            assert told.exit_code == 0, told.output
        assert made[-1] == made[-2]
        return made[-1], told.stderr

    return call


@pytest.mark.parametrize("name", ["static_int8", "length_adaptive", "length_adaptive_sst2"])
def test_the_command_line_puts_a_file_in_the_place_of_the_data(name, tmp_path, cli):
    path = written(tmp_path / "mine.tsv", rows_of(find_task("sst2")))
    made, told = cli(name, "--data", path, "--set", "dataset.task=sst2", "--set", "evaluate.max_questions=5")
    assert "20 texts for SST-2" in told and (made.dataset.task, made.evaluate.max_questions) == ("sst2", 5)
    subject = subject_of(made)
    assert len(subject.load("train")) == 16 and len(subject.load("evaluation")) == 2
    assert cli(name)[0] == load(name)


def test_a_file_of_questions_goes_there_too(tmp_path, cli):
    path = tmp_path / "q.csv"
    path.write_text("question,context,answer\n" + "".join(f"Who?,Ann {i} came.,\n" for i in range(5)))
    data = cli("static_int8", "--data", path)[0].dataset
    assert data.task == "squad" and data.version_2 and data.titles is None and data.train.endswith("train.json")


def test_pairs_and_single_texts_on_the_command_line(tmp_path, cli, tiny_model):
    path = tmp_path / "pairs.csv"
    path.write_text(
        "text,second,label\n" + "".join(f"text {i},reply {i},{'no' if i % 2 else 'yes'}\n" for i in range(12))
    )
    own = ("finetune_glue", "--data", path, "--set", "dataset.task=labels", "--set", f"model={tiny_model}")
    pairs, single = (subject_of(cli(*own, *more)[0]).part("train") for more in ((), ("--column", "second=")))
    assert {e.second for e in pairs} < {f"reply {i}" for i in range(12)} and {e.second for e in single} == {None}
    for wrong in ("label=", "=text", "second"):
        with pytest.raises(UserError, match="Write --column NAME=YOURS"):
            _pairs("--column", [wrong], "second")
    assert _pairs("--column", ["second=", "text=a=b"], "second") == {"second": "", "text": "a=b"}


def test_a_column_of_words_is_named_on_the_command_line(tmp_path, cli, tiny_model):
    path = tmp_path / "mine.csv"
    rows = "".join(f"{i},Ada,NNP,B-PER\n{i},saw {i},VB,O\n" for i in range(10))
    path.write_text("satz,wort,pos,art\n" + rows)
    mapped = [word for pair in ("sentence=satz", "tokens=wort", "ner_tags=art") for word in ("--column", pair)]
    for given in (["--data", path], [f"--set=dataset.{p}={path}" for p in ("train", "validation", "evaluation")]):
        made, _ = cli("finetune_glue", *given, *mapped, "--set", "dataset.task=tokens", "--set", f"model={tiny_model}")
        subject = subject_of(made)
        examples = subject.part("train")
        assert {(e.words[0], e.tags) for e in examples} == {("Ada", ("B-PER", "O"))}
        assert {e.words[1] for e in examples} <= {f"saw {i}" for i in range(10)}
        assert len(examples) == (8 if given[0] == "--data" else 10)


def test_a_recipe_runs_on_an_own_table_to_its_end(tiny_model, tmp_path):
    model = LengthAdaptiveModel.load(tiny_model, head=TEXTS, id2label={"0": "negative", "1": "positive"})
    model.save(tmp_path / "classifier")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny_model / name, tmp_path / "classifier")
    table = written(tmp_path / "mine.csv", [{**row, "label": "positive"} for row in rows_of(find_task("sst2"))])
    changes = [
        f"model={tmp_path / 'classifier'}",
        "dataset.task=sst2",
        "package.name=mine",
        "evaluate.latency_rounds=2",
    ]
    words = ["run", "static_int8", "--folder", str(tmp_path / "run"), "--data", str(table)]
    told = CliRunner().invoke(app, [*words, *(word for change in changes for word in ("--set", change))])
    assert told.exit_code == 0, told.output
    assert "No text has the label negative." in told.stderr
    scores = read_json(tmp_path / "run" / "evaluate" / "scores.json")["int8"]
    assert scores["accuracy"] in (0, 50, 100), "two texts to report on"
    assert (tmp_path / "run" / "package" / "mine" / "model.int8.onnx").is_file()
