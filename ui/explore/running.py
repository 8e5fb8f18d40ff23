"""Events that show: the cheap look-up, the run behind it, and views of what it found."""

from __future__ import annotations

import json
import time
from collections.abc import Hashable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path

import gradio as gr

from ui import budget, figures, links, people, text
from ui.desk import Answered, Desk, Watch
from ui.events import Speaker, Updates, Values, explain, spoken
from ui.explore import pareto, readout, rivals, tokens
from ui.explore.displays import display_of
from ui.explore.parts import Parts
from ui.explore.selection import Selection
from ui.reading import QA, reading_of
from zoo import fastest
from zoo.answers import AS_TRAINED, Reply
from zoo.catalog import Entry
from zoo.engines import engine_class
from zoo.errors import UserError
from zoo.lengths import Choice
from zoo.measuring import Measured, Superseded
from zoo.settings import get_settings

LOOK_SECONDS = 0.5  # between two looks at how far a measurement is


class Running(Speaker[Parts]):
    """What answers, measures and shows."""

    def __init__(self, parts: Parts, desk: Desk):
        super().__init__(parts)
        self.desk = desk
        self.timed = set[Path]()  # a busy machine's figures are not remembered, but not taken anew at every question

    @spoken("notice")
    def look_up(self, values: Values, request: gr.Request, profile: gr.OAuthProfile | None) -> Updates:
        """What the budget picks, at once; and from here on runs for anything else are stale."""
        p, selection = self.parts, Selection.of(self.parts, values)
        if not selection.model or selection.value in (None, ""):  # a number box that was emptied asks for nothing
            return {p.shown: _shown(answer=True, latency=True)}
        self.desk.wish(request.session_hash or "", selection.wish)
        entry, choice = self.desk.entry(selection.model), selection.choose(self.desk)
        value = budget.number(selection.value) if entry.front else None
        asked = (selection.question, selection.passage)
        samples = [(sample.first, sample.second) for sample in reading_of(entry).samples]
        example = samples.index(asked) if asked in samples else None
        link = links.write(selection.model, value, selection.unit, selection.engine, example)
        if selection.rivals is None:
            person = people.who(profile)
            selection = replace(selection, rivals=rivals.find(entry, None if person.trusted else person.name))
        timed = self.desk.is_settled(request.session_hash or "", selection.wish)
        updates: Updates = {p.link: link, p.states.rivals: selection.rivals, p.shown: _shown(answer=False)}
        known = self.desk.remembered(self._asked(entry, choice, selection))
        if known:
            selection = replace(selection, tokens=max(known.reply.tokens))
            updates |= self._show_reply(entry, known, selection.engine) | {p.shown: _shown(True, timed)}
        return self._show_choice(entry, choice, selection) | updates

    def _asked(self, entry: Entry, choice: Choice, selection: Selection) -> tuple[Hashable, ...]:
        """All that decides an answer."""
        texts = selection.question, selection.passage
        no_answer = selection.no_answer if entry.task == QA else AS_TRAINED
        return entry.folder, selection.engine, *texts, choice.point.config, no_answer

    def leave(self, request: gr.Request) -> None:
        """The page was closed: what still runs for it ends, and others have their turn."""
        self.desk.leave(request.session_hash or "")

    def run_anew(self, values: Values, request: gr.Request) -> Iterator[Updates]:
        """As `run`, but for what stands there already: leaving a number box as it was asks for nothing."""
        if self.desk.is_settled(request.session_hash or "", Selection.of(self.parts, values).wish):
            yield {self.parts.shown: _shown(True, True)}
        else:
            yield from self.run(values, request)

    def run(self, values: Values, request: gr.Request) -> Iterator[Updates]:
        """Answer, then measure. A generator: the answer shows while the clock still runs."""
        try:
            yield from self._run(Selection.of(self.parts, values), request.session_hash or "")
        except Superseded:
            yield self.nothing(self.parts.shown)  # as in `_run`
        except Exception as error:
            yield self._blank() | self.note("notice", explain(error)) | {self.parts.shown: _shown(True, True)}

    def _run(self, selection: Selection, visitor: str) -> Iterator[Updates]:
        p, desk = self.parts, self.desk
        if not selection.model:
            raise UserError("Pick a checkpoint first, or load one from a folder or the Hub.")
        watch = Watch(lambda: desk.is_stale(visitor, selection.wish))
        if selection.value in (None, "") or watch.stale():  # nothing was asked, or a later wish has its own run
            yield self.nothing(p.shown)  # a generator that gives nothing would have every output emptied
            return
        entry, engine = desk.entry(selection.model), selection.engine
        question, passage = selection.question, selection.passage
        if not desk.is_loaded(entry, engine):
            yield {p.verdict: "Loading the model…"}
        known_ms = desk.full_ms(entry, engine, question, passage)
        timed = known_ms is None and selection.unit == "ms" and entry.front is not None
        if timed and reading_of(entry).is_whole(question, passage):
            known_ms = desk.full_ms(entry, engine, question, passage, now=True)
        choice = replace(selection, full_ms=known_ms or selection.full_ms).choose(desk)
        no_answer = selection.no_answer if entry.task == QA else AS_TRAINED
        reply = desk.ask(entry, engine, question, passage, choice.point.config, no_answer)
        full, in_float = desk.reference(entry, engine, question, passage, no_answer)
        answered = Answered(reply, full, in_float)
        desk.remember(self._asked(entry, choice, selection), answered)
        if watch.stale():
            yield self.nothing(p.shown)
            return
        after = replace(selection, full_ms=known_ms, tokens=max(reply.tokens))
        yield {
            **self._show_reply(entry, answered, engine),
            **self._show_choice(entry, choice, after),
            **self._show_windows(reply, selection.layer),
            **self.note("notice", " ".join(reply.notices)),
            p.accounts: text.account_for(
                choice, desk.shape(entry), reply.tokens, entry.front.measured_on if entry.front else {}
            ),
            p.shown: _shown(answer=True),
            p.states.tokens: after.tokens,
        }
        with ThreadPoolExecutor(1, "measure") as pool:
            measuring = pool.submit(desk.measure, entry, engine, question, passage, choice.point.config, watch)
            while not wait([measuring], LOOK_SECONDS).done:
                yield {p.stamp: watch.words}
        try:
            measured = measuring.result()
        except UserError as error:  # the answer stands all the same
            yield self._untimed() | self.note("notice", str(error)) | {p.shown: _shown(True, True)}
            return
        if watch.stale():
            return
        desk.settle(visitor, selection.wish)
        names = text.name_rows(engine)
        after = replace(after, full_ms=desk.full_ms(entry, engine, question, passage))
        updates: Updates = {
            p.latency: text.show_latency(measured, engine, _expected(entry, choice)),
            p.spread: figures.draw_latencies(
                {names[name]: timing.samples for name, timing in measured.distinct.items()}
            ),
            p.stamp: text.show_machine(measured, fastest.remembered(entry)),
            p.states.full_ms: after.full_ms,
            p.shown: _shown(True, True),
        }
        if after.full_ms != selection.full_ms:
            updates |= self._show_choice(entry, choice, after)
            if selection.unit == "ms" and entry.front:
                scale = budget.scale(entry.front, "ms", choice.point, after.full_ms)
                updates[p.slider] = gr.update(
                    minimum=min(scale.minimum, budget.number(selection.value)),
                    maximum=max(scale.maximum, budget.number(selection.value)),
                )
        yield updates
        yield from self._find_fastest(entry, selection, choice, measured, watch)

    def _find_fastest(
        self, entry: Entry, selection: Selection, choice: Choice, measured: Measured, watch: Watch
    ) -> Iterator[Updates]:
        """Times the engines of a checkpoint the first time that it is asked on this machine; the stamp says how.

        It has the place of a measurement in the queue, and the device to itself: no other figure is disturbed. Who asks
        something else meanwhile ends it.
        """
        stamp, known = self.parts.stamp, entry.folder in self.timed or fastest.remembered(entry)
        if known or not get_settings().auto_engine or len(fastest.contenders(entry)) < 2:
            return
        yield {stamp: f"{text.show_machine(measured)}\n\nTiming its engines in turn, to take the fastest by default…"}
        texts = selection.question, selection.passage
        try:
            winner = fastest.find(entry, *texts, choice.point.config, watch.stale)
        except (UserError, OSError):  # the device is taken, or the disk full: another question will find it
            yield {stamp: text.show_machine(measured)}
            return
        self.timed.add(entry.folder)
        yield {stamp: text.show_machine(measured, winner)}

    def _show_choice(self, entry: Entry, choice: Choice, selection: Selection) -> Updates:
        card = readout.draw_readout(choice, entry.front, selection.tokens, selection.full_ms)
        binding = {self.parts.binding: readout.draw_binding(choice)}
        return {self.parts.readout: card, **binding, **self._show_front(entry, choice, selection)}

    def _show_front(self, entry: Entry, choice: Choice, selection: Selection) -> Updates:
        beside = selection.rivals or ()
        plot = pareto.draw_front(entry.front, choice.point, selection.axis, selection.full_ms, beside)
        return {self.parts.front: plot}

    def _show_reply(self, entry: Entry, answered: Answered, engine: str) -> Updates:
        p, (reply, full, in_float) = self.parts, answered
        precision = "fp32" if in_float else engine_class(engine).precision
        updates: Updates = {
            p.answer: text.show_answer(
                "At this budget", reply, engine_class(engine).precision, text.doubt(entry, reply)
            ),
            p.full_answer: text.show_answer("At full length", full, precision),
            p.verdict: gr.update(
                value=text.compare(reply, full, precision),
                elem_classes="same" if reply.agrees(full) else "different",
            ),
        }
        shown = display_of(entry.task).show(reply, full, reading_of(entry).scale)
        places = {p.marked: shown.marked, p.bars: shown.bars, p.n_best: shown.listed}
        return updates | {place: value for place, value in places.items() if value is not None}

    def _show_windows(self, reply: Reply, layer: object) -> Updates:
        p, windows, texts = self.parts, reply.kept, reply.texts
        if not windows or not len(windows[0].kept):
            return {p.kept: [], p.heat: None, p.states.windows: None, p.window: gr.update(visible=False)}
        place = tokens.window_of(windows, reply.span)
        window = windows[place]
        return {
            p.window: gr.update(choices=tokens.label_windows(windows), value=place, visible=len(windows) > 1),
            p.kept: tokens.mark_kept(window, texts, _within(layer, len(window.kept))),
            p.heat: figures.draw_kept(window),
            p.states.windows: {"windows": windows, "texts": texts},
        }

    @spoken("notice")
    def show_layer(self, values: Values) -> Updates:
        """Another layer or window of what was kept."""
        p = self.parts
        state, place = values[p.states.windows], values[p.window]
        if not state:
            return self.nothing(p.kept)
        windows = state["windows"]
        window = windows[place if isinstance(place, int) and 0 <= place < len(windows) else 0]
        layer = _within(values[p.layer], len(window.kept))
        return {p.kept: tokens.mark_kept(window, state["texts"], layer), p.heat: figures.draw_kept(window)}

    @spoken("notice")
    def show_axis(self, values: Values) -> Updates:
        """The plot against the other cost."""
        selection = Selection.of(self.parts, values)
        if not selection.model:
            return self.nothing(self.parts.front)
        return self._show_front(self.desk.entry(selection.model), selection.choose(self.desk), selection)

    @spoken("notice")
    def write_csv(self, values: Values) -> Updates:
        """The front, and what stands beside it, for the browser to save."""
        p = self.parts
        model = values[p.model]
        front = self.desk.entry(model).front if model else None
        if front is None:
            raise UserError("This checkpoint has no searched front to download.")
        return {p.csv_text: pareto.write_csv(front, model, values[p.states.rivals] or ())}

    def _blank(self) -> Updates:
        p = self.parts
        empty: Updates = dict.fromkeys((p.answer, p.full_answer, p.n_best), "")
        return {
            **empty,
            **self._untimed(),
            p.verdict: gr.update(value="", elem_classes=""),
            p.marked: [],
            p.bars: "",
            p.kept: [],
            p.heat: None,
            p.states.windows: None,
        }

    def _untimed(self) -> Updates:
        """Nothing was measured of what stands there."""
        return {self.parts.latency: "", self.parts.spread: None, self.parts.stamp: ""}


def _shown(answer: bool = False, latency: bool = False) -> str:
    """What the page shows is of what was asked last: the rest it dims. Never the same twice, so that it is heard."""
    return json.dumps({"answer": answer, "latency": latency, "at": time.time_ns()})


def _expected(entry: Entry, choice: Choice) -> float | None:
    """How many times as fast as full length the front has it."""
    front, point = entry.front, choice.point
    return front.full.p50_ms / point.p50_ms if front and front.full.p50_ms and point.p50_ms else None


def _within(layer: object, layers: int) -> int:
    """A layer's number as the slider says it, held to those that there are."""
    return min(max(1, int(layer) if isinstance(layer, int | float) else 1), layers)
