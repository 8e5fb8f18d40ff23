"""A sentence encoder beside sentence-transformers: figures against transformers, scipy and counting by hand."""

from __future__ import annotations

import json
import random
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from bench.__main__ import main
from bench.embeddings import embedded, read
from compress.data.examples import Example
from compress.data.squad import fingerprint
from compress.recipe.load import load
from compress.run.run import run
from tests.compress.embedding_kit import sentence_encoder, transformers, write_pairs
from tests.compress.text_kit import sentence
from zoo import catalog
from zoo.catalog import Entry
from zoo.embed import TextEmbedder
from zoo.errors import UserError
from zoo.features import load_tokenizer
from zoo.files import read_json
from zoo.lengths import LengthConfig, Shape, macs
from zoo.settings import get_settings

ASKED = {f"who is the queen of {word}": f"{word} is deep in the lake, the queen of {word} is in it" for word in "abcd"}


@pytest.fixture(scope="module")
def encoder(tiny_model, tmp_path_factory) -> Path:
    return sentence_encoder(tmp_path_factory.mktemp("encoder"), tiny_model)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("pairs") / "pairs.jsonl", 16, 3)


@pytest.fixture(scope="module")
def squad(tmp_path_factory) -> Path:
    paragraphs = [
        {
            "context": context,
            "qas": [
                {
                    "id": question,
                    "question": question,
                    "answers": [{"text": "lake", "answer_start": context.index("lake")}],
                }
            ],
        }
        for question, context in ASKED.items()
    ]
    path = tmp_path_factory.mktemp("squad") / "squad.json"
    path.write_text(json.dumps({"version": "1.1", "data": [{"title": "Lakes", "paragraphs": paragraphs}]}), "utf-8")
    return path


@pytest.fixture(scope="module")
def entry(encoder, pairs, tmp_path_factory) -> Entry:
    place, chance = tmp_path_factory.mktemp("entry"), random.Random(5)
    lines = place / "text.txt"
    lines.write_text("".join(sentence(chance, "lake", 8) + "\n" for _ in range(8)), encoding="utf-8")
    changes = [f"model={encoder}", "dataset.task=embeddings", f"dataset.train={lines}", "finetune.apply=false"]
    changes += [f"dataset.validation={write_pairs(place / 'others.jsonl', 12, 2)}", f"dataset.evaluation={pairs}"]
    changes += [f"dataset.{key}=null" for key in ("titles", "validation_titles", "evaluation_titles")]
    changes += ["finetune.max_length=128", "length_drop.max_length=128", "length_drop.epochs=1"]
    changes += ["evaluate.latency_rounds=0", "quantize.calibration_samples=20"]
    run(load("length_adaptive_tiny", changes), place / "run")
    return catalog.find(str(place / "run" / "package" / "tiny-qa-length-adaptive-int8"))


@pytest.fixture
def stand_in(encoder, pairs, tmp_path, monkeypatch) -> Path:
    """sentence-transformers for the processes of a test; its vectors are those of transformers. What it was asked."""
    folder = tmp_path / "packages"
    described = folder / "sentence_transformers-1.2.3.dist-info" / "METADATA"
    described.parent.mkdir(parents=True)
    described.write_text("Metadata-Version: 2.1\nName: sentence-transformers\nVersion: 1.2.3\n", encoding="utf-8")
    shutil.copy(Path(__file__).with_name("peer_stand_in.py"), folder / "sentence_transformers.py")
    texts = [*firsts_and_seconds(pairs)[0], *firsts_and_seconds(pairs)[1], *ASKED, *ASKED.values()]
    vectors = {text: vector.tolist() for text, vector in zip(texts, of_transformers(encoder, texts), strict=True)}
    (tmp_path / "vectors.json").write_text(json.dumps(vectors), encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.setenv("STAND_IN_VECTORS", str(tmp_path / "vectors.json"))
    monkeypatch.setenv("STAND_IN_NOTES", str(tmp_path / "notes"))
    monkeypatch.setenv("BUDGET_ZOO_HOME", str(tmp_path / "home"))
    get_settings.cache_clear()
    return tmp_path / "notes"


def firsts_and_seconds(pairs: Path) -> tuple[list[str], list[str], list[float]]:
    rows = [json.loads(line) for line in pairs.read_text(encoding="utf-8").splitlines()]
    return [r["sentence1"] for r in rows], [r["sentence2"] for r in rows], [r["score"] for r in rows]


def of_transformers(folder: Path, texts: list[str]) -> np.ndarray:
    """Means of transformers' last states, of length 1, each text by itself."""
    model, tokenizer = transformers.BertModel.from_pretrained(folder).eval(), load_tokenizer(folder)
    rows = list[torch.Tensor]()
    for text in texts:
        with torch.no_grad():
            mean = model(**tokenizer([text], return_tensors="pt")).last_hidden_state[0].mean(0)
        rows.append(mean / mean.norm())
    return torch.stack(rows).numpy()


def expected(embed: Callable[[list[str]], np.ndarray], pairs: Path) -> tuple[float, float, float]:
    """Spearman by scipy; recall at 1 and MRR at 10 counted by hand."""
    firsts, seconds, labels = firsts_and_seconds(pairs)
    likeness = (embed(firsts) * embed(seconds)).sum(1)
    found = embed(list(ASKED)) @ embed(list(ASKED.values())).T
    places = [1 + int((row > row[i]).sum()) for i, row in enumerate(found)]
    correlation: Any = stats.spearmanr(likeness, labels)
    mrr = 100 * float(np.mean([1 / place for place in places]))
    return 100 * float(correlation.statistic), 100 * float(np.mean([place == 1 for place in places])), mrr


def share(entry: Entry, config: LengthConfig, texts: list[str]) -> float:
    shape = Shape.from_config(read_json(entry.folder / "config.json"))
    counts = [len(ids) for ids in load_tokenizer(entry.folder)(texts)["input_ids"]]
    return sum(macs(shape, n, config.tokens(n)) for n in counts) / sum(macs(shape, n) for n in counts)


def test_rows_have_the_figures_of_their_own_vectors(entry, encoder, pairs, squad, stand_in, tmp_path, capsys):
    file = tmp_path / "rows.json"
    asked = ["embeddings", str(entry.folder), "--original", str(encoder), "--stsb", str(pairs), "--squad", str(squad)]
    asked += ["--passages", "3", "--points", "1", "--engine", "onnxruntime", "--rounds", "2", "--batch", "2", "3"]
    assert main([*asked, "--json", str(file)]) == 0
    told = read_json(file)
    theirs, quantized, exact, full, short = told["rows"]
    assert theirs["name"] == "sentence-transformers 1.2.3, torch, float32"
    assert quantized["name"].startswith("sentence-transformers 1.2.3, onnx, int8") and "exporter" in quantized["name"]
    assert entry.front
    point, embedder = entry.front.points[0], TextEmbedder(entry)
    vectors = {
        "theirs": (theirs, partial(of_transformers, encoder)),
        "float": (exact, partial(of_transformers, encoder)),
        "full": (full, embedder.embed),
        "short": (short, partial(embedder.embed, config=point.config)),
    }
    for row, embed in vectors.values():
        assert (row["spearman"], row["recall"], row["mrr"]) == pytest.approx(expected(embed, pairs), abs=1e-3)
    assert short["spearman"] != full["spearman"]
    passages, (firsts, seconds, _) = list(ASKED.values()), firsts_and_seconds(pairs)
    assert all(row["macs"] == row["macs_of_pairs"] == 1 for row in (theirs, quantized, exact, full))
    assert short["macs"] == pytest.approx(share(entry, point.config, passages)) and short["macs"] < 1
    assert short["macs_of_pairs"] == pytest.approx(share(entry, point.config, firsts + seconds))
    best = min(theirs["p50_s"], quantized["p50_s"])
    for row in told["rows"]:
        assert row["n"] == 2 and row["tried"][str(row["batch"])] == row["p50_s"] == min(row["tried"].values())
        assert row["per_second"] == pytest.approx(3 / row["p50_s"]) and row["faster"] == pytest.approx(
            best / row["p50_s"]
        )
    assert (told["pairs"], told["questions"], told["passages"]) == (16, 4, 3) and told["machine"]["cpu"]
    shown = capsys.readouterr().out
    assert f"| {full['spearman']:.2f} ({full['spearman'] - theirs['spearman']:+.2f}) |" in shown
    assert "openvino, does not run in" in shown and "optimum-intel is absent" in told["left_out"][0]
    notes = stand_in.read_text().splitlines()
    assert notes.count("asked 3 2 False") >= 3 and notes.count("asked 3 3 False") >= 3  # a warm-up and two rounds
    assert main([*asked, "--questions", "2"]) == 0
    assert "2 questions among 4 passages" in capsys.readouterr().out
    assert sum(line.startswith("exported") for line in stand_in.read_text().splitlines()) == 1  # the file is kept


def test_padding_changes_no_vector(entry):
    embedder, texts = TextEmbedder(entry), ["the lake", *ASKED, "the queen of the lake is in the deep of the lake"]
    assert entry.front
    for config in (entry.front.full.config, entry.front.points[0].config):
        ours = embedded(embedder.engine, embedder.tokenizer, config, 128, texts, 4)
        np.testing.assert_allclose(ours, embedder.embed(texts, config), atol=1e-5)


def test_questions_are_drawn_and_passages_stay(pairs, squad):
    data = read(str(pairs), str(squad), 2, 3, set())
    assert len(data.queries) == 2 and len(data.timed) == 3 and set(data.timed) < set(ASKED.values())
    assert all(query.passages == tuple(ASKED.values()) for query in data.queries)
    assert data == read(str(pairs), str(squad), 2, 3, set())


def test_without_sentence_transformers_it_says_how_to_get_it(
    entry, encoder, pairs, squad, tmp_path, monkeypatch, capsys
):
    (tmp_path / "sentence_transformers.py").write_text("raise ImportError('it is absent')", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    asked = ["embeddings", str(entry.folder), "--original", str(encoder), "--stsb", str(pairs), "--squad", str(squad)]
    for python, fault in ((sys.executable, "it is absent"), (str(tmp_path / "none"), "No such file")):
        assert main([*asked, "--peers", python]) == 2
        said = capsys.readouterr().err
        assert fault in said and "name it by --peers" in said


def test_what_cannot_be_compared_is_refused(entry, encoder, squad, capsys):
    assert main(["embeddings", "minilm-l6-qa-length-adaptive-int8"]) == 2
    assert "no length-adaptive int8 entry for embeddings" in capsys.readouterr().err
    assert main(["embeddings", str(encoder)]) == 2
    assert main(["embeddings", str(entry.folder), "--engine", "torch"]) == 2
    assert "choose of onnxruntime, openvino" in capsys.readouterr().err
    for wrong in (["--batch", "0"], ["--rounds", "0"], ["--points", "-1"]):
        with pytest.raises(SystemExit):
            main(["embeddings", str(entry.folder), *wrong])
    with pytest.raises(UserError):
        read("none.jsonl", str(squad), None, None, set())


def test_what_an_entry_was_trained_on_is_refused(pairs, squad):
    passage = list(ASKED.values())[1]
    with pytest.raises(UserError, match="1 passages"):
        read(str(pairs), str(squad), None, None, fingerprint([Example("", "", passage)]))
