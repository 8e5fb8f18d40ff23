"""Shared by the tests of the page's events: who visits, what an event sends, and what an update shows."""

from __future__ import annotations

import asyncio
import html
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import Any
from urllib.parse import urlencode

import gradio as gr
from starlette.requests import Request

from compress.recipe import load as recipe
from ui.compress import form

PRESET = "static_int8"


def visitor(host: str = "127.0.0.1", asked: str = "localhost:7860", **query: str) -> gr.Request:
    """A request of the visitor `ann`, at an address, who asked for a host by this name, for a link with this query."""
    headers = [(b"host", asked.encode())]
    scope = {"type": "http", "query_string": urlencode(query).encode(), "client": (host, 80), "headers": headers}
    return gr.Request(Request(scope), session_hash="ann")


def profile_of(name: str) -> gr.OAuthProfile:
    """The Hub account of who signed in."""
    return gr.OAuthProfile({"name": name, "preferred_username": name, "profile": "", "picture": ""})


def selected(index: Any = None, row: list[str] | None = None) -> gr.SelectData:
    """A click on a place of a plot or a cell of a table."""
    return gr.SelectData(None, {"index": index, "value": None, "row_value": row})


def _named(parts: Any) -> Iterator[tuple[str, Any]]:
    """Components by name: `models0` in a list, `filters_task` in a dictionary, those of `states` by their own."""
    for each in fields(parts):
        value = getattr(parts, each.name)
        if is_dataclass(value):
            yield from _named(value)
        elif isinstance(value, list):
            yield from ((f"{each.name}{i}", one) for i, one in enumerate(value))
        elif isinstance(value, dict):
            yield from ((f"{each.name}_{key}", one) for key, one in value.items())
        else:
            yield each.name, value


class Driver:
    """Calls handlers as gradio does: with what the event's own inputs hold, by component.

    Args:
        demo: where the events are.
        parts: of the tab.
        defaults: what a component holds by name unless the call says otherwise; None for all others.
        others: components of other tabs that these events read.
    """

    def __init__(self, demo: gr.Blocks, parts: Any, defaults: Mapping[str, Any] | None = None, **others: Any):
        self.demo, self.defaults = demo, dict(defaults or {})
        self.names = {component: name for name, component in (*_named(parts), *others.items())}

    def values(self, handler: Callable[..., Any], **changes: Any) -> dict[Any, Any]:
        """What the event of a handler sends; a name that is none of its inputs is refused."""
        event = next(event for event in self.demo.fns.values() if event.fn == handler)
        assert event.inputs_as_dict, "an event that reads components reads them by name"
        inputs = {component: self.names[component] for component in event.inputs}
        assert set(changes) <= set(inputs.values()), set(changes) - set(inputs.values())
        sent = self.defaults | changes
        return {component: sent.get(name) for component, name in inputs.items()}

    def send(self, handler: Callable[..., Any], *injected: Any, **changes: Any) -> Any:
        """What the handler updates; `injected` is what gradio adds: request, click, profile, token."""
        return handler(self.values(handler, **changes), *injected)


@contextmanager
def loops_closed() -> Iterator[None]:
    """Gradio makes event loops for its locks and leaves them open."""
    loops: list[asyncio.AbstractEventLoop] = []
    make = asyncio.new_event_loop

    def new() -> asyncio.AbstractEventLoop:
        loops.append(make())
        return loops[-1]

    asyncio.new_event_loop = new
    try:
        yield
    finally:
        asyncio.new_event_loop = make
        asyncio.set_event_loop(None)
        for loop in loops:
            loop.close()


def contents(preset: str = PRESET, **changes: Any) -> dict[str, Any]:
    """What the browser says that the recipe's form holds, with some keys of this preset changed."""
    whole = recipe.load(preset)
    values = form.spread(recipe.KINDS[whole.kind], whole.model_dump(mode="json"))
    changed = {key.replace("__", "."): raw for key, raw in changes.items()}
    assert set(changed) <= set(values)
    return {"kind": whole.kind, "stamp": 1, "values": values | changed, "faults": {}}


def shown(updates: Mapping[Any, Any], component: Any) -> Any:
    """The value that an update gives a component."""
    update = updates[component]
    return update["value"] if isinstance(update, dict) and "value" in update else update


def words(updates: Mapping[Any, Any], component: Any) -> str:
    """A note's text without entities."""
    return html.unescape(str(shown(updates, component)))
