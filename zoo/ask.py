"""Ask a model: features -> engine -> answers, with what was kept of every layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from zoo.answers import AS_TRAINED, Answer, NoAnswer, Reply, find_answers
from zoo.checkpoints import most_tokens
from zoo.engines.base import Engine
from zoo.errors import UserError
from zoo.features import MAX_CONTEXT, MAX_QUESTION, MAX_QUESTION_TOKENS, Tokenizer, clean_text, make_windows
from zoo.lengths import LengthConfig, Lengths
from zoo.opened import Inputs, Opened, logits_of_all
from zoo.tasks import QUESTIONS

UNSURE = "“No answer” is read at the first token, which this model may drop at this budget: it is surer at full length."
MAX_LENGTH, STRIDE = QUESTIONS.padded, 128


@dataclass(frozen=True)
class Prediction:
    """The best answer to one question of a data set; empty text means "no answer"."""

    text: str
    answers: list[Answer] = field(default_factory=list)


class QuestionAnswerer(Opened):
    """An entry on an engine, ready for questions."""

    task = QUESTIONS.name
    refusal = "not for questions. Choose a question-answering model."

    def ask(
        self,
        first: str,
        second: str | None,
        config: LengthConfig | None = None,
        no_answer: NoAnswer = AS_TRAINED,
        n_best: int = 20,
    ) -> Reply:
        """Answers a question (`first`) from a passage (`second`); a long passage is read in overlapping windows.

        Args:
            first, second: question and passage.
            config: length configuration; None for full length.
            no_answer: whether "no answer" may win, and by what threshold; by default as the entry has it.
            n_best: see `find_answers`.

        Raises:
            UserError: an empty question or passage, a configuration for another number of layers, or a threshold that
                is not heard.
        """
        inputs = self.prepare(first, second)
        outputs, reply = self.run(inputs, config)
        answers = find_answers(
            inputs.texts[0],
            inputs.windows,
            [output.logits[0] for output in outputs],
            n_best=n_best,
            null_threshold=no_answer.of(self.entry).threshold,
        )
        drops = config is not None and not config.is_full and not self.config.get("always_keep_first_token")
        remark = [UNSURE] if drops and any(answer.start < 0 for answer in answers) else []
        return replace(reply, answers=answers, notices=[*reply.notices, *remark])

    def prepare(self, first: str, second: str | None) -> Inputs:
        question, question_notice = clean_text(first, MAX_QUESTION)
        context, context_notice = clean_text(second or "", MAX_CONTEXT)
        if not question.strip():
            raise UserError("Ask a question first.")
        if not context.strip():
            raise UserError("There is no passage to read: paste one, or pick an example.")
        windows = make_windows(self.tokenizer, [question], [context], self.max_length, STRIDE)
        notices = [f"Question: {question_notice}"] if question_notice else []
        if (count := len(self.tokenizer(question, add_special_tokens=False)["input_ids"])) > MAX_QUESTION_TOKENS:
            notices.append(f"The question is long: only its first {MAX_QUESTION_TOKENS} of {count} tokens were read.")
        notices += [f"Passage: {context_notice}"] if context_notice else []
        if len(windows) > 1:
            notices.append(f"The passage is long: it was read in {len(windows)} overlapping windows.")
        return Inputs((context,), windows, notices)

    @cached_property
    def max_length(self) -> int:
        """The most tokens of a window."""
        return most_tokens(self.config, MAX_LENGTH)


def predict(
    engine: Engine,
    tokenizer: Tokenizer,
    pairs: Sequence[tuple[str, str]],
    config: Lengths | None = None,
    reading: tuple[int, int] = (MAX_LENGTH, STRIDE),
    null_threshold: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Prediction]:
    """Answers many questions. Windows of equal length share a batch, so nothing is ever padded.

    Args:
        engine: a loaded model.
        tokenizer: its tokenizer.
        pairs: a question and its passage each.
        config: length configuration; None for full length.
        reading: tokens of a window at most, and those that neighbouring windows of a passage share.
        null_threshold: "no answer" may win (SQuAD v2), by this threshold, see `find_answers`; None: it may not.
        progress: called with (windows done, windows in all).
    """
    questions, contexts = [question for question, _ in pairs], [context for _, context in pairs]
    windows = make_windows(tokenizer, questions, contexts, *reading)
    logits = logits_of_all(engine, windows, config, progress)
    by_example: dict[int, list[int]] = {}
    for i, window in enumerate(windows):
        by_example.setdefault(window.example, []).append(i)
    predictions = list[Prediction]()
    for example, context in enumerate(contexts):
        own = by_example.get(example, [])
        answers = find_answers(
            context, [windows[i] for i in own], [logits[i] for i in own], null_threshold=null_threshold
        )
        predictions.append(Prediction(answers[0].text if answers else "", answers))
    return predictions
