"""Stand-ins for opened models, shared by the tests of the page."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np

from ui.reading import reading_of
from zoo.answers import AS_TRAINED, Answer, KeptWindow, Label, Reply
from zoo.checkpoints import labels_of
from zoo.engines.base import EngineOutput
from zoo.errors import UserError
from zoo.lengths import LengthConfig, Point, Shape, macs_ratio
from zoo.opened import Inputs, Opened, Runner

SHAPE = Shape(2, 32, 64)


def make_point(fractions, ratio, f1, ms=None, **extra):
    return Point(LengthConfig(fractions), ratio, {"f1": f1, "em": f1 - 10}, ms, extra)


class FakeEngine:
    """Two layers that compute nothing."""

    layers = 2

    def __init__(self, name: str):
        self.name = name

    def run(self, batch, lengths) -> EngineOutput:
        return EngineOutput(np.zeros((1, 2)))


class FakeAnswerer(Opened):
    """Answers with the first word; knows what it was asked."""

    def __init__(self, entry, engine):
        self.entry, self.engine, self.asked = entry, FakeEngine(engine), []

    def prepare(self, first, second):
        return Inputs((first, second or ""), [], [])

    def ask(self, first, second, config=None, no_answer=AS_TRAINED):
        question, context = first, second or ""
        self.asked.append((question, context, config))
        if not question.strip():
            raise UserError("Ask a question first.")
        if question == "crash":
            raise RuntimeError("boom")
        words = context.split()
        count = len(words)
        config = config or LengthConfig.full(2)
        kept = np.array([np.arange(count) < n for n in config.tokens(count)])
        spans, at = [], 0
        for word in words:
            at = context.index(word, at)
            spans.append((at, at + len(word)))
            at += len(word)
        answers = [Answer(words[0], spans[0][0], spans[0][1], 3.0, 0.9), Answer("", -1, -1, 1.0, 0.1)]
        window = KeptWindow(words, spans, kept)
        return Reply((context,), [count], [window], macs_ratio(SHAPE, count, config), answers=answers)

    def runner(self, first, second=None, config=None):
        return Runner(self.engine, [({}, np.zeros((1, 2)))], [len((second or first).split())])


class FakeClassifier(FakeAnswerer):
    """Takes a text for what its first word is a label of; a front of the entry's labels, or a score."""

    def ask(self, first, second, config=None, no_answer=AS_TRAINED):
        self.asked.append((first, second, config))
        reading = reading_of(self.entry)
        if not first.strip():
            raise UserError("There is no text to classify.")
        words = first.split()
        config = config or LengthConfig.full(2)
        spans: list[tuple[int, int] | None] = [(i, i + 1) for i in range(len(words))]
        rows = np.array([np.arange(len(words)) < n for n in config.tokens(len(words))])
        kept = KeptWindow(words, spans, rows, [0] * len(words))
        names = labels_of(json.loads((self.entry.folder / "config.json").read_text()))
        best = names.index(words[0]) if words[0] in names else 0
        order = [best, *(i for i in range(len(names)) if i != best)]
        labels = [Label(names[i], i, 2.0 - n, 0.9 if not n else 0.1 / (len(names) - 1)) for n, i in enumerate(order)]
        scored = reading.scale is not None
        ratio = macs_ratio(SHAPE, len(words), config)
        texts = (first, second) if second else (first,)
        reply = Reply(texts, [len(words)], [kept], ratio)
        return replace(reply, score=3.5) if scored else replace(reply, labels=labels)
