"""The Compress tab: source -> recipe -> check -> start. The form is made from the recipes' schemas."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from ui import composing, form, sources
from ui.composing import Composing
from ui.explore import QUICK, RAW
from ui.parts import markdown
from zoo import catalog
from zoo.settings import get_settings

if TYPE_CHECKING:
    from pydantic import BaseModel

FIRST = "static_int8"  # the preset that the tab opens with: offline, and done in minutes
LAUNCHERS = [("this machine", "local"), ("several processes (torchrun)", "torchrun"), ("a Ray cluster", "ray")]


@dataclass
class ComposeParts:
    """Every component that an event reads or writes; `forms`, `columns` and `groups` are by kind of recipe."""

    off: gr.Markdown
    notice: gr.Markdown
    walk: gr.Walkthrough
    source: gr.Radio
    zoo: gr.Dropdown
    other: gr.Textbox
    data: gr.Radio
    hub_data: gr.Textbox
    file_box: gr.Column
    file: gr.File
    upload_note: gr.Markdown
    to_recipe: gr.Button
    preset: gr.Dropdown
    about: gr.Markdown
    faults: gr.Markdown
    columns: dict[str, gr.Column]
    forms: dict[str, list[Any]]
    groups: dict[str, dict[str, gr.Accordion]]
    to_check: gr.Button
    estimate: gr.Markdown
    yaml: gr.Code
    command: gr.Code
    to_start: gr.Button
    name: gr.Textbox
    launcher: gr.Radio
    start: gr.Button
    backs: dict[int, gr.Button]
    started: gr.Textbox
    uploaded: gr.State
    faulty: gr.State
    choices: gr.State

    @property
    def values(self) -> list[Any]:
        """The components of all forms."""
        return [component for components in self.forms.values() for component in components]

    @property
    def boxes(self) -> list[Any]:
        """What the groups of all forms stand in."""
        return [box for boxes in self.groups.values() for box in boxes.values()]


def build_compress(demo: gr.Blocks) -> tuple[ComposeParts, Composing]:
    """Put the tab's content where the Blocks stands, and wire it. `started` changes to a new job's id."""
    p = _place()
    h = Composing(p)
    filled = [*p.columns.values(), *p.values, p.about, p.faulty]
    calm: dict[str, Any] = {**RAW, "concurrency_limit": None}
    demo.load(h.open, None, [*filled, p.start, p.off, p.notice], **QUICK)
    boxes = [p.zoo, p.other, p.hub_data, p.file_box]
    gr.on([p.source.input, p.data.input], h.show_source, [p.source, p.data], boxes, **QUICK)
    # Preprocessed, unlike everything else: gradio then makes sure that the path is that of an upload.
    kept = [p.uploaded, p.upload_note]
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": None}
    p.file.change(h.upload, p.file, kept, **quiet)

    picked = [p.preset, p.source, p.zoo, p.other, p.data, p.hub_data, p.uploaded]
    p.to_recipe.click(h.take_source, [*picked, *p.values], [*filled, p.walk, p.notice, p.faults], **calm)
    p.preset.input(h.take_preset, picked, [*filled, p.notice, p.faults], **calm)
    left = [getattr(c, "blur", None) or c.input for c in p.values]
    marks = [*p.values, *p.boxes, p.faulty, p.faults, p.notice]
    gr.on(left, h.look, [p.preset, p.faulty, *p.values], marks, **QUICK, trigger_mode="always_last")
    checked = [*marks, p.estimate, p.yaml, p.command, p.name, p.walk]
    p.to_check.click(h.check, [p.preset, p.faulty, *p.values], checked, **calm)
    p.to_start.click(lambda: gr.Walkthrough(selected=composing.START), None, p.walk, **QUICK)
    for step, back in p.backs.items():
        back.click(lambda step=step: gr.Walkthrough(selected=step), None, p.walk, **QUICK)
    named = [p.preset, p.name, p.launcher, *p.values]
    gr.on([p.name.blur, p.launcher.input], h.name_it, named, [p.command, p.notice], **QUICK)
    p.start.click(h.start, named, [p.started, p.walk, p.notice], **calm, trigger_mode="once")
    return p, h


def _place() -> ComposeParts:
    p: dict[str, Any] = {name: gr.State(None) for name in ("uploaded", "faulty", "choices")}
    p["started"] = gr.Textbox(visible="hidden", elem_id="started")
    p["backs"] = {}
    with gr.Column(elem_classes="card", elem_id="compress-card"):
        markdown("## Make a model smaller\nA recipe runs as a job of its own: close the page, come back tomorrow.")
        p["off"] = markdown(visible=False, elem_id="compress-off", elem_classes="note")
        p["notice"] = markdown(visible=False, elem_id="compress-notice", elem_classes="note")
        with gr.Walkthrough(selected=composing.SOURCE, elem_id="walk") as walk:
            p["walk"] = walk
            with gr.Step("Source", id=composing.SOURCE):
                _place_source(p)
            with gr.Step("Recipe", id=composing.RECIPE):
                _place_recipe(p)
            with gr.Step("Check", id=composing.CHECK):
                _place_check(p)
            with gr.Step("Start", id=composing.START):
                _place_start(p)
    return ComposeParts(**p)


def _place_source(p: dict[str, Any]) -> None:
    entries = [(entry.title, entry.name) for entry in catalog.bundled()]
    choices = [("the recipe's own", sources.OWN), ("from the zoo", sources.ZOO), ("Hub id", sources.HUB)]
    choices += [] if get_settings().on_space else [("folder", sources.FOLDER)]
    with gr.Row(equal_height=False):
        with gr.Column(min_width=300):
            p["source"] = gr.Radio(choices, value=sources.OWN, label="Checkpoint to start from", elem_id="source")
            first = entries[0][1] if entries else None
            p["zoo"] = gr.Dropdown(entries, value=first, label="Of the zoo", visible=False, elem_id="source-zoo")
            p["other"] = gr.Textbox(label="Hub id", max_lines=1, max_length=400, visible=False, elem_id="source-other")
        with gr.Column(min_width=300):
            p["data"] = gr.Radio(
                [
                    ("the recipe's own", sources.OWN),
                    ("bundled examples", sources.EXAMPLES),
                    ("Hub data set", sources.HUB),
                    ("my own file", sources.FILE),
                ],
                value=sources.OWN,
                label="Questions to learn from and to report on",
                elem_id="data",
            )
            p["hub_data"] = gr.Textbox(
                label="Data set (owner/name, in SQuAD format)", max_lines=1, max_length=200, visible=False,
                elem_id="hub-data",
            )  # fmt: skip
            with gr.Column(visible=False) as box:
                p["file_box"] = box
                p["file"] = gr.File(
                    label="SQuAD JSON, JSON Lines or CSV with question, context and answer",
                    file_types=[".json", ".jsonl", ".csv"],
                    type="filepath",
                    height=120,
                    elem_id="own-file",
                )
                p["upload_note"] = markdown(elem_id="upload-note", elem_classes="quiet")
    with gr.Row(elem_classes="steps"):
        p["to_recipe"] = gr.Button("Next: recipe", variant="primary", min_width=140, elem_id="to-recipe")


def _place_recipe(p: dict[str, Any]) -> None:
    from compress.recipe import load, shipped

    names = sorted(shipped(), key=lambda name: (name != FIRST, name))
    p["preset"] = gr.Dropdown(
        [(name.replace("_", " "), name) for name in names],
        value=names[0] if names else None,
        label="Preset",
        elem_id="preset",
    )
    p["about"] = markdown(elem_id="preset-about", elem_classes="quiet")
    p["faults"] = markdown(visible=False, elem_id="recipe-faults", elem_classes="note")
    first = load(names[0]).model_dump(mode="json") if names else {"kind": ""}
    p["columns"], p["forms"], p["groups"] = {}, {}, {}
    for kind, model in composing.kinds().items():
        with gr.Column(visible=kind == first["kind"], elem_id=f"form-{kind}") as column:
            p["columns"][kind] = column
            data = first if kind == first["kind"] else {}
            p["forms"][kind], p["groups"][kind] = place_form(kind, model, data)
    with gr.Row(elem_classes="steps"):
        p["backs"][composing.SOURCE] = gr.Button("Back", min_width=90, elem_id="back-to-source")
        p["to_check"] = gr.Button("Next: check", variant="primary", min_width=140, elem_id="to-check")


def place_form(
    kind: str, model: type[BaseModel], data: dict[str, Any]
) -> tuple[list[Any], dict[str, gr.Accordion]]:
    """A component for each of the model's fields, in their order, and the box of each group."""
    meanings = form.groups(model)
    values = dict(zip((f.key for f in form.fields(model)), form.spread(model, data), strict=True))
    components: dict[str, Any] = {}
    boxes: dict[str, gr.Accordion] = {}
    for group in dict.fromkeys(field.group for field in form.fields(model)):
        members = [field for field in form.fields(model) if field.group == group]
        title = group.replace("_", " ").capitalize() if group else "General"
        with gr.Accordion(title, open=group in ("", "dataset"), elem_classes="fields") as boxes[group]:
            if meanings.get(group):
                markdown(meanings[group], elem_classes="quiet")
            with gr.Row(elem_classes="grid"):
                components |= {field.key: _make(kind, field, values[field.key]) for field in members}
    return [components[field.key] for field in form.fields(model)], boxes


def _make(kind: str, field: form.Field, value: Any) -> Any:
    common: dict[str, Any] = {
        "value": value,
        "label": field.label,
        "info": field.info,
        "interactive": True,
        "elem_id": f"field-{kind}-{field.key.replace('.', '-')}",
        "elem_classes": ["field"],
    }
    if field.kind == "switch":
        return gr.Checkbox(**common)
    if field.kind == "choice":
        return gr.Dropdown([word for word, _ in field.choices], **common, min_width=220)
    # An empty number box shows and sends 0, which would not do where empty means something.
    if field.kind in ("whole", "number") and not field.optional:
        return gr.Number(**common, precision=0 if field.kind == "whole" else None, min_width=220)
    lines = 2 if field.kind == "lines" else 1
    hint = "one a line" if field.kind == "lines" else None
    return gr.Textbox(**common, placeholder=hint, lines=lines, max_lines=6, max_length=2000, min_width=220)


def _place_check(p: dict[str, Any]) -> None:
    markdown("### What it will take")
    p["estimate"] = markdown(elem_id="estimate", elem_classes="plain-table")
    p["yaml"] = gr.Code(language="yaml", label="The recipe", interactive=False, max_lines=24, elem_id="recipe-yaml")
    with gr.Row(elem_classes="steps"):
        p["backs"][composing.RECIPE] = gr.Button("Back", min_width=90, elem_id="back-to-recipe")
        p["to_start"] = gr.Button("Next: start", variant="primary", min_width=140, elem_id="to-start")


def _place_start(p: dict[str, Any]) -> None:
    with gr.Row(equal_height=False):
        p["name"] = gr.Textbox(label="Name of the job", max_lines=1, max_length=80, min_width=260, elem_id="job-name")
        p["launcher"] = gr.Radio(LAUNCHERS, value="local", label="Where it runs", min_width=260, elem_id="launcher")
    p["command"] = gr.Code(
        language="shell", label="The same from the command line", interactive=False, wrap_lines=True, lines=2,
        max_lines=12, elem_id="command",
    )  # fmt: skip
    with gr.Row(elem_classes="steps"):
        p["backs"][composing.CHECK] = gr.Button("Back", min_width=90, elem_id="back-to-check")
        p["start"] = gr.Button("Start", variant="primary", min_width=140, elem_id="start-job")
