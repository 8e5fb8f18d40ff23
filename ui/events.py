"""What all events of the page share: a desk, the components, and errors that are told instead of thrown."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any

import gradio as gr

from ui import text
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


# Whatever runs a model queues here, so that no two ever share the processor.
DEVICE: dict[str, Any] = {"concurrency_id": "device", "concurrency_limit": 1}


# Values arrive as the browser sent them: a number being typed is out of range for a moment, which is no error.
RAW: dict[str, Any] = {"preprocess": False, "show_progress": "hidden", "api_visibility": "private"}

QUICK: dict[str, Any] = {**RAW, "queue": False}
