"""What a sentence encoder learns from is none of what it is measured on."""

from __future__ import annotations

import json

import pytest

from bench import texts
from bench.__main__ import main
from zoo.settings import get_settings


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of data with three texts that STS-B has, too."""
    rows = {
        "glue/mnli/train": [{"premise": "A man is  asleep.", "hypothesis": "Somebody sleeps."}],
        "glue/mnli/train_extra": [{"premise": "It rains in March.", "hypothesis": "A plane takes off."}],
        "glue/mnli/validation_matched_part": [{"premise": "Never read.", "hypothesis": "Nor this."}],
        "glue/sst2/train": [{"sentence": f"a film of number {i}"} for i in range(9)],
        "glue/stsb/train": [{"sentence1": "A plane takes off.", "sentence2": "An air plane is taking off."}],
        "glue/stsb/validation": [{"sentence1": "How deep is it?", "sentence2": "The lake is quite deep here."}],
    }
    for name, group in rows.items():
        path = tmp_path / "data" / f"{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in group), encoding="utf-8")
    asked = [{"question": question} for question in ("How deep is it?", "Who swam in  it?")]
    squad = {"data": [{"paragraphs": [{"qas": asked}]}]}
    for name, text in {
        "qa/train.json": json.dumps(squad),
        "text/contexts.txt": "The lake is quite deep here. Nobody swims in it in winter.\n\n",
    }.items():
        (tmp_path / "data" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "data" / name).write_text(text, encoding="utf-8")
    monkeypatch.setenv("BUDGET_ZOO_DATA", str(tmp_path / "data"))
    get_settings.cache_clear()
    return tmp_path


def test_texts_of_all_kinds_and_none_that_is_measured_on(folder, monkeypatch, capsys):
    monkeypatch.setitem(texts.SHARES, "sst2", 3)
    assert main(["texts", str(folder / "out")]) == 0
    lines = (folder / "out/lines.txt").read_text(encoding="utf-8").splitlines()
    phrases = [line for line in lines if line.startswith("a film")]
    assert len(phrases) == 3 and sorted(set(lines) - set(phrases)) == [
        "A man is asleep.",
        "It rains in March.",
        "Nobody swims in it in winter.",
        "Somebody sleeps.",
        "The lake is quite deep here. Nobody swims in it in winter.",
        "Who swam in it?",
    ]
    assert f"{len(lines)} texts" in capsys.readouterr().out
    assert texts.texts(folder / "data", 1) != lines == texts.texts(folder / "data")


def test_a_folder_without_texts_is_told(folder, monkeypatch, capsys):
    monkeypatch.setenv("BUDGET_ZOO_DATA", str(folder / "out"))
    get_settings.cache_clear()
    assert main(["texts", str(folder / "out")]) == 2
    assert "holds no texts of GLUE" in capsys.readouterr().err
