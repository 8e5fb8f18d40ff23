"""Ask a model: features -> engine -> answers, with what was kept of every layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from zoo.answers import Answer, find_answers
from zoo.engines.base import Engine
from zoo.errors import UserError
from zoo.features import Window, make_windows
from zoo.lengths import LengthConfig, Lengths
from zoo.opened import Opened, run_all, run_one
from zoo.safety import MAX_CONTEXT, MAX_QUESTION, clean_text
from zoo.tasks import QUESTIONS

MAX_LENGTH, STRIDE = QUESTIONS.padded, 128


@dataclass(frozen=True)
class KeptWindow:
    """Which tokens of a window survived: their text, their span in the passage (None outside it), and bool
    `[layers, tokens]`."""

    tokens: list[str]
    spans: list[tuple[int, int] | None]
    kept: np.ndarray


@dataclass(frozen=True)
class Reply:
    """Answers to one question, best first, and what was computed for them.

    `tokens` holds the real token count of every window, `macs_ratio` the share of the unpadded full model's MACs.
    """

    answers: list[Answer]
    no_answer: bool
    windows: int
    tokens: list[int]
    kept: list[KeptWindow]
    notices: list[str]
    macs_ratio: float
    context: str


@dataclass(frozen=True)
class Prediction:
    """The best answer to one question of a data set; empty text means "no answer"."""

    text: str
    answers: list[Answer] = field(default_factory=list)


class QuestionAnswerer(Opened):
    """An entry on an engine, ready for questions."""

    task = QUESTIONS.name
    refusal = "not for questions. Choose a question-answering model."

    @property
    def no_answer(self) -> bool:
        """Whether "no answer" may win (SQuAD v2)."""
        return bool(self._config.get("squad_v2", False))

    def ask(
        self,
        question: str,
        context: str,
        config: LengthConfig | None = None,
        n_best: int = 20,
        null_threshold: float = 0.0,
    ) -> Reply:
        """Answers a question from a passage; a long passage is read in overlapping windows.

        Raises:
            UserError: an empty question or passage, or a configuration for another number of layers.
        """
        question, context, notices = self._clean(question, context)
        config = self.checked(config)
        windows = self._windows(question, context)
        outputs = [run_one(self.engine, window, config) for window in windows]
        answers = find_answers(
            context,
            windows,
            [o.start[0] for o in outputs],
            [o.end[0] for o in outputs],
            n_best=n_best,
            no_answer=self.no_answer,
            null_threshold=null_threshold,
        )
        counts = [len(w.input_ids) for w in windows]
        kept = [
            KeptWindow(self.tokenizer.convert_ids_to_tokens(w.input_ids), w.offsets, np.array([k[0] for k in o.kept]))
            for w, o in zip(windows, outputs, strict=True)
        ]
        if len(windows) > 1:
            notices.append(f"The passage is long: it was read in {len(windows)} overlapping windows.")
        return Reply(
            answers,
            bool(answers) and answers[0].start < 0,
            len(windows),
            counts,
            kept,
            notices,
            self._macs_ratio(counts, config),
            context,
        )

    def runner(self, question: str, context: str, config: LengthConfig | None = None) -> Callable[[], object]:
        """A callable that runs the engine over this input's windows, everything else prepared: what is timed."""
        question, context, _ = self._clean(question, context)
        return self._runner(self._windows(question, context), config)

    def count_tokens(self, question: str, context: str) -> list[int]:
        """Real tokens of every window."""
        return [len(w.input_ids) for w in self._windows(*self._clean(question, context)[:2])]

    def _windows(self, question: str, context: str) -> list[Window]:
        return make_windows(self.tokenizer, [question], [context], self.max_length, STRIDE)

    @property
    def max_length(self) -> int:
        return min(MAX_LENGTH, self._config["max_position_embeddings"])

    def _clean(self, question: str, context: str) -> tuple[str, str, list[str]]:
        question, cut_question = clean_text(question, MAX_QUESTION)
        context, cut_context = clean_text(context, MAX_CONTEXT)
        if not question.strip():
            raise UserError("Ask a question first.")
        if not context.strip():
            raise UserError("There is no passage to read: paste one, or pick an example.")
        return question, context, [notice for notice in (cut_question, cut_context) if notice]


def predict(
    engine: Engine,
    tokenizer: Any,
    questions: Sequence[str],
    contexts: Sequence[str],
    config: Lengths | None = None,
    max_length: int = MAX_LENGTH,
    stride: int = STRIDE,
    no_answer: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> list[Prediction]:
    """Answers many questions. Windows of equal length share a batch, so nothing is ever padded.

    Args:
        engine: a loaded model.
        tokenizer: its tokenizer.
        questions, contexts: of equal length.
        config: length configuration; None for full length.
        no_answer: whether "no answer" may win (SQuAD v2).
        progress: called with (windows done, windows in all).
    """
    windows = make_windows(tokenizer, questions, contexts, max_length, stride)
    starts: list[np.ndarray] = [np.empty(0)] * len(windows)
    ends: list[np.ndarray] = [np.empty(0)] * len(windows)
    for rows, out in run_all(engine, windows, config, progress):
        for row, i in enumerate(rows):
            starts[i], ends[i] = out.start[row], out.end[row]
    by_example: dict[int, list[int]] = {}
    for i, window in enumerate(windows):
        by_example.setdefault(window.example, []).append(i)
    found = []
    for example, context in enumerate(contexts):
        mine = by_example.get(example, [])
        answers = find_answers(
            context, [windows[i] for i in mine], [starts[i] for i in mine], [ends[i] for i in mine], no_answer=no_answer
        )
        found.append(Prediction(answers[0].text if answers else "", answers))
    return found
