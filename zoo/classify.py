"""Classify text: features -> engine -> labels or a score, with what was kept of every layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from zoo.answers import Label, find_labels
from zoo.ask import BATCH, KeptWindow, run_one
from zoo.checkpoints import labels_of, most_tokens
from zoo.engines import Engine, open_engine
from zoo.errors import UserError
from zoo.features import Window, load_tokenizer, make_texts, pad
from zoo.files import read_json
from zoo.lengths import LengthConfig, Shape, macs
from zoo.safety import clean_text

if TYPE_CHECKING:
    from zoo.catalog import Entry

MAX_LENGTH = 128  # tokens of a text or pair, as the published results on GLUE have it


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


class TextClassifier:
    """An entry on an engine, ready for texts.

    Args:
        entry: of the catalog.
        engine: "torch", "onnxruntime" or "openvino".
        threads: defaults to the settings.

    Raises:
        UserError: the entry does not classify text or does not run on this engine.
    """

    def __init__(self, entry: Entry, engine: str = "onnxruntime", threads: int | None = None):
        if entry.task != "classification":
            raise UserError(
                f"{entry.name} is made for {entry.task}, not for classifying text. Choose a text-classification model."
            )
        self.entry = entry
        self.engine = open_engine(engine, entry, threads)

    @cached_property
    def tokenizer(self) -> Any:
        return load_tokenizer(self.entry.folder)

    @cached_property
    def _config(self) -> dict[str, Any]:
        return read_json(self.entry.folder / "config.json")

    @cached_property
    def shape(self) -> Shape:
        return Shape.from_config(self._config)

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
            macs(self.shape, count, config.tokens(count)) / macs(self.shape, count),
        )

    def runner(self, first: str, second: str | None = None, config: LengthConfig | None = None) -> Callable[[], object]:
        """A callable that runs the engine over this input, everything else prepared: what is timed."""
        first, second, _ = self._clean(first, second)
        window, config = self._window(first, second), self.checked(config)
        batch, lengths = pad([window]), np.array([config.tokens(len(window.input_ids))], np.int64)
        return lambda: self.engine.run(batch, lengths)

    def checked(self, config: LengthConfig | None) -> LengthConfig:
        """The configuration, full length for None."""
        config = config or LengthConfig.full(self.engine.layers)
        if len(config.fractions) != self.engine.layers:
            raise UserError(
                f"{self.entry.name} has {self.engine.layers} layers, but {config} is for {len(config.fractions)}. "
                "Write one length a layer."
            )
        return config

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
    config: LengthConfig | None = None,
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
    config = config or LengthConfig.full(engine.layers)
    windows = make_texts(tokenizer, firsts, seconds, max_length)
    order = sorted(range(len(windows)), key=lambda i: len(windows[i].input_ids))
    rows: list[np.ndarray] = [np.empty(0)] * len(windows)
    at = 0
    while at < len(order):
        length = len(windows[order[at]].input_ids)
        alike = [i for i in order[at : at + BATCH] if len(windows[i].input_ids) == length]
        lengths = np.array([config.tokens(length)] * len(alike), np.int64)
        for i, logits in zip(alike, engine.run(pad([windows[i] for i in alike]), lengths).logits, strict=True):
            rows[i] = logits
        at += len(alike)
        if progress:
            progress(at, len(order))
    return np.stack(rows) if rows else np.empty((0, 0), np.float32)
