"""Examples that come in rows, of which some can be held out of those to learn from."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Sequence
from typing import TypeVar

from compress.data.intake import Intake
from compress.data.names import HELD_OUT, HELD_PART
from compress.tasks.subject import Subject
from zoo.errors import UserError

log = logging.getLogger(__name__)

E = TypeVar("E")  # an example
ACCIDENT = 0.01  # share of the rows to search on that may stand among those to report on


class Rows(Subject[E]):
    """A task whose examples come in rows."""

    @abstractmethod
    def rows_of(self, source: str, split: str, intake: Intake) -> list[E]:
        """The rows of a file or a data set, one of "train", "validation" and "evaluation"."""

    def read(self, source: str, intake: Intake | None = None) -> list[E]:
        return self.rows_of(source, "evaluation", intake or Intake())

    def remarks(self, n: int) -> dict[str, str]:
        return {"columns": ", ".join(self.task.columns)}

    def of_split(self, split: str, intake: Intake) -> list[E]:
        source = getattr(self.recipe.dataset, split)
        if source == HELD_OUT:
            reported = self.fingerprints(self.part("evaluation"))
            return [e for e in self.part("train") if self._is_held_out(e) and not self.fingerprints([e]) & reported]
        return self.rows_of(source, split, intake)

    def searchable(self, examples: Sequence[E], reported: set[str]) -> list[E]:
        """Without the few rows that are reported on, too, as in GLUE; more are no accident, and are refused."""
        rest = [e for e in examples if not self.fingerprints([e]) & reported]
        left = len(examples) - len(rest)
        if not 0 < left <= ACCIDENT * len(examples):
            return list(examples)
        log.info("Left out, since it is reported on, too: %d of the %s to search on.", left, self.noun)
        return rest

    def learned(self) -> list[E]:
        """Neither rows that are reported on (some of GLUE's stand in both splits) nor those that are chosen by."""
        examples, data = self.part("train"), self.recipe.dataset
        if not self.recipe.trains:
            return examples
        holds_out = getattr(data, "validation", None) == HELD_OUT
        others = ["evaluation", *([] if holds_out or not hasattr(data, "validation") else ["validation"])]
        apart = set[str]().union(*(self.fingerprints(self.part(split)) for split in others))
        rest = [e for e in examples if not (holds_out and self._is_held_out(e)) and not self.fingerprints([e]) & apart]
        if not rest:
            raise UserError(
                f"All {self.noun} to train on are searched or reported on, too. Take other data for one of these."
            )
        return rest

    def _is_held_out(self, example: E) -> bool:
        """Whether a row is held out: settled by its text itself, so that equal ones share their fate."""
        return int(min(self.fingerprints([example])), 16) % HELD_PART == 0
