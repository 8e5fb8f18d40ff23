"""Which column of a person's file is what: drop-downs filled from the file, with what was guessed."""

from __future__ import annotations

from typing import Any

import gradio as gr

from ui.compress.choosing import Choosing
from ui.compress.parts import ComposeParts
from ui.events import Updates, Values
from ui.widgets import markdown

Table = dict[str, Any]  # of a file: its columns (`keys`), which is what (`columns`), and whether labels are several


def place_mapping(p: ComposeParts, choosing: Choosing) -> None:
    """Puts the drop-downs below the file's box; they are there only while a file has columns to tell apart."""
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": None}
    with p.file_box:

        @gr.render(inputs={p.table}, triggers=[p.table.change], show_progress="hidden")  # pyright: ignore[reportArgumentType] - a set as everywhere
        def boxes(values: Values) -> None:
            table: Table | None = values[p.table]
            if not table:
                return
            keys, guess = table["keys"], table["columns"]
            markdown("Which column is what, as guessed. Correct it where it is wrong:", elem_classes="quiet")
            with gr.Row(elem_id="column-map"):
                text = gr.Dropdown(keys, value=guess.get("text"), label="Text", min_width=120, elem_id="column-text")
                second = gr.Dropdown(
                    [("none", ""), *((key, key) for key in keys)],
                    value="",
                    label="Second text, of pairs",
                    min_width=120,
                    elem_id="column-second",
                )
                several = bool(table["several"])
                first = guess.get("label")
                label = gr.Dropdown(
                    keys,
                    value=[first] if several and first else first,
                    multiselect=several,
                    label="Labels (one column, or several of 0 and 1)" if several else "Label",
                    min_width=120,
                    elem_id="column-label",
                )
                names = gr.Textbox(
                    label="Names of labels, if the file has codes",
                    placeholder="good=10, bad=1",
                    max_lines=1,
                    max_length=1000,
                    min_width=160,
                    elem_id="label-names",
                )

            def again(values: Values, profile: gr.OAuthProfile | None) -> Updates:
                chosen = values[label]
                columns = {
                    "text": values[text],
                    "second": values[second],
                    "label": ", ".join(chosen) if isinstance(chosen, list) else chosen,
                }
                return choosing.map(values, columns, values[names] or "", profile)

            inputs = {text, second, label, names, p.file, p.task, p.preset, p.skip}
            changed = [text.input, second.input, label.input, names.blur]
            gr.on(changed, again, inputs, [p.uploaded, p.upload_note], **quiet)
