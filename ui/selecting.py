"""Events that select: a link, a checkpoint, a unit, a point of the plot, an example. None of them runs a model."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ui import budget, links, text
from ui.handlers import Handlers, Updates, spoken
from zoo.catalog import Entry
from zoo.errors import UserError
from zoo.lengths import Point

DEFAULT_ENGINE = "onnxruntime"


class Selecting(Handlers):
    """What changes what is asked for."""

    @spoken("hint")
    def open(self, request: gr.Request) -> Updates:
        """The page opens: what the link says, else the default model at one lost F1, and the first example."""
        link = links.read(dict(request.query_params))
        notices, p = list(link.notices), self.parts
        name = link.model or self.default
        updates: Updates = {}
        if self.examples:
            first = self.examples[0]
            updates |= {p.question: first["question"], p.passage: first["context"], p.example: 0}
        bundled = [name for _, name in (p.model.choices or [])]
        if link.model and link.model not in bundled:
            # A link alone must not make this machine download anything.
            notices.append("The link's checkpoint is not a bundled one: press Load to fetch it.")
            updates[p.other] = link.model
            name = self.default
        if name is None:
            return updates | self.note("hint", "No checkpoint is bundled here: give a folder or a Hub id to load one.")
        updates |= self._select(name, link.engine, link.unit, link.budget, None, notices) | {p.model: name}
        return updates | self.note("hint", " ".join(notices))

    @spoken("hint")
    def load(self, other: str, engine: str, unit: str, choices: list | None) -> Updates:
        """Fetch another checkpoint and pick it."""
        entry = self.desk.entry(other, fresh=True)
        choices = [pair for pair in choices or self.parts.model.choices or [] if pair[1] != entry.name]
        choices = [*choices, (entry.title, entry.name)]
        updates = self._select(entry.name, engine, unit, None, None, [])
        updates[self.parts.model] = gr.update(choices=choices, value=entry.name)
        return updates | {self.parts.states["choices"]: choices} | self.note("hint", None)

    @spoken("hint")
    def select(self, model: str, engine: str, unit: str) -> Updates:
        """Another checkpoint was picked."""
        return self._select(model, engine, unit, None, None, []) | self.note("hint", None)

    def _select(
        self,
        name: str,
        engine: str | None,
        unit: str | None,
        value: float | None,
        full_ms: float | None,
        notices: list[str],
    ) -> Updates:
        entry, p = self.desk.entry(name), self.parts
        layers = self.desk.shape(entry).layers
        usable = [e for e in text.ENGINE_LABELS if e in entry.engines]
        if engine not in usable:
            if engine:
                notices.append(f"{entry.title} does not run on {engine}.")
            engine = DEFAULT_ENGINE if DEFAULT_ENGINE in usable else usable[0]
        updates = {
            p.engine: gr.update(choices=[(text.ENGINE_LABELS[e], e) for e in usable], value=engine),
            p.facts: text.describe_entry(entry),
            p.layer: gr.update(maximum=layers, value=layers),
            p.states["tokens"]: None,
            p.states["full_ms"]: None,
            p.origin: text.describe_origin(entry.front.measured_on) if entry.front else "",
        }
        return updates | self._set_budget(entry, unit, value, full_ms, notices)

    def _set_budget(
        self, entry: Entry, unit: str | None, value: float | None, full_ms: float | None, notices: list[str]
    ) -> Updates:
        p, front = self.parts, entry.front
        if front is None:
            slider = gr.update(
                minimum=0, maximum=100, value=100, step=0.5, interactive=False, label=budget.TITLES["macs"]
            )
            switch = gr.update(choices=[(budget.UNITS["macs"], "macs")], value="macs", interactive=False)
            return {p.slider: slider, p.unit: switch, p.states["unit"]: "macs", p.states["pinned"]: None}
        possible = budget.units(front)
        unit = unit or "macs"
        if unit not in possible:
            if value is not None:
                notices.append("This front holds no latencies, so the link's budget was left out.")
            unit, value = "macs", None
        point = budget.default_point(front)
        scale = budget.scale(front, unit, point, full_ms)
        pinned = budget.pin(front, point, unit, scale.value, f"at most {budget.DEFAULT_LOSS:g} F1 point lost")
        if value is not None:
            within = min(max(value, scale.minimum), scale.maximum)
            if within != value:
                notices.append(f"A budget of {value:g} lies beyond the slider: showing {within:g}.")
            scale, pinned = budget.Scale(scale.minimum, scale.maximum, scale.step, within), None
        return {
            p.slider: self._move(unit, scale) | {"interactive": True},
            p.unit: gr.update(choices=[(budget.UNITS[u], u) for u in possible], value=unit, interactive=True),
            p.states["unit"]: unit,
            p.states["pinned"]: pinned,
        }

    @staticmethod
    def _move(unit: str, scale: budget.Scale) -> dict:
        return gr.update(
            minimum=scale.minimum, maximum=scale.maximum, step=scale.step, value=scale.value, label=budget.TITLES[unit]
        )

    @spoken("notice")
    def switch(
        self, model: str, unit: str, value: Any, shown: str, full_ms: float | None, pinned: dict | None
    ) -> Updates:
        """Another unit: the slider changes, the point stays."""
        entry = self.desk.entry(model)
        choice = self.desk.choose(entry, shown or "macs", value, full_ms, pinned)
        return self._stand_at(entry, choice.point, unit, full_ms, choice.binding)

    @spoken("notice")
    def click(self, model: str, unit: str, full_ms: float | None, event: gr.SelectData) -> Updates:
        """A point of the plot was clicked: the slider moves there."""
        entry = self.desk.entry(model)
        if entry.front is None:
            return self.nothing(self.parts.slider)
        points = budget.everything(entry.front)
        place = int(event.index) if isinstance(event.index, int | float) else -1
        if not 0 <= place < len(points):
            raise UserError("That point is not on this front any more: click again.")
        return self._stand_at(entry, points[place], unit, full_ms, "picked on the plot")

    def _stand_at(self, entry: Entry, point: Point, unit: str, full_ms: float | None, why: str) -> Updates:
        if entry.front is None:
            return self.nothing(self.parts.slider)
        scale = budget.scale(entry.front, unit, point, full_ms)
        pinned = budget.pin(entry.front, point, unit, scale.value, why)
        p = self.parts
        return {p.slider: self._move(unit, scale), p.states["unit"]: unit, p.states["pinned"]: pinned}

    def pick(self, index: Any) -> Updates:
        """An example fills question and passage."""
        if not isinstance(index, int) or not 0 <= index < len(self.examples):
            return self.nothing(self.parts.question)
        example = self.examples[index]
        return {self.parts.question: example["question"], self.parts.passage: example["context"]}

    def pick_another(self, index: Any) -> Updates:
        """The next example, of another passage."""
        if not self.examples:
            return self.nothing(self.parts.question)
        now = index if isinstance(index, int) and 0 <= index < len(self.examples) else -1
        titles = [e["title"] for e in self.examples]
        after = list(range(now + 1, len(titles))) + list(range(0, max(now, 0) + 1))
        found = next((i for i in after if now < 0 or titles[i] != titles[now]), after[0])
        return {self.parts.example: found} | self.pick(found)
