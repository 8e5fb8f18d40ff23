"""Classify text: features -> engine -> labels or a score, with what was kept of every layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from zoo.answers import Label, find_labels
from zoo.ask import KeptWindow
from zoo.checkpoints import labels_of, most_tokens
from zoo.engines.base import Engine
from zoo.errors import UserError
from zoo.features import Window, make_texts
from zoo.lengths import LengthConfig, Lengths
from zoo.opened import Opened, run_all, run_one
from zoo.safety import clean_text
from zoo.tasks import TEXTS

MAX_LENGTH = TEXTS.padded  # tokens of a text or pair, as the published results on GLUE have it


@dataclass(frozen=True)
class KeptText(KeptWindow):
    """Kept tokens of a text or pair: `spans` are places in the text that the token is of, which `parts` tells (0 the
    first, 1 the second, None for special tokens)."""

    parts: list[int | None]


@dataclass(frozen=True)
class Verdict:
    """What a text was taken for, and what was computed for it.

    Attributes:
        labels: from likely to unlikely; empty where the model gives a score.
        score: of a model for regression, else None.
        tokens: real tokens of the input.
        kept: which of them survived each layer.
        notices: what was cut or removed.
        macs_ratio: share of the unpadded full model's MACs.
    """

    labels: list[Label]
    score: float | None
    tokens: int
    kept: KeptText
    notices: list[str]
    macs_ratio: float


class TextClassifier(Opened):
    """An entry on an engine, ready for texts."""

    task = TEXTS.name
    refusal = "not for classifying text. Choose a text-classification model."

    @cached_property
    def names(self) -> list[str]:
        """The labels in the order of the logits."""
        return labels_of(self._config)

    @property
    def max_length(self) -> int:
        """The most tokens that are read."""
        return most_tokens(self._config)

    def classify(self, first: str, second: str | None = None, config: LengthConfig | None = None) -> Verdict:
        """Labels or scores a text, or a pair of texts.

        Args:
            first: the text.
            second: the other text of a pair, None for a text by itself.
            config: length configuration; None for full length.

        Raises:
            UserError: an empty text, or a configuration for another number of layers.
        """
        first, second, notices = self._clean(first, second)
        config = self.checked(config)
        window = self._window(first, second)
        if _is_cut(window, first, second):
            notices.append(f"The text is long: only {len(window.input_ids)} tokens of it were read.")
        out = run_one(self.engine, window, config)
        count, logits = len(window.input_ids), out.logits[0]
        tokens = self.tokenizer.convert_ids_to_tokens(window.input_ids)
        kept = KeptText(tokens, window.offsets, np.array([k[0] for k in out.kept]), window.parts)
        scored = len(logits) == 1
        return Verdict(
            [] if scored else find_labels(logits, self.names),
            float(logits[0]) if scored else None,
            count,
            kept,
            notices,
            self._macs_ratio([count], config),
        )

    def runner(self, first: str, second: str | None = None, config: LengthConfig | None = None) -> Callable[[], object]:
        """A callable that runs the engine over this input, everything else prepared: what is timed."""
        first, second, _ = self._clean(first, second)
        return self._runner([self._window(first, second)], config)

    def _window(self, first: str, second: str | None) -> Window:
        (window,) = make_texts(self.tokenizer, [first], None if second is None else [second], self.max_length)
        return window

    def _clean(self, first: str, second: str | None) -> tuple[str, str | None, list[str]]:
        first, told = clean_text(first)
        if not first.strip():
            raise UserError("There is no text to classify: write one, or pick an example.")
        if second is None:
            return first, None, [told] if told else []
        second, more = clean_text(second)
        if not second.strip():
            raise UserError("The second text is empty: write it, or leave the second field out for a text by itself.")
        return first, second, [notice for notice in (told, more) if notice]


def _is_cut(window: Window, *texts: str | None) -> bool:
    """Whether some text goes on behind its last token."""
    ends = [0] * len(texts)
    for offset, part in zip(window.offsets, window.parts, strict=True):
        if offset is not None and part is not None:
            ends[part] = max(ends[part], offset[1])
    return any(text is not None and end < len(text.rstrip()) for text, end in zip(texts, ends, strict=True))


def predict(
    engine: Engine,
    tokenizer: Any,
    firsts: Sequence[str],
    seconds: Sequence[str] | None = None,
    config: Lengths | None = None,
    max_length: int = MAX_LENGTH,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Logits of many texts or pairs. Inputs of equal length share a batch, so nothing is ever padded.

    Args:
        engine: a loaded classifier.
        tokenizer: its tokenizer.
        firsts, seconds: of equal length; `seconds` is None for texts by themselves.
        config: length configuration; None for full length.
        max_length: tokens of an input, special ones included.
        progress: called with (texts done, texts in all).

    Returns:
        float32 `[texts, labels]`.
    """
    windows = make_texts(tokenizer, firsts, seconds, max_length)
    rows: list[np.ndarray] = [np.empty(0)] * len(windows)
    for alike, out in run_all(engine, windows, config, progress):
        for i, logits in zip(alike, out.logits, strict=True):
            rows[i] = logits
    return np.stack(rows) if rows else np.empty((0, 0), np.float32)
