"""What a figure of the page holds, for tests that look at it."""

from __future__ import annotations

from typing import Any

from plotly.graph_objects import Figure


def parts(figure: Figure) -> dict[str, Any]:
    """`data` and `layout` of a figure, as plotly sends them to the page."""
    return dict(figure.to_plotly_json())
