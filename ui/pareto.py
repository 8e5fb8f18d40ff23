"""The clickable plot of a front's metric against cost, as SVG. Pure; numbers and own words only.

gr.ScatterPlot would not do: its select event is a range brush, which a click on a point never fires.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from html import escape

from ui import budget
from zoo.lengths import Front, Point
from zoo.metrics import shown

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 370, 58, 22, 36, 58
AXES = {"macs": "Compute, % of the full-length MACs", "ms": "Latency, ms (median)"}

# Delegated, because the marks are drawn anew with every move of the slider.
ON_LOAD = """
const pick = (event) => {
  const mark = event.target.closest && event.target.closest('[data-index]');
  if (!mark) return;
  event.preventDefault();
  const index = Number(mark.dataset.index);
  trigger('select', {index: index, value: index, selected: true});
};
element.addEventListener('click', pick);
element.addEventListener('keydown', (event) => { if (event.key === 'Enter' || event.key === ' ') pick(event); });
"""


def draw_front(front: Front | None, current: Point | None, axis: str = "macs", full_ms: float | None = None) -> str:
    """The plot: points that a budget can pick joined by a step line, dominated ones grey, the current one ringed.

    Every mark is a button with `data-index`, its place in `budget.everything(front)`.
    """
    if front is None:
        return '<p class="empty">This checkpoint has no searched front to show.</p>'
    axis = axis if axis in budget.units(front) else "macs"
    points = budget.everything(front)
    metric = escape(shown(front.metric))
    marks = [(i, p, budget.cost(front, p, axis, full_ms)) for i, p in enumerate(points) if axis == "macs" or p.p50_ms]
    x_ticks = _ticks([x for *_, x in marks])
    y_ticks = _ticks([p.score for _, p, _ in marks])
    x0, x1, y0, y1 = x_ticks[0], x_ticks[-1], y_ticks[0], y_ticks[-1]

    def at(x: float, y: float) -> tuple[float, float]:
        across = LEFT + (x - x0) / (x1 - x0) * (WIDTH - LEFT - RIGHT)
        return across, HEIGHT - BOTTOM - (y - y0) / (y1 - y0) * (HEIGHT - TOP - BOTTOM)

    free = len(front.everything)
    lines = [_grid(x_ticks, y_ticks, at, AXES[axis], metric)]
    chosen = sorted(((x, p.score) for i, p, x in marks if i < free))
    lines.append(f'<path class="front" d="{_path([at(x, y) for x, y in chosen])}"/>')
    for i, point, x in sorted(marks, key=lambda row: (row[0] < free, row[1] is current)):
        across, up = at(x, point.score)
        kind = "current" if point is current or point == current else "free" if i < free else "dominated"
        size = {"current": 8, "free": 5.5, "dominated": 3.5}[kind]
        unit = "%" if axis == "macs" else "ms"
        said = f"{metric} {point.score:.2f} at {x:.1f} {unit}" + (", dominated" if i >= free else "")
        lines.append(
            f'<g class="mark {kind}" data-index="{i}" role="button" tabindex="0" aria-label="{said}">'
            f'<circle class="reach" cx="{across:.1f}" cy="{up:.1f}" r="11"/>'
            f'<circle cx="{across:.1f}" cy="{up:.1f}" r="{size}"/><title>{said}</title></g>'
        )
    return (
        f'<svg class="pareto" viewBox="0 0 {WIDTH} {HEIGHT}" role="group" aria-label="{metric} against {AXES[axis]}">'
        + "".join(lines)
        + "</svg>"
    )


def write_csv(front: Front) -> str:
    """The plot's points as CSV, full precision."""
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(["fractions", "tokens_at_384", "macs_ratio", *front.full.metrics, "p50_ms", "dominated"])
    for i, p in enumerate(budget.everything(front)):
        fractions = " ".join(f"{f:g}" for f in p.config.fractions)
        tokens = " ".join(map(str, p.config.tokens(384)))
        late = i >= len(front.everything)
        scores = [p.metrics.get(key, "") for key in front.full.metrics]
        table.writerow([fractions, tokens, p.macs_ratio, *scores, "" if p.p50_ms is None else p.p50_ms, int(late)])
    return out.getvalue()


def _grid(x_ticks: Sequence[float], y_ticks: Sequence[float], at, title: str, metric: str) -> str:
    lines = []
    bottom = HEIGHT - BOTTOM
    for y in y_ticks:
        up = at(x_ticks[0], y)[1]
        lines.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{up:.1f}" y2="{up:.1f}"/>')
        lines.append(f'<text x="{LEFT - 9}" y="{up + 4:.1f}" text-anchor="end">{y:g}</text>')
    for x in x_ticks:
        lines.append(f'<text x="{at(x, y_ticks[0])[0]:.1f}" y="{bottom + 19}" text-anchor="middle">{x:g}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    lines.append(f'<text class="title" x="{middle:.0f}" y="{HEIGHT - 6}" text-anchor="middle">{title}</text>')
    lines.append(f'<text class="title" x="4" y="20">{metric}</text>')
    return f'<g class="grid">{"".join(lines)}</g>'


def _path(places: Sequence[tuple[float, float]]) -> str:
    """A staircase: between two points a budget buys the cheaper one."""
    steps = [f"M{places[0][0]:.1f} {places[0][1]:.1f}"] if places else []
    for x, y in places[1:]:
        steps.append(f"H{x:.1f}V{y:.1f}")
    return "".join(steps)


def _ticks(values: Sequence[float], about: int = 6) -> list[float]:
    """Round numbers that reach around all values."""
    low, high = min(values), max(values)
    if high - low < 1e-9:
        low, high = low - 1, high + 1
    raw = (high - low) / about
    power = 10 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw - 1e-12)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 10) for i in range(first, last + 1)]
