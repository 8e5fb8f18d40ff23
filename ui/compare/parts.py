"""The components of the tab Compare."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from ui.events import Outputs


@dataclass
class CompareParts:
    """Every component that an event reads or writes; `rows`, `models` and `budgets` are as long as four letters."""

    notice: gr.Markdown
    many: gr.Radio
    rows: list[gr.Row]
    models: list[gr.Dropdown]
    budgets: list[gr.Slider]
    reads: gr.State
    example: gr.Dropdown
    question: gr.Textbox
    passage: gr.Textbox
    go: gr.Button
    verdict: gr.Markdown
    table: gr.Markdown
    plot: gr.Plot
    stamp: gr.Markdown
    csv: gr.Button
    csv_text: gr.Textbox

    @property
    def boxes(self) -> Outputs:
        """What follows from what A reads."""
        return [self.reads, self.example, self.question, self.passage]
