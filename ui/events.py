"""What all events of the page share: values by component, notes, and errors that are told instead of thrown."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

import gradio as gr
from gradio.blocks import Block

from ui import text
from zoo.errors import sentence_of

log = logging.getLogger(__name__)

UNEXPECTED = "Something went wrong that should not have. The program's log says what; the page still works."
Values = Mapping[Block, Any]  # what an event's inputs hold: gradio fills it where they are given as a set
Updates = dict[Any, Any]  # what an event changes, by component
# Components of an event. Gradio's own functions disagree on their type, so none is named here.
Inputs = set[Any]
Outputs = list[Any]
Checkpoint = list[str]  # to pick: title, name, task

# Whatever runs a model queues here, so that no two ever share the processor.
DEVICE: dict[str, Any] = {"concurrency_id": "device", "concurrency_limit": 1}
# Values arrive as the browser sent them: a number being typed is out of range for a moment, which is no error.
RAW: dict[str, Any] = {"preprocess": False, "show_progress": "hidden", "api_visibility": "private"}
QUICK: dict[str, Any] = {**RAW, "queue": False}

P = TypeVar("P")
S = TypeVar("S", bound="Speaker[Any]")
Options = ParamSpec("Options")
Handler = Callable[Concatenate[S, Options], Updates]


def explain(error: Exception) -> str:
    """The sentence to show for an error; an unexpected one goes to the log with its traceback."""
    if said := sentence_of(error):
        return said
    log.error("Unexpected", exc_info=error)
    return UNEXPECTED


def spoken(place: str) -> Callable[[Handler[S, Options]], Handler[S, Options]]:
    """Turn what a handler raises into a note at the component `place` of its parts."""

    def wrap(handler: Handler[S, Options]) -> Handler[S, Options]:
        @wraps(handler)
        def run(self: S, *args: Options.args, **kwargs: Options.kwargs) -> Updates:
            try:
                return handler(self, *args, **kwargs)
            except Exception as error:
                return self.note(place, explain(error))

        return run

    return wrap


class Speaker(Generic[P]):
    """Handlers over some `parts`, which know where to say things."""

    def __init__(self, parts: P):
        self.parts = parts

    @staticmethod
    def nothing(component: Block) -> Updates:
        """Leave everything as it is: gradio wants at least one of the outputs named."""
        return {component: gr.skip()}

    def note(self, place: str, message: str | None) -> Updates:
        """Show a message, or clear the place."""
        component = getattr(self.parts, place)
        return {component: gr.update(value=text.escape(message or ""), visible=bool(message))}
