"""The card under the slider: what a budget picked, in numbers and bars. Pure; numbers and own words only."""

from __future__ import annotations

import math
from html import escape

from ui import budget
from zoo.lengths import Choice, Front, LengthConfig
from zoo.metrics import counted, metric_name, timed_on, whole

REFERENCE_TOKENS = 384


def draw_readout(choice: Choice, front: Front | None, tokens: int | None, full_ms: float | None = None) -> str:
    """HTML of the card.

    Args:
        choice: what the budget picked.
        front: where it comes from; None for a checkpoint without one.
        tokens: real tokens of the input's longest window; None before anything was asked.
        full_ms: what full length takes on this machine, where it was measured.
    """
    point = choice.point
    tiles = [("compute", f"{100 * point.macs_ratio:.1f}<small> %</small>", "of full length")]
    if front is not None:
        loss = point.score - front.full.score
        note = "as at full length" if abs(loss) < 0.005 else f"{loss:+.2f} against full length".replace("-", "−")
        name = f"{escape(metric_name(front.metric))} <small>{counted(whole(front.measured_on.get('n')))}</small>"
        tiles.append((name, f"{point.score:.1f}", note))
        if point.p50_ms and front.full.p50_ms:
            ms = budget.cost(front, point, "ms", full_ms)
            where = "expected here" if full_ms else escape(_where(front))
            tiles.append(("latency", f"{ms:.1f}<small> ms</small>", where))
    cells = "".join(
        f'<div class="tile"><dt>{name}</dt><dd>{value}<span>{note}</span></dd></div>' for name, value, note in tiles
    )
    message = f'<p class="message">{escape(choice.message)}</p>' if choice.message else ""
    return (
        f'<div class="readout" aria-live="polite">{message}<dl class="tiles">{cells}</dl>'
        f"{draw_lengths(point.config, tokens)}</div>"
    )


def _where(front: Front) -> str:
    """What a front's own latency was measured on."""
    stamp = timed_on(front.measured_on)
    return f"expected, as measured with {stamp}" if stamp else "expected, where it was searched"


def draw_binding(choice: Choice) -> str:
    """HTML of what stands in the fold: the shares of tokens that go on after each layer, and why this point."""
    return (
        f'<p class="config"><span>Fractions</span> {escape(str(choice.point.config))}'
        f" <small>of the tokens go on, after one layer after the other</small>"
        f"<br><span>Binding</span> {escape(choice.binding)}</p>"
    )


def draw_lengths(config: LengthConfig, tokens: int | None) -> str:
    """A bar a layer: how many tokens go on after it."""
    count = tokens or REFERENCE_TOKENS
    lengths = config.tokens(count)
    bars = "".join(
        f'<div class="layer" title="after layer {i}: {n} of {count} tokens">'
        f'<b style="height:{max(4, math.ceil(100 * n / count))}%"></b><i>{n}</i></div>'
        for i, n in enumerate(lengths, 1)
    )
    caption = f"Tokens kept after each layer, of {count}"
    return f'<figure class="layers"><figcaption>{caption}</figcaption><div>{bars}</div></figure>'
