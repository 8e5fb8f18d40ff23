"""Plain text to pre-train on: passages from files, from the Hub, or the bundled ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from compress.data import hub_sets
from compress.data.intake import Intake
from compress.data.squad import BUNDLED
from compress.data.tables import read_text
from zoo import catalog
from zoo.errors import UserError
from zoo.files import sha256


def passages(source: str, config: str | None = None, intake: Intake | None = None) -> Iterator[str]:
    """The lines of text files, by name of the file, the `text` column of a Hub data set, or the bundled passages.

    Blank ones are left out.

    Args:
        source: of the passages.
        config: of a Hub data set.
        intake: hears what was decided; without one the log does.

    Raises:
        UserError: not found, not readable as text, or empty.
    """
    path = Path(source).expanduser()
    if source == BUNDLED:
        texts = iter(dict.fromkeys(example["context"] for example in catalog.examples()))
    else:
        texts = _from_files(path, intake) if _is_local(path) else _from_hub(source, config)
    is_empty = True
    for text in texts:
        if text := text.strip():
            is_empty = False
            yield text
    if is_empty:
        raise UserError(f"{source} holds no text: put .txt files there, one passage a line.")


def _is_local(path: Path) -> bool:
    return path.exists() or path.suffix == ".txt" or path.is_absolute()


def _files(path: Path) -> list[Path]:
    if not path.exists():
        raise UserError(f"There is no text at {path}. Give a .txt file, a folder of them, or a Hub id.")
    files = sorted(path.glob("*.txt")) if path.is_dir() else [path]
    if not files:
        raise UserError(f"{path} holds no .txt files. Put text there, one passage a line.")
    return files


def _from_files(path: Path, intake: Intake | None) -> Iterator[str]:
    for file in _files(path):
        yield from lines(file, intake)


def lines(file: Path, intake: Intake | None = None) -> Iterator[str]:
    """The lines of a text file, see `compress.data.decoding`; of UTF-8 one at a time, since such files may be large.

    Args:
        file: of text.
        intake: hears what was decided; without one the log does.

    Raises:
        UserError: it cannot be read, or is no text.
    """
    try:
        if _is_utf8(file):
            with file.open(encoding="utf-8-sig") as plain:
                yield from plain
            return
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror or error}.") from error
    mine = intake or Intake()
    mine.name = mine.name or str(file)
    yield from read_text(file, mine).split("\n")
    if intake is None:
        mine.log()


def _is_utf8(file: Path) -> bool:
    """Whether a file is UTF-8 to its end; a NUL in it is a sign of UTF-16."""
    with file.open(encoding="utf-8-sig") as plain:
        try:
            return not any("\0" in line for line in plain)
        except UnicodeDecodeError:
            return False


def _from_hub(source: str, config: str | None) -> Iterator[str]:
    name = hub_sets.Source.parse(source)
    for row in hub_sets.open_set(name, name.split or "train", config, streaming=True).rows:
        if "text" not in row.value:
            raise UserError(f"The data set {name} has no column “text”. Take another one, or a folder of text.")
        yield row.value["text"]


def source_mark(source: str, config: str | None) -> list[object]:
    """What tells one source of text from another: the files' names and hashes, or the name of what is elsewhere."""
    path = Path(source).expanduser()
    if source == BUNDLED or not _is_local(path):
        return [source, config]
    return [[file.name, sha256(file)] for file in _files(path)]
