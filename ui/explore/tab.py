"""The Explore tab: ask a question, drag the budget, see what is answered, kept and how long it takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio as gr

from ui import api
from ui.desk import DEFAULT_ENGINE, Desk
from ui.events import DEVICE, QUICK, RAW
from ui.explore.parts import Parts, place
from ui.explore.running import Running
from ui.explore.selecting import Selecting
from ui.reading import CLASSIFICATION, QA, questions, reading_of
from zoo import catalog
from zoo.settings import get_settings


class Handlers(Selecting, Running):
    """All events of the tab; `load_after` lets an event of another tab end with a checkpoint loaded here."""

    load_after: Callable[[Any], None]


def default_entry(entries: list[catalog.Entry]) -> str | None:
    """The bundled entry that the page opens with: one for questions with a front, if there is one."""
    return min(entries, key=lambda e: (e.task != QA, e.front is None)).name if entries else None


def warm_up(desk: Desk) -> None:
    """Load what the page opens with; for a thread beside the server."""
    name = default_entry(_entries())
    samples = reading_of(desk.entry(name)).samples if name else ()
    if name and samples:
        engines = desk.entry(name).engines
        engine = DEFAULT_ENGINE if DEFAULT_ENGINE in engines else engines[0]
        desk.warm_up(name, engine, samples[0].first, samples[0].second)


def _entries() -> list[catalog.Entry]:
    """What is bundled, what answers questions first."""
    return sorted(catalog.bundled(), key=lambda entry: entry.task != QA)


def build_explore(demo: gr.Blocks, desk: Desk, top: dict[str, gr.Button] | None = None) -> Handlers:
    """Put the tab into the Blocks that is open, and its named endpoints beside it; `top` as in `parts.place`."""
    entries = _entries()
    reading = reading_of(entries[0]) if entries else questions()
    parts = place(entries, reading, get_settings().on_space, top)
    handlers = Handlers(parts, desk, entries, default_entry(entries))
    _wire(demo, parts, handlers)
    classifier = next((entry.name for entry in entries if entry.task == CLASSIFICATION), "")
    api.add_endpoints(desk, default_entry(entries) or "", classifier, DEVICE)
    return handlers


def _wire(demo: gr.Blocks, p: Parts, h: Handlers) -> None:
    s = p.states
    asked = [p.model, p.engine, p.unit, p.slider, p.question, p.passage, p.axis, s["full_ms"]]
    chosen = [p.readout, p.front, p.notice]
    looks: dict[str, Any] = {
        "fn": h.look_up,
        "inputs": [*asked, s["tokens"], s["pinned"], s["others"]],
        "outputs": [*chosen, p.link, s["others"]],
    }
    runs: dict[str, Any] = {
        "fn": h.run,
        "inputs": [*asked, s["pinned"], p.layer, s["others"]],
        "outputs": [
            *chosen, p.slider, p.answer, p.full_answer, p.verdict, p.marked, p.bars, p.n_best, p.accounts, p.latency,
            p.spread, p.stamp, p.window, p.kept, p.heat, s["tokens"], s["full_ms"], s["kept"],
        ],
    }  # fmt: skip
    selects = [p.hint, p.model, p.engine, p.facts, p.layer, p.origin, p.slider, p.unit]
    selects += [p.task, p.question, p.passage, p.example, p.ask, p.marked, p.more, p.bars]
    selects += [s[name] for name in ("tokens", "full_ms", "unit", "pinned", "reading", "others")]

    # `input` alone would miss the number box, `release` alone the keyboard; `always_last` keeps the final value.
    moved = [p.slider.input, p.slider.release, p.engine.input, p.ask.click, p.question.submit]
    gr.on(moved, **looks, **QUICK, trigger_mode="always_last")
    gr.on(moved, **runs, **RAW, **DEVICE, trigger_mode="always_last")

    def then_run(event: Any) -> None:
        event.then(**looks, **QUICK).then(**runs, **RAW, **DEVICE, trigger_mode="always_last")

    then_run(demo.load(h.open, None, [*selects, p.other], **QUICK))
    demo.unload(h.leave)
    now = [p.engine, p.unit, s["choices"], s["reading"]]
    then_run(p.model.input(h.select, [p.model, *now], selects, **RAW))
    then_run(p.task.input(h.select_task, [p.task, *now], selects, **RAW))
    fetch = [p.load.click, p.other.submit]
    loads = (h.load, [p.other, *now], [*selects, s["choices"]])
    then_run(gr.on(fetch, *loads, **RAW))
    filled = [p.question, p.passage, p.notice]
    h.load_after = lambda event: then_run(event.then(*loads, **RAW))
    then_run(p.example.input(h.pick, [p.example, p.model], filled, **QUICK))
    then_run(p.another.click(h.pick_another, [p.example, p.model], [p.example, *filled], **QUICK))
    opened = [*selects, s["choices"], p.notice]
    then_run(p.front.select(h.click, [p.model, s["full_ms"], s["others"], *now], opened, **QUICK))

    # The point stays where it is, so there is nothing to run.
    here = [p.slider, s["unit"], s["pinned"], p.notice]
    switched = [p.model, p.unit, p.slider, s["unit"], s["full_ms"], s["pinned"]]
    p.unit.input(h.switch, switched, here, **QUICK).then(**looks, **QUICK)
    axis = [p.model, p.unit, p.slider, p.axis, s["full_ms"], s["pinned"], s["others"]]
    p.axis.input(h.show_axis, axis, [p.front, p.notice], **QUICK)
    layers = [p.layer.input, p.layer.release, p.window.input]
    kept = [p.kept, p.heat, p.notice]
    gr.on(layers, h.show_layer, [p.layer, p.window, s["kept"]], kept, **QUICK, trigger_mode="always_last")

    p.csv.click(h.write_csv, [p.model, s["others"]], [p.csv_text, p.notice], **QUICK).success(
        None,
        [p.model, p.csv_text],
        None,
        js="(name, text) => { budgetZoo.save('front-' + (name || 'model'), text); }",
        **QUICK,
    )
    p.link.change(None, p.link, None, js="(query) => { budgetZoo.setAddress(query); }", **QUICK)
    p.copy.click(None, None, None, js="() => { budgetZoo.copyLink(); }", **QUICK)
    p.dark.click(None, None, None, js="() => { budgetZoo.toggleDark(); }", **QUICK)
