"""The components of the Explore tab and where they stand; what they do is in `selecting` and `running`."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import gradio as gr

from ui import budget
from ui.explore import pareto, tokens
from ui.explore.displays import ANSWER_COLOURS, TEAL
from ui.reading import KINDS, Reading
from ui.text import engine_labels
from ui.widgets import list_samples, markdown, place_top
from zoo.catalog import Entry

THRESHOLDS = (-10, 10)  # of “no answer”, unless the checkpoint's own lies beyond
KEPT_COLOURS = {tokens.KEPT: TEAL}


@dataclass
class States:
    """What the tab remembers of a visit, beside what its components show.

    Attributes:
        pin: the point that the slider stands at, see `ui.budget.pin`.
        slider_unit: what the slider counts in; the switch may already say another.
        tokens: of the longest window of the input that was asked last.
        full_ms: what full length took on that input here.
        windows: what was kept of it, with the texts, see `ui.explore.running`.
        choices: checkpoints that this visitor loaded.
        reading: key of what the checkpoint reads.
        rivals: what stands beside the front; None where it is yet to be looked for.
    """

    pin: gr.State
    slider_unit: gr.State
    tokens: gr.State
    full_ms: gr.State
    windows: gr.State
    choices: gr.State
    reading: gr.State
    rivals: gr.State


@dataclass
class Parts:
    """Every component that an event reads or writes."""

    hint: gr.Markdown
    notice: gr.Markdown
    task: gr.Radio
    model: gr.Dropdown
    facts: gr.Markdown
    other: gr.Textbox
    load: gr.Button
    convert: gr.Button
    engine: gr.Radio
    example: gr.Dropdown
    another: gr.Button
    turn: gr.Button
    question: gr.Textbox
    passage: gr.Textbox
    no_answer: gr.Checkbox
    null_threshold: gr.Slider
    ask: gr.Button
    unit: gr.Radio
    slider: gr.Slider
    readout: gr.HTML
    binding: gr.HTML
    answer: gr.Markdown
    full_answer: gr.Markdown
    verdict: gr.Markdown
    marked: gr.HighlightedText
    more: gr.Accordion
    n_best: gr.Markdown
    bars: gr.HTML
    latency: gr.Markdown
    stamp: gr.Markdown
    spread: gr.Plot
    axis: gr.Radio
    front: gr.HTML
    origin: gr.Markdown
    accounts: gr.Markdown
    csv: gr.Button
    csv_text: gr.Textbox
    layer: gr.Slider
    window: gr.Dropdown
    kept: gr.HighlightedText
    heat: gr.Plot
    link: gr.Textbox
    shown: gr.Textbox
    arrived: gr.Textbox
    copy: gr.Button
    dark: gr.Button
    states: States


def place(entries: list[Entry], reading: Reading, on_space: bool, top: dict[str, gr.Button] | None = None) -> Parts:
    """Create the components inside the Blocks that is open.

    Args:
        entries: to pick from; those of the first one's task are offered first.
        reading: what the first one reads.
        on_space: folders are out of the visitor's reach.
        top: what `place_top` made, where it did already.
    """
    p: dict[str, Any] = dict(top or place_top())
    p["hint"] = markdown(visible=False, elem_id="hint", elem_classes="note")
    with gr.Row(elem_id="desk", equal_height=False):
        with gr.Column(scale=4, min_width=300, elem_id="inputs"):
            _place_inputs(p, entries, reading, on_space)
        with gr.Column(scale=6, min_width=320, elem_id="heroes"):
            _place_budget(p)
            p["notice"] = markdown(visible=False, elem_id="notice", elem_classes="note")
            _place_answer(p)
    with gr.Row(elem_id="evidence", equal_height=False):
        with gr.Column(scale=1, min_width=320, elem_classes="card"):
            _place_front(p)
        with gr.Column(scale=1, min_width=320, elem_classes="card", elem_id="latency-card"):
            _place_latency(p)
    with gr.Column(elem_classes="card", elem_id="kept-card"):
        _place_kept(p)
    p["link"] = gr.Textbox(visible="hidden", elem_id="link")
    p["arrived"] = gr.Textbox(visible="hidden", elem_id="arrived")
    p["shown"] = gr.Textbox(visible="hidden", elem_id="shown")
    p["csv_text"] = gr.Textbox(visible="hidden", elem_id="csv-text")
    p["states"] = States(**{each.name: gr.State(None) for each in fields(States)})
    return Parts(**p)


def _place_inputs(p: dict[str, Any], entries: list[Entry], reading: Reading, on_space: bool) -> None:
    with gr.Column(elem_classes="card hero", elem_id="ask-card"):
        with gr.Row(elem_id="ask-row", equal_height=False):
            # One line, so that Enter asks. No max_length: what is too long is cut with a notice.
            p["question"] = gr.Textbox(
                label="Question", lines=1, max_lines=6, scale=5, min_width=160, elem_id="question"
            )
            p["ask"] = gr.Button("Ask", variant="primary", scale=0, elem_id="ask", min_width=84)
        p["passage"] = gr.Textbox(label="Passage", lines=reading.lines[1], max_lines=12, elem_id="passage")
        p["another"] = gr.Button("Next example", size="sm", elem_id="another", min_width=120)
        p["turn"] = gr.Button("", size="sm", elem_id="turn", min_width=120, visible=False)
        with gr.Accordion("Model, engine, examples", open=False, elem_id="model-fold"):
            _place_model(p, entries, reading, on_space)


def _place_model(p: dict[str, Any], entries: list[Entry], reading: Reading, on_space: bool) -> None:
    """What is asked, and how it may answer; folded, since the page opens with all of it chosen."""
    kinds = [(kind.name, task) for task, kind in KINDS.items()]
    first = entries[0].task if entries else kinds[0][1]
    p["task"] = gr.Radio(
        kinds, value=first, label="What it does", visible=len({e.task for e in entries}) > 1, elem_id="task"
    )
    choices = [(e.title, e.name) for e in entries if e.task == first]
    p["model"] = gr.Dropdown(choices, value=None, label="Checkpoint", elem_id="model")
    p["facts"] = markdown(elem_id="facts")
    p["engine"] = gr.Radio(
        [(label, name) for name, label in engine_labels().items()], value=None, label="Engine", elem_id="engine"
    )
    p["example"] = gr.Dropdown(list_samples(reading), value=None, label="Examples", elem_id="example")
    p["no_answer"] = gr.Checkbox(label="It may say that the passage holds no answer", elem_id="no-answer")
    p["null_threshold"] = gr.Slider(
        *THRESHOLDS,
        value=0,
        step=0.5,
        label="How far “no answer” has to score above the best answer",
        info="In logits. Further right it is said less often; below 0 it is said even where an answer scores more.",
        visible=False,
        buttons=[],
        elem_id="null-threshold",
    )
    with gr.Accordion("Another checkpoint", open=False):
        what = f"{'' if on_space else 'Folder, or '}Hub id (owner/name or owner/name@revision)"
        p["other"] = gr.Textbox(label=what, max_lines=1, max_length=400, elem_id="other-model")
        p["load"] = gr.Button("Load", size="sm", elem_id="load")
        p["convert"] = gr.Button("Convert the pickle, then load", size="sm", visible=False, elem_id="convert")


def _place_budget(p: dict[str, Any]) -> None:
    with gr.Column(elem_classes="card hero", elem_id="budget-card"):
        markdown("## Budget")
        p["slider"] = gr.Slider(0, 100, 100, step=0.5, label=budget.TITLES["macs"], buttons=[], elem_id="budget")
        p["readout"] = gr.HTML(elem_id="readout")
        with gr.Accordion("Other units, and what binds", open=False, elem_id="budget-fold"):
            p["unit"] = gr.Radio(
                [(label, unit) for unit, label in budget.UNITS.items()],
                value="macs",
                label="Count the budget in",
                elem_id="unit",
            )
            p["binding"] = gr.HTML(elem_id="binding")


def _place_answer(p: dict[str, Any]) -> None:
    with gr.Column(elem_classes="card hero", elem_id="answer-card"):
        with gr.Row(elem_classes="head"):
            markdown("## Answer")
            p["verdict"] = markdown(elem_id="verdict")
        with gr.Row(elem_id="answers", equal_height=True):
            p["answer"] = markdown(elem_id="answer", elem_classes="reply")
            p["full_answer"] = markdown(elem_id="full-answer", elem_classes="reply")
        p["marked"] = gr.HighlightedText(
            show_label=False,
            container=False,
            color_map=ANSWER_COLOURS,
            show_legend=False,
            show_inline_category=False,
            elem_id="marked",
        )
        p["bars"] = gr.HTML(visible=False, elem_id="bars")
        with gr.Accordion("More answers", open=False) as p["more"]:
            p["n_best"] = markdown(elem_id="n-best")


def _place_front(p: dict[str, Any]) -> None:
    with gr.Row(elem_classes="head"):
        markdown("## Accuracy against cost")
        p["axis"] = gr.Radio(
            [("compute", "macs"), ("latency", "ms")],
            value="macs",
            show_label=False,
            container=False,
            elem_id="axis",
            elem_classes="switch",
        )
    p["front"] = gr.HTML(elem_id="front", js_on_load=pareto.ON_LOAD)
    p["csv"] = gr.Button("Download CSV", size="sm", elem_id="csv")
    with gr.Accordion("How compute is counted", open=False):
        p["accounts"] = markdown(elem_id="accounts")
        p["origin"] = markdown(elem_id="origin", elem_classes="quiet")


def _place_latency(p: dict[str, Any]) -> None:
    markdown("## Latency, measured live")
    p["latency"] = markdown("Ask something, and this input is timed here.", elem_id="latency")
    p["spread"] = gr.Plot(show_label=False, container=False, elem_id="spread")
    p["stamp"] = markdown(elem_id="stamp", elem_classes="quiet")


def _place_kept(p: dict[str, Any]) -> None:
    markdown("## What was kept")
    with gr.Row(equal_height=False):
        with gr.Column(scale=1, min_width=320):
            with gr.Row():
                p["layer"] = gr.Slider(1, 6, 6, step=1, label="After layer", buttons=[], elem_id="layer")
                p["window"] = gr.Dropdown([], label="Window", visible=False, elem_id="window")
            p["kept"] = gr.HighlightedText(
                show_label=False,
                container=False,
                color_map=KEPT_COLOURS,
                show_legend=True,
                show_inline_category=False,
                elem_id="kept",
            )
        with gr.Column(scale=1, min_width=320):
            p["heat"] = gr.Plot(show_label=False, container=False, elem_id="heat")
