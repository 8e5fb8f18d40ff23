"""Events that select: a link, a checkpoint, a unit, a point of the plot, an example. None of them runs a model."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from ui import budget, checkpoints, links, people, text
from ui.desk import Desk
from ui.events import Checkpoint, Speaker, Updates, Values, explain, spoken
from ui.explore.displays import display_of
from ui.explore.pareto import draw_front
from ui.explore.parts import THRESHOLDS, Parts
from ui.explore.readout import draw_readout
from ui.explore.selection import Selection, Setting
from ui.reading import QA, Reading, Sample, questions, reading_of
from ui.widgets import list_samples
from zoo import conversion
from zoo.catalog import Entry
from zoo.engines import engines_here
from zoo.errors import PickledWeights, UserError
from zoo.fastest import default_engine
from zoo.lengths import Choice, Front, Point
from zoo.metrics import metric_name
from zoo.safety import split_revision
from zoo.settings import get_settings
from zoo.tasks import EMBEDDINGS
from zoo.tensors import has_tensors


class Selecting(Speaker[Parts]):
    """What changes what is asked for.

    Args:
        desk: shared by all visitors.
        entries: that are bundled.
        default: name of the one that the page opens with; None where nothing is bundled.
    """

    def __init__(self, parts: Parts, desk: Desk, entries: list[Entry], default: str | None):
        super().__init__(parts)
        self.desk, self.default = desk, default
        self.bundled: list[Checkpoint] = [[entry.title, entry.name, entry.task] for entry in entries]

    @spoken("hint")
    def open(self, request: gr.Request) -> Updates:
        """The page opens: what the link says, if there is one, else as it was built, see `opening`."""
        link = links.read(dict(request.query_params))
        notices, p = list(link.notices), self.parts
        if self.default and not notices and link.is_empty:
            own = {p.model: gr.update(choices=self._alike(self.default, None))} if checkpoints.own() else {}
            return own | self.note("hint", None)
        name = link.model or self.default
        updates: Updates = {}
        if link.model and link.model not in [name for _, name, _ in self._all(None)]:
            # A link alone must not make this machine download anything.
            notices.append("The link's checkpoint is neither bundled nor your own: press Load to fetch it.")
            updates[p.other] = link.model
            name = self.default
        if name is None:
            return updates | self.note("hint", "No checkpoint is bundled here: give a folder or a Hub id to load one.")
        updates |= self._select(name, Setting(link.engine, link.unit, budget=link.budget), notices)
        samples = reading_of(self.desk.entry(name)).samples
        if link.example is not None and link.example < len(samples):
            for box, words in zip((p.question, p.passage), samples[link.example][1:], strict=True):
                updates[box] = {**updates.get(box, gr.update()), "value": words}
            updates[p.example] = {**updates.get(p.example, gr.update()), "value": link.example}
        return updates | self.note("hint", " ".join(notices))

    @spoken("hint")
    def arrive(self, values: Values) -> Updates:
        """What the link or a reload brings to read, beyond what the server sees of an address."""
        texts = links.read_texts(values[self.parts.arrived] or "")
        if texts is None:
            return self.nothing(self.parts.question)
        return dict(zip((self.parts.question, self.parts.passage), texts, strict=True))

    def opening(self) -> Updates:
        """What the page begins with: the default model at one lost point, and the first example."""
        if self.default is None:
            return {}
        updates = self._select(self.default, Setting(None, None), [])
        entry, p = self.desk.entry(self.default), self.parts
        choice = Choice(budget.default_point(entry.front), None, "") if entry.front else self.desk.choose(entry, "", 0)
        drawn = {p.readout: draw_readout(choice, entry.front, None), p.front: draw_front(entry.front, choice.point)}
        return updates | drawn

    @spoken("hint")
    def load(self, values: Values, request: gr.Request | None = None) -> Updates:
        """Fetch another checkpoint and pick it; what has its weights as a pickle can be converted at a click."""
        try:
            token = people.token_here(request)
            return self._load(values[self.parts.other], Setting.of(self.parts, values), token)
        except UserError as error:
            shown = isinstance(error, PickledWeights)
            return self.note("hint", explain(error)) | {self.parts.convert: gr.update(visible=shown)}

    @spoken("hint")
    def convert(self, values: Values, profile: gr.OAuthProfile | None) -> Updates:
        """Write the pickled weights of another checkpoint as safetensors, and pick it."""
        name = (values[self.parts.other] or "").strip()
        if not name:
            raise UserError("Name the checkpoint whose weights are a pickle first.")
        if people.read_only() or not people.who(profile).may_start:
            raise UserError(f"Weights are converted by those who may start jobs here: `python -m zoo convert {name}`.")
        if get_settings().on_space:
            split_revision(name)  # the folders are the host's, not the visitor's
        if not Path(name).expanduser().is_dir() or not has_tensors(Path(name).expanduser()):
            conversion.convert(name)
        return self._load(name, Setting.of(self.parts, values))

    @spoken("hint")
    def select(self, values: Values) -> Updates:
        """Another checkpoint was picked."""
        return self._select(values[self.parts.model], Setting.of(self.parts, values), []) | self.note("hint", None)

    @spoken("hint")
    def select_task(self, values: Values) -> Updates:
        """Questions or texts: the first checkpoint for that, and what to try on it."""
        setting = Setting.of(self.parts, values)
        names = [name for _, name, task in self._all(setting.choices) if task == values[self.parts.task]]
        if not names:
            raise UserError("There is no checkpoint for that here: load one from a folder or the Hub.")
        return self._select(self._first(names), setting, []) | self.note("hint", None)

    @spoken("hint")
    def turn(self, values: Values) -> Updates:
        """From questions, or whatever is open, to the second thing to try, and from there to questions."""
        task = QA if self.desk.entry(values[self.parts.model]).task == EMBEDDINGS.name else EMBEDDINGS.name
        return self.select_task({**values, self.parts.task: task})

    def _first(self, names: list[str]) -> str:
        """What a task opens with: the page's own checkpoint, else one that reads a single text, else any."""
        if self.default in names:
            return str(self.default)
        bundled = [name for _, name, _ in self.bundled if name in names]
        return next((name for name in bundled if reading_of(self.desk.entry(name)).texts == 1), names[0])

    def _all(self, choices: list[Checkpoint] | None) -> list[Checkpoint]:
        """Everything that can be picked: what is bundled, what the person's jobs made, and what this visitor loaded."""
        known = [*self.bundled, *checkpoints.own()]
        names = {name for _, name, _ in known}
        return [*known, *(one for one in choices or [] if one[1] not in names)]

    @spoken("hint")
    def offer(self, values: Values) -> Updates:
        """Somebody is about to pick: what jobs have made meanwhile is there, too. What is picked is not touched, since
        another tab may have it loaded at this very moment."""
        model, choices = values[self.parts.model], values[self.parts.states.choices]
        if not model:
            return self.nothing(self.parts.hint)
        return {self.parts.model: gr.update(choices=self._alike(model, choices)), self.parts.hint: gr.skip()}

    def _alike(self, name: str, choices: list[Checkpoint] | None) -> list[tuple[str, str]]:
        """What can be picked beside a checkpoint: those for the same task."""
        task = self.desk.entry(name).task
        return [(title, other) for title, other, its in self._all(choices) if its == task]

    def _load(self, other: str, setting: Setting, token: str | None = None) -> Updates:
        entry = self.desk.entry(other, True, token)
        choices = [one for one in setting.choices or [] if one[1] != entry.name]
        if entry.name not in [name for _, name, _ in self.bundled]:
            choices = [*choices, [entry.title, entry.name, entry.task]]
        updates = self._select(entry.name, replace(setting, choices=choices), [])
        updates |= {self.parts.states.choices: choices}
        return updates | self.note("hint", None)

    def _select(self, name: str, setting: Setting, notices: list[str]) -> Updates:
        """A checkpoint, at the setting as far as it can; what it cannot goes to `notices`."""
        entry, p = self.desk.entry(name), self.parts
        layers = self.desk.shape(entry).layers
        engine, labels, usable = setting.engine, text.engine_labels(), engines_here(entry)
        if engine not in usable:
            if engine:
                notices.append(f"{entry.title} does not run on {engine}.")
            engine = default_engine(entry)
        tasks = {task for *_, task in self._all(setting.choices)}
        there, on = (
            ("Ask a question", QA) if entry.task == EMBEDDINGS.name else ("How alike are two texts?", EMBEDDINGS.name)
        )
        return {
            p.engine: gr.update(choices=[(labels[e], e) for e in usable], value=engine),
            p.facts: text.describe_entry(entry),
            p.layer: gr.update(maximum=layers, value=layers),
            p.states.tokens: None,
            p.states.full_ms: None,
            p.states.rivals: None,
            p.origin: text.describe_origin(entry.front.measured_on) if entry.front else "",
            p.task: gr.update(value=entry.task, visible=len(tasks) > 1),
            p.turn: gr.update(value=there, visible=on in tasks),
            p.model: gr.update(choices=self._alike(name, setting.choices), value=name),
            p.no_answer: gr.update(value=entry.no_answer, visible=entry.task == QA),
            p.null_threshold: self._set_threshold(entry),
            p.convert: gr.update(visible=False),
            p.axis: gr.update(visible=entry.front is not None),
            p.csv: gr.update(visible=entry.front is not None),
            **self._set_reading(entry, reading_of(entry), setting.reading),
            **self._set_budget(entry, setting.unit, setting.budget, notices),
        }

    @staticmethod
    def _set_threshold(entry: Entry) -> dict[str, Any]:
        own = entry.null_threshold
        return gr.update(
            minimum=min(THRESHOLDS[0], math.floor(own)),
            maximum=max(THRESHOLDS[1], math.ceil(own)),
            step=0.5 if (2 * own).is_integer() else 0.01,
            value=own,
            visible=entry.task == QA,
            interactive=entry.no_answer,
        )

    @spoken("notice")
    def allow(self, values: Values) -> Updates:
        """“No answer” may win, or not: its threshold is heard only where it may."""
        return {self.parts.null_threshold: gr.update(interactive=bool(values[self.parts.no_answer]))}

    def _set_reading(self, entry: Entry, reading: Reading, before: str | None) -> Updates:
        """Boxes and examples for what is read; texts stay where the checkpoint before read the same."""
        p, display = self.parts, display_of(entry.task)
        colours = display.colours(entry)
        if reading.key == before:
            return {p.marked: gr.update(color_map=colours)}
        first = reading.samples[0] if reading.samples else None
        return {
            p.states.reading: reading.key,
            p.question: gr.update(
                value=first.first if first else "", label=reading.first, lines=reading.lines[0],
            ),
            p.passage: gr.update(
                value=first.second if first else "", label=reading.second or "Second text",
                visible=bool(reading.second), lines=reading.lines[1],
            ),
            p.example: gr.update(choices=list_samples(reading), value=0 if first else None),
            p.ask: gr.update(value=reading.button),
            p.marked: gr.update(
                value=[], visible=display.marks, color_map=colours, show_inline_category=display.has_names,
            ),
            p.more: gr.update(visible=bool(display.listing), label=display.listing, open=display.is_open),
            p.n_best: "",
            p.bars: gr.update(value="", visible=display.bars),
        }  # fmt: skip

    def _set_budget(self, entry: Entry, unit: str | None, value: float | None, notices: list[str]) -> Updates:
        p, front = self.parts, entry.front
        if front is None:
            slider = gr.update(
                minimum=0, maximum=100, value=100, step=0.5, interactive=False, label=budget.TITLES["macs"]
            )
            switch = gr.update(choices=[(budget.UNITS["macs"], "macs")], value="macs", interactive=False)
            return {p.slider: slider, p.unit: switch, p.states.slider_unit: "macs", p.states.pin: None}
        possible = budget.units(front)
        unit = unit or "macs"
        if unit not in possible:
            if value is not None:
                notices.append("This front holds no latencies, so the link's budget was left out.")
            unit, value = "macs", None
        point = budget.default_point(front)
        scale = budget.scale(front, unit, point)
        pin = budget.pin(
            front, point, unit, scale.value, f"at most {budget.DEFAULT_LOSS:g} {metric_name(front.metric)} point lost"
        )
        if value is not None:
            within = min(max(value, scale.minimum), scale.maximum)
            if within != value:
                notices.append(f"A budget of {value:g} lies beyond the slider: showing {within:g}.")
            scale, pin = budget.Scale(scale.minimum, scale.maximum, scale.step, within), None
        return {
            p.slider: self._move(front, unit, scale) | {"interactive": True},
            p.unit: gr.update(choices=[(budget.label(u, front), u) for u in possible], value=unit, interactive=True),
            p.states.slider_unit: unit,
            p.states.pin: pin,
        }

    @staticmethod
    def _move(front: Front, unit: str, scale: budget.Scale) -> dict[str, Any]:
        label = budget.title(unit, front)
        return gr.update(minimum=scale.minimum, maximum=scale.maximum, step=scale.step, value=scale.value, label=label)

    @spoken("notice")
    def switch(self, values: Values) -> Updates:
        """Another unit: the slider changes, the point stays."""
        selection = Selection.of(self.parts, values)
        entry = self.desk.entry(selection.model)
        choice = replace(selection, unit=values[self.parts.states.slider_unit] or "macs").choose(self.desk)
        return self._stand_at(entry, choice.point, selection.unit, selection.full_ms, choice.binding)

    @spoken("notice")
    def click(self, values: Values, event: gr.SelectData, request: gr.Request | None = None) -> Updates:
        """A point of the plot was clicked: the slider moves there, or, where it is another model's, that is opened."""
        p = self.parts
        entry, rivals = self.desk.entry(values[p.model]), values[p.states.rivals]
        if entry.front is None:
            return self.nothing(p.slider)
        points = budget.everything(entry.front)
        place = int(event.index) if isinstance(event.index, int | float) else -1
        beyond = place - len(points)
        if rivals and 0 <= beyond < len(rivals):
            return self.load({**values, p.other: rivals[beyond].name}, request)
        if not 0 <= place < len(points):
            raise UserError("That point is not on this front any more: click again.")
        return self._stand_at(entry, points[place], values[p.unit], values[p.states.full_ms], "picked on the plot")

    def _stand_at(self, entry: Entry, point: Point, unit: str, full_ms: float | None, why: str) -> Updates:
        if entry.front is None:
            return self.nothing(self.parts.slider)
        scale = budget.scale(entry.front, unit, point, full_ms)
        pin = budget.pin(entry.front, point, unit, scale.value, why)
        p = self.parts
        return {p.slider: self._move(entry.front, unit, scale), p.states.slider_unit: unit, p.states.pin: pin}

    @spoken("notice")
    def pick(self, values: Values) -> Updates:
        """An example fills the boxes."""
        samples, place = self._samples(values), values[self.parts.example]
        if not isinstance(place, int) or not 0 <= place < len(samples):
            return self.nothing(self.parts.question)
        return {self.parts.question: samples[place].first, self.parts.passage: samples[place].second}

    @spoken("notice")
    def pick_another(self, values: Values) -> Updates:
        """The next example, of another passage."""
        p, samples = self.parts, self._samples(values)
        if not samples:
            return self.nothing(p.question)
        place = values[p.example]
        now = place if isinstance(place, int) and 0 <= place < len(samples) else -1
        after = list(range(now + 1, len(samples))) + list(range(0, max(now, 0) + 1))
        following = next((i for i in after if now < 0 or samples[i].title != samples[now].title), after[0])
        return {p.example: following} | self.pick({**values, p.example: following})

    def _samples(self, values: Values) -> tuple[Sample, ...]:
        model = values[self.parts.model]
        return reading_of(self.desk.entry(model)).samples if model else questions().samples
