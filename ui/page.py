"""The whole page: the tabs, and what leads from one to another."""

from __future__ import annotations

import os
from typing import Any

import gradio as gr

from ui import api, people
from ui.checkpoints import unstamped
from ui.compare.tab import CompareTab, build_compare
from ui.compress.tab import CompressTab, build_compress
from ui.desk import Desk
from ui.events import QUICK, RAW, Updates, Values
from ui.explore.tab import ExploreTab, build_explore
from ui.jobs.tab import JobsTab, build_jobs
from ui.models.tab import ModelsTab, build_models
from ui.widgets import place_leads, place_top
from zoo.settings import get_settings

TABS = {"explore": "Explore", "compare": "Compare", "compress": "Compress", "jobs": "Jobs", "models": "Models"}


def build(desk: Desk) -> gr.Blocks:
    """The page, not yet served."""
    # What was uploaded and read is of no use a day later.
    with gr.Blocks(title="Budget Zoo", analytics_enabled=False, delete_cache=(3600, 86400)) as demo:
        top, leads = place_top(can_sign_in()), place_leads()
        with gr.Tabs(elem_id="tabs") as tabs:
            at = {}
            with gr.Tab(TABS["explore"], id="explore", elem_id="tab-explore") as at["explore"]:
                explore = build_explore(demo, desk, top)
            with gr.Tab(TABS["compare"], id="compare", elem_id="tab-compare") as at["compare"]:
                compare = build_compare(demo, desk)
            with gr.Tab(TABS["compress"], id="compress", elem_id="tab-compress") as at["compress"]:
                compress = build_compress(demo, at["compress"])
            with gr.Tab(TABS["jobs"], id="jobs", elem_id="tab-jobs") as at["jobs"]:
                jobs = build_jobs(demo, at["jobs"], leads)
            with gr.Tab(TABS["models"], id="models", elem_id="tab-models") as at["models"]:
                models = build_models(demo, at["models"], leads)
        for name, tab in at.items():
            tab.select(None, None, None, js=f"() => {{ budgetZoo.setTab('{name}'); }}", **QUICK)
        demo.load(open_tab, None, tabs, **QUICK).then(None, None, None, js="() => { budgetZoo.open(); }", **QUICK)
        _join(tabs, explore, compare, compress, jobs, models)
        api.add_look_ups()
    return demo


def can_sign_in() -> bool:
    """Whether a sign-in would be one: off a Space gradio's button hands this machine's account to every visitor."""
    return get_settings().on_space and bool(os.environ.get("OAUTH_CLIENT_ID")) and not people.read_only()


def open_tab(request: gr.Request) -> Any:
    """The tab that the link names."""
    name = str(request.query_params.get("tab") or "")
    return gr.Tabs(selected=name) if name in TABS else gr.skip()


def _join(
    tabs: gr.Tabs, explore: ExploreTab, compare: CompareTab, compress: CompressTab, jobs: JobsTab, models: ModelsTab
) -> None:
    """Events that begin in one tab and end in another."""
    wanted, compared, started = models.parts.wanted, models.parts.compared, compress.parts.started
    reads, job, choices = compare.parts.reads, jobs.parts.job, compress.parts.choices

    def go_explore(values: Values) -> Updates:
        names = unstamped(values[wanted])
        return {explore.parts.other: names[0] if names else "", tabs: gr.Tabs(selected="explore")}

    def go_compare(values: Values) -> Updates:
        updates = compare.comparing.take(unstamped(values[compared]), values[reads])
        return {**updates, tabs: gr.Tabs(selected="compare")}

    def go_jobs(values: Values, profile: gr.OAuthProfile | None) -> Updates:
        job_id = values[started]
        if not job_id:
            return {tabs: gr.skip()}
        updates = jobs.watching.refresh({job: job_id, jobs.parts.seen: None}, profile)
        return {**updates, job: job_id, tabs: gr.Tabs(selected="jobs")}

    def again(values: Values, profile: gr.OAuthProfile | None) -> Updates:
        return compress.filling.again(values[job], values[choices], profile)

    def go_compress() -> Any:
        return gr.Tabs(selected="compress")

    explore.load_after(wanted.change(go_explore, {wanted}, [explore.parts.other, tabs], **QUICK))
    compared.change(go_compare, {compared, reads}, [*compare.parts.taken, tabs], **RAW, concurrency_limit=None)
    started.change(go_jobs, {started}, [*jobs.parts.outputs, job, tabs], **QUICK)
    jobs.parts.again.click(again, {job, choices}, compress.parts.filled, **RAW).then(go_compress, None, tabs, **QUICK)
