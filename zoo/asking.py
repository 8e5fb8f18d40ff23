"""Every type of task's way to open an entry and ask it: the one door of page, command line and API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo.ask import QuestionAnswerer
from zoo.classify import TextClassifier
from zoo.embed import TextEmbedder
from zoo.engines import DEFAULT_ENGINE
from zoo.opened import Opened
from zoo.rank import PassageRanker
from zoo.tag import TokenTagger

if TYPE_CHECKING:
    from zoo.catalog import Entry

OPENED: dict[str, type[Opened]] = {
    opened.task: opened for opened in (QuestionAnswerer, TextClassifier, TokenTagger, TextEmbedder, PassageRanker)
}


def open_entry(entry: Entry, engine: str = DEFAULT_ENGINE, threads: int | None = None) -> Opened:
    """An entry on an engine, ready for what its task reads.

    Raises:
        UserError: it does not run on this engine.
    """
    return OPENED[entry.task](entry, engine, threads)
