"""How each type of task's replies are shown: marked in the text, as bars, as a list. A row for each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import cycle

from ui import text
from ui.explore import labels, tokens
from ui.explore.tokens import Labelled
from ui.reading import CLASSIFICATION, QA
from zoo.answers import Reply
from zoo.catalog import Entry
from zoo.tag import spans_of
from zoo.tasks import EMBEDDINGS, RANKING, TOKENS

AMBER, TEAL, BLUE = "#f59e0b", "#14b8a6", "#60a5fa"
ANSWER_COLOURS = {tokens.ANSWER: AMBER, tokens.FULL: BLUE, tokens.BOTH: AMBER}
KINDS_COLOURS = (AMBER, TEAL, BLUE, "#f472b6", "#a3e635", "#c084fc", "#fb923c", "#22d3ee", "#facc15", "#f87171")
Scale = tuple[float, float] | None


@dataclass(frozen=True)
class Shown:
    """What is shown of a reply, as far as its type of task shows it so.

    Attributes:
        marked: the text with what is said of it.
        bars: HTML.
        listed: Markdown.
    """

    marked: Labelled | None = None
    bars: str | None = None
    listed: str | None = None


@dataclass(frozen=True)
class Display:
    """How replies of a type of task are shown.

    Attributes:
        show: a reply at a budget, what full length says, and the scale of a score.
        marks, bars: whether the text is marked, and whether there are bars.
        listing: what the list is called; empty where there is none.
        is_open: the list is seen at once.
        colours: of marks, by what they are called; names are shown beside them where they are not the same for all.
    """

    show: Callable[[Reply, Reply, Scale], Shown]
    marks: bool = False
    bars: bool = False
    listing: str = ""
    is_open: bool = False
    colours: Callable[[Entry], dict[str, str]] = lambda _entry: ANSWER_COLOURS
    has_names: bool = False


def _answers(reply: Reply, full: Reply, _scale: Scale) -> Shown:
    marked = tokens.mark_answers(reply.texts[0], reply.span, full.span)
    return Shown(marked=marked, listed=text.list_answers(reply.answers))


def _labels(reply: Reply, full: Reply, scale: Scale) -> Shown:
    return Shown(bars=labels.draw_labels(reply, full, scale))


def _tags(reply: Reply, full: Reply, _scale: Scale) -> Shown:
    tags = reply.tags or []
    return Shown(marked=tokens.mark_tags(reply.texts[0], tags), listed=text.list_tags(tags, full.tags or []))


def colours_of(entry: Entry) -> dict[str, str]:
    """A colour for each kind of what a model labels, always the same."""
    kinds = sorted({kind for label in entry.labels for kind, _, _ in spans_of([label])})
    return dict(zip(kinds, cycle(KINDS_COLOURS), strict=False))


DISPLAYS = {
    QA: Display(_answers, marks=True, listing="More answers"),
    CLASSIFICATION: Display(_labels, bars=True),
    EMBEDDINGS.name: Display(_labels, bars=True),
    RANKING.name: Display(_labels, bars=True),
    TOKENS.name: Display(_tags, marks=True, listing="Labelled words", is_open=True, colours=colours_of, has_names=True),
}


def display_of(task: str) -> Display:
    """Of a type of task, by its name."""
    return DISPLAYS.get(task, DISPLAYS[CLASSIFICATION])
