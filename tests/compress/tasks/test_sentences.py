"""Labels of words: alignment, the loss, the metric against seqeval, and recipes from a file to a scored entry."""

from __future__ import annotations

import random
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from compress.data import tagged
from compress.data.examples import TaggedExample
from compress.int8 import sensitivity
from compress.recipe.layout import CRITERION
from compress.recipe.load import load
from compress.results.score import score_entry
from compress.run.run import run
from compress.tasks.losses import token_loss
from compress.tasks.metrics import entity_scores
from compress.tasks.samples import IGNORED, Sample, collate
from compress.tasks.subject import Asked
from compress.tasks.subjects import subject_for, subject_of
from tests.compress.tag_kit import LABELS, conll, make_tagger, sentences
from zoo import catalog
from zoo.errors import UserError
from zoo.features import load_tokenizer, pad
from zoo.files import read_json
from zoo.modeling import LengthAdaptiveModel
from zoo.tag import TokenTagger, first_tokens, windows_of
from zoo.tasks import find_task

TASK = find_task("tokens").with_labels(LABELS)


def tags_of(sample: Sample) -> tuple[int, ...]:
    """The classes of a sample's tokens."""
    assert isinstance(sample.label, tuple)
    return sample.label


@pytest.mark.parametrize("seed", range(6))
def test_entities_are_counted_as_seqeval_counts_them(seed):
    seqeval = pytest.importorskip("seqeval.metrics")
    chance = random.Random(seed)
    kinds = ["O", *(f"{mark}-{kind}" for mark in "BIES" for kind in ("PER", "ORG", "creative-work"))]
    right = [chance.choices(kinds, k=chance.randint(0, 12)) for _ in range(40)]
    said = [[tag if chance.random() < 0.8 else chance.choice(kinds) for tag in row] for row in right]
    ours = entity_scores(said, right)
    for name, theirs in (("f1", "f1_score"), ("precision", "precision_score"), ("recall", "recall_score")):
        assert ours[name] == pytest.approx(100 * getattr(seqeval, theirs)(right, said), abs=1e-9)
    assert ours["n"] == 40


def test_nothing_to_find_scores_nothing():
    assert entity_scores([["O"]], [["O"]]) == {"f1": 0, "precision": 0, "recall": 0, "n": 1}
    with pytest.raises(ValueError, match="do not fit"):
        entity_scores([["O"]], [["O", "O"]])


def test_a_word_is_learned_from_its_first_token_and_once(tiny_model):
    tokenizer = load_tokenizer(tiny_model)
    words = ("lake",) * 150 + ("qzx",)  # the last one falls to pieces
    example = TaggedExample("a", words, ("O",) * 150 + ("B-GAME",))
    subject = subject_for(TASK, 128)
    samples = subject.samples(tokenizer, [example, TaggedExample("b", ("lake",), ("B-PLACE",))])
    assert [sample.key for sample in samples] == ["a@0", "a@1", "b@0"]
    labels = [label for sample in samples[:2] for label in tags_of(sample) if label != IGNORED]
    assert sorted(labels) == [0] * 150 + [1]  # none twice, though the windows overlap
    last = samples[1]
    place = tags_of(last).index(1)
    pieces = tokenizer.convert_ids_to_tokens(last.window.input_ids)[place : place + 3]
    assert pieces == ["q", "##z", "##x"] and set(tags_of(last)[place + 1 :]) == {IGNORED}
    assert samples[2].label == (IGNORED, LABELS.index("B-PLACE"), IGNORED)  # [CLS] lake [SEP]
    assert max(len(sample.window.input_ids) for sample in samples) == 128
    with pytest.raises(UserError, match="labels that Token labels has not: B-X"):
        subject.samples(tokenizer, [TaggedExample("a", ("lake",), ("B-X",))])


def test_the_loss_is_the_mean_over_words_that_have_a_label(tiny_model):
    torch.manual_seed(0)
    tokenizer = load_tokenizer(tiny_model)
    rows = subject_for(TASK, 128).samples(tokenizer, sentences(3, seed=1))
    batch = collate(rows, tokenizer.pad_token_id)
    logits = torch.randn(*batch["input_ids"].shape, 5)
    by_hand = [
        -logits[row, at].log_softmax(0)[label]
        for row, sample in enumerate(rows)
        for at, label in enumerate(tags_of(sample))
        if label != IGNORED
    ]
    torch.testing.assert_close(token_loss(logits, batch["label"]), torch.stack(by_hand).mean())
    nothing = torch.full((1, 4), IGNORED)
    assert token_loss(torch.randn(1, 4, 5), nothing) == 0
    assert F.cross_entropy(torch.randn(4, 5), nothing[0]).isnan()  # what torch gives of nothing


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    folder, paths = tmp_path_factory.mktemp("tags"), {}
    for part, count, seed in (("train", 120, 1), ("validation", 12, 2), ("evaluation", 20, 3)):
        paths[part] = folder / f"{part}.conll"
        paths[part].write_text(conll(sentences(count, seed)), encoding="utf-8")
    return paths


def changes(files: dict[str, Path], **more: object) -> list[str]:
    data = {f"dataset.{part}": path for part, path in files.items()}
    titles = dict.fromkeys(("dataset.titles", "dataset.validation_titles", "dataset.evaluation_titles"), "null")
    return [f"{key}={value}" for key, value in {"dataset.task": "tokens", **data, **titles, **more}.items()]


def scored_by_hand(folder: Path, path: Path) -> dict[str, float]:
    """F1 of a float checkpoint by transformers' model, sentence by sentence."""
    from transformers import AutoModelForTokenClassification

    model = AutoModelForTokenClassification.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer, said, right = load_tokenizer(folder), [], []
    for example in tagged.load_sentences(TASK, path):
        read = tokenizer(list(example.words), is_split_into_words=True, return_tensors="pt")
        with torch.no_grad():
            best = model(**read).logits[0].argmax(-1).tolist()
        first = {word: at for at, word in reversed(list(enumerate(read.word_ids()))) if word is not None}
        said.append([model.config.id2label[best[first[word]]] for word in range(len(example.words))])
        right.append(list(example.tags))
    return entity_scores(said, right)


@pytest.mark.usefixtures("own_home")
def test_own_labels_are_trained_for_every_budget_and_scored(tiny_model, files, tmp_path):
    pytest.importorskip("transformers")
    settings = {
        "model": tiny_model,
        "package.name": "tagger",
        "finetune.epochs": 8,
        "finetune.batch_size": 16,
        "finetune.learning_rate": 1e-2,
        "search.iterations": 1,
        "finetune.significance_weight": 0,
        "length_drop.significance_weight": 0,
        "evaluate.latency_rounds": 0,
        "evaluate.length_config": "null",
    }
    run(load("length_adaptive_tiny", changes(files, **settings)), tmp_path / "run")
    scores = read_json(tmp_path / "run/evaluate/scores.json")
    assert scores["float"]["f1"] > 20 and abs(scores["int8"]["f1"] - scores["float"]["f1"]) < 15
    assert (scores["measured_on"]["metric"], scores["measured_on"]["n"]) == ("Token labels", 20)
    names = sorted((tmp_path / "run/package").glob("tagger*"))
    entries = [catalog.find(str(folder)) for folder in names]
    assert [entry.labels for entry in entries] == [list(LABELS)] * 2
    by_hand = scored_by_hand(entries[0].folder, files["evaluation"])
    assert scores["float"]["f1"] == pytest.approx(by_hand["f1"], abs=1e-6)
    assert entries[1].front and entries[1].front.metric == "f1"
    text = "the lake is in the river of chess"
    reply = TokenTagger(entries[1], "onnxruntime").ask(text, None)
    assert reply.tags and all(text[tag.start : tag.end] == tag.text for tag in reply.tags)
    assert {tag.label for tag in reply.tags} <= {"PLACE", "GAME"}
    again = score_entry(str(entries[0].folder), str(files["evaluation"]))
    assert again["f1"] == pytest.approx(by_hand["f1"], abs=1e-6) and again["n"] == 20
    card = entries[1].card
    assert "pipeline_tag: token-classification" in card and "TokenTagger" in card


@pytest.mark.usefixtures("own_home")
@pytest.mark.parametrize("approach", ["static", "dynamic"])
def test_a_tagger_is_quantized_as_it_is(approach, tiny_model, files, tmp_path):
    """Nothing is trained: the labels are the model's, in its own order; F1 is what may be lost."""
    labels = ("B-PLACE", "O", "I-GAME", "B-GAME", "I-PLACE")
    folder = make_tagger(tiny_model, tmp_path / "model", labels)
    made = {
        "model": folder,
        "package.name": "tiny-tagger",
        "evaluate.latency_rounds": 0,
        "criterion.apply": "true",
        "criterion.max_trials": 2,
        "criterion.tolerable_loss": 0.0001,
        **({"quantize.calibration_samples": 8} if approach == "static" else {}),
    }
    data = {part: files[part] for part in ("train", "evaluation")}
    recipe = load(f"{approach}_int8", [one for one in changes(data, **made) if "validation_titles" not in one])
    assert subject_of(recipe).task.labels == labels
    run(recipe, tmp_path / "run")
    scores = read_json(tmp_path / "run/evaluate/scores.json")
    assert scores["float"]["f1"] == pytest.approx(scored_by_hand(folder, files["evaluation"])["f1"], abs=1e-6)
    entry = catalog.find(str(tmp_path / "run/package/tiny-tagger"))
    assert entry.labels == list(labels) and entry.task == "tokens"
    report = read_json(tmp_path / "run/quantize" / CRITERION)
    assert 1 <= len(report["trials"]) <= 2 and report["metric"] == "f1"


def test_what_suffers_from_eight_bits_is_measured_over_tokens(tiny_model, files, tmp_path):
    folder = make_tagger(tiny_model, tmp_path / "model")
    report = sensitivity.of_entry(str(folder), str(files["evaluation"]), 3, "dynamic")
    assert report.windows == 3 and report.together > 0 and len(report.rows) == 9
    with pytest.raises(UserError, match="no data of its own"):
        sensitivity.of_entry(str(folder))


def test_labels_come_from_the_data_in_the_models_order(tiny_model, files, tmp_path):
    def labels(*more: str) -> tuple[str, ...]:
        return subject_of(load("length_adaptive_tiny", [*changes(files), *more])).task.labels

    assert labels(f"model={tiny_model}") == LABELS
    own = ("I-PLACE", "B-PLACE", "O", "B-GAME", "I-GAME")
    same = make_tagger(tiny_model, tmp_path / "same", own)
    assert labels(f"model={same}") == own
    other = make_tagger(tiny_model, tmp_path / "other", ("O", "B-PER"))
    assert labels(f"model={other}") == LABELS
    mapped = labels(f"model={tiny_model}", "dataset.label_values={B-SITE: B-PLACE, I-SITE: I-PLACE}")
    assert mapped == ("O", "B-GAME", "I-GAME", "B-SITE", "I-SITE")


def test_a_model_for_other_labels_or_without_names_is_refused(tiny_model, files, tmp_path):
    other = make_tagger(tiny_model, tmp_path / "other", ("O", "B-PER", "I-PER"))
    with pytest.raises(UserError, match="The data have GAME, PLACE, the model knows PER"):
        score_entry(str(other), str(files["evaluation"]))
    unnamed = make_tagger(tiny_model, tmp_path / "unnamed", tuple(f"LABEL_{i}" for i in range(5)))
    with pytest.raises(UserError, match="no labels of Token labels.*--labels"):
        score_entry(str(unnamed), str(files["evaluation"]))
    named = score_entry(str(unnamed), str(files["evaluation"]), task=Asked(None, list(LABELS)))
    same = make_tagger(tiny_model, tmp_path / "same")
    assert named["f1"] == score_entry(str(same), str(files["evaluation"]))["f1"] > 0
    with pytest.raises(UserError, match="name a task of token labels"):
        score_entry(str(same), str(files["evaluation"]), task="sst2")


def test_a_long_sentence_is_read_where_words_have_most_around_them(tiny_model):
    tokenizer = load_tokenizer(tiny_model)
    windows = windows_of(tokenizer, [("lake",) * 300], 128, 64)
    places = first_tokens(windows)
    assert list(places) == list(range(300)) and len(windows) > 3
    for word, (number, place) in places.items():
        assert windows[number].words[place] == word
        inside = [min(at, len(w.words) - 1 - at) for w in windows for at, here in enumerate(w.words) if here == word]
        assert min(place, len(windows[number].words) - 1 - place) == max(inside)


def test_padding_changes_no_labels(tiny_model, tmp_path):
    folder = make_tagger(tiny_model, tmp_path / "model")
    tokenizer, model = load_tokenizer(folder), LengthAdaptiveModel.load(folder)
    windows = windows_of(tokenizer, [("the", "lake"), ("the", "lake", "is", "in", "the", "river")])
    batch = {key: torch.from_numpy(value) for key, value in pad(windows).items()}
    alone = {key: torch.from_numpy(value) for key, value in pad(windows[:1]).items()}
    with torch.no_grad():
        together, single = model(**batch).logits[0].numpy(), model(**alone).logits[0].numpy()
    np.testing.assert_allclose(together[: len(single)], single, atol=1e-5)


AIMET = {"finetune.apply": "false", "aimet.epochs": 1, "distill.hidden_weight": 1, "distill.layers": "all"}
AIMET["aimet.scope"] = "deploy"  # what ends in integers


@pytest.mark.usefixtures("own_home")
@pytest.mark.parametrize(
    ("recipe", "package", "more"),
    [
        ("train_tiny", "", {"prune.pattern": "1x1", "distill.store_logits": "true"}),
        ("nncf_tiny", "nncf", {"nncf.subset_size": 4}),
        ("minilm_w8a8_squad", "aimet_torch", AIMET),
    ],
)
def test_a_tagger_teaches_while_rounding_is_simulated(recipe, package, more, tiny_model, files, tmp_path):
    """Distilled from a teacher's logits of every token, with weights and ranges as int8 has them, by each backend."""
    if package and not find_spec(package):
        pytest.skip(f"{package} is not installed")
    folder = make_tagger(tiny_model, tmp_path / "model")
    few = dict(files)
    few["train"] = tmp_path / "train.conll"
    few["train"].write_text(conll(sentences(24, seed=7)), encoding="utf-8")
    made = {"model": folder, "package.name": "tiny", "evaluate.latency_rounds": 0, "distill.apply": "true", **more}
    fields = set(type(load(recipe).dataset).model_fields)
    kept = [one for one in changes(few, **made) if not one.startswith("dataset.") or _key(one) in fields]
    run(load(recipe, kept), tmp_path / "run")
    report = read_json(next((tmp_path / "run/evaluate").glob("[es]*s.json")))  # engines.json, or scores.json
    score = report.get("engines", report)["float"]
    assert report["measured_on"]["metric"] == "Token labels"
    entries = [catalog.find(str(one)) for one in sorted((tmp_path / "run/package").glob("tiny*"))]
    assert len(entries) == 2 and all(entry.labels == list(LABELS) for entry in entries)
    assert score["f1"] == pytest.approx(scored_by_hand(entries[0].folder, files["evaluation"])["f1"], abs=1e-6)
    assert score["n"] == 20


def _key(change: str) -> str:
    return change.partition("=")[0].removeprefix("dataset.")
