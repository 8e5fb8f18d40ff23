"""The components of the tab Jobs."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from ui.events import Outputs


@dataclass
class JobParts:
    """Every component that an event reads or writes."""

    timer: gr.Timer
    notice: gr.Markdown
    refresh: gr.Button
    empty: gr.Markdown
    table: gr.Dataframe
    job: gr.Textbox
    details: gr.Column
    head: gr.Markdown
    cancel: gr.Button
    retry: gr.Button
    again: gr.Button
    outcome: gr.Column
    changed: gr.Markdown
    explore: gr.Button
    compare: gr.Button
    publish: gr.Button
    wanted: gr.Textbox
    compared: gr.Textbox
    stages: gr.Markdown
    waiting: gr.Markdown
    curves: gr.Plot
    growth: gr.Plot
    sensitive: gr.Column
    sensitivity: gr.Plot
    operators: gr.Markdown
    log: gr.Textbox
    load: gr.Markdown
    seen: gr.State

    @property
    def outputs(self) -> Outputs:
        """What a look at the jobs may change."""
        return [
            self.timer, self.notice, self.empty, self.table, self.details, self.head, self.cancel, self.retry,
            self.outcome, self.changed, self.compare, self.publish, self.stages, self.waiting, self.curves,
            self.growth, self.sensitive, self.sensitivity, self.operators, self.log, self.load, self.seen,
        ]  # fmt: skip
