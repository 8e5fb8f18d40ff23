"""The components of the tab Compare."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from ui.events import Inputs, Outputs


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
    link: gr.Textbox
    arrived: gr.Textbox

    @property
    def pairs(self) -> Inputs:
        """What says who is compared, and at which budgets."""
        return {self.many, *self.models, *self.budgets}

    @property
    def taken(self) -> Outputs:
        """What changes where others say who is compared."""
        return [self.many, *self.rows, *self.models, *self.budgets, *self.boxes, self.link, self.notice]

    @property
    def boxes(self) -> Outputs:
        """What follows from what A reads."""
        return [self.reads, self.example, self.question, self.passage]
