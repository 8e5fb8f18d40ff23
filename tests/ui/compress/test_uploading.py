"""A file of one's own in the Compress tab: read for the task that is picked, and put into the form."""

from types import SimpleNamespace

import pytest

from compress.data import uploads
from tests.ui.page_kit import PRESET, Driver, contents, words


@pytest.fixture
def compose(built, monkeypatch, tmp_path):
    monkeypatch.setattr(uploads, "get_settings", lambda: SimpleNamespace(home=tmp_path, on_space=False))
    tab = built.compress
    driver = Driver(built.demo, tab.parts, {"preset": PRESET, "source": "own", "task": "own", "form": contents()})

    def upload(path, **changes):
        return driver.send(tab.choosing.upload, None, file=path and str(path), **changes)

    return SimpleNamespace(p=tab.parts, send=driver.send, choose=tab.choosing, upload=upload)


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
