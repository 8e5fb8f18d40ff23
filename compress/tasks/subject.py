"""What a recipe is about, questions or texts: what every stage reads, learns and scores through."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from compress.data.tasks import Task, find_task
from zoo.engines import Engine
from zoo.features import Window

SPLITS = ("train", "validation", "evaluation")
Tell = Callable[[int, int], None]


class Subject(Protocol):
    """What stages ask of a task, whatever it is.

    Attributes:
        task: the task, as data.
        primary: key of the metric to choose by.
        padded: tokens that the papers pad this task's inputs to.
        noun: what its examples are called.
    """

    task: Task
    primary: str
    padded: int
    noun: str

    def load(self, split: str, limit: int | None = None, seed: int = 0) -> list[Any]:
        """The recipe's examples to train on ("train"), to choose by ("validation") or to report on ("evaluation").

        Args:
            split: which.
            limit: take so many, drawn at random with `seed`, in the order of the source.
        """
        ...

    def windows(self, tokenizer: Any, examples: Sequence[Any]) -> list[Window]:
        """What the model reads of the examples; of a question one or several windows, of a text one."""
        ...

    def samples(self, tokenizer: Any, examples: Sequence[Any]) -> list[Any]:
        """Labelled windows to learn from (`compress.learn.loop.Sample`), with keys.

        Raises:
            UserError: nothing can be learned from the examples.
        """
        ...

    def loss(self, significance_weight: float = 0.0, bounds: Sequence[float] = ()) -> Any:
        """The loss of `compress.learn.loop.train` at full length.

        Args:
            significance_weight: of the hinge that asks for attention to the answer; texts have no answer to guide to.
            bounds: share of the tokens that each layer will be asked to drop.
        """
        ...

    def load_model(self, folder: Path | str, dropout: float = 0.0, **overrides: Any) -> Any:
        """A checkpoint's `zoo.modeling.LengthAdaptiveModel` with the task's head: its own where it fits, else a new
        one, drawn from torch's random numbers.

        Args:
            overrides: further keys of its configuration.
        """
        ...

    def score(
        self,
        engine: Engine,
        tokenizer: Any,
        examples: Sequence[Any],
        config: Any = None,
        progress: Tell | None = None,
        settings: dict[str, Any] | None = None,
    ) -> dict[str, float]:
        """Scores a loaded model.

        Args:
            engine: any; torch, the int8 graph and a simulation are scored by one path.
            examples: of `load`.
            config: `zoo.lengths.LengthConfig` or padded lengths; None for full length.
            progress: called with (examples done, examples in all).
            settings: the model's `config.json`, for the order of its labels or whether "no answer" may win; by default
                as the recipe trains it.

        Returns:
            Metrics in points of 100, `primary` first, and `n`.

        Raises:
            UserError: no examples, some without labels, or a model for other labels.
        """
        ...

    def fingerprints(self, examples: Sequence[Any]) -> set[str]:
        """What identifies passages or texts, see `compress.data.squad.fingerprint`."""
        ...

    def refuse_overlap(
        self,
        known: set[str],
        examples: Sequence[Any],
        what: str = "the data to report on",
        why: str = "were trained on",
    ) -> None:
        """Stops a score on what the model knows, see `compress.tasks.scores.refuse_overlap`."""
        ...

    def everything_learned(self) -> set[str]:
        """Fingerprints of all that a training on the recipe's data may see."""
        ...

    def named(self, n: int) -> dict[str, Any]:
        """What the data to report on are called: `metric`, `task`, `dataset`, and where known `config`, `split`,
        `columns` and `remark`.

        Args:
            n: so many examples are reported on; fewer than the task's own data have is remarked.
        """
        ...


def subject_of(recipe: Any, reading: Any = None) -> Subject:
    """What a recipe is about.

    Args:
        recipe: with a group `dataset`.
        reading: the group that says how long windows are; by default `recipe.reading`.
    """
    from compress.tasks.questions import Questions, Texts

    task = find_task(recipe.dataset.task)
    return (Questions if task.is_questions else Texts)(task, recipe, reading or recipe.reading)


def subject_for(task: str, max_length: int | None = None) -> Subject:
    """A task without a recipe, for scoring and reading; `load` has nothing to load from.

    Args:
        task: a name of `compress.data.tasks`.
        max_length: tokens of a window at most; by default as the published results have it.
    """
    from types import SimpleNamespace

    from compress.tasks.questions import Questions, Texts

    found = find_task(task)
    kind = Questions if found.is_questions else Texts
    return kind(found, None, SimpleNamespace(max_length=max_length or kind.padded, stride=128))
