"""What tasks have in common whose head gives labels, or a score: whose checkpoint it is, and in which order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from compress.tasks.heads import Outputs, check_stated, load_labelled, settings_as_labelled
from compress.tasks.rows import Rows
from compress.tasks.subject import About, Reading
from zoo.checkpoints import read_config
from zoo.modeling import LengthAdaptiveModel
from zoo.pretrained import FloatModel
from zoo.tasks import Task

E = TypeVar("E")  # an example


class Labelled(Rows[E]):
    """Rows that are labelled or scored by a head whose outputs have names."""

    def __init__(self, task: Task, reading: Reading, recipe: About | None = None):
        super().__init__(task, reading, recipe)
        self.labels = recipe.dataset.labels if recipe is not None else None

    def look(self, folder: Path | str) -> Callable[[FloatModel], list[int] | None] | None:
        """What says which order labelled examples show of a checkpoint that names no labels; None: nothing does."""
        return None

    def load_model(
        self, folder: Path | str, dropout: float = 0.0, new_head: bool = True, **overrides: Any
    ) -> LengthAdaptiveModel:
        if self.labels and self.is_start(folder):
            check_stated(self.task, read_config(folder), self.labels)
        outputs = Outputs(self.task, self.labels, self.look(folder), new_head)
        return load_labelled(folder, outputs, dropout, **overrides)

    def stated(self, folder: Path | str, config: dict[str, Any]) -> dict[str, Any]:
        check_stated(self.task, config, self.labels)
        return settings_as_labelled(folder, Outputs(self.task, self.labels, self.look(folder), new=False))

    def load_teacher(self, folder: Path | str, labels: Sequence[str] | None = None) -> LengthAdaptiveModel:
        return load_labelled(folder, Outputs(self.task, labels, self.look(folder), new=False))
