"""The components of the tab Models."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from ui.events import Inputs, Outputs

# What the table is chosen by: fields of a row, and what their dropdowns are called.
FILTERS = {"task": "Task", "method": "Method", "base_model": "Base model", "origin": "From", "int8": "int8"}


@dataclass
class ModelParts:
    """Every component that an event reads or writes; `filters` by the keys of `FILTERS`."""

    banner: gr.Markdown
    notice: gr.Markdown
    search: gr.Textbox
    filters: dict[str, gr.Dropdown]
    most_mb: gr.Textbox
    least_score: gr.Textbox
    most_ms: gr.Textbox
    fetch: gr.Button
    table: gr.Dataframe
    counted: gr.Markdown
    clear: gr.Button
    ticked: gr.Dropdown
    compare: gr.Button
    name: gr.Textbox
    detail: gr.Column
    head: gr.Markdown
    explore: gr.Button
    hub: gr.Button
    card: gr.Markdown
    wanted: gr.Textbox
    compared: gr.Textbox

    @property
    def query(self) -> Inputs:
        """What the table is chosen by, and what is ticked in it."""
        bounds = {self.most_mb, self.least_score, self.most_ms}
        return {self.search, *self.filters.values(), *bounds, self.ticked}

    @property
    def listed(self) -> Outputs:
        """What a new table changes."""
        return [self.table, self.counted, self.clear, self.notice]

    @property
    def bounds(self) -> Outputs:
        """What the table is chosen by, without what is ticked in it."""
        return [self.search, *self.filters.values(), self.most_mb, self.least_score, self.most_ms]
