"""The Explore tab: ask a question, drag the budget, see what is answered, kept and how long it takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.events import Dependency

from ui import api
from ui.desk import Desk
from ui.events import DEVICE, QUICK, RAW, Inputs, Outputs, Updates
from ui.explore.parts import Parts, place
from ui.explore.running import Running
from ui.explore.selecting import Selecting
from ui.explore.selection import Selection, Setting
from ui.reading import CLASSIFICATION, QA, questions, reading_of
from zoo import catalog
from zoo.fastest import default_engine
from zoo.settings import get_settings


@dataclass
class ExploreTab:
    """What other tabs need of this one; `load_after` lets an event of theirs end with a checkpoint loaded here."""

    parts: Parts
    selecting: Selecting
    running: Running
    load_after: Callable[[Dependency], None]


def default_entry(entries: list[catalog.Entry]) -> str | None:
    """The bundled entry that the page opens with: one for questions with a front, if there is one."""
    return min(entries, key=lambda e: (e.task != QA, e.front is None)).name if entries else None


def warm_up(desk: Desk) -> None:
    """Load what the page opens with; for a thread beside the server."""
    name = default_entry(_entries())
    samples = reading_of(desk.entry(name)).samples if name else ()
    if name and samples:
        desk.warm_up(name, default_engine(desk.entry(name)), samples[0].first, samples[0].second)


def _entries() -> list[catalog.Entry]:
    """What is bundled, what answers questions first."""
    return sorted(catalog.bundled(), key=lambda entry: entry.task != QA)


def build_explore(demo: gr.Blocks, desk: Desk, top: dict[str, gr.Button] | None = None) -> ExploreTab:
    """Put the tab into the Blocks that is open, and its named endpoints beside it; `top` as in `parts.place`."""
    entries = _entries()
    reading = reading_of(entries[0]) if entries else questions()
    parts = place(entries, reading, get_settings().on_space, top)
    selecting, running = Selecting(parts, desk, entries, default_entry(entries)), Running(parts, desk)
    bake(selecting.opening())
    load_after = _wire(demo, selecting, running)
    readings = {e.name: reading_of(e) for e in entries if e.task == CLASSIFICATION}
    labelling = {name: reading.texts for name, reading in readings.items() if reading.scale is None}
    single, paired = (next((name for name, texts in labelling.items() if texts == n), "") for n in (1, 2))
    api.add_endpoints(desk, default_entry(entries) or "", (single, paired), DEVICE)
    return ExploreTab(parts, selecting, running, load_after)


def bake(updates: Updates) -> None:
    """Have components begin as an event would leave them, so that the page comes filled and asks the server nothing."""
    for component, update in updates.items():
        changes = update if isinstance(update, dict) and "__type__" in update else {"value": update}
        for key, value in changes.items():
            if key != "__type__":
                setattr(component, key, value)


def _wire(demo: gr.Blocks, selecting: Selecting, running: Running) -> Callable[[Dependency], None]:
    """Join components and handlers.

    Returns:
        What lets another event end with loading the checkpoint that `other` names.
    """
    p = selecting.parts
    s = p.states
    selection = Selection.inputs(p)
    plots = [p.readout, p.binding, p.front, p.notice, p.shown]
    answers = [p.answer, p.full_answer, p.verdict, p.marked, p.bars, p.n_best]
    looks: dict[str, Any] = {
        "fn": running.look_up, "inputs": selection, "outputs": [*plots, *answers, p.link, s.rivals],
    }  # fmt: skip
    runs: dict[str, Any] = {
        "fn": running.run,
        "inputs": selection,
        "outputs": [
            *plots, *answers, p.slider, p.accounts, p.latency, p.spread, p.stamp, p.window, p.kept, p.heat,
            s.tokens, s.full_ms, s.windows,
        ],
    }  # fmt: skip
    selects: Outputs = [p.hint, p.model, p.engine, p.facts, p.layer, p.origin, p.slider, p.unit, p.no_answer]
    selects += [p.null_threshold, p.task, p.question, p.passage, p.example, p.ask, p.marked, p.more, p.n_best, p.bars]
    selects += [p.turn, s.tokens, s.full_ms, s.slider_unit, s.pin, s.reading, s.rivals, p.convert, p.axis, p.csv]

    # `input` alone would miss the number box, `release` alone the keyboard; `always_last` keeps the final value.
    left = [p.slider.release, p.null_threshold.release]
    moved = [p.slider.input, p.engine.input, p.no_answer.input, p.null_threshold.input]
    pressed = [p.ask.click, p.question.submit]
    asked = [*moved, *pressed, p.model.input, p.task.input, p.example.input, p.another.click, p.turn.click]
    gr.on(asked, None, None, None, js="() => { budgetZoo.wait(); }", **QUICK)
    gr.on(left, None, None, None, js="() => { budgetZoo.waitIfMoved(); }", **QUICK)
    p.shown.change(None, p.shown, None, js="(shown) => { budgetZoo.show(shown); }", **QUICK)
    # One after the other: a run for what is not the last wish ends at once, and the look-up says what that is.
    look = gr.on(pressed, **looks, **QUICK, trigger_mode="always_last")
    look.then(**runs, **RAW, **DEVICE, trigger_mode="always_last")
    # Whoever leaves a number box or lets a slider go where it was has asked for nothing.
    look = gr.on([*moved, *left], **looks, **QUICK, trigger_mode="always_last")
    look.then(**{**runs, "fn": running.run_anew}, **RAW, **DEVICE, trigger_mode="always_last")

    p.model.focus(selecting.offer, {p.model, s.choices}, [p.model, p.hint], **QUICK)
    p.no_answer.input(selecting.allow, {p.no_answer}, [p.null_threshold, p.notice], **QUICK)

    def then_run(event: Dependency) -> None:
        event.then(**looks, **QUICK).then(**runs, **RAW, **DEVICE, trigger_mode="always_last")

    opened = demo.load(selecting.open, None, [*selects, p.other], **QUICK)
    texts = [p.question, p.passage, p.hint]
    then_run(opened.then(selecting.arrive, {p.arrived}, texts, js="() => budgetZoo.arrive()", **QUICK))
    demo.unload(running.leave)
    setting = Setting.inputs(p)
    calm: dict[str, Any] = {**RAW, "concurrency_limit": None}  # nobody's slow checkpoint is anybody else's wait
    then_run(p.model.input(selecting.select, {p.model, *setting}, selects, **calm))
    then_run(p.task.input(selecting.select_task, {p.task, *setting}, selects, **calm))
    then_run(p.turn.click(selecting.turn, {p.model, p.task, *setting}, selects, **calm))
    loads: dict[str, Any] = {"fn": selecting.load, "inputs": {p.other, *setting}, "outputs": [*selects, s.choices]}
    then_run(gr.on([p.load.click, p.other.submit], **loads, **calm))
    converts: dict[str, Any] = {**loads, "fn": selecting.convert, **RAW, "show_progress": "minimal"}
    then_run(p.convert.click(**converts))
    boxes = [p.question, p.passage, p.notice]
    then_run(p.example.input(selecting.pick, {p.example, p.model}, boxes, **QUICK))
    then_run(p.another.click(selecting.pick_another, {p.example, p.model}, [p.example, *boxes], **QUICK))
    clicked: Inputs = {p.model, s.full_ms, s.rivals, *setting}
    then_run(p.front.select(selecting.click, clicked, [*selects, s.choices, p.notice], **QUICK))

    # The point stays where it is, and so does what was answered there; what was still measured goes on.
    here = [p.slider, s.slider_unit, s.pin, p.notice]
    then_run(p.unit.input(selecting.switch, {*selection, s.slider_unit}, here, **QUICK))
    p.axis.input(running.show_axis, selection, [p.front, p.notice], **QUICK)
    layers = [p.layer.input, p.layer.release, p.window.input]
    kept = [p.kept, p.heat, p.notice]
    gr.on(layers, running.show_layer, {p.layer, p.window, s.windows}, kept, **QUICK, trigger_mode="always_last")

    p.csv.click(running.write_csv, {p.model, s.rivals}, [p.csv_text, p.notice], **QUICK).success(
        None,
        [p.model, p.csv_text],
        None,
        js="(name, text) => { budgetZoo.save('front-' + (name || 'model'), text); }",
        **QUICK,
    )
    p.link.change(None, p.link, None, js="(query) => { budgetZoo.setAddress(query); }", **QUICK)
    p.copy.click(None, None, None, js="() => { budgetZoo.copyLink(); }", **QUICK)
    p.dark.click(None, None, None, js="() => { budgetZoo.toggleDark(); }", **QUICK)
    return lambda event: then_run(event.then(**loads, **calm))
