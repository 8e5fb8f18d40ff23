"""The SQLite table under the catalogue: a row a model, migrations, and its opening."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

from zoo.errors import UserError
from zoo.settings import get_settings

log = logging.getLogger(__name__)
FILE = "library.sqlite"


# Applied in order, each once; `user_version` of the file counts them. Never change one that was released: add another.
MIGRATIONS = (
    """
    CREATE TABLE models (
        origin TEXT NOT NULL, name TEXT NOT NULL, title TEXT NOT NULL, task TEXT NOT NULL, method TEXT NOT NULL,
        base_model TEXT NOT NULL, parameters INTEGER, bytes INTEGER, f1 REAL, p50_ms REAL, int8 INTEGER NOT NULL,
        license TEXT NOT NULL, url TEXT NOT NULL, folder TEXT NOT NULL, PRIMARY KEY (origin, name)
    );
    CREATE TABLE facts (key TEXT PRIMARY KEY, value TEXT NOT NULL);
    """,
    "ALTER TABLE models ADD COLUMN owner TEXT NOT NULL DEFAULT '';",
    """
    ALTER TABLE models RENAME COLUMN f1 TO score;
    ALTER TABLE models ADD COLUMN metric TEXT NOT NULL DEFAULT '';
    UPDATE models SET metric = 'f1' WHERE score IS NOT NULL;
    """,
    """
    ALTER TABLE models ADD COLUMN n INTEGER;
    ALTER TABLE models ADD COLUMN tokens INTEGER;
    ALTER TABLE models ADD COLUMN timed TEXT NOT NULL DEFAULT '';
    """,
)

_lock = threading.Lock()  # of this process, for setting a broken file aside once


@dataclass(frozen=True)
class Row:
    """A model of the catalogue; None where a number is not known, empty where a word is not."""

    name: str
    origin: str  # bundled, local or hub
    title: str
    task: str
    method: str
    base_model: str
    parameters: int | None
    bytes: int | None
    score: float | None  # points of 100, by `metric`
    p50_ms: float | None
    int8: bool
    license: str
    url: str = ""
    folder: str = ""
    owner: str = ""
    metric: str = ""  # a key of `zoo.metrics`
    n: int | None = None  # examples that the score is of
    tokens: int | None = None  # of the input that `p50_ms` was measured on
    timed: str = ""  # how it was measured, see `zoo.metrics.timed_on`


COLUMNS = tuple(field.name for field in fields(Row))


def note_published(folder: Path, url: str) -> None:
    """Remembers where a local result was published; does nothing for folders that are not registered."""
    with open_table([]) as database, database:
        place = str(Path(folder).expanduser().resolve())
        database.execute("UPDATE models SET url = ? WHERE origin = 'local' AND folder = ?", [url, place])


def folder_of(name: str, owner: str | None = None) -> Path | None:
    """The folder of a registered local result, or None.

    Args:
        name: of the result.
        owner: whose results are found beside those of nobody; None finds all, but on a Space those of nobody alone.
    """
    settings = get_settings()
    if not (settings.home / FILE).is_file():
        return None
    with open_table([]) as database:
        query = "SELECT folder, owner FROM models WHERE origin = 'local' AND name = ?"
        row = database.execute(query, [name]).fetchone()
    if row is None or not Path(row[0]).is_dir():
        return None
    is_open = not row[1] or row[1] == owner or owner is None and not settings.on_space
    return Path(row[0]) if is_open else None


def is_taken(name: str) -> bool:
    """Whether a local result of anybody has this name."""
    if not (get_settings().home / FILE).is_file():
        return False
    with open_table([]) as database:
        query = "SELECT 1 FROM models WHERE origin = 'local' AND name = ?"
        return database.execute(query, [name]).fetchone() is not None


@contextmanager
def open_table(notes: list[str]) -> Generator[sqlite3.Connection]:
    """A connection to the catalogue as this version knows it; a broken file is set aside, which `notes` then says.

    Raises:
        UserError: the file is of a newer version of this program, or cannot be written.
    """
    path = get_settings().home / FILE
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _lock:
            try:
                database = _connect(path)
            except sqlite3.DatabaseError as error:
                # Locked, full or read-only: nothing is wrong with what the file holds.
                if isinstance(error, sqlite3.OperationalError) and "no such" not in str(error):
                    raise
                aside = path.with_name(f"{FILE}.broken-{time.strftime('%Y%m%d-%H%M%S')}")
                path.replace(aside)
                for ending in ("-wal", "-shm"):
                    path.with_name(FILE + ending).unlink(missing_ok=True)
                log.warning("%s was broken (%s) and is now %s", path, error, aside)
                notes.append(
                    f"The catalogue's file was broken and was set aside as {aside.name}. Local results made before "
                    "are found by their folders; publish or register them again to list them."
                )
                database = _connect(path)
    except (OSError, sqlite3.Error) as error:
        raise UserError(f"The catalogue {path} cannot be used ({error}). Check the rights and the disk.") from error
    with closing(database):
        try:
            yield database
        except sqlite3.Error as error:
            raise UserError(
                f"The catalogue {path} cannot be used ({error}). If that stays so, move the file away."
            ) from error


def _connect(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=10, isolation_level=None)
    try:
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if version > len(MIGRATIONS):
            raise UserError(
                f"The catalogue {path} was made by a newer version of this program. Update the program, or move the "
                "file away to begin a new one."
            )
        database.execute("PRAGMA journal_mode = WAL")
        if version < len(MIGRATIONS):
            database.execute("BEGIN IMMEDIATE")
            (version,) = database.execute("PRAGMA user_version").fetchone()  # another process may have been faster
            for number, script in enumerate(MIGRATIONS[version:], version + 1):
                for statement in filter(str.strip, script.split(";")):
                    database.execute(statement)
                database.execute(f"PRAGMA user_version = {number}")
            database.execute("COMMIT")
        database.execute(f"SELECT {', '.join(COLUMNS)} FROM models LIMIT 1").fetchall()
    except BaseException:
        database.close()
        raise
    return database


def put(database: sqlite3.Connection, rows: Sequence[Row]) -> None:
    """Writes rows, over those of the same origin and name."""
    marks = ", ".join("?" * len(COLUMNS))
    database.executemany(
        f"INSERT OR REPLACE INTO models ({', '.join(COLUMNS)}) VALUES ({marks})",
        [[getattr(row, column) for column in COLUMNS] for row in rows],
    )
