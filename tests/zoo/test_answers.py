from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.answers import Answer, find_answers
from zoo.features import Window

CONTEXT = "".join(chr(ord("a") + i % 26) for i in range(60))


def window(offsets) -> Window:
    return Window(0, list(range(len(offsets))), None, offsets)


def brute_force(context, windows, starts, ends, n_best, longest, threshold) -> list[tuple]:
    best, null = {}, math.inf
    for w, s, e in zip(windows, starts, ends, strict=True):
        null = min(null, float(s[0]) + float(e[0]))
        for i, first in enumerate(w.offsets):
            for j, last in enumerate(w.offsets):
                if first and last and i <= j < i + longest and first[0] < last[1]:
                    span, score = (first[0], last[1]), float(s[i]) + float(e[j])
                    best[span] = max(best.get(span, -math.inf), score)
    found = [(-score, False, a, b, score) for (a, b), score in best.items()]
    if threshold is not None:
        found.append((-null + threshold, True, -1, -1, null))
    found = sorted(found)[:n_best]
    total = sum(math.exp(f[4] - max(g[4] for g in found)) for f in found)
    return [(a, b, score, math.exp(score - max(g[4] for g in found)) / total) for _, _, a, b, score in found]


def answers(context, windows, starts, ends, *rules, **more):
    return find_answers(
        context, windows, [np.stack(pair, -1) for pair in zip(starts, ends, strict=True)], *rules, **more
    )


@st.composite
def cases(draw):
    windows, starts, ends = [], [], []
    for _ in range(draw(st.integers(1, 3))):
        before, count = draw(st.integers(1, 4)), draw(st.integers(0, 10))
        place = draw(st.integers(0, 20))
        offsets: list[tuple[int, int] | None] = [None] * before
        for _ in range(count):
            # A width of 0 and a token that shares its characters with the one before both occur in real tokenizers.
            width, step = draw(st.integers(0, 3)), draw(st.integers(0, 3))
            offsets.append((place, place + width))
            place += step
        offsets.append(None)
        logits = st.lists(st.integers(-4, 4), min_size=len(offsets) + 2, max_size=len(offsets) + 2)
        windows.append(window(offsets))
        starts.append(np.array(draw(logits), dtype=np.float32))
        ends.append(np.array(draw(logits), dtype=np.float32))
    return windows, starts, ends


@settings(max_examples=200, deadline=None)
@given(cases(), st.integers(1, 8), st.integers(1, 6), st.sampled_from([None, 0.0, -1.5, 2.0]))
def test_finds_what_an_exhaustive_search_finds(case, n_best, longest, threshold):
    windows, starts, ends = case
    found = answers(CONTEXT, windows, starts, ends, n_best, longest, threshold)
    expected = brute_force(CONTEXT, windows, starts, ends, n_best, longest, threshold)
    assert [(a.start, a.end, a.score) for a in found] == [e[:3] for e in expected]
    assert [a.probability for a in found] == pytest.approx([e[3] for e in expected])
    assert all(a.text == (CONTEXT[a.start : a.end] if a.start >= 0 else "") for a in found)


def test_a_span_seen_by_two_windows_counts_once_with_its_best_score():
    windows = [window([None, (0, 3), None]), window([None, (0, 3), None])]
    logits = [np.array([0.0, 1.0, 0.0]), np.array([0.0, 2.0, 0.0])]
    assert answers("abc", windows, logits, logits) == [Answer("abc", 0, 3, 4.0, 1.0)]


def test_many_tokens_on_the_same_characters_do_not_crowd_out_other_answers():
    offsets = [None, *[(0, 1)] * 30, (1, 2)]
    high = np.array([0.0, *[5.0] * 30, -5.0])
    found = answers("ab", [window(offsets)], [high], [high], n_best=3)
    assert [(a.start, a.end) for a in found] == [(0, 1), (0, 2), (1, 2)]


def test_lost_positions_and_nan_never_answer():
    logits = np.array([0.0, -np.inf, np.nan, 1.0], dtype=np.float32)
    found = answers("abc", [window([None, (0, 1), (1, 2), (2, 3)])], [logits], [logits])
    assert [a.text for a in found] == ["c"]


@pytest.mark.parametrize(("threshold", "text"), [(0.0, ""), (0.9, ""), (1.0, "abc"), (2.0, "abc")])
def test_no_answer_wins_only_by_more_than_the_threshold(threshold, text):
    logits = np.array([1.0, 0.5])
    (best, other) = answers("abc", [window([None, (0, 3)])], [logits], [logits], null_threshold=threshold)
    assert best.text == text
    assert best.probability + other.probability == pytest.approx(1)


def test_nothing_valid_is_no_answer_at_all():
    logits = np.zeros(2)
    assert answers("", [window([None, None])], [logits], [logits]) == []
    assert answers("", [window([None, None])], [logits], [logits], null_threshold=0.0) == [Answer("", -1, -1, 0, 1)]
