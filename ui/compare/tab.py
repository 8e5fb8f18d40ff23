"""The Compare tab: the same question to several checkpoints, or to one at several budgets."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import gradio as gr

from ui.compare.comparing import Comparing
from ui.compare.contest import LEAST, LETTERS, MOST
from ui.compare.parts import CompareParts
from ui.desk import Desk
from ui.events import DEVICE, QUICK, RAW
from ui.reading import QA, Reading, Sample, questions, reading_of
from ui.widgets import list_samples, markdown
from zoo import catalog
from zoo.catalog import Entry


@dataclass
class CompareTab:
    """What other tabs need of this one."""

    parts: CompareParts
    comparing: Comparing


def build_compare(demo: gr.Blocks, desk: Desk) -> CompareTab:
    """Put the tab's content where the Blocks stands, and wire it."""
    entries = sorted(catalog.bundled(), key=lambda entry: entry.task != QA)
    reading = reading_of(entries[0]) if entries else questions()
    p = _place(entries, reading)
    h = Comparing(p, desk, entries)
    p.many.input(h.count, {p.many}, p.rows, **QUICK)
    p.example.input(h.pick, {p.example, p.models[0]}, [p.question, p.passage, p.notice], **QUICK)
    p.models[0].input(h.choose, {*p.models, p.reads}, [*p.models[1:], *p.boxes, p.notice], **QUICK)
    gr.on([model.focus for model in p.models], h.offer, {*p.models}, [*p.models, p.notice], **QUICK)
    outputs = [p.notice, p.verdict, p.table, p.plot, p.stamp, p.csv, p.csv_text]
    inputs = {p.many, p.question, p.passage, *p.models, *p.budgets}
    gr.on([p.go.click, p.question.submit], h.run, inputs, outputs, **RAW, **DEVICE, trigger_mode="always_last")
    demo.load(h.open, {p.arrived}, p.taken, js="() => budgetZoo.arrive('c')", **QUICK)
    changed = [p.many.input, *(model.input for model in p.models)]
    changed += [event for budget in p.budgets for event in (budget.input, budget.release)]  # keys release nothing
    gr.on([*changed, p.go.click], h.tell, p.pairs, [p.link], **QUICK, trigger_mode="always_last")
    p.link.change(None, p.link, None, js="(query) => { budgetZoo.setCompared(query); }", **QUICK)
    p.csv.click(None, p.csv_text, None, js="(text) => { budgetZoo.save('comparison', text); }", **QUICK)
    return CompareTab(p, h)


def start_pairs(entries: list[Entry]) -> list[tuple[str | None, float]]:
    """What the four rows begin with: an int8 entry at its cheapest and at full length, then the float one."""
    fronts = [entry for entry in entries if entry.front]
    plain = [entry for entry in entries if not entry.front]
    pairs: list[tuple[str | None, float]] = []
    if fronts and fronts[0].front:
        cheapest = min(point.macs_ratio for point in fronts[0].front.everything)
        pairs += [(fronts[0].name, 100.0), (fronts[0].name, float(math.ceil(100 * cheapest - 1e-9)))]
    pairs += [(entry.name, 100.0) for entry in plain]
    pairs += [(entries[0].name if entries else None, 100.0)] * MOST
    return pairs[:MOST]


def _place(entries: list[Entry], reading: Reading) -> CompareParts:
    p: dict[str, Any] = {"rows": [], "models": [], "budgets": [], "reads": gr.State(reading.key)}
    alike = [entry for entry in entries if entry.task == entries[0].task]
    with gr.Row(equal_height=False, elem_id="compare-desk"):
        with gr.Column(scale=5, min_width=320, elem_classes="card"):
            with gr.Row(elem_classes="head"):
                markdown("## Side by side")
                p["many"] = gr.Radio(
                    list(range(LEAST, MOST + 1)), value=LEAST, show_label=False, container=False,
                    elem_id="compare-many", elem_classes="switch",
                )  # fmt: skip
            for i, (letter, (name, value)) in enumerate(zip(LETTERS, start_pairs(alike), strict=True)):
                # A says what is compared, so it alone offers everything.
                choices = [(entry.title, entry.name) for entry in (alike if i else entries)]
                with gr.Row(visible=i < LEAST, elem_classes="contestant") as row:
                    p["rows"].append(row)
                    p["models"].append(
                        gr.Dropdown(choices, value=name, label=letter, min_width=200, elem_id=f"compare-model-{letter}")
                    )
                    p["budgets"].append(
                        gr.Slider(
                            1,
                            100,
                            value,
                            step=1,
                            label="Compute, at most %",
                            buttons=[],
                            min_width=180,
                            elem_id=f"compare-budget-{letter}",
                        )  # fmt: skip
                    )
        with gr.Column(scale=4, min_width=320, elem_classes="card"):
            listed = list_samples(reading)
            first = reading.samples[0] if listed else Sample("", "")
            p["example"] = gr.Dropdown(listed, value=0 if listed else None, label="Examples", elem_id="compare-example")
            p["question"] = gr.Textbox(
                first.first, label=reading.first, lines=1, max_lines=5, max_length=reading.most,
                elem_id="compare-question",
            )  # fmt: skip
            p["passage"] = gr.Textbox(
                first.second, label=reading.second, lines=5, max_lines=8, visible=bool(reading.second),
                elem_id="compare-passage",
            )  # fmt: skip
            p["go"] = gr.Button("Compare", variant="primary", elem_id="compare-go")
    p["notice"] = markdown(visible=False, elem_id="compare-notice", elem_classes="note")
    with gr.Column(elem_classes="card", elem_id="compare-result"):
        p["verdict"] = markdown("Press Compare: all are asked the same, and timed in turn.", elem_id="compare-verdict")
        p["table"] = markdown(elem_id="compare-table", elem_classes="plain-table")
        p["plot"] = gr.Plot(show_label=False, container=False, visible=False, elem_id="compare-plot")
        p["stamp"] = markdown(elem_id="compare-stamp", elem_classes="quiet")
        p["csv"] = gr.Button("Download CSV", size="sm", interactive=False, elem_id="compare-csv")
    p["csv_text"] = gr.Textbox(visible="hidden", elem_id="compare-csv-text")
    p["link"] = gr.Textbox(visible="hidden", elem_id="compare-link")
    p["arrived"] = gr.Textbox(visible="hidden", elem_id="compare-arrived")
    return CompareParts(**p)
