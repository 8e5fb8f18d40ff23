"""The whole page: the tabs, and what leads from one to another."""

from __future__ import annotations

import os
from typing import Any

import gradio as gr

from ui import api, people
from ui.compare.comparing import Comparing
from ui.compare.tab import CompareParts, build_compare
from ui.compress.composing import Composing
from ui.compress.parts import ComposeParts
from ui.compress.tab import build_compress
from ui.desk import Desk
from ui.events import QUICK, RAW, Updates
from ui.explore.tab import Handlers, build_explore
from ui.jobs.tab import JobsTab, build_jobs
from ui.models.tab import ModelParts, build_models, unstamped
from ui.widgets import place_top
from zoo.errors import UserError
from zoo.settings import get_settings

TABS = {"explore": "Explore", "compare": "Compare", "compress": "Compress", "jobs": "Jobs", "models": "Models"}


def build(desk: Desk) -> gr.Blocks:
    """The page, not yet served."""
    # What was uploaded and read is of no use a day later.
    with gr.Blocks(title="Budget Zoo", analytics_enabled=False, delete_cache=(3600, 86400)) as demo:
        top = place_top(can_sign_in())
        with gr.Tabs(elem_id="tabs") as tabs:
            at = {}
            with gr.Tab(TABS["explore"], id="explore", elem_id="tab-explore") as at["explore"]:
                explore = build_explore(demo, desk, top)
            with gr.Tab(TABS["compare"], id="compare", elem_id="tab-compare") as at["compare"]:
                compare, comparing = build_compare(desk)
            with gr.Tab(TABS["compress"], id="compress", elem_id="tab-compress") as at["compress"]:
                compress, composing = build_compress(demo)
            with gr.Tab(TABS["jobs"], id="jobs", elem_id="tab-jobs") as at["jobs"]:
                jobs = build_jobs(demo, at["jobs"])
            with gr.Tab(TABS["models"], id="models", elem_id="tab-models") as at["models"]:
                models, _ = build_models(demo, at["models"])
        for name, tab in at.items():
            tab.select(None, None, None, js=f"() => {{ budgetZoo.setTab('{name}'); }}", **QUICK)
        demo.load(open_tab, None, tabs, **QUICK)
        _join(tabs, explore, compare, comparing, compress, composing, jobs, models)
        api.add_look_ups()
    return demo


def can_sign_in() -> bool:
    """Whether a sign-in would be one: off a Space gradio's button hands this machine's account to every visitor."""
    return get_settings().on_space and bool(os.environ.get("OAUTH_CLIENT_ID")) and not people.read_only()


def open_tab(request: gr.Request) -> Any:
    """The tab that the link names."""
    wanted = str(request.query_params.get("tab") or "")
    return gr.Tabs(selected=wanted) if wanted in TABS else gr.skip()


def _join(
    tabs: gr.Tabs,
    explore: Handlers,
    compare: CompareParts,
    comparing: Comparing,
    compress: ComposeParts,
    composing: Composing,
    jobs: JobsTab,
    models: ModelParts,
) -> None:
    """Events that begin in one tab and end in another."""

    def go_explore(wanted: str | None) -> Updates:
        return {explore.parts.other: (unstamped(wanted) or [""])[0], tabs: gr.Tabs(selected="explore")}

    def go_compare(compared: str | None, reads: str | None) -> Updates:
        names = unstamped(compared)
        choices = [(name, name) for name in names]
        known = [(title, name) for title, name, _ in comparing.known if name not in names]
        updates: Updates = {compare.many: max(2, len(names)), tabs: gr.Tabs(selected="compare")}
        for i, (row, model, budget) in enumerate(zip(compare.rows, compare.models, compare.budgets, strict=True)):
            updates[row] = gr.update(visible=i < len(names))
            value = names[i] if i < len(names) else (names or [None])[0]
            updates[model] = gr.update(choices=[*choices, *known], value=value)
            updates[budget] = 100
        try:
            kind = comparing.set_kind(names[0], reads, [None] * len(compare.models[1:])) if names else {}
        except UserError as error:
            return updates | comparing.note("notice", str(error))
        boxes = {key: value for key, value in kind.items() if key not in compare.models}
        return updates | boxes | comparing.note("notice", None)

    def go_jobs(job_id: str | None, profile: gr.OAuthProfile | None) -> Updates:
        if not job_id:
            return {tabs: gr.skip()}
        shown = jobs.watching.refresh(job_id, None, profile)
        return {**shown, jobs.parts.job: job_id, tabs: gr.Tabs(selected="jobs")}

    def go_compress() -> Any:
        return gr.Tabs(selected="compress")

    explore.load_after(models.wanted.change(go_explore, models.wanted, [explore.parts.other, tabs], **QUICK))
    models.compared.change(
        go_compare,
        [models.compared, compare.reads],
        [compare.many, *compare.rows, *compare.pairs, *compare.kind[len(compare.models) - 1 :], compare.notice, tabs],
        **RAW,
        concurrency_limit=None,
    )
    compress.started.change(go_jobs, compress.started, [*jobs.parts.shown(), jobs.parts.job, tabs], **QUICK)
    filled = [
        compress.form, compress.about, compress.faults, compress.preset, compress.choices, compress.source,
        compress.task, compress.data, compress.walk, compress.notice,
    ]  # fmt: skip
    jobs.parts.again.click(composing.again, [jobs.parts.job, compress.choices], filled, **RAW).then(
        go_compress, None, tabs, **QUICK
    )
