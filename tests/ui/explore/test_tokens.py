import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ui.explore import tokens
from zoo.answers import KeptWindow

SPANS = st.one_of(st.none(), st.tuples(st.integers(0, 20), st.integers(0, 20)).map(lambda pair: tuple(sorted(pair))))


@given(st.text(max_size=20), SPANS, SPANS)
def test_the_passage_is_whole_whatever_is_marked(context, answer, full):
    assert "".join(text for text, _ in tokens.mark_answers(context, answer, full)) == context


def test_overlapping_answers_are_told_apart():
    marked = tokens.mark_answers("in the old town hall", (7, 15), (11, 20))
    assert marked == [
        ("in the ", None), ("old ", tokens.ANSWER), ("town", tokens.BOTH), (" hall", tokens.FULL)
    ]  # fmt: skip


def window(kept):
    words = ["[CLS]", "who", "play", "##s", "[SEP]", "Ada", "play", "##s", "[SEP]"]
    spans = [None, None, None, None, None, (0, 3), (5, 9), (9, 10), None]
    return KeptWindow(words, spans, np.array(kept, bool))


def test_kept_text_reads_like_the_passage():
    marked = tokens.mark_kept(window([[1] * 9]), ["Ada  plays."], 1)
    assert marked == [("[CLS] who plays [SEP] Ada  plays [SEP]", tokens.KEPT)]


def test_what_was_dropped_is_left_plain():
    marked = tokens.mark_kept(window([[1] * 9, [1, 0, 0, 0, 1, 1, 0, 0, 1]]), ["Ada  plays."], 2)
    assert [text.strip() for text, label in marked if label] == ["[CLS]", "[SEP] Ada", "[SEP]"]
    assert "".join(text for text, _ in marked) == "[CLS] who plays [SEP] Ada  plays [SEP]"


def test_both_texts_of_a_pair_read_like_themselves():
    words = ["[CLS]", "bees", "fly", "[SEP]", "bees", "sting", "[SEP]"]
    spans = [None, (0, 4), (6, 9), None, (0, 4), (5, 10), None]
    parts = [None, 0, 0, None, 1, 1, None]
    kept = KeptWindow(words, spans, np.array([[1] * 7, [1, 1, 0, 0, 0, 1, 0]], bool), parts)
    texts = ["Bees  fly.", "Bees sting?"]
    assert tokens.mark_kept(kept, texts, 1) == [("[CLS] Bees  fly [SEP] Bees sting [SEP]", tokens.KEPT)]
    assert [text.strip() for text, label in tokens.mark_kept(kept, texts, 2) if label] == ["[CLS] Bees", "sting"]


def test_an_engine_that_tells_nothing_keeps_everything():
    bare = KeptWindow(["a", "b"], [(0, 1), (2, 3)], np.zeros((0, 2), bool))
    assert tokens.mark_kept(bare, ["a b"], 3) == [("a b", tokens.KEPT)]


def test_windows_are_offered_by_place():
    assert tokens.label_windows([window([[1] * 9])] * 2)[1] == ("window 2 of 2 (9 tokens)", 1)


def test_what_was_kept_opens_at_the_window_of_the_answer():
    def cut(*places):
        return KeptWindow(["t"] * len(places), list(places), np.ones((1, len(places)), bool))

    windows = [cut(None, (0, 4), (5, 9)), cut(None, (5, 9), (10, 14), (15, 19)), cut(None, (15, 19), (20, 24))]
    assert [tokens.window_of(windows, span) for span in ((0, 4), (10, 14), (20, 24), None)] == [0, 1, 2, 0]
    assert tokens.window_of(windows, (15, 19)) in (1, 2) and tokens.window_of([], (0, 1)) == 0
