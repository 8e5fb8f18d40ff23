"""A file of one's own in the Compress tab: read for the task that is picked, and put into the form."""

import json
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest

from compress.data import sheets, uploads
from tests.ui.page_kit import PRESET, Driver, contents, words
from ui import people


@pytest.fixture
def compose(built, monkeypatch, tmp_path):
    monkeypatch.setattr(uploads, "get_settings", lambda: SimpleNamespace(home=tmp_path, on_space=False))
    tab = built.compress
    driver = Driver(built.demo, tab.parts, {"preset": PRESET, "source": "own", "task": "own", "form": contents()})

    def upload(path, **changes):
        return driver.send(tab.choosing.upload, None, file=path and str(path), **changes)

    def values(**changes):
        return driver.values(tab.choosing.upload, **changes)

    return SimpleNamespace(p=tab.parts, send=driver.send, choose=tab.choosing, upload=upload, values=values)


def test_an_upload_is_kept_or_its_wrong_line_told(compose, tmp_path):
    good = tmp_path / "good.csv"
    rows = "".join(f"Where?,Bees fly to {city}.,{city}\n" for city in ("Kew", "Rome", "Oslo"))
    good.write_text("question,context,answer\n" + rows)
    kept = compose.upload(good)
    assert set(kept[compose.p.uploaded]["parts"]) == {"train", "validation", "evaluation"}
    assert "3 questions about 3 passages" in kept[compose.p.upload_note]
    good.write_text("question,context,answer\nWhere?,Bees fly.,Kew\n")
    told = compose.upload(good)
    assert told[compose.p.uploaded] is None and "line 2" in words(told, compose.p.upload_note)
    asked = compose.upload(None)
    assert asked[compose.p.uploaded] is None and "needs `question`" in words(asked, compose.p.upload_note)


def test_the_page_leaves_wrong_lines_out_and_counts_them_where_asked_for(compose, tmp_path):
    file = tmp_path / "mine.csv"
    rows = "".join(f"Where?,Bees fly to {city}.,{city}\n" for city in ("Kew", "Rome", "Oslo"))
    file.write_text(f"question,context,answer\n{rows}Where?,Bees fly.,Kew\n")
    assert "line 5: the answer" in words(compose.upload(file), compose.p.upload_note)
    found = compose.upload(file, skip=True)
    note = words(found, compose.p.upload_note)
    assert "3 questions about 3 passages" in note and "1 wrong lines were left out; the first: mine.csv, line 5" in note


def test_an_own_file_of_texts_goes_into_the_form(compose, tmp_path):
    p, mine = compose.p, tmp_path / "mine.tsv"
    mine.write_text("sentence\tlabel\nfine\tpositive\nbad\t0\nso so\t1\n")
    found = compose.upload(mine, task="sst2")
    assert "3 texts for SST-2" in words(found, p.upload_note)
    taken = compose.send(compose.choose.take_source, None, data="file", uploaded=found[p.uploaded], task="sst2")
    values = taken[p.form]["value"]["values"]
    assert values["dataset.task"] == "sst2" and values["dataset.evaluation"].endswith("evaluation.jsonl")
    mine.write_text("sentence\tlabel\nfine\tgood\n")
    for task, preset, said in (
        ("sst2", PRESET, "line 2: the label “good” is not 0 (negative) or 1 (positive)"),
        ("own", PRESET, "no column question"),
        ("own", "length_adaptive_sst2", "line 2: the label “good”"),
    ):
        told = compose.upload(mine, task=task, preset=preset)
        assert told[p.uploaded] is None and said in words(told, p.upload_note)
    wanted = compose.upload(None, task="stsb")
    assert "`sentence1`, `sentence2` and `label`" in words(wanted, p.upload_note)


@pytest.mark.parametrize("between", [" ", "\t"])
def test_an_own_file_of_labelled_words_goes_into_the_form(compose, tmp_path, between):
    p, mine = compose.p, tmp_path / "mine.conll"
    rows = [("Ada", "B-PER"), ("Lovelace", "I-PER"), ("left", "O")]
    lines = [f"{word}{between}{tag}" for word, tag in rows]
    mine.write_text("\n\n".join("\n".join([*lines, f"{city}{between}B-LOC"]) for city in ("Rome", "Oslo", "Kew")))
    found = compose.upload(mine, task="tokens")
    note = words(found, p.upload_note)
    assert "3 sentences for Token labels" in note and "The labels are O, B-LOC, B-PER, I-PER." in note
    taken = compose.send(compose.choose.take_source, None, data="file", uploaded=found[p.uploaded], task="tokens")
    values = taken[p.form]["value"]["values"]
    assert values["dataset.task"] == "tokens" and values["dataset.train"].endswith("train.jsonl")
    assert values["dataset.labels"].split("\n") == ["O", "B-LOC", "B-PER", "I-PER"]
    mine.write_text(f"Ada{between}B-PER\nLovelace\n")
    told = compose.upload(mine, task="tokens")
    assert told[p.uploaded] is None and "line 2: 1 column here" in words(told, p.upload_note)
    assert "a word a line" in words(compose.upload(None, task="tokens"), p.upload_note)


LINES = {
    "tokens": [
        {"w": ["Ada", "saw", f"{i}th"], "gold": ["B-PER", "O", "B-LOC"], "pos": ["N", "V", "N"]} for i in range(3)
    ],
    "embeddings": [{"eins": f"the {i}th", "zwei": f"another {i}th", "wie": i, "doch": 5 - i} for i in range(3)],
    "ranking": [
        {"frage": f"who is {i}th?", "texte": [f"lake {i}", f"pit {i}"], "gut": [1], "oder": [0]} for i in range(3)
    ],
}


@pytest.mark.parametrize(
    ("task", "guess", "columns", "read", "anew"),
    [
        ("tokens", {"tokens": "w", "ner_tags": "gold", "sentence": None}, {"ner_tags": "pos"},
         {"tokens": ["Ada", "saw", "0th"], "ner_tags": ["B-PER", "O", "B-LOC"]},
         {"tokens": ["Ada", "saw", "0th"], "ner_tags": ["N", "V", "N"]}),
        ("embeddings", {"sentence1": "eins", "sentence2": "zwei", "label": "doch"},
         {"sentence1": "zwei", "sentence2": "eins", "label": "wie"},
         {"sentence1": "the 0th", "sentence2": "another 0th", "label": 5.0},
         {"sentence1": "another 0th", "sentence2": "the 0th", "label": 0.0}),
        ("ranking", {"query": "frage", "passages": "texte", "relevant": "gut"}, {"relevant": "oder"},
         {"query": "who is 0th?", "passages": ["lake 0", "pit 0"], "relevant": [1]},
         {"query": "who is 0th?", "passages": ["lake 0", "pit 0"], "relevant": [0]}),
    ],
)  # fmt: skip
def test_columns_are_guessed_shown_and_corrected(compose, tmp_path, task, guess, columns, read, anew):
    p, mine = compose.p, tmp_path / "mine.jsonl"
    mine.write_text("".join(json.dumps(row) + "\n" for row in LINES[task]))
    first = compose.upload(mine, task=task)
    asked = first[p.table]["asked"]
    assert {one["name"]: one["value"] for one in asked} == {k: v for k, v in guess.items() if k != "sentence"}
    assert [key for _, key in first[p.table]["keys"]] == list(LINES[task][0])
    assert read.items() <= stored(first[p.uploaded]).items()
    values = compose.values(file=str(mine), task=task)
    said = {name: key for name, key in (guess | columns).items() if key}
    second = compose.choose.map(values, said, "", None)
    assert anew.items() <= stored(second[p.uploaded]).items()
    taken = compose.send(compose.choose.take_source, None, data="file", uploaded=second[p.uploaded], task=task)
    assert taken[p.form]["value"]["values"]["dataset.train"] == second[p.uploaded]["parts"]["train"]
    wrong = compose.choose.map(values, said | {next(iter(said)): "nothing"}, "", None)
    assert wrong[p.uploaded] is None and "nothing" in words(wrong, p.upload_note)


def stored(uploaded):
    """The row of the 0th, in whatever part it is."""
    rows = [line for part in uploaded["parts"].values() for line in Path(part).read_text("utf-8").splitlines()]
    return next(json.loads(row) for row in rows if "0th" in row)


def test_columns_without_names_are_offered_by_their_numbers(compose, tmp_path):
    p, mine = compose.p, tmp_path / "mine.conll"
    mine.write_text("\n\n".join(f"Ada N B-PER\n{city} N B-LOC" for city in ("Rome", "Oslo", "Kew")))
    table = compose.upload(mine, task="tokens")[p.table]
    assert table["keys"][0] == ("1 (Ada, Rome, Ada)", "1") and table["labels"]
    assert {one["name"]: (one["title"], one["value"], one["optional"]) for one in table["asked"]} == {
        "tokens": ("Words", "1", False),
        "ner_tags": ("Labels of words", "3", False),
        "sentence": ("Sentence it is of", None, True),
    }
    assert compose.upload(None, task="tokens")[p.table] is None


def test_the_drop_downs_say_what_is_asked_for_and_are_heard(compose, built, tmp_path):
    p, mine = compose.p, tmp_path / "mine.jsonl"
    mine.write_text("".join(json.dumps(row) + "\n" for row in LINES["tokens"]))
    table = compose.upload(mine, task="tokens")[p.table]
    (render,) = [one for one in built.demo.renderables if one.fn.__module__ == "ui.compress.mapping"]
    with gr.Blocks() as page:
        render.fn({p.table: table})
    boxes = {one.elem_id: one for one in page.blocks.values() if isinstance(one, gr.Dropdown)}
    assert {name: box.value for name, box in boxes.items()} == {"column-tokens": "w", "column-ner_tags": "gold"}
    assert [key for _, key in boxes["column-ner_tags"].choices] == ["w", "gold", "pos"]
    (again,) = [one.fn for one in page.fns.values() if one.fn]
    names = [one for one in page.blocks.values() if one.elem_id == "label-names"]
    said = (
        {box: box.value for box in boxes.values()}
        | dict.fromkeys(names, "")
        | {p.file: str(mine), p.task: "tokens", p.preset: PRESET}
    )
    heard = again(said | {boxes["column-ner_tags"]: "pos", p.skip: False}, None)
    assert stored(heard[p.uploaded])["ner_tags"] == ["N", "V", "N"]


@pytest.mark.parametrize("task", ["labels", "several", "score"])
def test_a_pair_under_our_own_names_stays_one_until_none_is_said(compose, tmp_path, task):
    p, mine = compose.p, tmp_path / "mine.csv"
    mine.write_text("text,second,label\n" + "".join(f"the {i}th,another {i}th,{i % 2}\n" for i in range(4)))
    first = compose.upload(mine, task=task)
    assert first[p.uploaded]["more"]["columns"] == {"second": "second"}
    assert stored(first[p.uploaded])["second"] == "another 0th"
    values = compose.values(file=str(mine), task=task)
    said = {"text": "text", "second": "second", "label": "label"}
    assert stored(compose.choose.map(values, said, "", None)[p.uploaded])["second"] == "another 0th"
    alone = compose.choose.map(values, said | {"second": ""}, "", None)
    assert alone[p.uploaded]["more"]["columns"] == {} and "second" not in stored(alone[p.uploaded])


def test_none_for_a_label_is_heard_where_its_name_would_be_guessed(compose, tmp_path):
    p, mine = compose.p, tmp_path / "mine.jsonl"
    rows = [{"anchor": f"the {i}th", "positive": f"another {i}th", "score": i} for i in range(3)]
    mine.write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"anchor": "a", "positive": "b"}]))
    assert stored(compose.upload(mine, task="embeddings")[p.uploaded])["label"] == 0
    said = {"sentence1": "anchor", "sentence2": "positive", "label": ""}
    alone = compose.choose.map(compose.values(file=str(mine), task="embeddings"), said, "", None)
    assert "label" not in stored(alone[p.uploaded])


def test_nothing_is_parsed_of_a_file_that_would_be_refused(compose, tmp_path, monkeypatch):
    p, mine = compose.p, tmp_path / "mine.csv"
    mine.write_text("text,label\na,1\n")
    parsed = []
    monkeypatch.setattr(sheets, "_held", lambda path: parsed.append(path) or {})
    monkeypatch.setattr(uploads, "MAX_BYTES", 4)
    assert "larger than" in words(compose.upload(mine, task="labels"), p.upload_note)
    monkeypatch.setattr(uploads, "MAX_BYTES", 400)
    sheet = mine.rename(tmp_path / "mine.xlsx")
    assert "give a file that ends in" in words(compose.upload(sheet, task="labels"), p.upload_note)
    monkeypatch.setattr(people, "read_only", lambda: True)
    assert "Jobs are off" in words(compose.upload(sheet.rename(mine), task="labels"), p.upload_note)
    assert parsed == []
