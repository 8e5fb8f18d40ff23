"""What eight bits cost at each operator of a job's model: a plot and a table. Pure; looks as in `figures`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go

from ui.figures import COLOURS, dress
from ui.text import escape

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

Report = Mapping[str, Any]
STAYS, BACK, NEVER = "in eight bits", "returned to float", "in float as the recipe says"
LOOKS = {STAYS: COLOURS[0], BACK: COLOURS[2], NEVER: COLOURS[1]}
BAR_HEIGHT = 19


def draw(report: Report | None) -> Figure | None:
    """A bar an operator, the most sensitive on top, those returned to float in another colour.

    Args:
        report: of `compress.jobs.jobs.sensitivity`.

    Returns:
        None where there is nothing to draw.
    """
    rows = _rows(report)
    if not rows:
        return None
    figure = go.Figure()
    for name, colour in LOOKS.items():
        some = [row for row in rows if row["state"] == name]
        if some:
            figure.add_trace(
                go.Bar(
                    x=[row["kl"] for row in some],
                    y=[row["name"] for row in some],
                    customdata=[[f"{100 * row['share']:.1f}"] for row in some],
                    orientation="h",
                    name=name,
                    marker={"color": colour},
                    hovertemplate=f"%{{y}}, {name}<br>%{{x:.4g}}, %{{customdata[0]}} % of all<extra></extra>",
                )
            )
    order = [row["name"] for row in rows]
    figure.update_yaxes(categoryorder="array", categoryarray=order, autorange="reversed", automargin=True, dtick=1)
    figure.update_xaxes(title="loss: divergence from the float model's answers", rangemode="tozero")
    figure = dress(figure, height=110 + BAR_HEIGHT * len(rows))
    legend = {"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom"}
    return figure.update_layout(showlegend=True, legend=legend, margin={"l": 8, "r": 12, "t": 34, "b": 40})


def tabulate(report: Report | None) -> str:
    """The same in full, as a Markdown table, and how it was measured; "" where there is nothing."""
    rows = _rows(report)
    if not rows or report is None:
        return ""
    lines = ["| operator | loss | share | parameters | outcome |", "|:--|--:|--:|--:|:--|"]
    lines += [
        f"| {escape(row['name'])} | {row['kl']:.3g} | {100 * row['share']:.1f} % | {row['parameters']:,} | "
        f"{row['state'] if row['state'] != STAYS else ''} |"
        for row in rows
    ]
    ranges = escape(str(report.get("approach", "")))
    note = (
        f"Each operator alone in eight bits ({ranges} ranges), the others in float; mean "
        f"over {report.get('windows', 0)} inputs. The loss is the Kullback-Leibler divergence from the float model's "
        "answers in nats, of a regression the mean squared difference"
    )
    together = report.get("together")
    note += f"; {together:.3g} with all in eight bits at once." if isinstance(together, int | float) else "."
    return "\n".join([*lines, "", note])


def _rows(report: Report | None) -> list[dict[str, Any]]:
    """The report's rows, the most sensitive first, with what became of each."""
    report = report or {}
    states = {**dict.fromkeys(report.get("kept_float", ()), NEVER), **dict.fromkeys(report.get("returned", ()), BACK)}
    rows = sorted(report.get("rows", ()), key=lambda row: -row["kl"])
    return [{**row, "state": states.get(row["name"], STAYS)} for row in rows]
