"""The components of the tab Compress, and the words beside them."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr
from pydantic import BaseModel

from compress.recipe.load import KINDS, RECIPES


def kinds() -> dict[str, type[BaseModel]]:
    """Every kind of recipe, and its model."""
    return dict(KINDS)


def about(preset: str) -> str:
    """What a shipped recipe says of itself, in its first lines."""
    lines = (RECIPES / f"{preset}.yaml").read_text(encoding="utf-8").splitlines()
    said = []
    for line in lines:
        if not line.startswith("#"):
            break
        said.append(line.lstrip("# "))
    return said[0] if said else ""


@dataclass
class ComposeParts:
    """Every component that an event reads or writes.

    `form` is one component for whatever kind of recipe: with one for each field, the page would load and every event
    send the fields of all kinds. Its value is what it holds, `form.js` builds it.
    """

    off: gr.Markdown
    notice: gr.Markdown
    walk: gr.Walkthrough
    source: gr.Radio
    zoo: gr.Dropdown
    other: gr.Textbox
    task: gr.Dropdown
    data: gr.Radio
    hub_data: gr.Textbox
    file_box: gr.Column
    file: gr.File
    upload_note: gr.Markdown
    to_recipe: gr.Button
    preset: gr.Dropdown
    about: gr.Markdown
    faults: gr.Markdown
    form: gr.HTML
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
    choices: gr.State
