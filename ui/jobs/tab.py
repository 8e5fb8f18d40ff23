"""The Jobs tab: all jobs, live; one of them in detail; publishing what it made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from ui.events import QUICK, RAW
from ui.jobs import views
from ui.jobs.parts import JobParts
from ui.jobs.publish import Publishing, PublishParts, place_publish, wire_publish
from ui.jobs.watching import Watching
from ui.widgets import Leads, markdown

SECONDS = 2.0  # between two looks at what runs


@dataclass
class JobsTab:
    """What other tabs need of this one."""

    parts: JobParts
    publish: PublishParts
    watching: Watching
    publishing: Publishing


def build_jobs(demo: gr.Blocks, tab: gr.Tab, leads: Leads) -> JobsTab:
    """Put the tab's content where the Blocks stands, and wire it; `tab` is looked at anew whenever it is opened.

    What a job made is named in `leads`, for other tabs to open.
    """
    parts, publish = _place(leads)
    watching, publishing = Watching(parts), Publishing(publish, parts.job)
    p, h = parts, watching
    looks: dict[str, Any] = {"fn": h.refresh, "inputs": {p.job, p.seen}, "outputs": p.outputs, **QUICK}
    gr.on([p.timer.tick, p.refresh.click, tab.select], **looks)
    demo.load(h.open, None, [p.job, *p.outputs], **QUICK)
    p.table.select(h.pick, None, [p.job, *p.outputs], **QUICK).then(
        None, None, None, js="() => { budgetZoo.reveal('#job-details'); }", **QUICK
    )
    p.cancel.click(h.cancel, {p.job}, p.outputs, **RAW, concurrency_limit=None)
    p.retry.click(h.retry, {p.job}, p.outputs, **RAW, concurrency_limit=None)
    p.explore.click(h.to_explore, {p.job}, [p.wanted, p.notice], **QUICK)
    p.compare.click(h.to_compare, {p.job}, [p.compared, p.notice], **QUICK)
    p.job.change(None, p.job, None, js="(job) => { budgetZoo.setJob(job); }", **QUICK)
    wire_publish(publish, publishing, p.publish, looks)
    return JobsTab(parts, publish, watching, publishing)


def _place(leads: Leads) -> tuple[JobParts, PublishParts]:
    p: dict[str, Any] = leads._asdict()
    p["timer"] = gr.Timer(SECONDS, active=False)
    p["seen"] = gr.State(None)
    with gr.Column(elem_classes="card", elem_id="jobs-card"):
        with gr.Row(elem_classes="head"):
            markdown("## Jobs")
            p["refresh"] = gr.Button("Refresh", size="sm", elem_id="refresh-jobs", min_width=90)
        p["notice"] = markdown(visible=False, elem_id="jobs-notice", elem_classes="note")
        p["empty"] = markdown("Nothing was started yet. The tab Compress starts a recipe.", elem_classes="quiet")
        p["table"] = gr.Dataframe(
            headers=views.HEADERS,
            datatype="str",
            column_widths=list(views.WIDTHS),
            interactive=False,
            show_label=False,
            buttons=[],
            max_height=360,
            max_chars=40,
            visible=False,
            elem_id="jobs",
        )
        markdown("Click a row to see that job. Jobs go on without this page.", elem_classes="quiet")
    p["job"] = gr.Textbox(visible="hidden", elem_id="job")
    with gr.Column(visible=False, elem_id="job-details") as details:
        p["details"] = details
        with gr.Column(elem_classes="card hero"):
            p["head"] = markdown(elem_id="job-head")
            with gr.Row(elem_id="job-actions"):
                p["cancel"] = gr.Button("Cancel", size="sm", variant="stop", min_width=90, elem_id="cancel-job")
                p["retry"] = gr.Button("Retry", size="sm", min_width=90, elem_id="retry-job")
                p["again"] = gr.Button("Again with changes", size="sm", min_width=150, elem_id="again-job")
            p["stages"] = markdown(elem_id="stages", elem_classes="plain-table")
            p["load"] = markdown(elem_id="load-now", elem_classes="quiet")
        with gr.Column(visible=False, elem_classes="card", elem_id="job-outcome") as outcome:
            p["outcome"] = outcome
            p["changed"] = markdown(elem_id="before-after", elem_classes="plain-table")
            with gr.Row(elem_id="lead-on"):
                p["explore"] = gr.Button("Open in Explore", variant="primary", min_width=150, elem_id="result-explore")
                p["compare"] = gr.Button("Compare with the original", min_width=190, elem_id="result-compare")
                p["publish"] = gr.Button("Publish…", min_width=100, elem_id="publish-job")
        publish = place_publish()
        with gr.Row(equal_height=False, elem_id="job-evidence"):
            with gr.Column(scale=1, min_width=320, elem_classes="card"):
                markdown("## Curves")
                p["waiting"] = markdown("No figures yet.", elem_classes="quiet")
                p["growth"] = gr.Plot(show_label=False, container=False, visible=False, elem_id="growth")
                p["curves"] = gr.Plot(show_label=False, container=False, visible=False, elem_id="curves")
            with gr.Column(scale=1, min_width=320, elem_classes="card"):
                markdown("## Log")
                p["log"] = gr.Textbox(
                    show_label=False, lines=14, max_lines=24, interactive=False, autoscroll=True, elem_id="job-log"
                )
        with gr.Column(visible=False, elem_classes="card", elem_id="job-sensitivity") as sensitive:
            p["sensitive"] = sensitive
            markdown("## Sensitivity to eight bits")
            p["sensitivity"] = gr.Plot(show_label=False, container=False, elem_id="sensitivity")
            with gr.Accordion("As a table", open=False, elem_id="sensitivity-table"):
                p["operators"] = markdown(elem_classes="plain-table")
    return JobParts(**p), publish
