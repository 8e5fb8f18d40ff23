"""The components of the tab Compress."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from ui.events import Outputs

RECIPE, SOURCE, SETTINGS, START = 1, 2, 3, 4  # the steps of the walkthrough


@dataclass
class ComposeParts:
    """Every component that an event reads or writes.

    `form` is one component for whatever kind of recipe: with one for each field, the page would load and every event
    send the fields of all kinds. Its value is what it holds, `form.js` builds it.
    """

    off: gr.Markdown
    notice: gr.Markdown
    walk: gr.Walkthrough
    goal: gr.Radio
    preset: gr.Dropdown
    about: gr.Markdown
    costs: gr.Markdown
    to_source: gr.Button
    source: gr.Radio
    zoo: gr.Dropdown
    other: gr.Textbox
    task: gr.Dropdown
    data: gr.Radio
    hub_data: gr.Textbox
    file_box: gr.Column
    file: gr.File
    skip: gr.Checkbox
    upload_note: gr.Markdown
    table: gr.State
    to_settings: gr.Button
    faults: gr.Markdown
    form: gr.HTML
    to_check: gr.Button
    estimate: gr.Markdown
    yaml: gr.Code
    command: gr.Code
    name: gr.Textbox
    launcher: gr.Radio
    machine: gr.Dropdown
    price: gr.Markdown
    start: gr.Button
    backs: dict[int, gr.Button]
    started: gr.Textbox
    uploaded: gr.State
    choices: gr.State

    @property
    def filled(self) -> Outputs:
        """What an earlier job's recipe changes."""
        recipe = [self.form, self.about, self.faults, self.preset, self.choices, *self.offered]
        return [*recipe, self.source, self.task, self.data, self.walk, self.notice]

    @property
    def offered(self) -> Outputs:
        """What another recipe or task changes of the checkpoints to start from."""
        return [self.zoo]
