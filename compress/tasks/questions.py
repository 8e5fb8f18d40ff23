"""The two kinds of subjects: questions about passages, and texts to classify or to score."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from compress.data import squad as questions
from compress.data.fingerprints import refuse_overlap
from compress.data.names import OWN
from compress.data.tasks import Task
from compress.tasks.losses import span
from compress.tasks.samples import samples
from compress.tasks.scores import evaluate
from compress.tasks.subject import Tell, _present, _stated
from zoo.ask import MAX_LENGTH, predict
from zoo.engines.base import Engine
from zoo.errors import UserError
from zoo.features import Window, make_windows
from zoo.files import read_json
from zoo.lengths import PAPER_TOKENS
from zoo.modeling import LengthAdaptiveModel


class Questions:
    """Questions about passages (SQuAD)."""

    padded, noun = PAPER_TOKENS, "questions"

    def __init__(self, task: Task, recipe: Any, reading: Any):
        self.task, self.primary = task, task.primary
        self._recipe, self._reading = recipe, reading
        self._nothing = task.name == "squad_v2" or bool(recipe and recipe.dataset.version_2)

    def load(self, split: str, limit: int | None = None, seed: int = 0) -> list[questions.Example]:
        found = self._read(split)
        most = getattr(self._recipe.dataset, "max_train_examples", None) if split == "train" else None
        if most:
            found = random.Random(self._recipe.seed).sample(found, min(len(found), most))
        if limit is None or limit >= len(found):
            return found
        return [found[i] for i in sorted(random.Random(seed).sample(range(len(found)), limit))]

    def _read(self, split: str) -> list[questions.Example]:
        data = self._recipe.dataset
        split = _present(data, split)
        source, titles = getattr(data, split), data.titles if split == "train" else getattr(data, f"{split}_titles")
        source = self.task.hub if source == OWN else source
        return questions.load_squad(source, "train" if split == "train" else "validation", titles)

    def windows(self, tokenizer: Any, examples: Sequence[questions.Example]) -> list[Window]:
        asked, contexts = [e.question for e in examples], [e.context for e in examples]
        return make_windows(tokenizer, asked, contexts, self._reading.max_length, self._reading.stride)

    def samples(self, tokenizer: Any, examples: Sequence[questions.Example]) -> list[Any]:
        if not any(e.answers for e in examples):
            raise UserError(
                "No question of the training data has an answer, so nothing can be learned from them: check "
                "dataset.train and dataset.titles."
            )
        usable = [e for e in examples if e.answers or self._nothing]
        spans = [
            (e.answers[0]["answer_start"], e.answers[0]["answer_start"] + len(e.answers[0]["text"]))
            if e.answers
            else None
            for e in usable
        ]
        made = samples(self.windows(tokenizer, usable), spans, [e.id for e in usable])
        if not made:
            raise UserError(
                "The training data holds no usable question: check dataset.train, dataset.titles and version_2."
            )
        return made

    def loss(self, significance_weight: float = 0.0, bounds: Sequence[float] = ()) -> Any:
        return span(significance_weight, bounds)

    def load_model(self, folder: Path | str, dropout: float = 0.0, **overrides: Any) -> Any:
        if self._nothing:
            overrides = {"always_keep_first_token": True, "squad_v2": True, **overrides}
        named = (read_json(Path(folder) / "config.json").get("architectures") or [""])[0]
        head = None if named.endswith("ForQuestionAnswering") else "qa"
        return LengthAdaptiveModel.load(folder, head, dropout, **overrides)

    def score(
        self,
        engine: Engine,
        tokenizer: Any,
        examples: Sequence[questions.Example],
        config: Any = None,
        progress: Tell | None = None,
        settings: dict[str, Any] | None = None,
    ) -> dict[str, float]:
        no_answer = self._nothing if settings is None else bool(settings.get("squad_v2", False))
        longest = min(MAX_LENGTH, (settings or {}).get("max_position_embeddings", MAX_LENGTH))

        def answer(part: Sequence[questions.Example], lengths: Any) -> list[str]:
            texts_ = [e.question for e in part], [e.context for e in part]
            found = predict(engine, tokenizer, *texts_, lengths, longest, no_answer=no_answer)
            return [prediction.text for prediction in found]

        return evaluate(answer, examples, config, progress)

    def fingerprints(self, examples: Sequence[questions.Example]) -> set[str]:
        return questions.fingerprint(examples)

    def refuse_overlap(
        self,
        known: set[str],
        examples: Sequence[questions.Example],
        what: str = "the data to report on",
        why: str = "were trained on",
    ) -> None:
        refuse_overlap(known, examples, what, why)

    def everything_learned(self) -> set[str]:
        return questions.fingerprint(self._read("train"))

    def named(self, n: int) -> dict[str, Any]:
        settings, source = self._recipe.evaluate, self._recipe.dataset.evaluation
        own = {"dataset": self.task.hub, "split": "validation"} if source == OWN else {"dataset": Path(source).name}
        return {
            "metric": "SQuAD 2.0" if self._nothing else "SQuAD 1.1",
            "task": "squad_v2" if self._nothing else "squad",
            **own,
            **_stated(settings),
        }
