"""An endpoint as gradio's client and MCP should see it: with the types and the words of its function."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any, cast, get_type_hints

from gradio.components import Component
from gradio.context import get_blocks_context
from gradio.events import api

# What parameters of several endpoints mean; each docstring tells its own.
SHARED = {
    "model": "A bundled name, a folder of this machine, or a Hub id, owner/name or owner/name@revision.",
    "budget": "At most so much, in `unit`; left out, as the page opens: the cheapest that loses at most one point.",
    "unit": "Of the budget: macs (percent of full length), ms, speedup (at least), or loss (points of the metric).",
    "compare": "Whether full length, in fp32 where there are such weights, is asked too: that takes longer.",
    "engine": "What runs the model: onnxruntime, openvino, torch or another one that the entry has.",
}


def publish(function: Callable[..., Any], **options: Any) -> None:
    """Adds an endpoint whose types and words gradio can read: it takes annotations as text for no type at all."""
    text = inspect.getdoc(function) or ""
    names = list(inspect.signature(function).parameters)
    told = [name for name in names if name in SHARED and f"    {name}: " not in text]
    if told:
        start, end = text.split("Returns:")
        start = start.rstrip() + ("" if "Args:" in start else "\n\nArgs:")
        text = start + "".join(f"\n    {name}: {SHARED[name]}" for name in told) + f"\n\nReturns:{end}"
    function.__doc__, function.__annotations__ = text, get_type_hints(function)
    added = api(function, api_name=function.__name__, **options)
    demo = get_blocks_context()
    assert demo is not None
    described = dict(re.findall(r"^    (\w+): (.+)$", text, re.MULTILINE))
    event = demo.fns[added["id"]]
    for component, name in zip(event.inputs, (name for name in names if name in described), strict=True):
        cast(Component, component).api_info()["additional_description"] = described[name]
    for component in event.outputs:
        cast(Component, component).api_info()["description"] = text.split("Returns:")[1].strip()
