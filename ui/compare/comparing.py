"""Events of the Compare tab."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import gradio as gr

from ui import checkpoints, curves, links
from ui.compare.contest import LEAST, MOST, agreement, ask_all, bars, stamp, tabulate, time_all, write_csv
from ui.compare.parts import CompareParts
from ui.desk import Desk
from ui.events import Checkpoint, Speaker, Updates, Values, explain, spoken
from ui.reading import questions, reading_of
from ui.widgets import list_samples
from zoo.catalog import Entry
from zoo.errors import UserError


class Comparing(Speaker[CompareParts]):
    """Events of the Compare tab.

    Args:
        desk: shared by all visitors.
        entries: that are bundled, to choose from.
    """

    def __init__(self, parts: CompareParts, desk: Desk, entries: Sequence[Entry] = ()):
        super().__init__(parts)
        self.desk = desk
        self.bundled: list[Checkpoint] = [[entry.title, entry.name, entry.task] for entry in entries]

    def _every(self) -> list[Checkpoint]:
        """What can be picked: what is bundled, and what the person's jobs made."""
        return [*self.bundled, *checkpoints.own()]

    @spoken("notice")
    def offer(self, values: Values) -> Updates:
        """Somebody is about to pick: what jobs have made meanwhile is there, too. What is picked is not touched, since
        another tab may have filled the rows at this very moment."""
        p, everything = self.parts, self._every()
        first, *others = (values[model] for model in p.models)
        if not first:
            return self.nothing(p.notice)
        task = self.desk.entry(first).task
        alike = [(title, name) for title, name, its in everything if its == task]
        every = [(title, name) for title, name, _ in everything]
        updates: Updates = {p.models[0]: _among(every, first), p.notice: gr.skip()}
        return updates | {model: _among(alike, name) for model, name in zip(p.models[1:], others, strict=True)}

    def count(self, values: Values) -> Updates:
        """As many rows as are to be compared."""
        rows = _rows(values[self.parts.many])
        return {row: gr.update(visible=i < rows) for i, row in enumerate(self.parts.rows)}

    @spoken("notice")
    def pick(self, values: Values) -> Updates:
        """An example fills both boxes."""
        p = self.parts
        first, place = values[p.models[0]], values[p.example]
        samples = (reading_of(self.desk.entry(first)) if first else questions()).samples
        if not isinstance(place, int) or not 0 <= place < len(samples):
            return self.nothing(p.question)
        return {p.question: samples[place].first, p.passage: samples[place].second}

    @spoken("notice")
    def choose(self, values: Values) -> Updates:
        """A is another checkpoint: the boxes are for what it reads, and the others are chosen among its kind."""
        p = self.parts
        first, *others = (values[model] for model in p.models)
        if not first:
            return self.nothing(p.notice)
        return self._set_kind(first, values[p.reads], others) | self.note("notice", None)

    @spoken("notice")
    def open(self, values: Values, request: gr.Request) -> Updates:
        """The page opens: who is compared, and on which texts, where the link says so."""
        pairs, notices = links.read_pairs(dict(request.query_params), [name for _, name, _ in self.bundled])
        if not pairs:
            return self.note("notice", " ".join(notices)) if notices else self.nothing(self.parts.many)
        updates = self.take([name for name, _ in pairs], None)
        if texts := links.read_texts(values[self.parts.arrived] or ""):
            for box, words in zip((self.parts.question, self.parts.passage), texts, strict=True):
                updates[box] = {**updates[box], "value": words}
        for budget, (_, percent) in zip(self.parts.budgets, pairs, strict=False):
            updates[budget] = percent
        return updates | {self.parts.link: links.write_pairs(pairs)} | self.note("notice", " ".join(notices))

    def tell(self, values: Values) -> Updates:
        """Who is compared has changed: so does the link."""
        p = self.parts
        pairs = [(values[model], values[budget]) for model, budget in zip(p.models, p.budgets, strict=True)]
        return {p.link: links.write_pairs(pairs[: _rows(values[p.many])])}

    def take(self, names: Sequence[str], reads: str | None) -> Updates:
        """These checkpoints in the rows, each at full length; what the rest offers follows the first.

        Args:
            names: of a link's or another tab's choice.
            reads: key of what A reads now.
        """
        p = self.parts
        known = self._every()
        choices = [(name, name) for name in names if name not in [other for _, other, _ in known]]
        choices += [(title, name) for title, name, _ in known]
        updates: Updates = {p.many: max(LEAST, len(names)), p.link: links.write_pairs((name, 100) for name in names)}
        for i, (row, model, budget) in enumerate(zip(p.rows, p.models, p.budgets, strict=True)):
            updates[row] = gr.update(visible=i < len(names))
            value = names[i] if i < len(names) else names[0] if names else None
            updates[model] = gr.update(choices=choices, value=value)
            updates[budget] = 100
        try:
            kind = self._set_kind(names[0], reads, [None] * len(p.models[1:])) if names else {}
        except UserError as error:
            return updates | self.note("notice", str(error))
        boxes = {component: update for component, update in kind.items() if component not in p.models}
        return updates | boxes | self.note("notice", None)

    def _set_kind(self, first: str, reads: str | None, others: Sequence[str | None]) -> Updates:
        """Boxes, examples and what B, C and D offer, for A."""
        p, entry = self.parts, self.desk.entry(first)
        reading = reading_of(entry)
        choices = [(title, name) for title, name, task in self._every() if task == entry.task]
        if entry.name not in [name for _, name in choices]:
            choices = [(entry.title, entry.name), *choices]
        names = [name for _, name in choices]
        updates: Updates = {p.reads: reading.key}
        for component, name in zip(p.models[1:], others, strict=True):
            fits = name in names or bool(name) and self.desk.entry(name or "").task == entry.task
            offers = choices if name in names or not fits else [(self.desk.entry(name or "").title, name), *choices]
            updates[component] = gr.update(choices=offers, value=name if fits else first)
        if reading.key == reads:
            return updates
        sample = reading.samples[0] if reading.samples else None
        return updates | {
            p.example: gr.update(choices=list_samples(reading), value=0 if sample else None),
            p.question: gr.update(
                value=sample.first if sample else "", label=reading.first, max_length=reading.most
            ),
            p.passage: gr.update(
                value=sample.second if sample else "", label=reading.second or "Second text",
                visible=bool(reading.second),
            ),
        }  # fmt: skip

    def run(self, values: Values) -> Iterator[Updates]:
        """Answers first, then latencies."""
        p = self.parts
        question, passage = values[p.question] or "", values[p.passage] or ""
        pairs = [(values[model], values[budget]) for model, budget in zip(p.models, p.budgets, strict=True)]
        try:
            yield {p.stamp: "Answering…"} | self.note("notice", None)
            answered = ask_all(self.desk, pairs[: _rows(values[p.many])], question, passage)
            notices = list(dict.fromkeys(notice for c in answered for notice in c.reply.notices))
            yield {
                p.verdict: agreement(answered),
                p.table: tabulate(answered),
                p.stamp: "Measuring, in turn…",
                **self.note("notice", " ".join(notices)),
            }
            timed, disturbed = time_all(self.desk, answered, question, passage)
            yield {
                p.table: tabulate(timed),
                p.plot: gr.update(value=curves.draw_bars(bars(timed)), visible=True),
                p.stamp: stamp(timed, disturbed),
                p.csv_text: write_csv(timed),
                p.csv: gr.update(interactive=True),
            }
        except Exception as error:
            yield {p.stamp: "", p.verdict: "", p.table: "", p.plot: gr.update(visible=False)} | self.note(
                "notice", explain(error)
            )


def _among(choices: list[tuple[str, str]], name: str | None) -> dict[str, Any]:
    """Choices, with the one that is picked among them."""
    is_there = not name or name in [other for _, other in choices]
    return gr.update(choices=choices if is_there else [(name or "", name or ""), *choices])


def _rows(many: object) -> int:
    """How many rows a choice stands for; the fewest where it is none."""
    return many if isinstance(many, int) and LEAST <= many <= MOST else LEAST
