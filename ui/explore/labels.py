"""A classifier's labels or score as bars, at this budget and at full length. Pure; labels are other people's words."""

from __future__ import annotations

from html import escape

from zoo.answers import Reply


def draw_labels(now: Reply, full: Reply, scale: tuple[float, float] | None = None) -> str:
    """HTML: a row for each label, in the model's order, one for the score, or one for each text that was compared.

    Args:
        now: at this budget.
        full: at full length; labels are told apart by their places.
        scale: of a score; without one a score has no bar, and those of texts that were compared have their own.
    """
    if now.matches:
        rows = _matches(now, full, scale)
    elif now.labels:
        before = {label.index: label.probability for label in full.labels}
        rows = [
            _row(
                label.name, 100 * label.probability, 100 * before.get(label.index, 0.0), " %", best=label in now.chosen
            )
            for label in sorted(now.labels, key=lambda label: label.index)
        ]
    else:
        low, high = scale or (0.0, 0.0)
        rows = [_row(f"{low:g} to {high:g}" if scale else "score", now.score or 0.0, full.score or 0.0, "", low, high)]
    legend = '<p><i class="now"></i> this budget <i class="full"></i> full length</p>'
    kind = "labels lines" if now.matches else "labels"
    return f'<div class="{kind}">{"".join(rows)}{legend}</div>'


def _matches(now: Reply, full: Reply, scale: tuple[float, float] | None) -> list[str]:
    """A row for each text that was compared, the best first."""
    before = {match.index: match.score for match in full.matches}
    scores = [*before.values(), *(match.score for match in now.matches)]
    low, high = scale or (min(0.0, *scores), max(scores))
    return [
        _row(match.text, match.score, before.get(match.index, 0.0), "", low, high, best=place == 0)
        for place, match in enumerate(now.matches)
    ]


def _row(
    name: str, now: float, full: float, unit: str, low: float = 0.0, high: float = 100.0, best: bool = False
) -> str:
    digits = 1 if unit else 2

    def bar(kind: str, value: float) -> str:
        share = 100 * min(1.0, max(0.0, (value - low) / (high - low))) if high > low else 0.0
        return f'<b class="{kind}" style="width:{share:.1f}%"></b>'

    return (
        f'<div class="label{" best" if best else ""}"><span>{escape(name)}</span>'
        f"<div>{bar('now', now)}{bar('full', full)}</div>"
        f"<em>{now:.{digits}f}{unit}<small>{full:.{digits}f}{unit}</small></em></div>"
    )
