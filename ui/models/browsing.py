"""Events of the Models tab: the table, a card, and the ways from there to other tabs."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from ui import people
from ui.checkpoints import stamped
from ui.compare.contest import LEAST, MOST
from ui.events import Speaker, Updates, Values, spoken
from ui.models import views
from ui.models.parts import ModelParts
from ui.reading import KINDS
from zoo import card, catalog, library
from zoo.errors import UserError
from zoo.library import Listing, Query
from zoo.shelf import Row


class Browsing(Speaker[ModelParts]):
    """Events of the tab. Only `fetch` asks the Hub; everything else reads what is known."""

    @spoken("notice")
    def open(self, values: Values, profile: gr.OAuthProfile | None) -> Updates:
        """The tab is opened: what is known, filters for it, no network."""
        return self._list(values, profile, refresh=False)

    @spoken("notice")
    def fetch(self, values: Values, profile: gr.OAuthProfile | None) -> Updates:
        """Ask the Hub too."""
        return self._list(values, profile, refresh=True)

    @spoken("notice")
    def choose(self, values: Values, profile: gr.OAuthProfile | None) -> Updates:
        """Search or filters changed."""
        return self._table(values, profile) | self.note("notice", None)

    @spoken("notice")
    def clear(self, values: Values, profile: gr.OAuthProfile | None) -> Updates:
        """The way back from a table that holds nothing: all models."""
        p = self.parts
        empty: Updates = dict.fromkeys((p.search, p.most_mb, p.least_score, p.most_ms), "")
        empty |= dict.fromkeys(p.filters.values(), views.ANY)
        return empty | self._table({**values, **empty}, profile) | self.note("notice", None)

    @spoken("notice")
    def click(self, values: Values, event: gr.SelectData, profile: gr.OAuthProfile | None) -> Updates:
        """A cell was clicked: the first column ticks, the others open the card."""
        p, row = self.parts, event.row_value or []
        if len(row) <= views.NAME:
            return self.nothing(p.name)
        name, place = str(row[views.NAME]), event.index
        column = place[1] if isinstance(place, list | tuple) and len(place) > 1 else views.NAME
        if column != views.TICK:
            return self._open(name, profile)
        ticked, refusal = views.toggle(list(values[p.ticked] or []), name, MOST)
        updates = self._table({**values, p.ticked: ticked}, profile)
        return updates | {p.ticked: ticked} | self.note("notice", refusal)

    @spoken("notice")
    def arrive(self, request: gr.Request, profile: gr.OAuthProfile | None) -> Updates:
        """The page opens: the card that its link names."""
        name = str(request.query_params.get("card") or "")
        return self._open(name, profile) if name else self.nothing(self.parts.name)

    @spoken("notice")
    def to_explore(self, values: Values, profile: gr.OAuthProfile | None) -> Updates:
        """What the Explore tab shall load."""
        p = self.parts
        return {p.wanted: stamped([find(values[p.name], profile).name])} | self.note("notice", None)

    @spoken("notice")
    def to_compare(self, values: Values, profile: gr.OAuthProfile | None) -> Updates:
        """What the Compare tab shall hold."""
        names = [name for name in values[self.parts.ticked] or [] if isinstance(name, str)]
        if not LEAST <= len(names) <= MOST:
            raise UserError(f"Tick {LEAST} to {MOST} models first.")
        tasks = {name: find(name, profile).task for name in names}
        if len({task for task in tasks.values() if task}) > 1:
            each = ", ".join(f"{name} ({task or 'not known'})" for name, task in tasks.items())
            raise UserError(f"Only models for the same task can be compared: {each}.")
        return {self.parts.compared: stamped(names)} | self.note("notice", None)

    def _open(self, name: str, profile: gr.OAuthProfile | None) -> Updates:
        p, row = self.parts, find(name, profile)
        text = _card(row)
        # The head says the title already.
        body = re.sub(r"\A# .*\n+", "", card.body(text)) if text else "*This model's card is on its Hub page.*"
        return {
            p.name: row.name,
            p.detail: gr.update(visible=True),
            p.head: views.describe(row, catalog.stated(Path(row.folder)) if row.folder else None, body),
            p.card: body,
            p.explore: gr.update(interactive=row.task in (*KINDS, "")),
            p.hub: gr.update(link=row.url or None, visible=bool(row.url)),
            **self.note("notice", None),
        }

    def _list(self, values: Values, profile: gr.OAuthProfile | None, refresh: bool) -> Updates:
        p, everything = self.parts, listing(profile, Query(), refresh)
        updates: Updates = {
            component: gr.update(choices=views.options(everything.rows, key))
            for key, component in p.filters.items()
            if key != "int8"
        }
        updates[p.ticked] = gr.update(choices=[row.name for row in everything.rows])
        updates |= self._table(values, profile)
        return updates | self.note("banner", everything.banner) | self.note("notice", None)

    def _table(self, values: Values, profile: gr.OAuthProfile | None) -> Updates:
        p = self.parts
        picked = {key: values[component] for key, component in p.filters.items()}
        options: dict[str, Any] = {key: value for key, value in picked.items() if value and value != views.ANY}
        if "int8" in options:
            options["int8"] = options["int8"] == "yes"
        megabytes = _number(values[p.most_mb])
        query = Query(
            text=values[p.search] or "",
            max_bytes=None if megabytes is None else int(1e6 * megabytes),
            min_score=_number(values[p.least_score]),
            max_p50_ms=_number(values[p.most_ms]),
            **options,
        )
        rows = listing(profile, query).rows
        data = views.tabulate(rows, values[p.ticked] or [])
        count = f"{len(rows)} model{'s' * (len(rows) != 1)}"
        if not rows:
            count += ": nothing fits all of the filters together."
        return {
            p.table: {"headers": views.HEADERS, "data": data},
            p.counted: count,
            p.clear: gr.update(visible=not rows),
        }


def listing(profile: gr.OAuthProfile | None, query: Query, refresh: bool = False) -> Listing:
    """What this person may see of the catalogue, as `zoo.library.listing` finds it."""
    person = people.who(profile)
    return library.listing(replace(query, owner=None if person.trusted else person.name), refresh)


def find(name: str | None, profile: gr.OAuthProfile | None) -> Row:
    """A row by its name.

    Raises:
        UserError: there is none.
    """
    row = next((row for row in listing(profile, Query()).rows if row.name == name), None)
    if row is None:
        raise UserError("Pick a model in the table first." if not name else f"There is no model {name[:80]} here.")
    return row


def _card(row: Row) -> str:
    """The card's text where it lies on this machine, empty elsewhere."""
    path = Path(row.folder) / "README.md" if row.folder else None
    return path.read_text(encoding="utf-8", errors="replace") if path and path.is_file() else ""


def _number(raw: object) -> float | None:
    """What a bound says, None where it says nothing.

    Raises:
        UserError: it is no number.
    """
    text = str(raw or "").strip().replace(",", ".")
    try:
        bound = float(text) if text else None
    except ValueError:
        bound = math.nan
    if bound is not None and not math.isfinite(bound):
        raise UserError(f"A bound is a number, not “{text[:20]}”.")
    return bound
