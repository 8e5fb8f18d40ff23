"""The Models tab: the zoo as a table, a card at a click, and the ways from there."""

from __future__ import annotations

import math
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from ui import people
from ui.compare.comparing import LEAST, MOST
from ui.events import QUICK, RAW, Speaker, Updates, spoken
from ui.models import views as modelviews
from ui.reading import NAMES
from ui.widgets import markdown
from zoo import card, library
from zoo.errors import UserError
from zoo.files import read_json

if TYPE_CHECKING:
    from zoo.library import Listing
    from zoo.shelf import Row

FILTERS = {"task": "Task", "method": "Method", "base_model": "Base model", "origin": "From", "int8": "int8"}


@dataclass
class ModelParts:
    """Every component that an event reads or writes; `filters` are in the order of `FILTERS`."""

    banner: gr.Markdown
    notice: gr.Markdown
    search: gr.Textbox
    filters: list[gr.Dropdown]
    most_mb: gr.Textbox
    least_score: gr.Textbox
    most_ms: gr.Textbox
    fetch: gr.Button
    table: gr.Dataframe
    counted: gr.Markdown
    ticked: gr.Dropdown
    compare: gr.Button
    name: gr.Textbox
    detail: gr.Column
    head: gr.Markdown
    explore: gr.Button
    hub: gr.Button
    card: gr.Markdown
    wanted: gr.Textbox
    compared: gr.Textbox

    @property
    def asked(self) -> list[Any]:
        """What the table is chosen by."""
        return [self.search, *self.filters, self.most_mb, self.least_score, self.most_ms, self.ticked]

    @property
    def listed(self) -> list[Any]:
        return [self.table, self.counted, self.notice]


class Browsing(Speaker):
    """Events of the tab. Only `fetch` asks the Hub; everything else reads what is known."""

    parts: ModelParts

    @spoken("notice")
    def open(self, profile: gr.OAuthProfile | None, *asked: Any) -> Updates:
        """The tab is opened: what is known, filters for it, no network."""
        return self._list(False, profile, asked)

    @spoken("notice")
    def fetch(self, profile: gr.OAuthProfile | None, *asked: Any) -> Updates:
        """Ask the Hub too."""
        return self._list(True, profile, asked)

    @spoken("notice")
    def choose(self, profile: gr.OAuthProfile | None, *asked: Any) -> Updates:
        """Search or filters changed."""
        return self._table(profile, asked) | self.note("notice", None)

    @spoken("notice")
    def click(self, event: gr.SelectData, profile: gr.OAuthProfile | None, *asked: Any) -> Updates:
        """A cell was clicked: the first column ticks, the others open the card."""
        row = event.row_value or []
        if len(row) <= modelviews.NAME:
            return self.nothing(self.parts.name)
        name, place = str(row[modelviews.NAME]), event.index
        column = place[1] if isinstance(place, list | tuple) and len(place) > 1 else modelviews.NAME
        if column != modelviews.TICK:
            return self._open(name, profile)
        ticked, told = modelviews.toggle(list(asked[-1] or []), name, MOST)
        updates = self._table(profile, (*asked[:-1], ticked))
        return updates | {self.parts.ticked: ticked} | self.note("notice", told)

    @spoken("notice")
    def to_explore(self, name: str | None, profile: gr.OAuthProfile | None) -> Updates:
        """What the Explore tab shall load."""
        return {self.parts.wanted: stamped([_find(name, profile).name])} | self.note("notice", None)

    @spoken("notice")
    def to_compare(self, ticked: list[str] | None, profile: gr.OAuthProfile | None) -> Updates:
        """What the Compare tab shall hold."""
        names = [name for name in ticked or [] if isinstance(name, str)]
        if not LEAST <= len(names) <= MOST:
            raise UserError(f"Tick {LEAST} to {MOST} models first.")
        tasks = {name: _find(name, profile).task for name in names}
        if len({task for task in tasks.values() if task}) > 1:
            told = ", ".join(f"{name} ({task or 'not known'})" for name, task in tasks.items())
            raise UserError(f"Only models for the same task can be compared: {told}.")
        return {self.parts.compared: stamped(names)} | self.note("notice", None)

    def _open(self, name: str, profile: gr.OAuthProfile | None) -> Updates:
        p, row = self.parts, _find(name, profile)
        text = _card(row)
        # The head says the title already.
        shown = re.sub(r"\A# .*\n+", "", card.body(text)) if text else "*This model's card is on its Hub page.*"
        return {
            p.name: row.name,
            p.detail: gr.update(visible=True),
            p.head: modelviews.describe(row, _provenance(row)),
            p.card: shown,
            p.explore: gr.update(interactive=row.task in (*NAMES, "")),
            p.hub: gr.update(link=row.url or None, visible=bool(row.url)),
            **self.note("notice", None),
        }

    def _list(self, refresh: bool, profile: gr.OAuthProfile | None, asked: tuple[Any, ...]) -> Updates:
        p, found = self.parts, listing(profile, refresh=refresh)
        updates: Updates = {}
        for key, component in zip(FILTERS, p.filters, strict=True):
            if key != "int8":
                updates[component] = gr.update(choices=modelviews.options(found.rows, key))
        updates[p.ticked] = gr.update(choices=[row.name for row in found.rows])
        updates |= self._table(profile, asked)
        return updates | self.note("banner", found.banner) | self.note("notice", None)

    def _table(self, profile: gr.OAuthProfile | None, asked: tuple[Any, ...]) -> Updates:
        search, *picked, most_mb, least_score, most_ms, ticked = asked
        wanted: dict[str, Any] = {
            key: value for key, value in zip(FILTERS, picked, strict=True) if value and value != modelviews.ANY
        }
        if "int8" in wanted:
            wanted["int8"] = wanted["int8"] == "yes"
        megabytes = _number(most_mb)
        found = listing(
            profile,
            text=search or "",
            max_bytes=None if megabytes is None else int(1e6 * megabytes),
            min_score=_number(least_score),
            max_p50_ms=_number(most_ms),
            **wanted,
        )
        p, count = self.parts, len(found.rows)
        data = modelviews.tabulate(found.rows, ticked or [])
        return {p.table: {"headers": modelviews.HEADERS, "data": data}, p.counted: f"{count} model{'s' * (count != 1)}"}


def stamped(names: list[str]) -> str:
    """Names for another tab, and a moment, so that the same names a second time are a change too."""
    return "\n".join([str(time.time_ns()), *names])


def unstamped(text: str | None) -> list[str]:
    """The names of `stamped`."""
    return (text or "").split("\n")[1:]


def listing(profile: gr.OAuthProfile | None, **asked: Any) -> Listing:
    """What this person may see of the catalogue, as `zoo.library.listing` finds it."""
    person = people.who(profile)
    return library.listing(owner=None if person.trusted else person.name, **asked)


def _find(name: str | None, profile: gr.OAuthProfile | None) -> Row:
    """A row by its name.

    Raises:
        UserError: there is none.
    """
    row = next((row for row in listing(profile).rows if row.name == name), None)
    if row is None:
        raise UserError("Pick a model in the table first." if not name else f"There is no model {name[:80]} here.")
    return row


def _card(row: Row) -> str:
    """The card's text where it lies on this machine, empty elsewhere."""
    path = Path(row.folder) / "README.md" if row.folder else None
    return path.read_text(encoding="utf-8", errors="replace") if path and path.is_file() else ""


def _provenance(row: Row) -> dict[str, Any]:
    """Where a model of this machine comes from; empty elsewhere."""
    path = Path(row.folder) / "entry.json" if row.folder else None
    stated = read_json(path) if path and path.is_file() else {}
    found = stated.get("provenance") if isinstance(stated, dict) else None
    return found if isinstance(found, dict) else {}


def _number(raw: Any) -> float | None:
    """What a bound says, None where it says nothing.

    Raises:
        UserError: it is no number.
    """
    text = str(raw or "").strip().replace(",", ".")
    try:
        found = float(text) if text else None
    except ValueError:
        found = math.nan
    if found is not None and not math.isfinite(found):
        raise UserError(f"A bound is a number, not “{text[:20]}”.")
    return found


def build_models(demo: gr.Blocks, tab: gr.Tab) -> tuple[ModelParts, Browsing]:
    """Put the tab's content where the Blocks stands, and wire it.

    `wanted` changes to the name that Explore shall open, `compared` to the names that Compare shall hold.
    """
    p = _place()
    h = Browsing(p)
    everything = [*p.filters, p.ticked, *p.listed, p.banner]
    gr.on([demo.load, tab.select], h.open, p.asked, everything, **QUICK)
    slow: dict[str, Any] = {**RAW, "show_progress": "minimal", "concurrency_limit": None}
    p.fetch.click(h.fetch, p.asked, everything, **slow)
    # `change`, not `input`: pasted and cleared text counts too.
    changed = [p.search.change, p.most_mb.change, p.least_score.change, p.most_ms.change, p.ticked.input]
    changed += [component.input for component in p.filters]
    gr.on(changed, h.choose, p.asked, p.listed, **QUICK, trigger_mode="always_last")
    opened = [p.name, p.detail, p.head, p.card, p.explore, p.hub, p.ticked, *p.listed]
    p.table.select(h.click, p.asked, opened, **QUICK)
    p.explore.click(h.to_explore, p.name, [p.wanted, p.notice], **QUICK)
    p.compare.click(h.to_compare, p.ticked, [p.compared, p.notice], **QUICK)
    return p, h


def _place() -> ModelParts:
    p: dict[str, Any] = {}
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
            p["filters"] = [
                gr.Dropdown(
                    [modelviews.ANY, "yes", "no"] if key == "int8" else [modelviews.ANY],
                    value=modelviews.ANY,
                    label=label,
                    min_width=120,
                    elem_id=f"filter-{key.replace('_', '-')}",
                )
                for key, label in FILTERS.items()
            ]
            # Text, since an empty number box sends 0.
            bounds = (("most_mb", "At most MB"), ("least_score", "Score from"), ("most_ms", "At most ms"))
            for key, label in bounds:
                p[key] = gr.Textbox(
                    label=label, max_lines=1, max_length=12, min_width=90, elem_id=f"filter-{key.replace('_', '-')}"
                )
        p["table"] = gr.Dataframe(
            headers=modelviews.HEADERS,
            datatype=modelviews.TYPES,  # pyright: ignore[reportArgumentType]
            column_widths=list(modelviews.WIDTHS),
            interactive=False,
            show_label=False,
            buttons=[],
            max_height=420,
            max_chars=48,
            elem_id="models",
        )
        with gr.Row(elem_classes="head"):
            p["counted"] = markdown(elem_id="models-counted", elem_classes="quiet")
            markdown("Click a row for its card, the first column to compare.", elem_classes="quiet")
        with gr.Row(elem_classes="steps"):
            p["ticked"] = gr.Dropdown(
                [], value=[], multiselect=True, max_choices=MOST, label="To compare", scale=4, min_width=220,
                elem_id="ticked",
            )  # fmt: skip
            p["compare"] = gr.Button("Compare these", min_width=140, scale=1, elem_id="to-compare")
    p["name"] = gr.Textbox(visible="hidden", elem_id="model-name")
    p["wanted"] = gr.Textbox(visible="hidden", elem_id="wanted")
    p["compared"] = gr.Textbox(visible="hidden", elem_id="compared")
    with gr.Column(visible=False, elem_classes="card", elem_id="model-detail") as detail:
        p["detail"] = detail
        with gr.Row(elem_classes="head"):
            p["head"] = markdown(elem_id="model-head")
            with gr.Row(elem_id="model-actions"):
                p["explore"] = gr.Button("Open in Explore", size="sm", variant="primary", elem_id="to-explore")
                p["hub"] = gr.Button("Hub page", size="sm", link_target="_blank", visible=False, elem_id="to-hub")
        p["card"] = markdown(elem_id="model-card", elem_classes=["foreign", "plain-table"])
    return ModelParts(**p)
