"""Rank passages for a query: both are read together by a model with one output (a cross-encoder)."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import numpy as np

from zoo.answers import Reply, sigmoid
from zoo.checkpoints import SIGMOID, activation_of, most_tokens
from zoo.embed import find_matches, lines_of
from zoo.errors import UserError
from zoo.features import make_texts
from zoo.lengths import LengthConfig
from zoo.opened import Inputs, Opened
from zoo.tasks import RANKING


class PassageRanker(Opened):
    """An entry on an engine, ready for a query and its passages."""

    task = RANKING.name
    refusal = "not for ranking. Choose a text-ranking model (a cross-encoder)."

    @cached_property
    def max_length(self) -> int:
        """The most tokens of a query and a passage together."""
        return most_tokens(self.config)

    def ask(
        self, first: str, second: str | None, config: LengthConfig | None = None, no_answer: bool | None = None
    ) -> Reply:
        """Sorts the lines of `second` by how well they answer the query, `first`.

        Raises:
            UserError: an empty text, or what only other tasks have.
        """
        if no_answer is not None:
            raise UserError(f"{self.entry.name} ranks passages: “no answer” is for questions.")
        inputs = self.prepare(first, second)
        outputs, reply = self.run(inputs, config)
        logits = np.array([output.logits[0, 0] for output in outputs])
        scores = sigmoid(logits) if activation_of(self.config) == SIGMOID else logits
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
