"""What a model said, whatever it is made for: one way to show, compare and count answers, labels and scores."""

from __future__ import annotations

from ui.reading import Judged
from zoo.ask import KeptWindow, Reply

Outcome = Reply | Judged
CLOSE = 0.05  # scores that differ by less read the same


def words(said: Outcome) -> str:
    """The answer, the label or the score; empty for no answer."""
    if isinstance(said, Reply):
        return said.answers[0].text if said.answers else ""
    return said.labels[0].name if said.labels else f"{said.score or 0.0:.2f}"


def probability(said: Outcome) -> float | None:
    """Of what it says, None for a score and where there is nothing."""
    if isinstance(said, Reply):
        return said.answers[0].probability if said.answers else None
    return said.labels[0].probability if said.labels else None


def same(one: Outcome, other: Outcome) -> bool:
    """Whether the best answers are the same span, the labels the same, or the scores close."""
    if isinstance(one, Reply) and isinstance(other, Reply):
        first, second = (said.answers[0] if said.answers else None for said in (one, other))
        return (first.start, first.end) == (second.start, second.end) if first and second else first is second
    if isinstance(one, Reply) or isinstance(other, Reply):
        return False
    if one.labels and other.labels:
        return one.labels[0].name.casefold() == other.labels[0].name.casefold()
    return one.score is not None and other.score is not None and abs(one.score - other.score) < CLOSE


def counts(said: Outcome) -> list[int]:
    """Real tokens of every window."""
    return said.tokens if isinstance(said, Reply) else [said.tokens]


def windows(said: Outcome) -> list[KeptWindow]:
    """What was kept."""
    return said.kept if isinstance(said, Reply) else [said.kept]


def texts(said: Outcome) -> tuple[str, ...]:
    """The texts that the spans of `windows` are places in."""
    return (said.context,) if isinstance(said, Reply) else said.texts
