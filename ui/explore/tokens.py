"""Answers and kept tokens -> text with labels, the form that gr.HighlightedText shows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from zoo.answers import KeptWindow, Tag

Labelled = list[tuple[str, str | None]]
Span = tuple[int, int]

ANSWER, FULL, BOTH = "this budget", "full length", "both"
KEPT = "kept"


def mark_answers(context: str, answer: Span | None, full: Span | None = None) -> Labelled:
    """The passage, the answers at this budget and at full length marked; where they overlap it says both."""
    spans = {ANSWER: answer, FULL: full}
    edges = {0, len(context)}
    for span in spans.values():
        if span:
            edges |= {max(0, min(at, len(context))) for at in span}
    pieces: Labelled = []
    cuts = sorted(edges)
    for start, end in zip(cuts, cuts[1:], strict=False):
        inside = [name for name, span in spans.items() if span and span[0] <= start and end <= span[1]]
        pieces.append((context[start:end], BOTH if len(inside) == 2 else inside[0] if inside else None))
    return pieces


def mark_tags(text: str, tags: Sequence[Tag]) -> Labelled:
    """The text, each labelled span marked by its label."""
    pieces: Labelled = []
    at = 0
    for tag in sorted(tags, key=lambda tag: tag.start):
        pieces += [(text[at : tag.start], None)] if tag.start > at else []
        pieces.append((text[tag.start : tag.end], tag.label))
        at = tag.end
    return pieces + ([(text[at:], None)] if at < len(text) else [])


def mark_kept(window: KeptWindow, texts: Sequence[str], layer: int) -> Labelled:
    """A window as text, the tokens that are alive after `layer` labelled (1 is the first).

    Tokens of the texts show what stands there, with the gaps between them; others show themselves, word pieces joined.
    Neighbours with the same label are one piece. `texts` is the passage, or the text or both of a classifier.
    """
    alive = window.kept[layer - 1] if len(window.kept) else np.ones(len(window.tokens), bool)
    pieces: Labelled = []
    parts = window.parts or [0] * len(window.tokens)
    before: tuple[Span | None, int | None] = (None, None)
    for token, span, part, lives in zip(window.tokens, window.spans, parts, alive, strict=True):
        if span:
            source = texts[part or 0]
            follows = before[0] if before[1] == part else None
            gap = source[follows[1] : span[0]] if follows else (" " if pieces else "")
            text = source[span[0] : span[1]]
        else:
            word = token.removeprefix("##").removeprefix("Ġ")
            joined = token.startswith("##") or not pieces
            gap, text = ("" if joined else " "), word
        before = (span, part)
        label = KEPT if lives else None
        if pieces and pieces[-1][1] == label:
            pieces[-1] = (pieces[-1][0] + gap + text, label)
        elif pieces and label:
            pieces[-1] = (pieces[-1][0] + gap, None)
            pieces.append((text, label))
        else:
            pieces.append((gap + text, label))
    return pieces


def window_of(windows: Sequence[KeptWindow], span: Span | None) -> int:
    """The place of the window that an answer lies in, of several the one where most stands on both sides of it."""

    def room(window: KeptWindow) -> int:
        held = [place for place in window.spans if place]
        if span is None or not held or held[0][0] > span[0] or held[-1][1] < span[1]:
            return -1
        return min(span[0] - held[0][0], held[-1][1] - span[1])

    return max(range(len(windows)), key=lambda place: room(windows[place]), default=0)


def label_windows(windows: Sequence[KeptWindow]) -> list[tuple[str, int]]:
    """Choices for picking a window: what is shown, and its place."""
    return [(f"window {i + 1} of {len(windows)} ({len(w.tokens)} tokens)", i) for i, w in enumerate(windows)]
