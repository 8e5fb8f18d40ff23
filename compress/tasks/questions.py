"""The two kinds of subjects: questions about passages, and texts to classify or to score."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from compress.data import squad as questions
from compress.data import texts
from compress.data.tasks import Task
from compress.recipe.groups import HELD_OUT, HELD_PART, OWN
from compress.tasks.scores import evaluate, refuse_overlap
from compress.tasks.subject import SPLITS, Tell
from zoo.checkpoints import labels_of
from zoo.engines import Engine
from zoo.errors import UserError
from zoo.features import Window, make_windows
from zoo.files import read_json
from zoo.lengths import PAPER_TOKENS, TEXT_TOKENS


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
        from compress.learn.loop import samples

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
        from compress.learn.finetune import span

        return span(significance_weight, bounds)

    def load_model(self, folder: Path | str, dropout: float = 0.0, **overrides: Any) -> Any:
        from zoo.modeling import LengthAdaptiveModel

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
        from zoo.ask import MAX_LENGTH, predict

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


class Texts:
    """Texts, or pairs of texts, to classify or to score (GLUE, XNLI)."""

    padded, noun = TEXT_TOKENS, "texts"

    def __init__(self, task: Task, recipe: Any, reading: Any):
        self.task, self.primary = task, task.primary
        self._recipe, self._longest = recipe, reading.max_length

    def load(self, split: str, limit: int | None = None, seed: int = 0) -> list[texts.TextExample]:
        found = self._learned() if split == "train" else self._read(split)
        most = getattr(self._recipe.dataset, "max_train_examples", None) if split == "train" else None
        if most:
            found = texts.draw(found, most, self._recipe.seed)
        return texts.draw(found, limit, seed)

    def _read(self, split: str) -> list[texts.TextExample]:
        split = _present(self._recipe.dataset, split)
        source = getattr(self._recipe.dataset, split)
        if source == HELD_OUT:
            reported = texts.fingerprint(self._read("evaluation"))
            return [e for e in self._read("train") if _is_held(e) and not texts.fingerprint([e]) & reported]
        return texts.load_texts(
            self.task,
            None if source == OWN else source,
            self.task.train_split if split == "train" else self.task.validation_split,
        )

    def _learned(self) -> list[texts.TextExample]:
        """What may be trained on: neither texts that are reported on (some of GLUE's stand in both splits) nor those
        that are chosen by."""
        found, data = self._read("train"), self._recipe.dataset
        if not self._recipe.trains:
            return found
        held = getattr(data, "validation", None) == HELD_OUT
        others = ["evaluation", *([] if held or not hasattr(data, "validation") else ["validation"])]
        known = set().union(*(texts.fingerprint(self._read(split)) for split in others))
        kept = [e for e in found if not (held and _is_held(e)) and not texts.fingerprint([e]) & known]
        if not kept:
            raise UserError("All texts to train on are searched or reported on, too. Take other data for one of these.")
        return kept

    def windows(self, tokenizer: Any, examples: Sequence[texts.TextExample]) -> list[Window]:
        from compress.tasks.texts import text_windows

        return text_windows(tokenizer, examples, self._longest)

    def samples(self, tokenizer: Any, examples: Sequence[texts.TextExample]) -> list[Any]:
        from compress.tasks.texts import text_samples

        return text_samples(tokenizer, self.task, examples, self._longest)

    def loss(self, significance_weight: float = 0.0, bounds: Sequence[float] = ()) -> Any:
        from compress.tasks.texts import classes

        return classes()

    def load_model(self, folder: Path | str, dropout: float = 0.0, **overrides: Any) -> Any:
        from compress.tasks.texts import load_classifier

        return load_classifier(folder, self.task, dropout, **overrides)

    def score(
        self,
        engine: Engine,
        tokenizer: Any,
        examples: Sequence[texts.TextExample],
        config: Any = None,
        progress: Tell | None = None,
        settings: dict[str, Any] | None = None,
    ) -> dict[str, float]:
        from compress.tasks.texts import evaluate_texts

        names = None if settings is None else labels_of(settings)
        say = partial(evaluate_texts, names=names, max_length=self._longest)
        return say(engine, tokenizer, self.task, examples, config, progress)

    def fingerprints(self, examples: Sequence[texts.TextExample]) -> set[str]:
        return texts.fingerprint(examples)

    def refuse_overlap(
        self,
        known: set[str],
        examples: Sequence[texts.TextExample],
        what: str = "the data to report on",
        why: str = "were trained on",
    ) -> None:
        refuse_overlap(known, texts.passages(examples), what, why)

    def everything_learned(self) -> set[str]:
        return texts.fingerprint(self._learned())

    def named(self, n: int) -> dict[str, Any]:
        source, task = self._recipe.dataset.evaluation, self.task
        own = {"dataset": task.hub, "split": task.validation_split} if source == OWN else {"dataset": Path(source).name}
        remarks = [task.remark] if task.remark else []
        if n < task.rows:
            remarks.append(f"{n:,} texts were scored, the task's own validation set has {task.rows:,}")
        return {
            "metric": task.title,
            "task": task.name,
            **own,
            **({"config": task.config} if task.config else {}),
            **_stated(self._recipe.evaluate),
            "columns": ", ".join(task.columns),
            **({"remark": "; ".join(remarks)} if remarks else {}),
        }


def _present(dataset: Any, split: str) -> str:
    """The split, or "train" for recipes that choose by what they calibrate with."""
    if split not in SPLITS:
        raise ValueError(f"there is no split {split!r}")
    return split if hasattr(dataset, split) else "train"


def _stated(settings: Any) -> dict[str, str]:
    """What the recipe says that the data are called."""
    return {key: name for key, name in (("dataset", settings.dataset_name), ("split", settings.dataset_split)) if name}


def _is_held(example: texts.TextExample) -> bool:
    """Whether a text is held out: settled by the text itself, so that equal ones share their fate."""
    (mark,) = texts.fingerprint([example])
    return int(mark, 16) % HELD_PART == 0
