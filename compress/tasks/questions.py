"""Questions about passages (SQuAD): how they are read, asked and scored."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor

from compress.data.intake import Intake
from compress.data.names import OWN
from compress.data.squad import Example, load_squad
from compress.tasks.heads import replace_head
from compress.tasks.losses import of_answer, span
from compress.tasks.metrics import squad_scores
from compress.tasks.samples import Loss, Sample, samples
from compress.tasks.subject import About, Asked, Reading, Subject, Tell
from zoo.abstaining import folder_abstains, threshold_in
from zoo.ask import MAX_LENGTH, STRIDE, predict
from zoo.checkpoints import most_tokens, read_config
from zoo.engines.base import Engine
from zoo.errors import UserError
from zoo.features import Tokenizer, Window, each_window
from zoo.lengths import Lengths
from zoo.modeling import LengthAdaptiveModel
from zoo.tasks import QUESTIONS, Task, find_task

log = logging.getLogger(__name__)

ABSTAINS = {"squad_v2": True}
CHUNK = 1024  # questions between two signs of progress


class Questions(Subject[Example]):
    """Questions about passages (SQuAD)."""

    def __init__(self, task: Task, reading: Reading, recipe: About | None = None):
        super().__init__(task, reading, recipe)
        version_2 = recipe is not None and recipe.dataset.version_2
        self._no_answer = task.name == "squad_v2" or bool(version_2)  # some questions have no answer

    @classmethod
    def task_of(cls, entry: str, config: Mapping[str, Any], asked: Asked) -> Task:
        if asked.labels or (asked.task and find_task(asked.task).type is not QUESTIONS):
            raise UserError(f"{entry} answers questions: leave --task and --labels out, or choose a classifier.")
        return find_task(asked.task or ("squad_v2" if config.get("squad_v2") else "squad"))

    def read(self, source: str, intake: Intake | None = None) -> list[Example]:
        return load_squad(self.task.hub if source == OWN else source, "validation", intake=intake)

    def of_split(self, split: str, intake: Intake) -> list[Example]:
        data = self.recipe.dataset
        source, titles = getattr(data, split), getattr(data, "titles" if split == "train" else f"{split}_titles")
        source = self.task.hub if source == OWN else source
        return load_squad(source, "train" if split == "train" else "validation", titles, intake)

    def drawn(self, examples: list[Example], count: int) -> list[Example]:
        return random.Random(self.recipe.seed).sample(examples, min(len(examples), count))

    def windows(self, tokenizer: Tokenizer, examples: Sequence[Example]) -> list[Window]:
        return list(self._each_window(tokenizer, examples))

    def _each_window(self, tokenizer: Tokenizer, examples: Sequence[Example]) -> Iterator[Window]:
        texts, contexts = [e.question for e in examples], [e.context for e in examples]
        return each_window(tokenizer, texts, contexts, self.reading.max_length, self.reading.stride)

    def samples(self, tokenizer: Tokenizer, examples: Sequence[Example]) -> list[Sample]:
        if not any(e.answers for e in examples):
            raise UserError(
                "No question of the training data has an answer, so nothing can be learned from them: check "
                "dataset.train and dataset.titles."
            )
        usable = [e for e in examples if e.answers or self._no_answer]
        spans = [
            (e.answers[0]["answer_start"], e.answers[0]["answer_start"] + len(e.answers[0]["text"]))
            if e.answers
            else None
            for e in usable
        ]
        labelled = samples(self._each_window(tokenizer, usable), spans, [e.id for e in usable])
        if not labelled:
            raise UserError(
                "The training data holds no usable question: check dataset.train, dataset.titles and version_2."
            )
        return labelled

    def loss(self, significance_weight: float = 0.0, bounds: Sequence[float] = ()) -> Loss:
        return span(significance_weight, bounds)

    def loss_of(self, logits: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        return of_answer(logits, batch)

    def load_model(
        self, folder: Path | str, dropout: float = 0.0, new_head: bool = True, **overrides: Any
    ) -> LengthAdaptiveModel:
        config = read_config(folder)
        able = folder_abstains(Path(folder), config)
        if self._no_answer or (able and not new_head):  # what is not trained stays as able as it was
            overrides = {"always_keep_first_token": True, **ABSTAINS, **overrides}
        elif able:
            overrides = {"squad_v2": False, **overrides}
        fits = self.has_head(config)
        if not fits and (replaced := replace_head(config, QUESTIONS.title, new_head)):
            log.warning("%s", replaced)
        return LengthAdaptiveModel.load(folder, None if fits else QUESTIONS, dropout, **overrides)

    def stated(self, folder: Path | str, config: dict[str, Any]) -> dict[str, Any]:
        return ABSTAINS if self._no_answer or folder_abstains(Path(folder), config) else {}

    def score(
        self,
        engine: Engine,
        tokenizer: Tokenizer,
        examples: Sequence[Example],
        config: Lengths | None = None,
        progress: Tell | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> dict[str, float]:
        no_answer = self._no_answer or (self.has_recipe and bool((settings or {}).get("squad_v2", False)))
        if self.task.name != "squad_v2":  # where every question has an answer, a span is asked for, as SQuAD 1.1 does
            no_answer = no_answer and not all(e.answers for e in examples)
        threshold = threshold_in(settings or {}) if no_answer else None
        reading = most_tokens(settings or {}, self.reading.max_length), self.reading.stride

        def answer(part: Sequence[Example]) -> list[str]:
            pairs = [(e.question, e.context) for e in part]
            predictions = predict(engine, tokenizer, pairs, config, reading, threshold)
            return [prediction.text for prediction in predictions]

        return score_answers(answer, examples, progress)

    def passages(self, examples: Sequence[Example]) -> list[Example]:
        return list(examples)

    def remarks(self, n: int) -> dict[str, str]:
        longest, shared = self.reading.max_length, self.reading.stride
        if (longest, shared) == (MAX_LENGTH, STRIDE):
            return {}
        return {"remark": f"read in windows of {longest} tokens at most, of which neighbours share {shared}"}

    @property
    def reported(self) -> Task:
        return find_task("squad_v2" if self._reports_none else "squad")

    @cached_property
    def _reports_none(self) -> bool:
        """Whether what is reported on has questions without an answer."""
        whole = self.task.name != "squad_v2" and all(e.answers for e in self.part("evaluation"))
        return self._no_answer and not whole


def score_answers(
    answer: Callable[[list[Example]], list[str]],
    examples: Sequence[Example],
    progress: Tell | None = None,
) -> dict[str, float]:
    """Scores answers.

    Args:
        answer: gives a text for every question, "" for "no answer".
        examples: with their answers.
        progress: called with (questions done, questions in all).

    Returns:
        `f1` and `em` in points of 100, `n`; on SQuAD 2 also `HasAns_f1` and the like (see `squad_scores`).

    Raises:
        UserError: there are no questions, or two share an id.
    """
    if not examples:
        raise UserError("There are no questions to evaluate on.")
    references = {e.id: [a["text"] for a in e.answers] for e in examples}
    if len(references) < len(examples):
        raise UserError("Several questions of the evaluation set share an id. Make the ids unique.")
    predictions: dict[str, str] = {}
    size = CHUNK if progress else len(examples)
    for at in range(0, len(examples), size):
        part = list(examples[at : at + size])
        predictions |= {e.id: text for e, text in zip(part, answer(part), strict=True)}
        if progress:
            progress(len(predictions), len(examples))
    scores = squad_scores(predictions, references)
    return {"f1": scores.pop("f1"), "em": scores.pop("exact_match"), "n": scores.pop("total"), **scores}
