"""Rank passages for a query: both are read together by a model with one output (a cross-encoder)."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import numpy as np

from zoo.answers import Reply, sigmoid
from zoo.checkpoints import SIGMOID, activation_of, most_tokens
from zoo.embed import find_matches, lines_of
from zoo.features import make_texts
from zoo.opened import Describer, Inputs
from zoo.tasks import RANKING


class PassageRanker(Describer):
    """An entry on an engine, ready for a query and its passages."""

    task = RANKING.name
    refusal = "not for ranking. Choose a text-ranking model (a cross-encoder)."

    @cached_property
    def max_length(self) -> int:
        """The most tokens of a query and a passage together."""
        return most_tokens(self.config)

    def described(self, inputs: Inputs, logits: list[np.ndarray], reply: Reply) -> Reply:
        """The lines of the second text, sorted by how well they answer the first, a query."""
        raw = np.array([each[0] for each in logits])
        scores = sigmoid(raw) if activation_of(self.config) == SIGMOID else raw
        return replace(reply, matches=find_matches(inputs.texts[1:], scores))

    def prepare(self, first: str, second: str | None) -> Inputs:
        texts, notices = lines_of(first, second)
        passages = texts[1:]
        windows = [
            replace(window, parts=[part if part is None else part * (i + 1) for part in window.parts])
            for i, window in enumerate(make_texts(self.tokenizer, texts[:1] * len(passages), passages, self.max_length))
        ]
        cut = sum(len(window.input_ids) >= self.max_length for window in windows)
        if cut:
            notices.append(f"{cut} of the pairs may be longer than the {self.max_length} tokens that are read.")
        return Inputs(tuple(texts), windows, notices)
