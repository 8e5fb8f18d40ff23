"""Tagged texts against transformers' own pipeline, and how words become spans."""

from __future__ import annotations

import random
import warnings
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from tests.compress.tag_kit import make_tagger
from tests.zoo.tagger_kit import LABELS, TEXT, make_entry
from zoo import catalog
from zoo.answers import NoAnswer, Reply, Tag
from zoo.asking import facts_of, line_of, open_entry
from zoo.errors import UserError
from zoo.features import make_parts, words_in
from zoo.lengths import LengthConfig
from zoo.opened import Inputs
from zoo.tag import TokenTagger, find_tags, first_tokens, spans_of, whole_words

TEXTS = [
    TEXT,
    "In 1905 Einstein wrote about chess in Russia.",
    "lake",
    "The Queen, in 1972, moved to the deep lake of Baikal and played chess with Russia on the shore.",
]


@pytest.fixture(scope="module")
def float_entry(tiny_model, tmp_path_factory):
    return catalog.find(str(make_tagger(tiny_model, tmp_path_factory.mktemp("tagger") / "t", LABELS)))


@pytest.fixture(scope="module")
def int8(tiny_model, tmp_path_factory):
    return make_entry(tiny_model, tmp_path_factory.mktemp("int8"))


@pytest.mark.parametrize("text", TEXTS)
def test_spans_are_those_of_transformers_pipeline(float_entry, text):
    from transformers import pipeline

    theirs = pipeline("token-classification", str(float_entry.folder), aggregation_strategy="first")(text)
    ours = TokenTagger(float_entry, "torch").ask(text, None).tags or []
    assert (ours or text == TEXTS[3]) and [(t.label, t.start, t.end) for t in ours] == [
        (one["entity_group"], one["start"], one["end"]) for one in theirs
    ]
    assert [t.probability for t in ours] == pytest.approx([float(one["score"]) for one in theirs], abs=1e-4)
    assert all(text[t.start : t.end] == t.text for t in ours)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_a_budget_labels_every_word_too(int8, engine):
    opened = open_entry(int8, engine)
    full, half = opened.ask(TEXT, None), opened.ask(TEXT, None, LengthConfig((0.7, 0.5)))
    assert full.tags and half.tags and half.macs_ratio < full.macs_ratio == 1
    assert full.agrees(full) and full.shared_tags(full) == (len(full.tags), len(full.tags))
    dropped = [i for i, lives in enumerate(half.kept[0].kept[-1]) if not lives]
    assert dropped  # and yet what they say is known


@pytest.mark.parametrize(
    ("labels", "spans"),
    [
        ("B-A I-A O B-A", [("A", 0, 1), ("A", 3, 3)]),
        ("I-A I-A O I-B", [("A", 0, 1), ("B", 3, 3)]),
        ("B-A B-A I-B", [("A", 0, 0), ("A", 1, 1), ("B", 2, 2)]),
        ("B-A I-A E-A I-A", [("A", 0, 2), ("A", 3, 3)]),
        ("S-A S-A O E-A", [("A", 0, 0), ("A", 1, 1), ("A", 3, 3)]),
        ("B-A L-A U-A", [("A", 0, 1), ("A", 2, 2)]),
        ("B-A M-A E-A", [("A", 0, 2)]),
        ("B-A M-A M-A E-A B-B E-B S-B O B-A", [("A", 0, 3), ("B", 4, 5), ("B", 6, 6), ("A", 8, 8)]),
        ("M-A M-A O E-A M-A M-B", [("A", 0, 1), ("A", 3, 3), ("A", 4, 4), ("B", 5, 5)]),
        ("PER PER LOC O PER", [("PER", 0, 1), ("LOC", 2, 2), ("PER", 4, 4)]),
        ("O O", []),
    ],
)
def test_spans_of_labels(labels, spans):
    assert spans_of(labels.split()) == spans


@pytest.mark.parametrize("seed", range(4))
def test_bmes_is_counted_as_seqeval_counts_it_and_iobes(seed):
    entities = pytest.importorskip("seqeval.metrics.sequence_labeling").get_entities
    scheme = pytest.importorskip("seqeval.scheme")
    chance, labels = random.Random(seed), list[str]()
    for _ in range(60):
        kind, length = chance.choice(("NAME", "ORG", "creative-work")), chance.randint(0, 5)
        marks = {0: "", 1: "S"}.get(length, f"B{'M' * (length - 2)}E")
        labels += [f"{mark}-{kind}" for mark in marks] or ["O"]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*seems not to be NE tag")
        assert spans_of(labels) == entities(labels)
    iobes = ["I" + label[1:] if label.startswith("M-") else label for label in labels]
    (strict,) = scheme.Entities([iobes], scheme.IOBES).entities
    assert spans_of(labels) == [(one.tag, one.start, one.end - 1) for one in strict]
    labels = chance.choices([*labels, "B-NAME", "B-ORG"], k=200)  # in no order: M is an I there, too
    assert spans_of(labels) == entities(["I" + label[1:] if label.startswith("M-") else label for label in labels])


def test_a_span_is_as_sure_as_its_words_on_average():
    text = "Ada Lovelace sleeps"
    logits = [np.array([0.0, 2.0, 0.0]), np.array([0.0, 0.0, 1.0]), np.array([3.0, 0.0, 0.0])]
    (tag,) = find_tags(text, words_in(text), logits, ["O", "B-PER", "I-PER"])
    chances = [np.exp(2) / (np.exp(2) + 2), np.exp(1) / (np.exp(1) + 2)]
    assert (tag.text, tag.label, tag.start, tag.end) == ("Ada Lovelace", "PER", 0, 12)
    assert tag.probability == pytest.approx(np.mean(chances))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("我住在北京市", "北京"),
        ("東京タワーに行く", "東京"),
        ("आज नरेंद्र मोदी आए", "नरेंद्र मोदी"),
        ("Ông Nguye\u0302\u0303n Phu\u0301 đi", "Nguye\u0302\u0303n Phu\u0301"),
    ],
)
def test_a_name_is_found_in_scripts_without_blanks_and_with_marks(float_entry, text, name):
    """The logits say which first tokens begin the name and which go on; every other one, which is not read, is outside.

    A name is what the text has there, with the blanks that it has and no others.
    """
    tagger = TokenTagger(float_entry, "torch")
    inputs = tagger.prepare(text, None)
    (window,) = inputs.windows
    at = text.index(name)
    firsts = {at + i for i, before in enumerate(" " + name[:-1]) if before == " " or " " not in name}
    logits = np.zeros((len(window.input_ids), len(LABELS)))
    for row, place in enumerate(window.offsets):
        begins = place is not None and place[0] in firsts
        logits[row, LABELS.index("O" if not begins else "B-LOC" if place and place[0] == at else "I-LOC")] = 9
    reply = tagger.described(inputs, [logits], Reply((text,), [len(logits)], [], 1.0))
    assert [(tag.text, tag.start, tag.end) for tag in reply.tags or ()] == [(name, at, at + len(name))]


def test_a_token_of_several_characters_labels_them_all(float_entry):
    """As pieces of sentences have them."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    pieces: list[tuple[str, float]] = [("?", 0.0), ("我住在", -1.0), ("北京", -1.0), ("市", -1.0), ("a", -1.0)]
    tokenizer: Any = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.Unigram(pieces, 0)), unk_token="?")
    text = "我住在北京市a"
    windows = make_parts(tokenizer, [text], [words_in(text)], 16, 4)
    numbers = [*first_tokens(windows)]
    assert numbers == [0, 3, 5, 6] and windows[0].offsets == [(0, 3), (3, 5), (5, 6), (6, 7)]
    assert whole_words(windows, words_in(text), numbers) == [(0, 3), (3, 5), (5, 6), (6, 7)]
    logits = np.eye(len(LABELS))[[LABELS.index(label) for label in ("O", "B-LOC", "O", "O")]]
    inputs = Inputs((text,), windows, [])
    reply = TokenTagger(float_entry, "torch").described(inputs, [logits], Reply((text,), [4], [], 1.0))
    assert [(tag.text, tag.start, tag.end) for tag in reply.tags or ()] == [("北京", 3, 5)]


def test_a_long_text_is_read_in_windows_and_every_word_once(float_entry):
    text = " ".join(["The Angara leaves the lake ."] * 150)
    reply = TokenTagger(float_entry, "torch").ask(text, None)
    assert len(reply.tokens) > 1 and "overlapping windows" in reply.notices[0]
    starts = [tag.start for tag in reply.tags or ()]
    assert starts == sorted(set(starts)) and starts[-1] > len(text) - 60
    assert all(a.end <= b.start for a, b in pairwise(reply.tags or ()))


def test_what_is_no_text_is_refused(float_entry):
    tagger = TokenTagger(float_entry, "torch")
    for first, second, message in (("  ", None, "no text to label"), ("a", "b", "reads one text")):
        with pytest.raises(UserError, match=message):
            tagger.ask(first, second)
    with pytest.raises(UserError, match="“no answer” is for questions"):
        tagger.ask("a", None, None, no_answer=NoAnswer(True))


def test_a_reply_tells_what_is_labelled_and_that_nothing_is():
    tags = [Tag("Ada", 0, 3, "PER", 0.9), Tag("London", 4, 10, "LOC", 0.8)]
    reply, other = Reply(("Ada London",), [4], [], 1.0, tags=tags), Reply(("Ada London",), [4], [], 1.0, tags=tags[:1])
    nothing = Reply(("",), [2], [], 1.0, tags=[])
    assert reply.words == "Ada (PER), London (LOC)" and nothing.words == "nothing to label"
    many = Reply(("",), [2], [], 1.0, tags=tags * 4)
    assert many.words.endswith("London (LOC), and 2 more")
    assert reply.shared_tags(other) == (1, 2) and not reply.agrees(other) and nothing.agrees(nothing)
    assert facts_of(nothing)["tags"] == [] and facts_of(reply)["tags"][1]["label"] == "LOC"
    assert line_of(reply) == "PER: Ada 0.900\tLOC: London 0.800" and line_of(nothing) == "(nothing)"
