"""What data are called: the words that a recipe names them by, and how a card tells of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from compress.data.tables import is_table
from zoo.tasks import find_task

OWN = "hub"  # as a source: the task's own data set on the Hub

HELD_OUT = "held-out"  # as a source to search or choose on: texts that are kept out of those to train on,

HELD_PART = 20  # one in so many


def data_name(dataset: Any, part: str) -> str:
    """What a recipe's data to train on, to choose by or to report on are called."""
    task, source = find_task(dataset.task), getattr(dataset, part)
    if source == HELD_OUT:
        return f"{data_name(dataset, 'train')}: one text in {HELD_PART}, held out of the training"
    if task.type.has_articles:
        return task.hub if source == OWN else short_name(source)
    where = f"{task.hub} ({task.config}, {task.split(part)})" if source == OWN else short_name(source)
    return f"{task.title}: {where}"


def short_name(source: str) -> str:
    """A name without the folders that it lies in; a Hub id stays whole."""
    is_path = source.startswith(("/", ".", "~", "$")) or is_table(source) or Path(source).exists()
    return Path(source).name if is_path else source
