"""Sentence embeddings: features -> engine -> one vector a text, the likeness of two, and a search over lines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np

from zoo.answers import Match, Reply
from zoo.checkpoints import most_tokens
from zoo.classify import predict
from zoo.errors import UserError
from zoo.features import MAX_CONTEXT, clean_text, make_texts
from zoo.lengths import Lengths
from zoo.opened import Describer, Inputs
from zoo.pooling import KEY, PROMPTS, Pooling
from zoo.tasks import EMBEDDINGS

MAX_LINES, MAX_TOGETHER = 200, 2_000_000  # that a text is compared with, and their characters
UNSTATED = (
    "The model does not say how its tokens become one vector (1_Pooling/config.json of sentence-transformers): their "
    "mean was taken, of length 1."
)


class TextEmbedder(Describer):
    """An entry on an engine, ready for texts that become vectors."""

    task = EMBEDDINGS.name
    refusal = "not for sentence embeddings. Choose an embedding model."

    @property
    def remarks(self) -> list[str]:
        prompts = self.config.get(PROMPTS, {}).get("prompts", {})
        said = ", ".join(f"“{text}” ({name})" for name, text in prompts.items())
        asked = (
            [f"The model was trained with words before its texts, which you write yourself: {said}."] if said else []
        )
        return [*super().remarks, *([] if KEY in self.config else [UNSTATED]), *asked]

    @cached_property
    def max_length(self) -> int:
        """The most tokens that are read of a text."""
        return most_tokens(self.config, Pooling.of(self.config).max_length)

    def embed(
        self,
        texts: Sequence[str],
        config: Lengths | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> np.ndarray:
        """Vectors of texts, float32 `[texts, hidden]`, each as if it were alone.

        Args:
            texts: any number; what is over `max_length` tokens is cut off.
            config: length configuration; None for full length.
            progress: called with (texts done, texts in all).
        """
        return predict(self.engine, self.tokenizer, list(texts), None, config, self.max_length, progress)

    def described(self, inputs: Inputs, logits: list[np.ndarray], reply: Reply) -> Reply:
        """How like the first text the lines of the second are, the most alike first."""
        vectors = np.stack(logits)
        return replace(reply, matches=find_matches(inputs.texts[1:], cosine(vectors[:1], vectors[1:])[0]))

    def prepare(self, first: str, second: str | None) -> Inputs:
        texts, notices = lines_of(first, second)
        windows = [
            replace(window, parts=[None if part is None else i for part in window.parts])
            for i, window in enumerate(make_texts(self.tokenizer, texts, None, self.max_length))
        ]
        cut = sum(len(window.input_ids) >= self.max_length for window in windows)
        if cut:
            notices.append(f"{cut} of the texts may be longer than the {self.max_length} tokens that are read.")
        return Inputs(tuple(texts), windows, notices)


def lines_of(first: str, second: str | None) -> tuple[list[str], list[str]]:
    """A text and the lines that it is compared with, and what a reader should know of them.

    Each is cut where a text alone would be.

    Raises:
        UserError: one of them is empty, or there are too many lines, or they are too long together.
    """
    if len(second or "") > MAX_TOGETHER:
        raise UserError(
            f"The lines have {len(second or ''):,} characters together: compare with {MAX_TOGETHER:,} at most, or in "
            "several goes."
        )
    first, notice = clean_text(first)
    second, second_notice = clean_text(second or "", MAX_TOGETHER)
    whole = [line.strip() for line in second.splitlines() if line.strip()]
    lines = [line[:MAX_CONTEXT] for line in whole]
    if not first.strip():
        raise UserError("There is no text to compare: write one, or pick an example.")
    if not lines:
        raise UserError("Write what it is compared with: one text, or several, a line each.")
    if len(lines) > MAX_LINES:
        raise UserError(f"These are {len(lines)} lines: compare with {MAX_LINES} at most.")
    cut = sum(len(line) > MAX_CONTEXT for line in whole)
    lines_notice = f"{cut} of the lines cut to the first {MAX_CONTEXT:,} characters." if cut else None
    return [first, *lines], [each for each in (notice, second_notice, lines_notice) if each]


def find_matches(texts: Sequence[str], scores: np.ndarray) -> list[Match]:
    """Texts with their scores, the highest first; equal ones in their order."""
    order = np.argsort(-scores.astype(np.float64), kind="stable")
    return [Match(texts[int(i)], int(i), float(scores[i])) for i in order]


def cosine(queries: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """Cosine of the angle between vectors, `[queries, texts]`; a vector of zeros is like nothing."""
    return _unit(queries) @ _unit(texts).T


def cosine_of_pairs(firsts: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """Cosine of the angle between vectors, row by row, `[pairs]`."""
    return (_unit(firsts) * _unit(seconds)).sum(1)


def _unit(vectors: np.ndarray) -> np.ndarray:
    vectors = vectors.astype(np.float64)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
