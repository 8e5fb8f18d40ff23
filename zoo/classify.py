"""Classify text: features -> engine -> labels or a score, with what was kept of every layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np

from zoo.answers import AS_TRAINED, NoAnswer, Reply, find_labels, sigmoid
from zoo.checkpoints import SIGMOID, activation_of, is_score_explained, labels_of, most_tokens
from zoo.engines.base import Engine
from zoo.errors import UserError
from zoo.features import Tokenizer, Window, clean_text, make_texts
from zoo.lengths import LengthConfig, Lengths
from zoo.opened import Inputs, Opened, logits_of_all
from zoo.tasks import TEXTS

UNEXPLAINED = (
    "The model does not say what its one output is (problem_type, or sentence_transformers.activation_fn, in "
    "config.json): it is shown as it comes, not as a probability."
)
MAX_LENGTH = TEXTS.padded  # tokens of a text or pair, as the published results on GLUE have it


class TextClassifier(Opened):
    """An entry on an engine, ready for texts.

    Attributes:
        texts: how many it reads: a second one is left out where it is 1, needed where it is 2, and left out only if
            it is empty where it is None, not known.
    """

    task = TEXTS.name
    refusal = "not for classifying text. Choose a text-classification model."
    texts: int | None = None

    @cached_property
    def names(self) -> list[str]:
        """The labels in the order of the logits."""
        return labels_of(self.config)

    @cached_property
    def max_length(self) -> int:
        """The most tokens that are read."""
        return most_tokens(self.config)

    def classify(self, first: str, second: str | None = None, config: LengthConfig | None = None) -> Reply:
        """Labels or scores a text, or a pair of texts.

        Args:
            first: the text.
            second: the other text of a pair, None for a text by itself.
            config: length configuration; None for full length.

        Raises:
            UserError: an empty text, or a configuration for another number of layers.
        """
        outputs, reply = self.run(self.prepare(first, second), config)
        logits = outputs[0].logits[0]
        is_sigmoid = activation_of(self.config) == SIGMOID
        if len(logits) > 1 or self.config.get("problem_type") == "multi_label_classification":
            return replace(reply, labels=find_labels(logits, self.names, is_sigmoid), several=is_sigmoid)
        remark = [] if is_score_explained(self.config) else [UNEXPLAINED]
        score = float(sigmoid(logits)[0] if is_sigmoid else logits[0])
        return replace(reply, score=score, notices=[*reply.notices, *remark])

    def ask(
        self, first: str, second: str | None, config: LengthConfig | None = None, no_answer: NoAnswer = AS_TRAINED
    ) -> Reply:
        no_answer.of(self.entry)
        return self.classify(first, second, config)

    def prepare(self, first: str, second: str | None) -> Inputs:
        first, first_notice = clean_text(first)
        if not first.strip():
            raise UserError("There is no text to classify: write one, or pick an example.")
        if self.texts == 1 or (self.texts is None and not (second or "").strip()):
            second = None
        elif not (second or "").strip():
            raise UserError("The second text is empty: write it, since this model reads pairs.")
        second, second_notice = (None, None) if second is None else clean_text(second)
        texts = (first,) if second is None else (first, second)
        windows = make_texts(self.tokenizer, [first], None if second is None else [second], self.max_length)
        notices = [notice for notice in (first_notice, second_notice) if notice]
        if _is_cut(windows[0], *texts):
            notices.append(f"The text is long: only {len(windows[0].input_ids)} tokens of it were read.")
        return Inputs(texts, windows, notices)


def _is_cut(window: Window, *texts: str) -> bool:
    """Whether some text goes on behind its last token."""
    ends = [0] * len(texts)
    for offset, part in zip(window.offsets, window.parts, strict=True):
        if offset is not None and part is not None:
            ends[part] = max(ends[part], offset[1])
    return any(end < len(text.rstrip()) for text, end in zip(texts, ends, strict=True))


def predict(
    engine: Engine,
    tokenizer: Tokenizer,
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
    logits = logits_of_all(engine, windows, config, progress)
    return np.stack(logits) if logits else np.empty((0, 0), np.float32)
