"""The Compress tab: recipe -> source -> settings -> start. The form is made from the recipes' schemas."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from compress.data import uploads
from compress.jobs import goals
from compress.jobs.launchers import HUB
from ui.compress import presets, sources
from ui.compress.choosing import Choosing
from ui.compress.filling import Filling
from ui.compress.mapping import place_mapping
from ui.compress.parts import RECIPE, SETTINGS, SOURCE, START, ComposeParts
from ui.compress.starting import Starting
from ui.events import QUICK, RAW, Inputs
from ui.widgets import markdown
from zoo import catalog
from zoo.settings import get_settings
from zoo.tasks import TASKS

FORM = Path(__file__).with_name("form.js")
FIRST = "static_int8"  # the preset that the tab opens with: offline, and done in minutes
LAUNCHERS = [
    ("this machine", "local"),
    ("several processes (torchrun)", "torchrun"),
    ("a Ray cluster", "ray"),
    ("a machine of the Hub, paid by the minute", HUB),
]


@dataclass
class CompressTab:
    """What other tabs need of this one; `started` of its parts changes to a new job's id."""

    parts: ComposeParts
    choosing: Choosing
    filling: Filling
    starting: Starting


def build_compress(demo: gr.Blocks, tab: gr.Tab) -> CompressTab:
    """Put the tab's content where the Blocks stands, and wire it; `tab` is looked at anew whenever it is opened."""
    p = _place()
    filling = Filling(p)
    choosing, starting = Choosing(p, filling), Starting(p, filling)
    place_mapping(p, choosing)
    filled = [p.form, p.about, p.faults]
    calm: dict[str, Any] = {**RAW, "concurrency_limit": None}
    demo.load(filling.open, None, [*filled, *p.offered, p.costs, p.start, p.off, p.notice], **QUICK)
    gr.on([tab.select, p.task.input], choosing.offer, {p.preset, p.task, p.zoo}, [*p.offered, p.notice], **QUICK)
    boxes = [p.zoo, p.other, p.hub_data, p.file_box]
    gr.on([p.source.input, p.data.input], choosing.show_boxes, {p.source, p.data}, boxes, **QUICK)
    # Preprocessed, unlike everything else: gradio then makes sure that the path is that of an upload.
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": None}
    given = [p.file.change, p.task.input, p.data.input, p.skip.input]
    gr.on(given, choosing.upload, {p.file, p.task, p.preset, p.skip}, [p.uploaded, p.upload_note, p.table], **quiet)

    p.to_source.click(lambda: gr.Walkthrough(selected=SOURCE), None, p.walk, **QUICK)
    p.to_settings.click(choosing.take_source, {*choosing.inputs, p.form}, [*filled, p.walk, p.notice], **calm)
    goal: Inputs = {*choosing.inputs, p.goal, p.choices}
    p.goal.input(choosing.take_goal, goal, [*filled, *p.offered, p.preset, p.costs, p.notice], **calm)
    p.preset.input(choosing.take_preset, choosing.inputs, [*filled, *p.offered, p.notice], **calm)
    marks = [p.form, p.faults, p.notice]
    p.form.blur(filling.look, {p.form}, marks, **QUICK, trigger_mode="always_last")
    checked = [*marks, p.estimate, p.yaml, p.command, p.name, p.start, p.walk]
    p.to_check.click(starting.check, {p.preset, p.form}, checked, **calm)
    for step, back in p.backs.items():
        back.click(lambda step=step: gr.Walkthrough(selected=step), None, p.walk, **QUICK)
    job: Inputs = {p.preset, p.name, p.launcher, p.machine, p.form}
    named = [p.command, p.machine, p.price, p.notice]
    gr.on([p.name.blur, p.launcher.input, p.machine.input], starting.name, job, named, **QUICK)
    p.start.click(starting.start, job, [p.started, p.walk, p.notice], **calm, trigger_mode="once")
    return CompressTab(p, choosing, filling, starting)


def _place() -> ComposeParts:
    p: dict[str, Any] = {name: gr.State(None) for name in ("uploaded", "choices", "table")}
    p["started"] = gr.Textbox(visible="hidden", elem_id="started")
    p["backs"] = {}
    with gr.Column(elem_classes="card", elem_id="compress-card"):
        markdown("## Make a model smaller\nA recipe runs as a job of its own: close the page, come back tomorrow.")
        p["off"] = markdown(visible=False, elem_id="compress-off", elem_classes="note")
        p["notice"] = markdown(visible=False, elem_id="compress-notice", elem_classes="note")
        with gr.Walkthrough(selected=RECIPE, elem_id="walk") as walk:
            p["walk"] = walk
            with gr.Step("Recipe", id=RECIPE):
                _place_recipe(p)
            with gr.Step("Source", id=SOURCE):
                _place_source(p)
            with gr.Step("Settings", id=SETTINGS):
                _place_settings(p)
            with gr.Step("Start", id=START):
                _place_start(p)
    return ComposeParts(**p)


def _place_recipe(p: dict[str, Any]) -> None:
    goal = goals.goal_of(FIRST)
    p["goal"] = gr.Radio(list(goals.GOALS), value=goal, label="What you want", elem_id="goal")
    p["preset"] = gr.Dropdown(
        presets.offered(goal, FIRST),
        value=FIRST,
        label="Preset",
        elem_id="preset",
    )
    p["about"] = markdown(elem_id="preset-about", elem_classes="quiet")
    with gr.Row(elem_classes="steps"):
        p["to_source"] = gr.Button("Next: source and data", variant="primary", min_width=140, elem_id="to-source")
    p["costs"] = markdown(elem_id="preset-costs", elem_classes="plain-table")


def _place_source(p: dict[str, Any]) -> None:
    entries = [(entry.title, entry.name) for entry in catalog.bundled()]
    choices = [("the recipe's own", sources.OWN), ("one of these", sources.ZOO), ("Hub id", sources.HUB)]
    choices += [] if get_settings().on_space else [("folder", sources.FOLDER)]
    with gr.Row(equal_height=False):
        with gr.Column(min_width=300):
            p["source"] = gr.Radio(choices, value=sources.OWN, label="Checkpoint to start from", elem_id="source")
            first = entries[0][1] if entries else None
            p["zoo"] = gr.Dropdown(
                entries,
                value=first,
                label="Bundled, and your own results, that the recipe takes",
                visible=False,
                elem_id="source-zoo",
            )
            p["other"] = gr.Textbox(label="Hub id", max_lines=1, max_length=400, visible=False, elem_id="source-other")
        with gr.Column(min_width=300):
            tasks = [("the recipe's own", sources.OWN)]
            tasks += [(task.title or task.name, name) for name, task in TASKS.items() if name != "squad_v2"]
            p["task"] = gr.Dropdown(tasks, value=sources.OWN, label="Task", elem_id="source-task")
            p["data"] = gr.Radio(
                [
                    ("the recipe's own", sources.OWN),
                    ("bundled examples", sources.EXAMPLES),
                    ("Hub data set", sources.HUB),
                    ("my own file", sources.FILE),
                ],
                value=sources.OWN,
                label="Data to learn from and to report on",
                elem_id="data",
            )
            p["hub_data"] = gr.Textbox(
                label="Data set (owner/name or owner/name/config, with the task's columns)",
                max_lines=1,
                max_length=200,
                visible=False,
                elem_id="hub-data",
            )
            with gr.Column(visible=False) as box:
                p["file_box"] = box
                p["file"] = gr.File(
                    label="Questions or texts of the task: CSV, TSV, JSON, JSON Lines; for token labels CoNLL, too",
                    file_types=uploads.endings(),
                    type="filepath",
                    height=120,
                    elem_id="own-file",
                )
                p["skip"] = gr.Checkbox(
                    label="Leave out lines that are wrong, and count them", value=False, elem_id="skip-lines"
                )
                p["upload_note"] = markdown(elem_id="upload-note", elem_classes="quiet")
    with gr.Row(elem_classes="steps"):
        p["backs"][RECIPE] = gr.Button("Back", min_width=90, elem_id="back-to-recipe")
        p["to_settings"] = gr.Button("Next: settings", variant="primary", min_width=140, elem_id="to-settings")


def _place_settings(p: dict[str, Any]) -> None:
    p["faults"] = markdown(visible=False, elem_id="recipe-faults", elem_classes="note")
    p["form"] = gr.HTML(
        None,
        groups=[],
        html_template='<div class="recipe-form"></div>',
        js_on_load=FORM.read_text(encoding="utf-8"),
        apply_default_css=False,
        elem_id="recipe-form",
    )
    with gr.Row(elem_classes="steps"):
        p["backs"][SOURCE] = gr.Button("Back", min_width=90, elem_id="back-to-source")
        p["to_check"] = gr.Button("Next: check and start", variant="primary", min_width=140, elem_id="to-check")


def _place_start(p: dict[str, Any]) -> None:
    p["estimate"] = markdown(elem_id="estimate", elem_classes="plain-table")
    with gr.Row(equal_height=False):
        p["name"] = gr.Textbox(label="Name of the job", max_lines=1, max_length=80, min_width=260, elem_id="job-name")
        p["launcher"] = gr.Radio(LAUNCHERS, value="local", label="Where it runs", min_width=260, elem_id="launcher")
    p["machine"] = gr.Dropdown([], label="Which machine of the Hub", visible=False, elem_id="machine")
    p["price"] = markdown(visible=False, elem_id="price")
    with gr.Row(elem_classes="steps"):
        p["backs"][SETTINGS] = gr.Button("Back", min_width=90, elem_id="back-to-settings")
        p["start"] = gr.Button("Start", variant="primary", min_width=140, elem_id="start-job")
    p["command"] = gr.Code(
        language="shell", label="The same from the command line", interactive=False, wrap_lines=True, lines=2,
        max_lines=12, elem_id="command",
    )  # fmt: skip
    p["yaml"] = gr.Code(language="yaml", label="The recipe", interactive=False, max_lines=24, elem_id="recipe-yaml")
