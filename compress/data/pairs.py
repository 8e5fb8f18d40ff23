"""Texts to embed: pairs with how alike they are, pairs that belong together, or plain text, a passage a line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from compress.data import own_texts, texts
from compress.data.examples import TextExample
from compress.data.intake import Intake
from compress.data.passages import lines, passages
from compress.data.sheets import Sheet, of_table
from compress.data.squad import BUNDLED
from compress.data.tables import KINDS
from zoo.tasks import Task


def load_pairs(task: Task, source: str | None, split: str, intake: Intake) -> list[TextExample]:
    """Reads texts to embed.

    Args:
        task: that embeds.
        source: a `.txt` file or a folder of such files, a passage a line; `examples` for the bundled passages; else
            what `compress.data.texts.load_texts` takes, where rows to learn from may have no label, and no second text.
        split: of a folder or a Hub data set.
        intake: hears what was mended and left out.

    Raises:
        UserError: not found, or not readable; see there.
    """
    if source == BUNDLED or (source and _is_plain(Path(source).expanduser())):
        return list(_lines(source, intake))
    return texts.load_texts(task, source, split, intake)


def from_file(task: Task, path: Path, intake: Intake, suffix: str) -> Iterator[TextExample]:
    """The texts of a file, plain or a table; `suffix` says which where its own name does not."""
    is_plain = suffix == ".txt" and _is_plain(path, suffix)
    return _lines(str(path), intake) if is_plain else texts.from_file(task, path, intake, suffix)


def sheet(task: Task, path: Path) -> Sheet | None:
    """The columns of a file of pairs; None for plain text."""
    return None if _is_plain(path) else of_table(path, lambda _held: own_texts.roles(task))


def _lines(source: str, intake: Intake) -> Iterator[TextExample]:
    return (TextExample(f"line-{i}", line) for i, line in enumerate(passages(source, intake=intake)))


def _is_plain(path: Path, suffix: str = "") -> bool:
    """Whether a file, or a folder, holds plain text: no table, whose first line would have tabs."""
    if path.is_dir():
        tables = [kind for kind in KINDS if kind != ".txt"]
        inside = [each.suffix for each in (*path.iterdir(), *path.glob("*/*")) if each.is_file()]
        return ".txt" in inside and not any(suffix in tables for suffix in inside)
    if (suffix or path.suffix.lower()) != ".txt" or not path.is_file():
        return False
    return "\t" not in next(lines(path, Intake(path.name, skip=True)), "")
