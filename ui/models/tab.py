"""The Models tab: the zoo as a table, a card at a click, and the ways from there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from ui.compare.contest import MOST
from ui.events import QUICK, RAW
from ui.models import views
from ui.models.browsing import Browsing
from ui.models.parts import FILTERS, ModelParts
from ui.widgets import Leads, markdown


@dataclass
class ModelsTab:
    """What other tabs need of this one."""

    parts: ModelParts
    browsing: Browsing


def build_models(demo: gr.Blocks, tab: gr.Tab, leads: Leads) -> ModelsTab:
    """Put the tab's content where the Blocks stands, and wire it; what other tabs shall open is named in `leads`."""
    p = _place(leads)
    h = Browsing(p)
    everything = [*p.filters.values(), p.ticked, *p.listed, p.banner]
    gr.on([demo.load, tab.select], h.open, p.query, everything, **QUICK)
    slow: dict[str, Any] = {**RAW, "show_progress": "minimal", "concurrency_limit": None}
    p.fetch.click(h.fetch, p.query, everything, **slow)
    # `change`, not `input`: pasted and cleared text counts too.
    changed = [p.search.change, p.most_mb.change, p.least_score.change, p.most_ms.change, p.ticked.input]
    changed += [component.input for component in p.filters.values()]
    gr.on(changed, h.choose, p.query, p.listed, **QUICK, trigger_mode="always_last")
    p.clear.click(h.clear, {p.ticked}, [*p.bounds, *p.listed], **QUICK)
    opened = [p.name, p.detail, p.head, p.card, p.explore, p.hub, p.ticked, *p.listed]
    p.table.select(h.click, p.query, opened, **QUICK)
    demo.load(h.arrive, None, opened, **QUICK)
    p.name.change(None, p.name, None, js="(name) => { budgetZoo.setCard(name); }", **QUICK)
    p.explore.click(h.to_explore, {p.name}, [p.wanted, p.notice], **QUICK)
    p.compare.click(h.to_compare, {p.ticked}, [p.compared, p.notice], **QUICK)
    return ModelsTab(p, h)


def _place(leads: Leads) -> ModelParts:
    p: dict[str, Any] = leads._asdict()
    with gr.Column(elem_classes="card", elem_id="models-card"):
        with gr.Row(elem_classes="head"):
            markdown("## The zoo")
            p["fetch"] = gr.Button("Look on the Hub", size="sm", min_width=130, elem_id="fetch-models")
        p["banner"] = markdown(visible=False, elem_id="models-banner", elem_classes="note")
        p["notice"] = markdown(visible=False, elem_id="models-notice", elem_classes="note")
        with gr.Row(elem_classes="filters"):
            p["search"] = gr.Textbox(
                label="Search", max_lines=1, max_length=100, min_width=200, scale=2, elem_id="model-search"
            )
            p["filters"] = {
                key: gr.Dropdown(
                    [views.ANY, "yes", "no"] if key == "int8" else [views.ANY],
                    value=views.ANY,
                    label=label,
                    min_width=120,
                    elem_id=f"filter-{key.replace('_', '-')}",
                )
                for key, label in FILTERS.items()
            }
            # Text, since an empty number box sends 0.
            bounds = (("most_mb", "At most MB"), ("least_score", "Score from"), ("most_ms", "At most ms"))
            for key, label in bounds:
                p[key] = gr.Textbox(
                    label=label, max_lines=1, max_length=12, min_width=90, elem_id=f"filter-{key.replace('_', '-')}"
                )
        p["table"] = gr.Dataframe(
            headers=views.HEADERS,
            datatype=views.TYPES,
            column_widths=list(views.WIDTHS),
            interactive=False,
            show_label=False,
            buttons=[],
            max_height=420,
            max_chars=48,
            elem_id="models",
        )
        with gr.Row(elem_classes="head"):
            p["counted"] = markdown(elem_id="models-counted", elem_classes="quiet")
            p["clear"] = gr.Button(
                "Clear the filters", size="sm", min_width=130, visible=False, elem_id="clear-filters"
            )
            markdown("Click a row for its card, the first column to compare.", elem_classes="quiet")
        with gr.Row(elem_classes="steps"):
            p["ticked"] = gr.Dropdown(
                [], value=[], multiselect=True, max_choices=MOST, label="To compare", scale=4, min_width=220,
                elem_id="ticked",
            )  # fmt: skip
            p["compare"] = gr.Button("Compare these", min_width=140, scale=1, elem_id="to-compare")
    p["name"] = gr.Textbox(visible="hidden", elem_id="model-name")
    with gr.Column(visible=False, elem_classes="card", elem_id="model-detail") as detail:
        p["detail"] = detail
        with gr.Row(elem_classes="head"):
            p["head"] = markdown(elem_id="model-head")
            with gr.Row(elem_id="model-actions"):
                p["explore"] = gr.Button("Open in Explore", size="sm", variant="primary", elem_id="to-explore")
                p["hub"] = gr.Button("Hub page", size="sm", link_target="_blank", visible=False, elem_id="to-hub")
        p["card"] = markdown(elem_id="model-card", elem_classes=["foreign", "plain-table"])
    return ModelParts(**p)
