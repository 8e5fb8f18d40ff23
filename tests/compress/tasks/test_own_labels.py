"""A person's own labels: of one text or a pair, several at once, a score; from a table to an entry that is scored."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score
from typer.testing import CliRunner

from compress.__main__ import app
from compress.data.intake import Intake
from compress.data.own_texts import several_of
from compress.data.texts import labels_in, load_texts
from compress.recipe.load import load
from compress.results.score import score_entry
from compress.run.run import run
from compress.tasks.losses import divergence
from compress.tasks.subject import Asked
from compress.tasks.subjects import subject_of
from tests.compress.text_kit import DULL, sentence
from zoo import torchvision_fix
from zoo.asking import open_entry
from zoo.catalog import open_folder
from zoo.checkpoints import compared_as, read_config
from zoo.errors import UserError
from zoo.tasks import TOKENS, find_task

torchvision_fix.mend()
from transformers import AutoModelForSequenceClassification, AutoTokenizer  # noqa: E402

TOPICS = {"chess": "chess", "lake": "lake", "deep": "depth"}  # a telling word -> its label
QUICK = [
    "finetune.epochs=15", "finetune.learning_rate=0.003", "finetune.dropout=0",
    "finetune.max_length=128", "finetune.batch_size=16",
    "evaluate.latency_rounds=2", "package.name=mine",
]  # fmt: skip


def csv(path, header, rows):
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]), encoding="utf-8")
    return path


@pytest.fixture
def stars(tmp_path):
    """`review,stars`: the word tells how many of 1, 3 and 10 stars."""
    chance = random.Random(0)
    words = list(zip(TOPICS, ("10", "1", "3"), strict=True))
    rows = [(sentence(chance, word), number) for word, number in (words[i % 3] for i in range(150))]
    return csv(tmp_path / "stars.csv", "review,stars", rows)


@pytest.fixture
def topics(tmp_path):
    """JSON Lines with a list of labels: those whose words are in the text, or none."""
    chance, rows = random.Random(1), []
    for i in range(200):
        words = [word for place, word in enumerate(TOPICS) if i >> place & 1]
        text = [*chance.choices(DULL, k=5), *words]
        chance.shuffle(text)
        rows.append({"comment": " ".join(text), "labels": [TOPICS[word] for word in words]})
    path = tmp_path / "topics.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def test_labels_are_read_from_the_data_in_their_order(stars, topics, tmp_path):
    assert labels_in(find_task("labels"), stars, "train", Intake()) == ["1", "3", "10"]
    named = Intake(values={"bad": "1", "middling": "3", "good": "10"})
    assert labels_in(find_task("labels"), stars, "train", named) == ["bad", "good", "middling"]
    assert labels_in(find_task("several"), topics, "train", Intake()) == ["chess", "depth", "lake"]
    task = find_task("labels").with_labels(["1", "3", "10"])
    assert [e.label for e in load_texts(task, stars)[:4]] == [2, 0, 1, 2]


@pytest.mark.parametrize(
    ("cell", "labels"),
    [
        ("a|b", ["a", "b"]),
        ("a; b", ["a", "b"]),
        ("a, b", ["a", "b"]),
        ("['a', 'b']", ["a", "b"]),
        ('["a"]', ["a"]),
        (["a", "b"], ["a", "b"]),
        ("", []),
        ([], []),
        (None, []),
    ],
)
def test_several_labels_in_a_cell(cell, labels):
    assert several_of(cell) == labels


def test_columns_of_0_and_1_are_labels_too(tmp_path):
    path = csv(tmp_path / "toxic.csv", "comment_text,toxic,insult", [("a b", 1, 0), ("c", 0, 0), ("d", 1, 1)])
    intake = Intake(columns={"text": "comment_text", "label": "toxic, insult"})
    assert labels_in(find_task("several"), path, "train", intake) == ["toxic", "insult"]
    task = find_task("several").with_labels(["toxic", "insult"])
    assert [e.label for e in load_texts(task, path, None, intake)] == [(0,), (), (0, 1)]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"text": "opinion"}, "has no column “opinion”: its columns are review, stars"),
        ({"words": "review"}, "has no 'words': name one of text, label, second, id"),
    ],
)
def test_a_wrong_mapping_is_told(columns, message, stars, tiny_model):
    changes = [f"dataset.{part}={stars}" for part in ("train", "validation", "evaluation")]
    with pytest.raises(UserError, match=message):
        subject_of(load("finetune_glue", [f"model={tiny_model}", "dataset.task=labels", *changes,
                                       f"dataset.columns={json.dumps(columns)}"])).load("train")  # fmt: skip


def test_data_are_asked_for_and_one_label_is_refused(tmp_path, tiny_model):
    with pytest.raises(UserError, match="labels has no data of its own: name yours in dataset.train"):
        load("static_int8", [f"model={tiny_model}", "dataset.task=labels"])
    path = csv(tmp_path / "one.csv", "text,label", [(f"a {i}", "good") for i in range(9)])
    recipe = load("finetune_glue", [f"model={tiny_model}", "dataset.task=labels",
                                 *(f"dataset.{p}={path}" for p in ("train", "validation", "evaluation"))])  # fmt: skip
    with pytest.raises(UserError, match="one label alone, good: nothing can be told apart"):
        subject_of(recipe)


def trained(table, task, folder, tiny_model, *more):
    words = ["run", "finetune_glue", "--folder", str(folder), "--data", str(table)]
    changes = [f"model={tiny_model}", f"dataset.task={task}", *QUICK]
    said = CliRunner().invoke(app, [*words, *more, *(word for change in changes for word in ("--set", change))])
    assert said.exit_code == 0, said.output + repr(said.exception)
    return folder / "train"  # the float checkpoint, on which the table may be scored again


def by_transformers(folder, texts, seconds=None):
    """The logits of transformers' own classifier, a text at a time."""
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    rows = []
    for i, text in enumerate(texts):
        pair = (text, seconds[i]) if seconds else (text,)
        with torch.no_grad():
            rows.append(model(**tokenizer(*pair, return_tensors="pt", truncation=True, max_length=128)).logits[0])
    return torch.stack(rows).numpy()


def test_stars_from_a_table_to_an_int8_entry_that_is_asked(stars, tiny_model, tmp_path):
    said = trained(stars, "labels", tmp_path / "run", tiny_model, "--label", "good=10", "--label", "bad=1",
                   "--label", "middling=3")  # fmt: skip
    names = ["bad", "good", "middling"]
    config = read_config(said)
    assert list(config["id2label"].values()) == names and config["problem_type"] == "single_label_classification"
    examples = load_texts(find_task("labels").with_labels(["1", "3", "10"]), stars)
    right = [("bad", "middling", "good")[e.label] for e in examples]  # type: ignore[index] - a class
    logits = by_transformers(said, [e.first for e in examples])
    predicted = [names[i] for i in logits.argmax(1)]
    accuracy = 100 * np.mean([a == b for a, b in zip(predicted, right, strict=True)])
    assert accuracy > 90  # it has learned which label is which
    lines = "\n".join(json.dumps({"text": e.first, "label": r}) for e, r in zip(examples, right, strict=True))
    (tmp_path / "check.jsonl").write_text(lines)
    report = score_entry(str(said), str(tmp_path / "check.jsonl"), engine="torch")
    assert report["accuracy"] == pytest.approx(accuracy)
    assert report["macro_f1"] == pytest.approx(100 * f1_score(right, predicted, average="macro"))
    mapped = Intake(str(stars), values={"good": "10", "bad": "1", "middling": "3"})
    assert score_entry(str(said), mapped, engine="torch")["accuracy"] == pytest.approx(accuracy)

    changes = [f"model={said}", "dataset.task=labels", "evaluate.latency_rounds=2", "package.name=mine-int8"]
    data = [f"dataset.{part}={tmp_path / 'check.jsonl'}" for part in ("train", "evaluation")]
    run(load("static_int8", [*changes, *data, "quantize.calibration_samples=16"]), tmp_path / "int8")
    entry = open_folder(tmp_path / "int8" / "package" / "mine-int8")
    assert entry.labels == names and entry.metrics["accuracy"] > 85
    reply = open_entry(entry).ask("the chess is in the of", None)
    assert reply.labels[0].name == "good" and sum(label.probability for label in reply.labels) == pytest.approx(1)


def test_stars_that_are_numbers_are_names(stars, tiny_model, tmp_path):
    """And no places: a file that counts from 0 on is of other labels."""
    said = trained(stars, "labels", tmp_path / "run", tiny_model)
    names, rows = ["1", "3", "10"], [line.rpartition(",") for line in stars.read_text().splitlines()[1:]]
    assert list(read_config(said)["id2label"].values()) == names
    predicted = [names[i] for i in by_transformers(said, [text for text, _, _ in rows]).argmax(1)]
    accuracy = 100 * np.mean([a == b for a, (_, _, b) in zip(predicted, rows, strict=True)])
    assert accuracy > 90 and score_entry(str(said), str(stars), engine="torch")["accuracy"] == pytest.approx(accuracy)
    other = csv(tmp_path / "other.csv", "review,stars", [("the chess", 0), ("the lake", 1), ("so deep", 2)])
    with pytest.raises(UserError, match="line 2: the label “0”"):
        score_entry(str(said), str(other), engine="torch")
    fine = csv(tmp_path / "fine.csv", "review,stars", [(text, f"{stars}.0") for text, _, stars in rows])
    assert score_entry(str(said), str(fine), engine="torch")["accuracy"] == pytest.approx(accuracy)


def test_several_topics_at_once(topics, tiny_model, tmp_path):
    said = trained(topics, "several", tmp_path / "run", tiny_model)
    names = ["chess", "depth", "lake"]
    assert read_config(said)["problem_type"] == "multi_label_classification"
    examples = load_texts(find_task("several").with_labels(names), topics)
    logits = by_transformers(said, [e.first for e in examples])
    right = np.array([[i in e.label for i in range(3)] for e in examples]).astype(int)  # type: ignore[operator]
    report = score_entry(str(said), str(topics), engine="torch")
    guessed = (logits > 0).astype(int)
    assert report["micro_f1"] == pytest.approx(100 * f1_score(right, guessed, average="micro"))
    assert report["macro_f1"] == pytest.approx(100 * f1_score(right, guessed, average="macro"))
    assert report["mean_ap"] == pytest.approx(100 * average_precision_score(right, logits, average="macro"))
    assert report["micro_f1"] > 90
    reply = open_entry(open_folder(said), "torch").ask("the lake of the chess", None)
    assert {label.name for label in reply.chosen} == {"chess", "lake"} and reply.several


def test_pairs_and_a_score_of_one_s_own(tiny_model, tmp_path):
    chance = random.Random(2)
    rows = []
    for i in range(120):
        words = (["lake", "lake"], ["lake", "chess"])[i % 2]
        rows.append((*(sentence(chance, word) for word in words), 4.5 if i % 2 == 0 else -1))
    table = csv(tmp_path / "pairs.csv", "question,reply,closeness", rows)
    more = ["--column", "text=question", "--column", "second=reply", "--column", "label=closeness"]
    said = trained(table, "score", tmp_path / "run", tiny_model, *more)
    config = read_config(said)
    assert config["problem_type"] == "regression" and len(config["id2label"]) == 1
    intake = Intake(str(table), columns={"text": "question", "second": "reply", "label": "closeness"})
    report = score_entry(str(said), intake, engine="torch", task="score")
    logits = by_transformers(said, [row[0] for row in rows], [row[1] for row in rows])[:, 0]
    assert report["pearson"] == pytest.approx(100 * np.corrcoef(logits, [row[2] for row in rows])[0, 1], abs=1e-2)
    assert report["pearson"] > 60
    fresh = [(f"{first} {i}", f"{second} {i}", label) for i, (first, second, label) in enumerate(rows)]
    ours = csv(tmp_path / "ours.csv", "text,second,label", fresh)  # it learned from pairs: nobody has to say so again
    made = tmp_path / "run" / "package" / "mine"
    logits = by_transformers(said, [row[0] for row in fresh], [row[1] for row in fresh])[:, 0]
    told = score_entry(str(made), str(ours), engine="torch", task="score")["pearson"]
    assert told == pytest.approx(100 * np.corrcoef(logits, [row[2] for row in fresh])[0, 1], abs=1e-2)
    with pytest.raises(UserError, match="has no column “second”"):
        score_entry(str(made), str(csv(tmp_path / "single.csv", "text,label", fresh)), engine="torch", task="score")


def test_a_checkpoint_with_names_is_scored_by_them_and_one_without_asks(tiny_model, tmp_path):
    from zoo.modeling import LengthAdaptiveModel
    from zoo.tasks import TEXTS

    table = csv(tmp_path / "t.csv", "text,label", [("lake", "blue"), ("chess", "red")])
    for folder, names in (("named", ("red", "blue")), ("bare", ("LABEL_0", "LABEL_1"))):
        labels = {str(i): name for i, name in enumerate(names)}
        LengthAdaptiveModel.load(tiny_model, head=TEXTS, id2label=labels).save(tmp_path / folder)
        for file in ("tokenizer.json", "tokenizer_config.json"):
            (tmp_path / folder / file).write_bytes((tiny_model / file).read_bytes())
    logits = by_transformers(tmp_path / "named", ["lake", "chess"])
    expected = 50 * ((logits[0].argmax() == 1) + (logits[1].argmax() == 0))
    assert score_entry(str(tmp_path / "named"), str(table))["accuracy"] == expected
    with pytest.raises(UserError, match="says neither what it was trained for nor what its outputs are called"):
        score_entry(str(tmp_path / "bare"), str(table))
    with pytest.raises(UserError, match="have no names"):
        score_entry(str(tmp_path / "bare"), str(table), task="labels")
    told = score_entry(str(tmp_path / "bare"), str(table), task=Asked("labels", ["red", "blue"]))
    assert told["n"] == 2


def test_several_labels_are_taught_each_for_itself():
    chance = torch.Generator().manual_seed(0)
    mine, theirs = (torch.randn(6, 4, generator=chance) * 3 for _ in range(2))
    several = {"problem_type": "multi_label_classification"}
    kind = compared_as({"architectures": ["BertForSequenceClassification"], **several})
    temperature = 2.0
    two = [torch.distributions.Bernoulli(logits=each / temperature) for each in (theirs, mine)]
    expected = temperature**2 * torch.distributions.kl_divergence(*two).sum(1).mean()
    torch.testing.assert_close(divergence(mine, theirs, kind, temperature), expected)
    assert divergence(mine, mine, kind) == pytest.approx(0, abs=1e-6)
    assert find_task("several").compared_as == kind
    assert compared_as({"architectures": ["BertForTokenClassification"]}) is TOKENS
