"""Small parts that several tabs use."""

from __future__ import annotations

from typing import Any, NamedTuple

import gradio as gr

from ui.reading import Reading


class Leads(NamedTuple):
    """What tabs want opened: `wanted` in Explore, `compared` in Compare; see `ui.checkpoints.stamped`."""

    wanted: gr.Textbox
    compared: gr.Textbox


def place_leads() -> Leads:
    """The two, which nobody sees."""
    return Leads(*(gr.Textbox(visible="hidden", elem_id=name) for name in ("wanted", "compared")))


def markdown(value: str = "", **options: Any) -> gr.Markdown:
    """Markdown without LaTeX: a passage about prices is no formula."""
    return gr.Markdown(value, latex_delimiters=[], **options)


def list_samples(reading: Reading) -> list[tuple[str, int]]:
    """Choices for picking one of what there is to try."""
    return [(sample.label, i) for i, sample in enumerate(reading.samples)]


def place_top(sign_in: bool = False) -> dict[str, gr.Button]:
    """What stands above all tabs: the name, a link to what is shown, light or dark, and on a Space signing in."""
    p: dict[str, gr.Button] = {}
    with gr.Row(elem_id="top"):
        markdown(
            "# Budget Zoo\nAsk a small model, drag its compute budget, and see whether the answer still holds.",
            elem_id="brand",
        )
        with gr.Row(elem_id="tools"):
            if sign_in:
                gr.LoginButton("Sign in", size="sm", elem_id="sign-in", min_width=90)
            p["copy"] = gr.Button("Copy link", size="sm", elem_id="copy-link", min_width=90)
            p["dark"] = gr.Button("Light / dark", size="sm", elem_id="dark-mode", min_width=90)
    return p
