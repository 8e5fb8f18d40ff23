"""The clickable plot of a front's metric against cost, as SVG. Pure; numbers and own words only.

gr.ScatterPlot would not do: its select event is a range brush, which a click on a point never fires.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Sequence
from html import escape

from ui import budget
from ui.explore.rivals import Rival
from zoo.lengths import Front, Point
from zoo.metrics import counted, metric_name, scored, whole

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 370, 58, 22, 36, 58
AXES = {"macs": "Compute, % of the full-length MACs", "ms": "Latency, ms (median)"}
Place = Callable[[float, float], tuple[float, float]]  # a cost and a score -> where they are drawn
FARTHEST = 2.0  # a rival that costs more than so many times full length would press the front into a corner

# Delegated, because the marks are drawn anew with every move of the slider.
ON_LOAD = """
const centre = (mark) => { const box = mark.lastElementChild.previousElementSibling.getBoundingClientRect();
  return [box.left + box.width / 2, box.top + box.height / 2]; };
// Where marks lie over each other, the nearest is meant: else a dominated point beside a free one could not be reached.
const nearest = (event) => {
  const away = (mark) => { const [x, y] = centre(mark); return Math.hypot(x - event.clientX, y - event.clientY); };
  return [...element.querySelectorAll('[data-index]')].sort((a, b) => away(a) - away(b))[0];
};
const pick = (event) => {
  const under = event.target.closest && event.target.closest('[data-index]');
  if (!under) return;
  const mark = event.type === 'click' && event.detail ? nearest(event) : under;
  event.preventDefault();
  const index = Number(mark.dataset.index);
  trigger('select', {index: index, value: index, selected: true});
};
element.addEventListener('click', pick);
element.addEventListener('keydown', (event) => { if (event.key === 'Enter' || event.key === ' ') pick(event); });
"""


def draw_front(
    front: Front | None,
    current: Point | None,
    axis: str = "macs",
    full_ms: float | None = None,
    rivals: Sequence[Rival] = (),
) -> str:
    """The plot: points that a budget can pick joined by a step line, dominated ones grey, the current one ringed.

    Every mark is a button with `data-index`, its place in `budget.everything(front)`; those of the rivals are counted
    on from there. Below the plot stands which gives more.
    """
    if front is None:
        return '<p class="empty">This checkpoint has no searched front to show.</p>'
    axis = axis if axis in budget.units(front) else "macs"
    points = budget.everything(front)
    marks = [(i, p, budget.cost(front, p, axis, full_ms)) for i, p in enumerate(points) if axis == "macs" or p.p50_ms]
    others, absent = _choose_rivals(front, rivals, axis, full_ms)
    x_ticks = _ticks([x for *_, x in marks] + [x for *_, x in others])
    y_ticks = _ticks([p.score for _, p, _ in marks] + [rival.point.score for _, rival, _ in others])
    x0, x1, y0, y1 = x_ticks[0], x_ticks[-1], y_ticks[0], y_ticks[-1]

    def at(x: float, y: float) -> tuple[float, float]:
        across = LEFT + (x - x0) / (x1 - x0) * (WIDTH - LEFT - RIGHT)
        return across, HEIGHT - BOTTOM - (y - y0) / (y1 - y0) * (HEIGHT - TOP - BOTTOM)

    def name(point: Point, x: float) -> str:
        return f"{metric_name(front.metric)} {point.score:.2f} at {x:.1f} {'%' if axis == 'macs' else 'ms'}"

    free, n = len(front.everything), whole(front.measured_on.get("n"))
    lines = [_grid(x_ticks, y_ticks, at, AXES[axis], escape(f"{metric_name(front.metric)}, {counted(n)}"))]
    chosen = sorted(((x, p.score) for i, p, x in marks if i < free))
    lines.append(f'<path class="front" d="{_path([at(x, y) for x, y in chosen])}"/>')
    for i, point, x in sorted(marks, key=lambda row: (row[0] < free, row[1] is current)):
        across, up = at(x, point.score)
        kind = "current" if point is current or point == current else "free" if i < free else "dominated"
        size = {"current": 8, "free": 5.5, "dominated": 3.5}[kind]
        circle = f'cx="{across:.1f}" cy="{up:.1f}"'
        circles = f'<circle class="reach" {circle} r="11"/><circle {circle} r="{size}"/>'
        lines.append(_mark(kind, i, circles, name(point, x) + (", dominated" if i >= free else "")))
    for i, rival, x in others:
        across, up = at(x, rival.point.score)
        kind, shape = ("searched", "m0 -8l8 8l-8 8l-8 -8z") if rival.searched else ("plain", "m-6 -6h12v12h-12z")
        words = f"{rival.name}: " + "; ".join(filter(None, [name(rival.point, x), rival.data, rival.facts]))
        lines.append(_mark(f"rival {kind}", i, f'<path d="M{across:.1f} {up:.1f}{shape}"/>', words))
    label = f"{escape(metric_name(front.metric))} against {AXES[axis]}"
    return (
        f'<svg class="pareto" viewBox="0 0 {WIDTH} {HEIGHT}" role="group" aria-label="{label}">'
        + "".join(lines)
        + '</svg><p class="hint">Click a point to move the slider there. Grey points are dominated.</p>'
        + _describe_rivals(front, current, axis, full_ms, [rival for _, rival, _ in others], absent)
    )


def compare(
    front: Front, current: Point | None, axis: str, full_ms: float | None = None, rivals: Sequence[Rival] = ()
) -> str:
    """Which gives more at the budget, the front or the best of its rivals, and what the front gives at that one's cost.

    The budget is what the current point costs; where no rival is as cheap as that, it is what the cheapest one costs.
    """

    def cost(one: Point | Rival) -> float:
        return budget.cost(front, one.point if isinstance(one, Rival) else one, axis, full_ms)

    own = [p for p in (current, *front.everything) if p and (axis == "macs" or p.p50_ms)]
    if not rivals or not own:
        return ""
    limit = max(cost(own[0]), min(map(cost, rivals)))
    best = max((p for p in own if cost(p) <= limit + 1e-9), key=lambda p: p.score)
    other = max((rival for rival in rivals if cost(rival) <= limit + 1e-9), key=lambda rival: rival.point.score)
    one, two = round(best.score, 1), round(other.point.score, 1)  # so that the difference is that of what is read
    verdict = "neither more" if one == two else f"{'this model' if one > two else 'it'} {abs(one - two):.1f} more"
    unit = "% of the compute" if axis == "macs" else "ms"
    data = f" ({other.data})" if other.data else ""
    ours = f"this model gives {scored(front.metric, one, whole(front.measured_on.get('n')))}"
    theirs = f"{'the searched architecture' if other.searched else 'the int8 model'} {other.name}{data} gives {two}"
    sentence = f"At {limit:.1f} {unit} {ours}, {theirs}: {verdict}."
    if limit - cost(other) < 0.05:
        return sentence
    cheaper = [p.score for p in own if cost(p) <= cost(other) + 1e-9]
    gives = f"gives {max(cheaper):.1f}" if cheaper else "has no point"
    return f"{sentence} At the {cost(other):.1f} {unit} that {other.name} takes, this model {gives}."


def write_csv(front: Front, name: str = "", rivals: Sequence[Rival] = ()) -> str:
    """The plot's points as CSV, full precision: those of the model `name`, then its rivals."""
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(["fractions", "tokens_at_384", "macs_ratio", *front.full.metrics, "p50_ms", "dominated", "model"])
    rows = [(p, int(i >= len(front.everything)), name) for i, p in enumerate(budget.everything(front))]
    for p, late, model in [*rows, *((rival.point, "", rival.name) for rival in rivals)]:
        fractions = " ".join(f"{f:g}" for f in p.config.fractions)
        tokens = " ".join(map(str, p.config.tokens(384)))
        scores = [p.metrics.get(key, "") for key in front.full.metrics]
        table.writerow([fractions, tokens, p.macs_ratio, *scores, "" if p.p50_ms is None else p.p50_ms, late, model])
    return out.getvalue()


def _choose_rivals(
    front: Front, rivals: Sequence[Rival], axis: str, full_ms: float | None
) -> tuple[list[tuple[int, Rival, float]], list[str]]:
    """The rivals that the plot has room for, with index and cost, and why the others are not on it."""
    placed, absent, first = [], [], len(budget.everything(front))
    farthest = FARTHEST * budget.cost(front, front.full, axis, full_ms)
    for i, rival in enumerate(rivals, first):
        if axis == "ms" and not rival.point.p50_ms:
            absent.append(f"{rival.name}: on the compute axis only, since {rival.why}")
            continue
        x = budget.cost(front, rival.point, axis, full_ms)
        if x > farthest:
            absent.append(f"{rival.name}: beyond the plot, at {x:.0f} {'%' if axis == 'macs' else 'ms'}")
        else:
            placed.append((i, rival, x))
    return placed, absent


def _describe_rivals(
    front: Front, current: Point | None, axis: str, full_ms: float | None, placed: Sequence[Rival], absent: list[str]
) -> str:
    kinds = ((True, "searched", "◆ searched architectures"), (False, "plain", "■ other int8 models"))
    keys = [
        f'<span class="{kind}">{words}</span>' for searched, kind, words in kinds
        if any(rival.searched == searched for rival in placed)
    ]  # fmt: skip
    lines = [escape(compare(front, current, axis, full_ms, placed))] if placed else []
    lines += [f"{', '.join(keys)}: a click opens one."] if keys else []
    lines += [escape(f"{'; '.join(absent)}.")] if absent else []
    return f'<div class="rivals">{"".join(f"<p>{line}</p>" for line in lines)}</div>' if lines else ""


def _mark(kind: str, index: int, drawn: str, label: str) -> str:
    """A button of the plot; `label` is escaped here."""
    label = escape(label)
    return (
        f'<g class="mark {kind}" data-index="{index}" role="button" tabindex="0" aria-label="{label}">'
        f"{drawn}<title>{label}</title></g>"
    )


def _grid(x_ticks: Sequence[float], y_ticks: Sequence[float], at: Place, title: str, metric: str) -> str:
    lines = []
    bottom = HEIGHT - BOTTOM
    for y in y_ticks:
        up = at(x_ticks[0], y)[1]
        lines.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{up:.1f}" y2="{up:.1f}"/>')
        lines.append(f'<text x="{LEFT - 9}" y="{up + 4:.1f}" text-anchor="end">{y:g}</text>')
    for x in x_ticks:
        across = at(x, y_ticks[0])[0]
        lines.append(f'<text class="across" x="{across:.1f}" y="{bottom + 19}" text-anchor="middle">{x:g}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    lines.append(f'<text class="title" x="{middle:.0f}" y="{HEIGHT - 6}" text-anchor="middle">{title}</text>')
    lines.append(f'<text class="title metric" x="4" y="20">{metric}</text>')
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
