"""Events that select: a link, a checkpoint, a unit, a point of the plot, an example. None of them runs a model."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ui import budget, links, text
from ui.desk import DEFAULT_ENGINE
from ui.events import Known, Updates, spoken
from ui.explore.parts import Handlers
from ui.explore.rivals import Rival
from ui.reading import QA, Reading, Sample, questions, reading_of
from ui.widgets import list_samples
from zoo.catalog import Entry
from zoo.engines import engines_here
from zoo.errors import UserError
from zoo.lengths import Front, Point
from zoo.metrics import shown


class Selecting(Handlers):
    """What changes what is asked for."""

    @spoken("hint")
    def open(self, request: gr.Request) -> Updates:
        """The page opens: what the link says, else the default model at one lost point, and the first example."""
        link = links.read(dict(request.query_params))
        notices, p = list(link.notices), self.parts
        name = link.model or self.default
        updates: Updates = {}
        if link.model and link.model not in [name for _, name, _ in self.bundled]:
            # A link alone must not make this machine download anything.
            notices.append("The link's checkpoint is not a bundled one: press Load to fetch it.")
            updates[p.other] = link.model
            name = self.default
        if name is None:
            return updates | self.note("hint", "No checkpoint is bundled here: give a folder or a Hub id to load one.")
        updates |= self._select(name, None, [], link.engine, link.unit, link.budget, notices)
        return updates | self.note("hint", " ".join(notices))

    @spoken("hint")
    def load(self, other: str, engine: str, unit: str, choices: list[Known] | None, reads: str | None) -> Updates:
        """Fetch another checkpoint and pick it."""
        entry = self.desk.entry(other, fresh=True)
        choices = [one for one in choices or [] if one[1] != entry.name]
        if entry.name not in [name for _, name, _ in self.bundled]:
            choices = [*choices, [entry.title, entry.name, entry.task]]
        updates = self._select(entry.name, reads, choices, engine, unit, None, [])
        return updates | {self.parts.states["choices"]: choices} | self.note("hint", None)

    @spoken("hint")
    def select(self, model: str, engine: str, unit: str, choices: list[Known] | None, reads: str | None) -> Updates:
        """Another checkpoint was picked."""
        return self._select(model, reads, choices, engine, unit, None, []) | self.note("hint", None)

    @spoken("hint")
    def select_task(self, task: str, engine: str, unit: str, choices: list[Known] | None, reads: str | None) -> Updates:
        """Questions or texts: the first checkpoint for that, and what to try on it."""
        fit = [name for _, name, does in self.known(choices) if does == task]
        if not fit:
            raise UserError("There is no checkpoint for that here: load one from a folder or the Hub.")
        name = self.default if self.default in fit else fit[0]
        return self._select(str(name), reads, choices, engine, unit, None, []) | self.note("hint", None)

    def _select(
        self,
        name: str,
        reads: str | None,
        choices: list[Known] | None,
        engine: str | None,
        unit: str | None,
        value: float | None,
        notices: list[str],
    ) -> Updates:
        entry, p = self.desk.entry(name), self.parts
        layers = self.desk.shape(entry).layers
        usable = [e for e in text.ENGINE_LABELS if e in engines_here(entry)]
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
            p.states["others"]: None,
            p.origin: text.describe_origin(entry.front.measured_on) if entry.front else "",
        }
        known = self.known(choices)
        updates |= {
            p.task: gr.update(value=entry.task, visible=len({task for *_, task in known}) > 1),
            p.model: gr.update(choices=[(title, n) for title, n, task in known if task == entry.task], value=name),
        }
        updates |= self._set_reading(reading_of(entry), reads)
        return updates | self._set_budget(entry, unit, value, notices)

    def _set_reading(self, reading: Reading, before: str | None) -> Updates:
        """Boxes and examples for what is read; texts stay where the checkpoint before read the same."""
        p = self.parts
        if reading.key == before:
            return {}
        first = reading.samples[0] if reading.samples else None
        many = reading.key != QA
        return {
            p.states["reading"]: reading.key,
            p.question: gr.update(
                value=first.first if first else "", label=reading.first, lines=3 if many else 2,
                max_length=reading.most,
            ),
            p.passage: gr.update(
                value=first.second if first else "", label=reading.second or "Second text",
                visible=bool(reading.second), lines=3 if many else 7,
            ),
            p.example: gr.update(choices=list_samples(reading), value=0 if first else None),
            p.ask: gr.update(value=reading.button),
            p.marked: gr.update(value=[], visible=not many),
            p.more: gr.update(visible=not many),
            p.bars: gr.update(value="", visible=many),
        }  # fmt: skip

    def _set_budget(self, entry: Entry, unit: str | None, value: float | None, notices: list[str]) -> Updates:
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
        scale = budget.scale(front, unit, point)
        pinned = budget.pin(
            front, point, unit, scale.value, f"at most {budget.DEFAULT_LOSS:g} {shown(front.metric)} point lost"
        )
        if value is not None:
            within = min(max(value, scale.minimum), scale.maximum)
            if within != value:
                notices.append(f"A budget of {value:g} lies beyond the slider: showing {within:g}.")
            scale, pinned = budget.Scale(scale.minimum, scale.maximum, scale.step, within), None
        return {
            p.slider: self._move(front, unit, scale) | {"interactive": True},
            p.unit: gr.update(choices=[(budget.label(u, front), u) for u in possible], value=unit, interactive=True),
            p.states["unit"]: unit,
            p.states["pinned"]: pinned,
        }

    @staticmethod
    def _move(front: Front, unit: str, scale: budget.Scale) -> dict:
        told = budget.title(unit, front)
        return gr.update(minimum=scale.minimum, maximum=scale.maximum, step=scale.step, value=scale.value, label=told)

    @spoken("notice")
    def switch(
        self, model: str, unit: str, value: Any, shown: str, full_ms: float | None, pinned: dict | None
    ) -> Updates:
        """Another unit: the slider changes, the point stays."""
        entry = self.desk.entry(model)
        choice = self.desk.choose(entry, shown or "macs", value, full_ms, pinned)
        return self._stand_at(entry, choice.point, unit, full_ms, choice.binding)

    @spoken("notice")
    def click(
        self,
        model: str,
        full_ms: float | None,
        others: list[Rival] | None,
        engine: str,
        unit: str,
        choices: list[Known] | None,
        reads: str | None,
        event: gr.SelectData,
    ) -> Updates:
        """A point of the plot was clicked: the slider moves there, or, where it is another model's, that is opened."""
        entry = self.desk.entry(model)
        if entry.front is None:
            return self.nothing(self.parts.slider)
        points = budget.everything(entry.front)
        place = int(event.index) if isinstance(event.index, int | float) else -1
        beyond = place - len(points)
        if others and 0 <= beyond < len(others):
            return self.load(others[beyond].name, engine, unit, choices, reads)
        if not 0 <= place < len(points):
            raise UserError("That point is not on this front any more: click again.")
        return self._stand_at(entry, points[place], unit, full_ms, "picked on the plot")

    def _stand_at(self, entry: Entry, point: Point, unit: str, full_ms: float | None, why: str) -> Updates:
        if entry.front is None:
            return self.nothing(self.parts.slider)
        scale = budget.scale(entry.front, unit, point, full_ms)
        pinned = budget.pin(entry.front, point, unit, scale.value, why)
        p = self.parts
        return {p.slider: self._move(entry.front, unit, scale), p.states["unit"]: unit, p.states["pinned"]: pinned}

    @spoken("notice")
    def pick(self, index: Any, model: str | None) -> Updates:
        """An example fills the boxes."""
        samples = self._samples(model)
        if not isinstance(index, int) or not 0 <= index < len(samples):
            return self.nothing(self.parts.question)
        return {self.parts.question: samples[index].first, self.parts.passage: samples[index].second}

    @spoken("notice")
    def pick_another(self, index: Any, model: str | None) -> Updates:
        """The next example, of another passage."""
        samples = self._samples(model)
        if not samples:
            return self.nothing(self.parts.question)
        now = index if isinstance(index, int) and 0 <= index < len(samples) else -1
        after = list(range(now + 1, len(samples))) + list(range(0, max(now, 0) + 1))
        found = next((i for i in after if now < 0 or samples[i].title != samples[now].title), after[0])
        return {self.parts.example: found} | self.pick(found, model)

    def _samples(self, model: str | None) -> tuple[Sample, ...]:
        return reading_of(self.desk.entry(model)).samples if model else questions().samples
