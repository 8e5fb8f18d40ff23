from __future__ import annotations

import json
import re
import shutil
import unicodedata
from array import array
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest

from zoo import catalog, features
from zoo.ask import QuestionAnswerer
from zoo.errors import UserError
from zoo.features import (
    MAX_QUESTION_TOKENS,
    Window,
    clean_text,
    label,
    load_tokenizer,
    make_parts,
    make_texts,
    make_windows,
    pad,
    words_in,
)


@pytest.fixture(scope="module")
def tokenizer(tiny_model):
    return load_tokenizer(tiny_model)


CONTEXT = "The river leaves the lake near the town. " * 40


def test_offsets_point_into_the_passage(tokenizer):
    (window,) = make_windows(tokenizer, ["Which river?"], ["Lake Baikal feeds the Angara."])
    words = [tokenizer.convert_ids_to_tokens(i).removeprefix("##") for i in window.input_ids]
    spans = [
        ("Lake Baikal feeds the Angara.".lower()[o[0] : o[1]], w)
        for o, w in zip(window.offsets, words, strict=True)
        if o
    ]
    assert spans and all(text == word for text, word in spans)
    assert window.offsets[0] is None and window.offsets[-1] is None


def test_a_long_passage_is_read_in_overlapping_windows_that_miss_nothing(tokenizer):
    windows = make_windows(tokenizer, ["Where?", "Which river?"], ["Short.", CONTEXT], max_length=160, stride=50)
    assert [w.example for w in windows] == [0] + [1] * (len(windows) - 1)
    long = windows[1:]
    assert len(long) > 2 and all(len(w.input_ids) <= 160 for w in long)
    covered = {i for w in long for o in w.offsets if o for i in range(*o)}
    assert {i for i, c in enumerate(CONTEXT) if not c.isspace()} <= covered
    for before, after in zip(long, long[1:], strict=False):
        shared = {o for o in before.offsets if o} & {o for o in after.offsets if o}
        assert len(shared) == 50


def test_a_very_long_question_is_cut(tokenizer):
    (window, *_) = make_windows(tokenizer, ["why " * 500], ["Because."], max_length=128)
    assert sum(o is None for o in window.offsets) == MAX_QUESTION_TOKENS + 3
    assert any(window.offsets)


def test_texts_are_tokenized_some_at_a_time(tokenizer, monkeypatch):
    firsts, seconds = [f"Which {'river' * i}?" for i in range(5)], [CONTEXT[: 90 * i + 9] for i in range(5)]
    words = [words_in(text) for text in seconds]

    def read():
        return (
            make_windows(tokenizer, firsts, seconds, 100, 10),
            make_texts(tokenizer, firsts, seconds),
            make_texts(tokenizer, seconds),
            make_parts(tokenizer, seconds, words, 40, 8),
        )

    whole = read()
    monkeypatch.setattr(features, "AT_ONCE", 2)
    assert read() == whole and all({w.example for w in made} == set(range(5)) for made in whole)
    assert make_windows(tokenizer, [], []) == make_texts(tokenizer, []) == make_parts(tokenizer, [], [], 40, 8) == []


def test_a_slim_window_is_read_alike(tokenizer):
    (window,) = make_texts(tokenizer, ["Lake Baikal"], ["feeds the Angara."])
    for types in (None, [0] * (len(window.input_ids) - 1) + [1]):
        whole = replace(window, token_type_ids=types)
        slim = whole.slim()
        assert list(slim.input_ids) == whole.input_ids and slim.slim() == slim
        assert all((a == b).all() for a, b in zip(pad([slim]).values(), pad([whole]).values(), strict=True))
        held = [each for each in (slim.input_ids, slim.token_type_ids) if isinstance(each, array)]
        assert sum(memoryview(each).nbytes for each in held) == (5 if types else 4) * len(whole.input_ids)


def test_pad_masks_what_it_adds():
    batch = pad([Window(0, [5, 6, 7], [0, 0, 1], []), Window(1, [8], None, [])], pad_id=9)
    assert batch["input_ids"].tolist() == [[5, 6, 7], [8, 9, 9]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch["token_type_ids"].tolist() == [[0, 0, 1], [0, 0, 0]]
    assert all(value.dtype == np.int64 for value in batch.values())


@pytest.mark.parametrize(("span", "tokens"), [((0, 4), (1, 1)), ((2, 7), (1, 2)), ((5, 12), (2, 3)), ((9, 20), (0, 0))])
def test_labels_cover_the_answer_or_say_that_it_is_not_whole(span, tokens):
    window = Window(0, [0] * 5, None, [None, (0, 4), (5, 8), (9, 12), None])
    assert label(window, *span) == tokens


def test_a_folder_without_a_tokenizer_says_so(tmp_path):
    with pytest.raises(UserError, match="tokenizer"):
        load_tokenizer(tmp_path)
    (tmp_path / "spiece.model").write_bytes(b"pieces")
    with pytest.raises(UserError, match="as spiece.model alone.*tokenizer.json"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    ("text", "clean", "notice"),
    [
        ("plain\ttext\n", "plain\ttext\n", None),
        ("a\r\nb\rc", "a\nb\nc", None),
        ("a\0b\x1b\x7f", "ab", "3 control characters removed."),
        ("\ud83d x", " x", "1 control character removed."),
        ("👩‍🚀 \u200fשלום", "👩‍🚀 \u200fשלום", None),
        ("x" * 12, "x" * 10, "Cut to the first 10 of 12 characters."),
        ("\0" + "x" * 12, "x" * 10, "1 control character removed. Cut to the first 10 of 12 characters."),
    ],
)
def test_clean_text(text, clean, notice):
    assert clean_text(text, 10 if "x" * 12 in text else 100) == (clean, notice)


def test_a_folder_without_a_tokenizer_is_refused(tiny_model, tmp_path):
    shutil.copytree(tiny_model, tmp_path / "bare", ignore=shutil.ignore_patterns("tokenizer*", "vocab*"))
    with pytest.raises(UserError, match="has no tokenizer: it holds none of tokenizer.json"):
        load_tokenizer(tmp_path / "bare")


def test_a_tokenizer_with_more_entries_than_embeddings_is_refused(tiny_model, tokenizer, tmp_path):
    shutil.copytree(tiny_model, tmp_path / "small")
    config = json.loads((tiny_model / "config.json").read_text())
    (tmp_path / "small" / "config.json").write_text(json.dumps({**config, "vocab_size": len(tokenizer) - 1}))
    with pytest.raises(
        UserError, match=f"ids 0 to {len(tokenizer) - 1}, the model embeddings for {len(tokenizer) - 1}"
    ):
        load_tokenizer(tmp_path / "small")
    (tmp_path / "small" / "config.json").write_text(json.dumps({**config, "vocab_size": len(tokenizer) + 8}))
    assert len(load_tokenizer(tmp_path / "small")) == len(tokenizer), "spare embeddings do no harm"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("我住在北京市。", "我|住|在|北|京|市|。"),
        ("東京タワー333m, iPhone15を々〇", "東|京|タ|ワ|ー|333m|,|iPhone15|を|々|〇"),
        ("नरेंद्र मोदी।", "नरेंद्र|मोदी|।"),
        (unicodedata.normalize("NFD", "Nguyễn Phú Trọng"), unicodedata.normalize("NFD", "Nguyễn|Phú|Trọng")),
        ("กรุงเทพ ๒๕๖๐", "ก|รุ|ง|เ|ท|พ|๒๕๖๐"),
        ("ວຽງຈັນ ភ្នំពេញ ရန်ကုန်", "ວ|ຽ|ງ|ຈັ|ນ|ភ្|នំ|ពេ|ញ|ရ|န်|ကု|န်"),
        ("می\u200cخواهم \u200cx\u200c", "می\u200cخواهم|\u200c|x|\u200c"),
        ("ශ්\u200dරී ലങ്കാ അവന്\u200d", "ශ්\u200dරී|ലങ്കാ|അവന്\u200d"),
        ("שָׁלוֹם مُحَمَّد", "שָׁלוֹם|مُحَمَّد"),
        ("e-北京-mail", "e|-|北|京|-|mail"),
        ("👩\u200d🚀 ❤\ufe0f 1\ufe0f\u20e3 \u0301a", "👩|\u200d|🚀|❤\ufe0f|1\ufe0f\u20e3|\u0301|a"),
    ],
)
def test_a_word_has_its_marks_and_is_one_character_where_no_blanks_are_written(text, words):
    assert [text[start:end] for start, end in words_in(text)] == words.split("|")


def test_words_between_blanks_are_what_a_plain_pattern_has():
    text = (
        "Don't e-mail O’Neill 3.5 % of snake_case -- or 'quoted', U.S. a- -b x² Straße İstanbul; "
        "Київ-Пасажирський, д'Артаньян. Ελλάδα… Ἀθῆναι "
        'القاهرة، ٣٫٥ ירושלים בע"מ תל־אביב 한국어 \u00ad\u200e(so)\t\n😀!'
    )
    pattern = re.compile(r"\w+(?:[-'’.]\w+)*|[^\w\s]")
    assert words_in(text) == [match.span() for match in pattern.finditer(text)] and len(words_in(text)) > 50


def test_a_long_text_without_blanks_is_taken_apart_at_once():
    assert len(words_in("北京" * 10_000)) == 20_000
    assert words_in("a" + "\u0301\u200c" * 9_000 + "\u200d" * 9_000) == [(0, 27_001)]
    assert len(words_in("a" + "\u200c" * 20_000)) == 20_001


CITIES = [f"Q{letter}town" for letter in "abcdefghijklmnopqrst"]


def test_a_cased_vocabulary_that_is_read_in_small_letters_is_told_of(tiny_model, tmp_path, caplog):
    """What the reply of a model says, too: see the page's notices."""
    shutil.copytree(tiny_model, tmp_path / "cased", ignore=shutil.ignore_patterns("tokenizer*"))
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *CITIES, "is", "Paris", "?"]
    (tmp_path / "cased" / "vocab.txt").write_text("\n".join(words) + "\n")
    with caplog.at_level("WARNING"):
        cased = load_tokenizer(tmp_path / "cased")
    assert cased.convert_ids_to_tokens(cased("Paris is")["input_ids"]) == ["[CLS]", "[UNK]", "is", "[SEP]"]
    assert "does not say do_lower_case" in caplog.text and "Qatown" in caplog.text
    answerer = QuestionAnswerer(catalog.find(str(tmp_path / "cased")), "torch", 1)
    with patch.object(features, "case_remark", wraps=features.case_remark) as scan:
        replies = [answerer.ask("Paris ?", "is Paris") for _ in range(2)]
    assert all(any("do_lower_case" in notice for notice in reply.notices) for reply in replies)
    assert scan.call_count == 1, "the vocabulary is gone through once"
    caplog.clear()
    (tmp_path / "cased" / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    cased = load_tokenizer(tmp_path / "cased")
    assert "Paris" in cased.convert_ids_to_tokens(cased("Paris is")["input_ids"]) and not caplog.text
    load_tokenizer(tiny_model)
    assert not caplog.text, "a vocabulary of small letters is what it is"
