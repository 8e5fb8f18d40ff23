"""Lines of a job's progress -> plotly figures. Pure; looks as in `figures`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ui.figures import COLOURS, INK, dress
from zoo.metrics import METRIC_NAMES
from zoo.metrics import metric_name as name_metric

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

Lines = Sequence[Mapping[str, Any]]
BOOKKEEPING = {
    "time", "stage", "step", "total", "rate", "eta_s", "examples_per_s", "generation", "note", "front", "limit_ms"
}  # fmt: skip
PANELS, EARLIER = 6, 4
PANEL_HEIGHT = 150


def series(lines: Lines) -> dict[tuple[str, str], dict[str, tuple[list[float], list[float]]]]:
    """What to draw: by (stage, panel), the curves by name as steps and values.

    Losses of a stage share a panel; every other figure has its own.
    """
    groups: dict[tuple[str, str], dict[str, tuple[list[float], list[float]]]] = {}
    for line in lines:
        if not _is_number(line.get("step")):
            continue
        step = float(line["step"])
        for key, value in line.items():
            if key in BOOKKEEPING or not _is_number(value):
                continue
            panel = "loss" if "loss" in key or "kl" in key.split("_") or key.startswith("hinge") else key
            steps, values = groups.setdefault((str(line.get("stage", "")), panel), {}).setdefault(key, ([], []))
            steps.append(step)
            values.append(float(value))
    return groups


def draw_curves(lines: Lines) -> Figure | None:
    """Losses and metrics over the steps, a panel each, the newest where there are too many; None: nothing yet."""
    drawn = {
        panel: {name: curve for name, curve in curves.items() if _is_curve(curve)}
        for panel, curves in series(lines).items()
    }
    panels = [(panel, curves) for panel, curves in drawn.items() if curves][-PANELS:]
    if not panels:
        return None
    titles = [f"{stage}: {panel}".replace("_", " ") for (stage, panel), _ in panels]
    figure = make_subplots(rows=len(panels), cols=1, subplot_titles=titles, vertical_spacing=0.32 / len(panels))
    for row, (_, curves) in enumerate(panels, 1):
        for i, (name, (steps, values)) in enumerate(curves.items()):
            figure.add_trace(
                go.Scatter(
                    x=steps,
                    y=values,
                    name=name.replace("_", " "),
                    mode="lines",
                    line={"color": COLOURS[i % len(COLOURS)], "width": 1.8},
                    hovertemplate=f"{name}<br>step %{{x}}: %{{y:.4g}}<extra></extra>",
                ),
                row=row,
                col=1,
            )
    figure.update_annotations(font={"color": INK, "size": 12})
    figure = dress(figure, height=50 + PANEL_HEIGHT * len(panels))
    return figure.update_layout(margin={"l": 8, "r": 12, "t": 26, "b": 30}).update_yaxes(automargin=True)


def single_values(lines: Lines) -> list[str]:
    """What has one value so far, which is no curve: as `evaluate: f1 75.9`, in the order of the stages."""
    return [
        f"{stage}: {name} {values[0]:.4g}".replace("_", " ")
        for (stage, _), curves in series(lines).items()
        for name, (steps, values) in curves.items()
        if not _is_curve((steps, values))
    ]


def _is_curve(curve: tuple[list[float], list[float]]) -> bool:
    return len(curve[0]) > 1


def fronts(lines: Lines) -> list[list[tuple[float, float]]]:
    """The fronts that a search told, oldest first, as (cost, score), cheapest first; repeated ones once."""
    series: list[list[tuple[float, float]]] = []
    for line in lines:
        front = line.get("front")
        if not isinstance(front, list):
            continue
        points = sorted((float(p[0]), float(p[1])) for p in front if _is_point(p))
        if points and (not series or series[-1] != points):
            series.append(points)
    return series


def draw_growth(lines: Lines) -> Figure | None:
    """The newest front over some earlier ones in grey; None before there is one."""
    steps = fronts(lines)
    if not steps:
        return None
    older = steps[:-1]
    sample = [older[len(older) * i // EARLIER] for i in range(EARLIER)] if len(older) > EARLIER else older
    share = max(cost for cost, _ in steps[-1]) <= 1.5
    name = _metric(lines)
    figure = go.Figure()
    for i, points in enumerate([*sample, steps[-1]]):
        newest = i == len(sample)
        figure.add_trace(
            go.Scatter(
                x=[100 * cost if share else cost for cost, _ in points],
                y=[score for _, score in points],
                name="now" if newest else "earlier",
                mode="lines+markers",
                line={"shape": "hv", "color": COLOURS[0] if newest else "rgba(124,135,148,0.45)", "width": 2},
                marker={"size": 7 if newest else 4},
                hovertemplate=f"%{{x:.1f}}: {name} %{{y:.2f}}<extra></extra>",
            )
        )
    figure.update_xaxes(title="compute, % of full length" if share else "latency, ms")
    figure.update_yaxes(title=name, automargin=True)
    return dress(figure, height=300)


def draw_candidates(lines: Lines, stages: Lines = ()) -> Figure | None:
    """An architecture search: predicted latency against score, coloured by generation, the best and the limit marked.

    Where the best one's latency was measured, that stands beside it, joined by a line: how far the predictor was off.

    Args:
        lines: progress, with `points` as (milliseconds, score, generation, name), and with `limit_ms`.
        stages: of the job, with results; None before there is a candidate.
    """
    found = next((line["points"] for line in reversed(lines) if isinstance(line.get("points"), list)), [])
    points = [p for p in found if _is_point(p) and len(p) >= 4 and _is_number(p[2])]
    if not points:
        return None
    best = max(points, key=lambda p: (p[1], -p[0]))
    name = _metric(lines)
    figure = go.Figure()
    figure.add_trace(
        go.Scatter(
            x=[p[0] for p in points],
            y=[p[1] for p in points],
            customdata=[[p[2], str(p[3])] for p in points],
            name="candidates",
            mode="markers",
            marker={
                "color": [p[2] for p in points],
                "colorscale": [[0, "#94a3b8"], [1, COLOURS[0]]],
                "size": 8,
                "showscale": max(p[2] for p in points) > 0,
                "colorbar": {"title": {"text": "generation"}, "thickness": 10, "dtick": 1},
            },
            hovertemplate=f"%{{customdata[1]}}<br>generation %{{customdata[0]}}<br>%{{x:.3g}} ms predicted, "
            f"{name} %{{y:.2f}}<extra></extra>",
        )
    )
    results = [stage["result"] for stage in stages if isinstance(stage.get("result"), Mapping)]
    measured = next((r["measured_ms"] for r in reversed(results) if _is_number(r.get("measured_ms"))), None)
    places = [best[0], *([measured] if measured is not None else [])]
    limit = next((row["limit_ms"] for row in reversed([*results, *lines]) if _is_number(row.get("limit_ms"))), None)
    if limit is not None:
        figure.add_vline(
            x=limit,
            line={"color": INK, "width": 1.5, "dash": "dash"},
            annotation={"text": f"limit {limit:.3g} ms", "font": {"color": INK, "size": 12}},
            annotation_position="bottom left",
        )
    figure.add_trace(
        go.Scatter(
            x=places,
            y=[best[1]] * len(places),
            text=[f"best: {best[0]:.3g} ms predicted", *(f"{ms:.3g} ms measured" for ms in places[1:])],
            textposition=["top left", "bottom left"][: len(places)],
            name="best",
            mode="lines+markers+text",
            line={"color": COLOURS[2], "dash": "dot"},
            marker={"color": COLOURS[2], "size": 13, "symbol": ["star", "x"][: len(places)]},
            cliponaxis=False,
            hovertemplate=f"{escape(str(best[3]))}<br>%{{text}}<extra></extra>",
        )
    )
    figure.update_xaxes(title="latency, ms (predicted)")
    figure.update_yaxes(title=name, automargin=True)
    return dress(figure, height=320).update_layout(margin={"t": 24})


def _metric(lines: Lines) -> str:
    """What a search scores by, as people call it: it tells the best so far as `best_` and the metric's key."""
    keys = (key.removeprefix("best_") for line in reversed(lines) for key in line if key.startswith("best_"))
    return next((name_metric(key) for key in keys if key in METRIC_NAMES), "score")


def draw_bars(bars: Mapping[str, Mapping[str, float | None]]) -> Figure:
    """Rows of bars: a panel for each measure, a bar for each contestant, `{measure: {contestant: value}}`."""
    measures = list(bars)
    figure = make_subplots(rows=len(measures), cols=1, subplot_titles=measures, vertical_spacing=0.36 / len(measures))
    rows = max((len(values) for values in bars.values()), default=1)
    for row, measure in enumerate(measures, 1):
        known = {name: value for name, value in bars[measure].items() if value is not None}
        figure.add_trace(
            go.Bar(
                x=list(known.values()),
                y=list(known),
                orientation="h",
                marker={"color": [COLOURS[list(bars[measure]).index(name) % len(COLOURS)] for name in known]},
                texttemplate="%{x:.4g}",
                textposition="auto",
                hovertemplate="%{y}: %{x:.4g}<extra></extra>",
            ),
            row=row,
            col=1,
        )
    figure.update_yaxes(autorange="reversed", automargin=True)
    figure.update_xaxes(rangemode="tozero")
    figure.update_annotations(font={"color": INK, "size": 12})
    figure = dress(figure, height=40 + len(measures) * (58 + 30 * rows))
    return figure.update_layout(margin={"l": 8, "r": 12, "t": 26, "b": 24})


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_point(value: object) -> bool:
    return isinstance(value, list | tuple) and len(value) >= 2 and all(_is_number(v) for v in value[:2])
