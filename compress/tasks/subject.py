"""What a recipe is about, questions or texts: what every stage reads, learns and scores through."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from compress.data import texts
from compress.data.names import HELD_PART
from compress.data.tasks import Task
from zoo.engines.base import Engine
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
        """Labelled windows to learn from (`compress.tasks.samples.Sample`), with keys.

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
        """Stops a score on what the model knows, see `compress.data.fingerprints.refuse_overlap`."""
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
