"""Data sets of a Hub on this machine, read by the real library: configurations, splits, labels and what is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from compress.data import hub_sets, own_texts, texts
from compress.data.hub_sets import Source
from compress.data.intake import Intake
from tests.conftest import ROOT
from tests.hub_server import HubServer
from zoo.errors import UserError
from zoo.tasks import find_task


@pytest.mark.parametrize(
    ("text", "name", "config", "split"),
    [
        ("squad", "squad", None, None),
        ("rajpurkar/squad", "rajpurkar/squad", None, None),
        (" rajpurkar/squad:train ", "rajpurkar/squad", None, "train"),
        ("google/xquad/xquad.de", "google/xquad", "xquad.de", None),
        ("facebook/mlqa/mlqa.de.de:test", "facebook/mlqa", "mlqa.de.de", "test"),
        ("nyu-mll/glue/sst2:train[:10]", "nyu-mll/glue", "sst2", "train[:10]"),
    ],
)
def test_a_data_set_is_named_with_configuration_and_split(text, name, config, split):
    assert Source.parse(text) == Source(name, config, split)


def test_what_is_no_name_says_what_to_write():
    with pytest.raises(UserError, match="neither a file nor a data set of the Hub. Write the path.*owner/name/config"):
        Source.parse("../data/own file")


@pytest.mark.parametrize(
    ("column", "columns"),
    [
        ("label", {}),
        ("labels", {}),
        ("Label", {}),
        ("category", {}),
        ("coarse_label", {"label": "coarse_label"}),
        ("coarse_label", {"label": "Coarse_Label"}),
    ],
)
@pytest.mark.parametrize("is_list", [False, True])
def test_names_of_labels_are_those_of_the_column_that_is_read_as_the_label(column, columns, is_list, monkeypatch):
    datasets = pytest.importorskip("datasets")
    label, other = datasets.ClassLabel(names=["neg", "pos"]), datasets.ClassLabel(names=["x", "y"])
    features = {"text": datasets.Value("string"), "fine": other, column: datasets.Sequence(label) if is_list else label}
    features |= {"label": other} if columns else {}
    rows = [{key: [0] if is_list and key == column else 0 for key in features} | {"text": "a"}]
    data = datasets.Dataset.from_list(rows, features=datasets.Features(features))
    monkeypatch.setattr(hub_sets, "_load", lambda *_: data)
    task, intake = find_task("several" if is_list else "labels"), Intake(columns=columns)
    found = hub_sets.open_set(Source("owner/name"), "train")
    assert found.names_under("label", own_texts.columns_of(task, intake), intake) == ("neg", "pos")
    assert found.names_under("text", own_texts.columns_of(task, intake), intake) == ()
    many = Intake(columns={"label": f"fine, {column}"})
    assert found.names_under("label", own_texts.columns_of(task, many), many) == ()


@pytest.mark.parametrize(
    ("column", "columns"),
    [("label", {}), ("labels", {}), ("Label", {}), ("coarse_label", {"label": "coarse_label"})],
)
def test_texts_have_the_names_of_that_column(column, columns, monkeypatch):
    datasets = pytest.importorskip("datasets")

    def read(task, label, cells, **more):
        """The labels that the data have, and those of the texts; a column `label` beside the one that is meant."""
        features = {"text": datasets.Value("string"), column: label}
        features |= {"label": datasets.ClassLabel(names=["x", "y", "z"])} if columns else {}
        rows = [{"text": f"text {i}", column: cell} | ({"label": 2} if columns else {}) for i, cell in enumerate(cells)]
        data = datasets.Dataset.from_list(rows, features=datasets.Features(features))
        monkeypatch.setattr(hub_sets, "_load", lambda *_: data)
        labels = list(task.labels) or texts.labels_in(task, "owner/name", "train", Intake(columns=columns, **more))
        read = texts.load_texts(task.with_labels(labels), "owner/name", intake=Intake(columns=columns, **more))
        return labels, [e.label for e in read]

    names, own = datasets.ClassLabel(names=["positive", "negative", "neutral"]), find_task("labels")
    assert read(own, names, [0, 1, 0]) == (["positive", "negative", "neutral"], [0, 1, 0])
    assert read(own.with_labels(["negative", "neutral", "positive"]), names, [0, 1, 2])[1] == [2, 0, 1]
    assert read(own, names, [0, 1], values={"good": "positive"}) == (["good", "negative", "neutral"], [0, 1])
    several = find_task("several")
    lists, cells = datasets.Sequence(names), [[0, 2], [], [1]]
    assert read(several, lists, cells) == (["positive", "negative", "neutral"], [(0, 2), (), (1,)])
    assert read(several.with_labels(["neutral", "positive", "negative"]), lists, cells)[1] == [(0, 1), (), (2,)]
    if column != "labels":  # which a closed task does not guess
        assert read(find_task("sst2"), datasets.ClassLabel(names=["positive", "negative"]), [0, 1])[1] == [1, 0]


def test_a_column_of_labels_that_is_nowhere_is_told(monkeypatch):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"text": datasets.Value("string"), "fine": datasets.ClassLabel(names=["x", "y"])})
    data = datasets.Dataset.from_list([{"text": "a", "fine": 0}], features=features)
    monkeypatch.setattr(hub_sets, "_load", lambda *_: data)
    intake = Intake("owner/name", columns={"label": "coarse"})
    with pytest.raises(UserError, match="owner/name has no column “coarse”: its columns are text, fine"):
        hub_sets.open_set(Source("owner/name"), "train").names_under(
            "label", own_texts.columns_of(find_task("labels"), intake), intake
        )


def questions(word: str) -> bytes:
    answers = {"text": [word], "answer_start": [4]}
    row = {"id": word, "context": f"The {word}.", "question": "What?", "answers": answers}
    return (json.dumps(row) + "\n").encode()


LABELS = """dataset_info:
  features:
  - {name: sentence, dtype: string}
  - name: label
    dtype:
      class_label:
        names:
          '0': %s
          '1': %s
"""
TEXTS = b'{"sentence": "fine", "label": 1}\n{"sentence": "bad", "label": 0}\n'
CONFIGS = """configs:
- config_name: xquad.de
  data_files: [{split: validation, path: de.jsonl}]
- config_name: xquad.en
  data_files: [{split: validation, path: en.jsonl}]
"""
DEFAULT = """configs:
- config_name: default
  data_files: [{split: validation, path: validation.jsonl}]
"""
LINES = DEFAULT.replace("validation.jsonl", "train.txt").replace("validation", "train")


def card(text: str) -> bytes:
    return f"---\n{text}---\n".encode()


SETS = {
    "owner/plain": {"README.md": card(DEFAULT), "validation.jsonl": TEXTS},
    "owner/turned": {"README.md": card(DEFAULT + LABELS % ("positive", "negative")), "validation.jsonl": TEXTS},
    "owner/short": {"README.md": card(DEFAULT + LABELS % ("neg", "pos")), "validation.jsonl": TEXTS},
    "owner/xquad": {
        "README.md": card(CONFIGS),
        "de.jsonl": questions("Hund"),
        "en.jsonl": questions("dog"),
    },
    "owner/lines": {"README.md": card(LINES), "train.txt": b"one line\nanother line\n"},
}
ASK = """
import json, sys
from compress.data.intake import Intake
from compress.data.passages import passages
from compress.data.squad import load_squad
from compress.data.texts import load_texts
from zoo.errors import UserError
from zoo.tasks import find_task

def texts(source, task="sst2"):
    intake = Intake()
    found = load_texts(find_task(task), source, intake=intake)
    return [[(e.first, e.label) for e in found], intake.sentences]

def squad(source):
    return [e.answers[0]["text"] for e in load_squad(source, "validation")]

def ask(call, *given):
    try:
        return call(*given)
    except UserError as error:
        return str(error)

print(json.dumps([
    ask(texts, "owner/plain"), ask(texts, "owner/turned"), ask(texts, "owner/short"),
    ask(texts, "owner/turned:validation", "mnli"),
    ask(squad, "owner/xquad/xquad.de"), ask(squad, "owner/xquad/xquad.en:validation"), ask(squad, "owner/xquad"),
    ask(squad, "owner/xquad/xquad.fr"), ask(squad, "owner/absent"), ask(texts, "owner/plain:test"),
    ask(lambda source: list(passages(source)), "owner/lines"),
]))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What a process that talks to the Hub was told about its data sets."""
    folder = tmp_path_factory.mktemp("data-hub")
    with HubServer(folder / "files") as server:
        for name, files in SETS.items():
            server.hub.put(name, files, "datasets")
        env = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))}
        env |= {"HF_ENDPOINT": server.url, "HF_HOME": str(folder / "home"), "NO_PROXY": "127.0.0.1,localhost"}
        env |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-c", ASK], env=env, cwd=ROOT, capture_output=True, text=True, timeout=300
        )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_texts_with_a_default_configuration_alone_load(told):
    assert told[0] == [[["fine", 1], ["bad", 0]], []]


def test_labels_are_read_by_their_names(told):
    assert told[1] == [[["fine", 0], ["bad", 1]], []]
    assert told[2] == [[["fine", 1], ["bad", 0]], ["Its labels neg, pos were read as negative, positive."]]
    assert "has the labels positive, negative, and mnli has entailment, neutral, contradiction" in told[3]


def test_questions_name_their_configuration(told):
    assert told[4] == ["Hund"] and told[5] == ["dog"]
    assert "owner/xquad has several configurations: name one of xquad.de, xquad.en, as owner/xquad/xquad.de:" in told[6]
    assert "owner/xquad has no configuration 'xquad.fr': name one of xquad.de, xquad.en" in told[7]


def test_what_is_not_there_is_told_with_what_to_check(told):
    assert "The data set owner/absent (split validation) could not be loaded" in told[8]
    assert "The data set owner/plain (split test) could not be loaded" in told[9] and "Check the name" in told[9]


def test_text_to_pre_train_on_comes_from_there_too(told):
    assert told[10] == ["one line", "another line"]
