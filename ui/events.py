"""What all events of the page share: a desk, the components, and errors that are told instead of thrown."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any

import gradio as gr

from ui import text
from ui.desk import Desk
from ui.explore.parts import Parts
from zoo.catalog import Entry
from zoo.errors import UserError

log = logging.getLogger(__name__)

UNEXPECTED = "Something went wrong that should not have. The program's log says what; the page still works."
Updates = dict[Any, Any]
Known = list[str]  # a checkpoint to pick: title, name, task


def explain(error: Exception) -> str:
    """The sentence to show for an error; an unexpected one goes to the log with its traceback."""
    if isinstance(error, UserError):
        return str(error)
    log.error("Unexpected", exc_info=error)
    return UNEXPECTED


def spoken(place: str) -> Callable:
    """Turn what a handler raises into a note at the component `place` of its parts."""

    def wrap(handler: Callable[..., Updates]) -> Callable[..., Updates]:
        @wraps(handler)
        def run(self: Speaker, *args: Any, **kwargs: Any) -> Updates:
            try:
                return handler(self, *args, **kwargs)
            except Exception as error:
                return self.note(place, explain(error))

        return run

    return wrap


class Speaker:
    """Handlers over some `parts`, which know where to say things."""

    def __init__(self, parts: Any):
        self.parts = parts

    @staticmethod
    def nothing(component: Any) -> Updates:
        """Leave everything as it is: gradio wants at least one of the outputs named."""
        return {component: gr.skip()}

    def note(self, place: str, message: str | None) -> Updates:
        """Show a message, or clear the place."""
        component = getattr(self.parts, place)
        return {component: gr.update(value=text.escape(message or ""), visible=bool(message))}


class Handlers(Speaker):
    """The events of one page. `preprocess=False` everywhere, so values arrive as the browser sent them."""

    parts: Parts

    def __init__(self, parts: Parts, desk: Desk, entries: list[Entry], default: str | None):
        super().__init__(parts)
        self.desk, self.default = desk, default
        self.bundled: list[Known] = [[entry.title, entry.name, entry.task] for entry in entries]

    def known(self, loaded: list[Known] | None) -> list[Known]:
        """Everything that can be picked: what is bundled, and what this visitor loaded."""
        return [*self.bundled, *(one for one in loaded or [] if one not in self.bundled)]
