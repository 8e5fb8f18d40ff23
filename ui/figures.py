"""Rows -> plotly figures. Pure. Clear backgrounds and mid-grey text, so that both colour schemes can wear them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import plotly.graph_objects as go

from zoo.answers import KeptWindow

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

INK, GRID = "#7c8794", "rgba(124,135,148,0.22)"
COLOURS = ("#0d9488", "#64748b", "#d97706", "#60a5fa")
ALIVE, GONE = "#0d9488", "rgba(124,135,148,0.16)"


def draw_latencies(samples: Mapping[str, Sequence[float]]) -> Figure:
    """A box with every sample, one row a name, the first on top."""
    figure = go.Figure()
    for i, (name, times) in enumerate(samples.items()):
        colour = COLOURS[i % len(COLOURS)]
        figure.add_trace(
            go.Box(
                x=[round(t, 3) for t in times],
                name=name.replace(" (", "<br>("),  # two lines leave a phone room for the boxes
                boxpoints="all",
                pointpos=0,
                jitter=0.6,
                marker={"color": colour, "size": 4, "opacity": 0.55},
                line={"color": colour, "width": 1.5},
                hovertemplate="%{x:.2f} ms<extra></extra>",
            )
        )
    figure.update_yaxes(autorange="reversed", automargin=True)
    figure.update_xaxes(title="milliseconds", rangemode="tozero", nticks=5, tickangle=0)
    return dress(figure, height=70 + 62 * len(samples))


def draw_kept(window: KeptWindow) -> Figure:
    """Layers by tokens: coloured while a token is alive."""
    layers = len(window.kept)
    rows = [[int(alive) for alive in layer] for layer in window.kept]
    figure = go.Figure(
        go.Heatmap(
            z=rows,
            x=list(range(1, len(window.tokens) + 1)),
            y=[f"layer {i}" for i in range(1, layers + 1)],
            customdata=[window.tokens] * layers,
            zmin=0,
            zmax=1,
            colorscale=[[0, GONE], [0.5, GONE], [0.5, ALIVE], [1, ALIVE]],
            showscale=False,
            ygap=3,
            hovertemplate="%{customdata}<br>%{y}, token %{x}<extra></extra>",
        )
    )
    figure.update_yaxes(autorange="reversed", showgrid=False, automargin=True)
    figure.update_xaxes(title="token", showgrid=False)
    return dress(figure, height=78 + 26 * layers)


def dress(figure: Figure, height: int) -> Figure:
    """The look that all figures share; `height` in pixels."""
    figure.update_layout(
        height=height,
        margin={"l": 8, "r": 12, "t": 8, "b": 40},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": INK, "size": 12, "family": "system-ui, sans-serif"},
        showlegend=False,
        dragmode=False,
        modebar={"remove": ["select", "lasso"]},
    )
    figure.update_xaxes(gridcolor=GRID, zeroline=False, fixedrange=True)
    figure.update_yaxes(gridcolor=GRID, zeroline=False, fixedrange=True)
    return figure
