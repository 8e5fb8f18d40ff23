"""Embeddings, search and ranking from a checkpoint of the Hub's kind to an int8 entry that is scored and asked."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import ndcg_score

from compress.jobs.estimate import _counted_texts, estimate
from compress.progress import Progress
from compress.recipe.kind import missing
from compress.recipe.length_adaptive import LengthAdaptiveRecipe
from compress.recipe.load import load
from compress.recipe.stage import StageContext
from compress.results.score import score_entry
from compress.run.run import run
from compress.tasks.subjects import examples_to_search
from tests.compress.embedding_kit import cross_encoder, sentence_encoder, transformers, write_pairs, write_queries
from tests.compress.text_kit import sentence
from zoo import catalog
from zoo.asking import open_entry
from zoo.embed import TextEmbedder
from zoo.errors import UserError
from zoo.features import load_tokenizer
from zoo.files import read_json
from zoo.lengths import LengthConfig
from zoo.modeling import LengthAdaptiveModel
from zoo.pooling import Pooling
from zoo.rank import PassageRanker

QUICK = ["evaluate.latency_rounds=0", "quantize.calibration_samples=20"]
UNTITLED = [f"dataset.{key}=null" for key in ("titles", "validation_titles", "evaluation_titles")]
TEXTS = ["the lake is deep", "who plays chess on the lake", "the queen of chess is in the deep"]


def correlation(of: Any, ours: Any, theirs: Any) -> float:
    """What a function of scipy gives, in points of 100."""
    return 100 * float(of(ours, theirs)[0])


def vectors_of(folder: Path, texts: list[str]) -> np.ndarray:
    """Means of transformers' last states, of length 1, each text by itself."""
    model, tokenizer = transformers.BertModel.from_pretrained(folder).eval(), load_tokenizer(folder)
    rows = []
    for text in texts:
        with torch.no_grad():
            states = model(**tokenizer([text], return_tensors="pt")).last_hidden_state[0]
        rows.append(states.mean(0) / states.mean(0).norm())
    return torch.stack(rows).numpy()


@pytest.fixture(scope="module")
def encoder(tiny_model, tmp_path_factory) -> Path:
    return sentence_encoder(tmp_path_factory.mktemp("encoder"), tiny_model)


@pytest.fixture(scope="module")
def ranker(tiny_model, tmp_path_factory) -> Path:
    return cross_encoder(tmp_path_factory.mktemp("ranker"), tiny_model)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for name, count, seed in (("train", 40, 1), ("validation", 12, 2), ("evaluation", 16, 3)):
        write_pairs(folder / "pairs" / f"{name}.jsonl", count, seed)
        write_queries(folder / "queries" / f"{name}.jsonl", count, seed)
    return folder


def quantized(tmp_path: Path, task: str, model: Path, data: Path, *changes: str, kind: str = "static_int8") -> Path:
    parts = [f"dataset.{part}={data}/{part}.jsonl" for part in ("train", "evaluation")]
    recipe = load(kind, [f"dataset.task={task}", f"model={model}", *parts, *QUICK, "package.name=small", *changes])
    run(recipe, tmp_path / "run")
    return tmp_path / "run" / "package" / "small"


def test_static_int8_of_a_sentence_encoder_is_scored_packaged_and_asked(encoder, data, tmp_path):
    folder = quantized(tmp_path, "embeddings", encoder, data / "pairs")
    entry = catalog.find(str(folder))
    assert (entry.task, entry.metric) == ("embeddings", "spearman")
    assert read_json(folder / "config.json")["pooling"] == {
        "mode": "mean",
        "normalize": True,
        "over": "restored",
        "max_length": 128,
    }
    rows = [json.loads(line) for line in (data / "pairs" / "evaluation.jsonl").read_text().splitlines()]
    embedder = open_entry(entry)
    assert isinstance(embedder, TextEmbedder)
    firsts, seconds = (embedder.embed([row[key] for row in rows]) for key in ("sentence1", "sentence2"))
    likeness, labels = (firsts * seconds).sum(1), [row["score"] for row in rows]
    assert entry.metrics["spearman"] == pytest.approx(correlation(stats.spearmanr, likeness, labels), abs=1e-3)
    assert entry.metrics["pearson"] == pytest.approx(correlation(stats.pearsonr, likeness, labels), abs=1e-3)
    theirs = vectors_of(encoder, TEXTS)
    assert (embedder.embed(TEXTS) * theirs).sum(1).min() > 0.98  # int8 beside transformers' float
    reply = embedder.ask(TEXTS[0], "\n".join(TEXTS[1:]))
    ours = embedder.embed(TEXTS)
    assert [match.score for match in reply.matches] == pytest.approx(sorted(ours[1:] @ ours[0], reverse=True), abs=1e-6)
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "TextEmbedder" in card and "sentence-similarity" in card


def test_dynamic_int8_of_a_sentence_encoder_within_a_criterion(encoder, data, tmp_path):
    criterion = [
        "criterion.apply=true",
        "criterion.relative=false",
        "criterion.tolerable_loss=30",
        "quantize.calibration_samples=128",
    ]
    folder = quantized(tmp_path, "search", encoder, data / "queries", *criterion, kind="dynamic_int8")
    entry = catalog.find(str(folder))
    assert entry.metric == "recall_at_1" and entry.metrics["n"] == 16
    embedder = open_entry(entry)
    assert isinstance(embedder, TextEmbedder)
    rows = [json.loads(line) for line in (data / "queries" / "evaluation.jsonl").read_text().splitlines()]
    corpus = list(dict.fromkeys(passage for row in rows for passage in row["passages"]))
    vectors = embedder.embed([*corpus, *(row["query"] for row in rows)])  # in one: ranges are those of a batch
    likeness = vectors[len(corpus) :] @ vectors[: len(corpus)].T
    gains = np.array(
        [[float(text in [row["passages"][i] for i in row["relevant"]]) for text in corpus] for row in rows]
    )
    assert entry.metrics["ndcg_at_10"] == pytest.approx(100 * ndcg_score(gains, likeness, k=10), abs=1e-3)
    report = read_json(tmp_path / "run" / "quantize" / "criterion.json")
    assert report["metric"] == "recall_at_1" and report["holds"]


def test_static_int8_of_a_cross_encoder_is_scored_packaged_and_asked(ranker, data, tmp_path):
    folder = quantized(tmp_path, "ranking", ranker, data / "queries")
    entry = catalog.find(str(folder))
    assert (entry.task, entry.metric) == ("ranking", "mrr_at_10")
    asked = open_entry(entry)
    assert isinstance(asked, PassageRanker)
    reply = asked.ask(TEXTS[0], "\n".join(TEXTS[1:]))
    float_reply = PassageRanker(catalog.find(str(folder.with_name("small-float"))), "torch").ask(
        TEXTS[0], "\n".join(TEXTS[1:])
    )
    model, tokenizer = (
        transformers.BertForSequenceClassification.from_pretrained(ranker).eval(),
        load_tokenizer(ranker),
    )
    with torch.no_grad():
        logits = [float(model(**tokenizer([TEXTS[0]], [text], return_tensors="pt")).logits) for text in TEXTS[1:]]
    assert [match.index for match in float_reply.matches] == list(np.argsort(-np.array(logits)))
    assert [match.score for match in float_reply.matches] == pytest.approx(sorted(logits, reverse=True), abs=2e-3)
    assert sorted(match.index for match in reply.matches) == [0, 1]
    again = score_entry(str(folder), str(data / "queries" / "evaluation.jsonl"))
    assert again["mrr_at_10"] == pytest.approx(entry.metrics["mrr_at_10"])
    of_the_hub = score_entry(str(ranker), str(data / "queries" / "evaluation.jsonl"), task="ranking")
    assert of_the_hub["n"] == 16 and 0 < of_the_hub["mrr_at_10"] <= 100


def test_questions_in_squads_format_are_searched_among_all_passages(encoder, tmp_path):
    texts = {f"the lake number {word}": f"{word} is deep in the lake and {word} is the queen" for word in "abcd"}
    articles = [
        {
            "title": "Lakes",
            "paragraphs": [
                {
                    "context": context,
                    "qas": [
                        {
                            "id": question[-1],
                            "question": question,
                            "answers": [{"text": "deep", "answer_start": context.index("deep")}],
                        }
                    ],
                }
                for question, context in texts.items()
            ],
        }
    ]
    path = tmp_path / "squad.json"
    path.write_text(json.dumps({"version": "1.1", "data": articles}), encoding="utf-8")
    scores = score_entry(str(encoder), str(path), task="search")
    vectors = vectors_of(encoder, [*texts, *texts.values()])
    likeness = vectors[:4] @ vectors[4:].T
    places = [1 + sorted(-row).index(-row[i]) for i, row in enumerate(likeness)]
    assert scores["mrr_at_10"] == pytest.approx(100 * np.mean([1 / place for place in places]))
    assert scores["recall_at_1"] == pytest.approx(100 * np.mean([place == 1 for place in places]))


def embeddings_recipe(encoder: Path, data: Path, lines: Path, *more: str) -> LengthAdaptiveRecipe:
    """One that learns to drop tokens from 24 lines of plain text, which it writes to `lines`."""
    chance = random.Random(5)
    lines.write_text("".join(sentence(chance, "lake", 8) + "\n" for _ in range(24)), encoding="utf-8")
    changes = [f"dataset.{part}={data}/pairs/{part}.jsonl" for part in ("validation", "evaluation")]
    changes += [f"model={encoder}", "dataset.task=embeddings", f"dataset.train={lines}", "finetune.apply=false"]
    changes += ["finetune.max_length=128", "length_drop.max_length=128", "length_drop.learning_rate=0.001"]
    changes += ["distill.apply=true", "distill.label_weight=1", "length_drop.epochs=8", *QUICK, *UNTITLED, *more]
    recipe = load("length_adaptive_tiny", changes)
    assert isinstance(recipe, LengthAdaptiveRecipe)
    return recipe


def test_scorers_learn_alone_where_full_length_says_all_already(encoder, data, tmp_path):
    """Adam would take the noise of a loss that is 0 for the size of gradients, and jump at the first that are any."""
    ways = ["length_drop.significance=learned", "length_drop.scorer_steps=1000", "length_drop.pooled=left"]
    recipe = embeddings_recipe(encoder, data, tmp_path / "text.txt", *ways)
    for stage in ("teacher", "length_drop"):
        run(recipe, tmp_path / "run", stage)
    before, after = (
        LengthAdaptiveModel.load(folder).state_dict() for folder in (encoder, tmp_path / "run/length_drop")
    )
    assert all(after[name].equal(value) for name, value in before.items())
    scorers = [value for name, value in after.items() if name.startswith("significance.")]
    assert scorers and all(value.any() for value in scorers)
    pooling = Pooling.of(read_json(tmp_path / "run/length_drop/config.json"))
    assert (pooling.over, pooling.mode, pooling.normalize) == ("left", "mean", True)


def test_shortcuts_begin_where_dropped_tokens_are_least_missed(encoder, data, tmp_path):
    """While scorers learn alone nothing else does: what is there then is what least squares gave, also where a first
    checkpoint was begun and not finished."""
    (tmp_path / "run/length_drop/checkpoint").mkdir(parents=True)
    ways = ["length_drop.significance=learned", "length_drop.scorer_steps=1000", "length_drop.pooled=mapped"]
    recipe = embeddings_recipe(encoder, data, tmp_path / "text.txt", *ways)
    for stage in ("teacher", "length_drop"):
        run(recipe, tmp_path / "run", stage)
    folder = tmp_path / "run" / "length_drop"
    pooling = Pooling.of(read_json(folder / "config.json"))
    assert (pooling.over, pooling.mode) == ("mapped", "mean")
    restored = replace(pooling, over="restored").to_dict()
    mapped, plain = LengthAdaptiveModel.load(folder), LengthAdaptiveModel.load(folder, pooling=restored)
    ids = torch.randint(5, 50, (8, 12), generator=torch.Generator().manual_seed(0))
    mask, lengths = torch.ones_like(ids), torch.tensor([LengthConfig((0.5,) * mapped.shape.layers).tokens(12)] * 8)
    with torch.no_grad():
        full = mapped(ids, mask).logits
        far = {model: 1 - (model(ids, mask, lengths=lengths).logits * full).sum(1).mean() for model in (mapped, plain)}
    assert 0 < far[mapped] < 0.7 * far[plain], far.values()
    assert all(model.logits.equal(full) for model in (mapped(ids, mask), plain(ids, mask)))


@pytest.mark.parametrize("stored", ["true", "false"])
def test_texts_that_are_alike_are_learned_from_together(stored, encoder, data, tmp_path):
    ways = ["length_drop.neighbours=4", "length_drop.batch_size=8", "length_drop.pooled=mapped"]
    ways += ["length_drop.full_every=2", f"distill.store_logits={stored}"]
    recipe = embeddings_recipe(encoder, data, tmp_path / "text.txt", *ways)
    for stage in ("teacher", "length_drop"):
        run(recipe, tmp_path / "run", stage)
    groups = read_json(tmp_path / "run/length_drop/neighbours.json")
    assert sorted(i for group in groups for i in group) == list(range(24)) and max(map(len, groups)) == 4
    vectors = torch.tensor(vectors_of(encoder, (tmp_path / "text.txt").read_text().splitlines()))
    one, *others = groups[0]  # nobody had taken any before it
    nearest = (vectors @ vectors[one]).argsort(descending=True).tolist()
    assert set(others) == {i for i in nearest[:4] if i != one}
    full = [LengthAdaptiveModel.load(folder).state_dict() for folder in (encoder, tmp_path / "run/length_drop")]
    assert any(not full[1][name].equal(value) for name, value in full[0].items())


def test_vectors_of_the_first_token_are_made_of_no_others(data, tiny_model, tmp_path):
    first = sentence_encoder(tmp_path / "first", tiny_model, mode="cls")
    recipe = embeddings_recipe(first, data, tmp_path / "text.txt", "length_drop.pooled=left")
    run(recipe, tmp_path / "run", "teacher")
    with pytest.raises(UserError, match="of its first token, which is never dropped: leave pooled out"):
        run(recipe, tmp_path / "run", "length_drop")


def test_a_pair_that_is_reported_on_is_not_searched_on_and_many_are_refused(encoder, data, tmp_path, caplog):
    """Of STS-B's official training pairs one stands in its validation, too, and any set of people's may have such."""
    lines, reported = tmp_path / "text.txt", (data / "pairs/evaluation.jsonl").read_text().splitlines()
    rows = [json.dumps({"sentence1": f"A {i}.", "sentence2": f"B {i}.", "score": i % 5}) for i in range(150)]
    mixed = tmp_path / "validation.jsonl"
    mixed.write_text("\n".join([reported[0], *rows]) + "\n", encoding="utf-8")
    recipe = embeddings_recipe(encoder, data, lines, f"dataset.validation={mixed}")
    context = StageContext(recipe, tmp_path, tmp_path / "search", Progress(None, "search", shown=False), {})
    with caplog.at_level("INFO"):
        searched = examples_to_search(context, None, 0)
    assert "too: 1 of the pairs to search on." in caplog.text
    assert [each.first for each in searched] == [f"A {i}." for i in range(150)]
    mixed.write_text("\n".join([*reported[:3], *rows]) + "\n", encoding="utf-8")
    with pytest.raises(UserError, match="3 passages of the pairs to search on are reported on"):
        examples_to_search(context, None, 0)


def test_length_adaptive_embeddings_are_learned_from_plain_text(encoder, data, tmp_path):
    lines = tmp_path / "text.txt"
    run(embeddings_recipe(encoder, data, lines), tmp_path / "run")
    entry = catalog.find(str(tmp_path / "run" / "package" / "tiny-qa-length-adaptive-int8"))
    assert entry.front and entry.front.metric == "spearman" and len(entry.front.everything) > 1
    rows = [json.loads(line) for line in (data / "pairs" / "evaluation.jsonl").read_text().splitlines()]
    embedder, point = TextEmbedder(entry), entry.front.points[0]
    firsts, seconds = (embedder.embed([row[key] for row in rows], point.config) for key in ("sentence1", "sentence2"))
    expected = correlation(stats.spearmanr, (firsts * seconds).sum(1), [row["score"] for row in rows])
    assert point.score == pytest.approx(expected, abs=1e-3)
    # What it learns is to say at fewer tokens what the float model says at full length.
    texts = [line for line in lines.read_text().splitlines() if line][:8]
    lengths = torch.tensor([[6, 4]])
    tokenizer, far = load_tokenizer(encoder), []
    for folder in (encoder, tmp_path / "run" / "length_drop"):
        model, gaps = LengthAdaptiveModel.load(folder), []
        for text, theirs in zip(texts, vectors_of(encoder, texts), strict=True):
            batch = tokenizer([text], return_tensors="pt")
            with torch.no_grad():
                short = model(batch["input_ids"], batch["attention_mask"], lengths=lengths).logits[0]
            gaps.append(1 - float(short @ torch.tensor(theirs)))
        far.append(np.mean(gaps))
    assert far[1] < 0.9 * far[0]


@pytest.mark.parametrize("stored", [True, False])
def test_likeness_is_learned_with_labels_and_from_a_teacher(encoder, data, stored, tiny_model, tmp_path):
    teacher = sentence_encoder(tmp_path / "teacher", tiny_model, seed=9)
    changes = [f"dataset.{part}={data}/pairs/{part}.jsonl" for part in ("train", "validation", "evaluation")]
    changes += [f"model={encoder}", "dataset.task=embeddings", "finetune.max_length=128", *QUICK]
    changes += ["distill.apply=true", f"distill.teacher={teacher}", f"distill.store_logits={str(stored).lower()}"]
    changes += ["distill.label_weight=1", "prune.apply=false", "finetune.learning_rate=0.003", "finetune.epochs=4"]
    recipe = load("train_tiny", [*changes, "aware.apply=false", *UNTITLED])
    run(recipe, tmp_path / "run", "teacher")
    run(recipe, tmp_path / "run", "train")
    rows = [json.loads(line) for line in (data / "pairs" / "train.jsonl").read_text().splitlines()]

    def loss(folder: Path) -> float:
        model, total = LengthAdaptiveModel.load(folder), 0.0
        for row in rows[:12]:
            ours, theirs = [], []
            for key in ("sentence1", "sentence2"):
                batch = load_tokenizer(encoder)([row[key]], return_tensors="pt")
                with torch.no_grad():
                    for each, into in ((model, ours), (other, theirs)):
                        into.append(each(batch["input_ids"], batch["attention_mask"]).logits[0])
            total += float(ours[0] @ ours[1] - row["score"] / 5) ** 2
            total += sum(1 - float(a @ b) for a, b in zip(ours, theirs, strict=True)) / 2
        return total / 12

    other = LengthAdaptiveModel.load(teacher)
    assert loss(tmp_path / "run" / "train") < 0.8 * loss(encoder)


@pytest.mark.parametrize("kind", ["nas_tiny", "nncf_tiny", "aimet_w8a8", "prune_once_tiny"])
def test_other_recipes_refuse_embeddings_by_name(kind, encoder):
    recipe = load(kind, [f"model={encoder}"])
    recipe = recipe.model_copy(update={"dataset": recipe.dataset.model_copy(update={"task": "embeddings"})})
    assert f"The recipe {recipe.kind} is not for sentence embeddings" in str(missing(recipe))


@pytest.mark.parametrize("mode", ["mean", "cls", "max"])
def test_vectors_are_those_of_transformers_states(mode, tiny_model, tmp_path):
    folder = sentence_encoder(tmp_path, tiny_model, mode)
    model, tokenizer = transformers.BertModel.from_pretrained(folder).eval(), load_tokenizer(folder)
    embedder = TextEmbedder(catalog.find(str(folder)), "torch")
    ours, longest = embedder.embed([*TEXTS, "lake " * 300]), embedder.max_length
    assert longest == 128 and embedder.remarks == []
    for vector, text in zip(ours, [*TEXTS, "lake " * 300], strict=True):
        with torch.no_grad():
            inputs = tokenizer([text], return_tensors="pt", truncation=True, max_length=longest)
            states = model(**inputs).last_hidden_state[0]
        pooled = {"mean": states.mean(0), "cls": states[0], "max": states.max(0).values}[mode]
        np.testing.assert_allclose(vector, (pooled / pooled.norm()).numpy(), atol=1e-5)


@pytest.mark.parametrize(("task", "kind", "windows"), [("embeddings", "pairs", 32), ("ranking", "queries", 48)])
def test_what_a_job_costs_is_counted(task, kind, windows, encoder, data):
    parts = [f"dataset.{part}={data}/{kind}/{part}.jsonl" for part in ("train", "evaluation")]
    recipe = load("static_int8", [f"dataset.task={task}", f"model={encoder}", *parts, *QUICK])
    assert estimate(recipe)["minutes"] is not None
    assert _counted_texts(task, f"{data}/{kind}/evaluation.jsonl", "evaluation", 128)[0] == windows
