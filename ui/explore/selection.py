"""What the Explore tab shows at the moment of an event, read from its components by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ui.desk import Desk, Wish
from ui.events import Checkpoint, Inputs, Values
from ui.explore.parts import Parts
from ui.explore.rivals import Rival
from zoo.answers import NoAnswer
from zoo.lengths import Choice


@dataclass(frozen=True)
class Selection:
    """A checkpoint, a budget for it, and texts to ask about.

    Attributes:
        value: what the slider shows, in `unit`.
        axis: what the front is drawn against.
        pin: the point that the slider stands at, see `ui.budget.pin`.
        full_ms: what full length takes on this input here; None before it was measured.
        tokens: of the input's longest window; None before anything was asked.
        rivals: what stands beside the front; None where it is yet to be looked for.
        layer: after which the kept tokens are shown.
        no_answer: whether the model may say that the passage holds no answer, and by what threshold.
    """

    model: str
    engine: str
    unit: str
    value: Any
    question: str
    passage: str
    axis: str
    pin: dict[str, Any] | None
    full_ms: float | None
    tokens: int | None
    rivals: list[Rival] | None
    layer: Any
    no_answer: NoAnswer

    @staticmethod
    def inputs(p: Parts) -> Inputs:
        """The components that `of` reads."""
        s = p.states
        components = {p.model, p.engine, p.unit, p.slider, p.question, p.passage, p.axis, p.layer}
        return {*components, p.no_answer, p.null_threshold, s.pin, s.full_ms, s.tokens, s.rivals}

    @classmethod
    def of(cls, p: Parts, values: Values) -> Selection:
        """What the components hold; texts and names that are missing are empty."""
        s = p.states
        return cls(
            model=values[p.model] or "",
            engine=values[p.engine],
            unit=values[p.unit],
            value=values[p.slider],
            question=values[p.question] or "",
            passage=values[p.passage] or "",
            axis=values[p.axis],
            pin=values[s.pin],
            full_ms=values[s.full_ms],
            tokens=values[s.tokens],
            rivals=values[s.rivals],
            layer=values[p.layer],
            no_answer=NoAnswer(values[p.no_answer], values[p.null_threshold] if values[p.no_answer] else None),
        )

    @property
    def wish(self) -> Wish:
        """What decides what is computed for this selection."""
        place = self.pin["index"] if self.pin else None
        texts = self.question, self.passage
        return Wish(self.model, self.engine, self.unit, self.value, *texts, place, self.no_answer)

    def choose(self, desk: Desk) -> Choice:
        """The point that the budget picks.

        Raises:
            UserError: there is no such checkpoint, or the budget is none.
        """
        return desk.choose(desk.entry(self.model), self.unit, self.value, self.full_ms, self.pin)


@dataclass(frozen=True)
class Setting:
    """What stands on the tab when another checkpoint comes: it stays where that one can do it.

    Attributes:
        reading: key of what the checkpoint before read.
        choices: checkpoints that this visitor loaded.
        budget: in `unit`; None for the point at one lost point.
    """

    engine: str | None
    unit: str | None
    reading: str | None = None
    choices: list[Checkpoint] | None = None
    budget: float | None = None

    @staticmethod
    def inputs(p: Parts) -> Inputs:
        """The components that `of` reads."""
        return {p.engine, p.unit, p.states.choices, p.states.reading}

    @classmethod
    def of(cls, p: Parts, values: Values) -> Setting:
        """What the components hold; no budget, since the next checkpoint's scale is another one."""
        return cls(values[p.engine], values[p.unit], values[p.states.reading], values[p.states.choices])
