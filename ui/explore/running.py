"""Events that show: the cheap look-up, the run behind it, and views of what it found."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from ui import budget, figures, links, outcome, people, text
from ui.desk import FULL, Superseded, Wish
from ui.events import Updates, explain, spoken
from ui.explore import labels, pareto, readout, rivals, tokens
from ui.explore.parts import Handlers
from ui.explore.rivals import Rival
from ui.outcome import Outcome
from ui.reading import reading_of
from zoo.ask import Reply
from zoo.catalog import Entry
from zoo.errors import UserError
from zoo.lengths import Choice


class Running(Handlers):
    """What answers, measures and shows."""

    @spoken("notice")
    def look_up(
        self,
        model: str,
        engine: str,
        unit: str,
        value: Any,
        question: str,
        passage: str,
        axis: str,
        full_ms: float | None,
        count: int | None,
        pinned: dict | None,
        others: list[Rival] | None,
        request: gr.Request,
        profile: gr.OAuthProfile | None,
    ) -> Updates:
        """What the budget picks, at once; and from here on runs for anything else are stale.

        `others` stand beside the front in the plot; None where they are yet to be found.
        """
        if not model:
            return self.nothing(self.parts.readout)
        self.desk.wish(request.session_hash or "", self._wish(model, engine, unit, value, question, passage, pinned))
        entry = self.desk.entry(model)
        choice = self.desk.choose(entry, unit, value, full_ms, pinned)
        link = links.write(model, budget.number(value) if entry.front else None, unit, engine)
        if others is None:
            person = people.who(profile)
            others = rivals.find(entry, None if person.trusted else person.name)
        states = {self.parts.link: link, self.parts.states["others"]: others}
        return self._show_choice(entry, choice, axis, full_ms, count, others) | states

    def leave(self, request: gr.Request) -> None:
        """The page was closed: what still runs for it ends, and others have their turn."""
        self.desk.leave(request.session_hash or "")

    def _show_choice(
        self,
        entry: Entry,
        choice: Choice,
        axis: str,
        full_ms: float | None,
        count: int | None,
        others: list[Rival] | None,
    ) -> Updates:
        p = self.parts
        return {
            p.readout: readout.draw_readout(choice, entry.front, count, full_ms),
            p.front: pareto.draw_front(entry.front, choice.point, axis, full_ms, others or ()),
        }

    @staticmethod
    def _wish(
        model: str | None, engine: str, unit: str, value: Any, question: str, passage: str, pinned: dict | None
    ) -> Wish:
        return Wish(model or "", engine, unit, value, question, passage, pinned["index"] if pinned else None)

    def run(
        self,
        model: str | None,
        engine: str,
        unit: str,
        value: Any,
        question: str,
        passage: str,
        axis: str,
        full_ms: float | None,
        pinned: dict | None,
        layer: Any,
        others: list[Rival] | None,
        request: gr.Request,
    ) -> Iterator[Updates]:
        """Answer, then measure. A generator: the answer shows while the clock still runs."""
        visitor = request.session_hash or ""
        wish = self._wish(model, engine, unit, value, question, passage, pinned)
        try:
            yield from self._run(wish, visitor, axis, full_ms, pinned, layer, others)
        except Superseded:
            return
        except Exception as error:
            yield self._blank() | self.note("notice", explain(error))

    def _run(
        self,
        wish: Wish,
        visitor: str,
        axis: str,
        full_ms: float | None,
        pinned: dict | None,
        layer: Any,
        others: list[Rival] | None,
    ) -> Iterator[Updates]:
        p, desk = self.parts, self.desk
        if not wish.model:
            raise UserError("Pick a checkpoint first, or load one from a folder or the Hub.")
        entry, engine, question, passage = desk.entry(wish.model), wish.engine, wish.question or "", wish.passage or ""
        if not desk.is_loaded(entry, engine):
            yield {p.verdict: "Loading the model…"}
        known_ms = desk.full_ms(entry, engine, question, passage)
        reading = reading_of(entry)
        if known_ms is None and wish.unit == "ms" and entry.front and reading.is_whole(question, passage):
            known_ms = desk.full_ms(entry, engine, question, passage, now=True)
        choice = desk.choose(entry, wish.unit, wish.value, known_ms or full_ms, pinned)
        reply = desk.ask(entry, engine, question, passage, choice.point.config)
        full, in_float = desk.reference(entry, engine, question, passage)
        counts = outcome.counts(reply)
        count = max(counts)
        yield {
            **self._show_reply(reply, full, in_float, reading.scale, engine),
            **self._show_choice(entry, choice, axis, known_ms, count, others),
            **self._show_kept(reply, layer),
            **self.note("notice", " ".join(reply.notices)),
            p.accounts: text.account_for(
                choice, desk.shape(entry), counts, entry.front.measured_on if entry.front else {}
            ),
            p.stamp: "Measuring this budget…",
            p.states["tokens"]: count,
        }
        measured = desk.measure(
            entry, engine, question, passage, choice.point.config, lambda: desk.is_stale(visitor, wish)
        )
        names = text.name_rows(engine)
        now_ms = desk.full_ms(entry, engine, question, passage)
        updates = {
            p.latency: text.show_latency(measured, engine),
            p.spread: figures.draw_latencies(
                {
                    names[k]: t.samples
                    for k, t in measured.timings.items()
                    if k == FULL or t is not measured.timings[FULL]
                }
            ),
            p.stamp: text.show_machine(measured),
            p.states["full_ms"]: now_ms,
        }
        if now_ms != full_ms and not desk.is_stale(visitor, wish):
            updates |= self._show_choice(entry, choice, axis, now_ms, count, others)
            if wish.unit == "ms" and entry.front:
                scale = budget.scale(entry.front, "ms", choice.point, now_ms)
                updates[p.slider] = gr.update(
                    minimum=min(scale.minimum, budget.number(wish.value)),
                    maximum=max(scale.maximum, budget.number(wish.value)),
                )
        yield updates

    def _show_reply(
        self, reply: Outcome, full: Outcome, in_float: bool, scale: tuple[float, float] | None, engine: str
    ) -> Updates:
        p = self.parts
        precision = "fp32" if in_float else text.name_precision(engine)
        shown: Updates = {
            p.answer: text.show_answer("At this budget", reply, text.name_precision(engine)),
            p.full_answer: text.show_answer("At full length", full, precision),
            p.verdict: gr.update(
                value=text.compare(reply, full, precision),
                elem_classes="same" if outcome.same(reply, full) else "different",
            ),
        }
        if not isinstance(reply, Reply):
            return shown | {p.bars: labels.draw_labels(reply, full, scale) if not isinstance(full, Reply) else ""}
        return shown | {
            p.marked: tokens.mark_answers(reply.context, text.best_span(reply), text.best_span(full)),
            p.n_best: text.list_answers(reply.answers),
        }

    def _show_kept(self, reply: Outcome, layer: Any) -> Updates:
        p, windows, texts = self.parts, outcome.windows(reply), outcome.texts(reply)
        if not windows or not len(windows[0].kept):
            return {p.kept: [], p.heat: None, p.states["kept"]: None, p.window: gr.update(visible=False)}
        shown = min(max(1, int(layer or 1)), len(windows[0].kept))
        return {
            p.window: gr.update(choices=tokens.label_windows(windows), value=0, visible=len(windows) > 1),
            p.kept: tokens.mark_kept(windows[0], texts, shown),
            p.heat: figures.draw_kept(windows[0]),
            p.states["kept"]: {"windows": windows, "texts": texts},
        }

    @spoken("notice")
    def show_layer(self, layer: Any, window: Any, kept: dict | None) -> Updates:
        """Another layer or window of what was kept."""
        if not kept:
            return self.nothing(self.parts.kept)
        windows = kept["windows"]
        chosen = windows[window if isinstance(window, int) and 0 <= window < len(windows) else 0]
        layer = min(max(1, int(layer or 1)), len(chosen.kept))
        p = self.parts
        return {p.kept: tokens.mark_kept(chosen, kept["texts"], layer), p.heat: figures.draw_kept(chosen)}

    @spoken("notice")
    def show_axis(
        self,
        model: str,
        unit: str,
        value: Any,
        axis: str,
        full_ms: float | None,
        pinned: dict | None,
        others: list[Rival] | None,
    ) -> Updates:
        """The plot against the other cost."""
        if not model:
            return self.nothing(self.parts.front)
        entry = self.desk.entry(model)
        choice = self.desk.choose(entry, unit, value, full_ms, pinned)
        return {self.parts.front: pareto.draw_front(entry.front, choice.point, axis, full_ms, others or ())}

    @spoken("notice")
    def write_csv(self, model: str, others: list[Rival] | None) -> Updates:
        """The front, and what stands beside it, for the browser to save."""
        front = self.desk.entry(model).front if model else None
        if front is None:
            raise UserError("This checkpoint has no searched front to download.")
        return {self.parts.csv_text: pareto.write_csv(front, model, others or ())}

    def _blank(self) -> Updates:
        p = self.parts
        empty: Updates = dict.fromkeys((p.answer, p.full_answer, p.n_best, p.stamp), "")
        return {
            **empty,
            p.verdict: gr.update(value="", elem_classes=""),
            p.marked: [],
            p.bars: "",
            p.kept: [],
            p.heat: None,
            p.states["kept"]: None,
        }
