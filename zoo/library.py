"""The zoo's catalogue: bundled models, local results and what is on the Hub, in one SQLite table."""

from __future__ import annotations

import logging
import math
import sqlite3
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo import catalog, hub
from zoo.engines import runs_int8
from zoo.errors import UserError
from zoo.metrics import FEW, scores_of, timed_on, whole
from zoo.settings import get_settings
from zoo.shelf import COLUMNS, Row, open_table, put
from zoo.task_types import TASK_TYPES

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo

log = logging.getLogger(__name__)

SORTS = ("name", "origin", "title", "task", "method", "base_model", "parameters", "bytes", "score", "p50_ms", "license")


@dataclass(frozen=True)
class Listing:
    """Rows of the catalogue, and a sentence about what is missing from them (empty where nothing is)."""

    rows: list[Row]
    banner: str


@dataclass(frozen=True)
class Query:
    """Which models of the catalogue, and in which order; those whose sorted value is not known come last.

    Attributes:
        text: words that all occur in name, title, base model, task or method, in any case.
        task, method, base_model, origin, license: exactly this one; None or empty for all.
        int8: True or False for only such.
        max_bytes, min_score, max_p50_ms: bounds; models that do not state the value are left out.
        owner: whose local results are shown beside those of nobody; None shows all.
        sort: one of `SORTS`.
        descending: largest first.

    Raises:
        UserError: there is no such column to sort by.
    """

    text: str = ""
    task: str | None = None
    method: str | None = None
    base_model: str | None = None
    origin: str | None = None
    int8: bool | None = None
    license: str | None = None
    max_bytes: int | None = None
    min_score: float | None = None
    max_p50_ms: float | None = None
    owner: str | None = None
    sort: str = "name"
    descending: bool = False

    def __post_init__(self) -> None:
        if self.sort not in SORTS:
            raise UserError(f"The catalogue cannot be sorted by {self.sort!r}. Choose one of {', '.join(SORTS)}.")

    def sql(self) -> tuple[str, list[object]]:
        """What follows WHERE, and the values in it."""
        where, values = ["1"], list[object]()
        for word in self.text.split():
            where.append("instr(lower(name || ' ' || title || ' ' || base_model || ' ' || task || ' ' || method), ?)")
            values.append(word.lower())
        conditions = (
            ("task = ?", self.task or None),
            ("method = ?", self.method or None),
            ("base_model = ?", self.base_model or None),
            ("origin = ?", self.origin or None),
            ("license = ?", self.license or None),
            ("int8 = ?", self.int8),
            ("bytes <= ?", self.max_bytes),
            ("score >= ?", self.min_score),
            ("p50_ms <= ?", self.max_p50_ms),
            ("owner IN ('', ?)", self.owner),
        )
        for condition, value in conditions:
            if value is not None:
                where.append(condition)
                values.append(value)
        few = f"coalesce(n, {FEW}) < {FEW}, " if self.sort == "score" else ""  # says little, so it is never on top
        way = "DESC" if self.descending else "ASC"
        order = f"{few}{self.sort} IS NULL OR {self.sort} = '', {self.sort} {way}, name"
        return f"{' AND '.join(where)} ORDER BY {order}", values


def listing(query: Query | None = None, refresh: bool = False) -> Listing:
    """The models that fit, sorted.

    Args:
        query: None for all.
        refresh: ask the Hub first; if it cannot be reached the rows seen last are shown, and the banner says so.
    """
    notes: list[str] = []
    try:
        with open_table(notes) as database:
            _sync(database, notes)
            if refresh:
                _refresh(database, notes)
            where, values = (query or Query()).sql()
            records = database.execute(f"SELECT {', '.join(COLUMNS)} FROM models WHERE {where}", values).fetchall()
    except UserError as error:
        # What ships with the program needs no database, so there is always something to see.
        rows = [_row(entry, "bundled") for entry in catalog.bundled()]
        return Listing(rows, f"{error} Only the bundled models are shown, unsorted.")
    rows = [_counted(Row(*values)) for values in records]
    return Listing([replace(row, int8=bool(row.int8)) for row in rows], " ".join(notes))


def _counted(row: Row) -> Row:
    """A result that was registered before the catalogue knew counts, with that of its own facts."""
    if row.origin != "local" or row.score is None or row.n is not None:
        return row
    metrics = catalog.stated(Path(row.folder)).get("metrics")
    return replace(row, n=whole(metrics.get("n")) if isinstance(metrics, dict) else None)


def register(folder: Path, owner: str = "") -> Row:
    """Makes a local result part of the catalogue, and findable by its name; the same folder keeps its name.

    Where the name is taken by another model, a number is added to it.

    Raises:
        UserError: the folder holds no model of the zoo, or the catalogue's file is of a newer version.
    """
    entry = catalog.open_folder(folder)
    bundled = {path.parent.name for path in catalog.MODELS.glob("*/entry.json")}
    with open_table([]) as database, database:
        database.execute("BEGIN IMMEDIATE")
        folders = dict(database.execute("SELECT name, folder FROM models WHERE origin = 'local'"))
        name = next((name for name, place in folders.items() if place == str(entry.folder)), None)
        if name is None:
            name, number = entry.name, 2
            while name in bundled or name in folders:
                name, number = f"{entry.name}-{number}", number + 1
        row = _row(entry, "local", name=name, owner=owner)
        url = database.execute("SELECT url FROM models WHERE origin = 'local' AND name = ?", [name]).fetchone()
        row = replace(row, url=url[0] if url else "")
        put(database, [row])
    return row


def _sync(database: sqlite3.Connection, notes: list[str]) -> None:
    """Brings the rows of this machine up to date: what ships, and local results whose folders are still there."""
    rows = []
    for path in sorted(catalog.MODELS.glob("*/entry.json")):
        try:
            rows.append(_row(catalog.find(path.parent.name), "bundled"))
        except UserError as error:
            notes.append(f"{path.parent.name} cannot be read: {error}")
    columns = ", ".join(COLUMNS)
    known = [Row(*values) for values in database.execute(f"SELECT {columns} FROM models WHERE origin = 'bundled'")]
    local = database.execute("SELECT name, folder FROM models WHERE origin = 'local'").fetchall()
    gone = [name for name, folder in local if not Path(folder).is_dir()]
    if {row.name: row for row in rows} == {row.name: row for row in known} and not gone:
        return  # as nearly always: looking is no writing
    with database:
        database.execute("BEGIN IMMEDIATE")
        database.execute("DELETE FROM models WHERE origin = 'bundled'")
        put(database, rows)
        database.executemany("DELETE FROM models WHERE origin = 'local' AND name = ?", [[name] for name in gone])


def _refresh(database: sqlite3.Connection, notes: list[str]) -> None:
    """Asks the Hub for its rows; where it does not answer, those of the last time stay."""
    facts = dict(database.execute("SELECT key, value FROM facts"))
    try:
        rows = [row for info in hub.zoo_models(get_settings().hub_author) if (row := _hub_row(info))]
    except UserError as error:
        (count,) = database.execute("SELECT count(*) FROM models WHERE origin = 'hub'").fetchone()
        remark = f"Its {count} models are those seen on {facts['hub_seen']}." if count and "hub_seen" in facts else ""
        notes.append(f"{error} {remark or 'Only models of this machine are shown.'}")
        return
    with database:
        database.execute("BEGIN IMMEDIATE")
        database.execute("DELETE FROM models WHERE origin = 'hub'")
        put(database, rows)
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
        database.execute("INSERT OR REPLACE INTO facts VALUES ('hub_seen', ?)", [now])


def _row(entry: catalog.Entry, origin: str, name: str = "", owner: str = "") -> Row:
    stamp = entry.front.measured_on if entry.front else entry.metrics
    return Row(
        name=name or entry.name,
        origin=origin,
        title=entry.title,
        task=entry.task,
        method=entry.method,
        base_model=entry.base_model,
        parameters=entry.parameters or None,
        bytes=entry.bytes,
        score=_number(entry.score),
        p50_ms=_number(entry.front.full.p50_ms if entry.front else entry.metrics.get("p50_ms")),
        int8="int8" in entry.weights_dtype or runs_int8(entry),
        license=entry.license,
        folder=str(entry.folder),
        owner=owner,
        metric=entry.metric,
        n=whole(entry.metrics.get("n")),
        tokens=whole(stamp.get("latency_tokens")),
        timed=timed_on(stamp),
    )


def _hub_row(info: ModelInfo) -> Row | None:
    """A row from what a card on the Hub says, which anybody may have written; None if it cannot be one."""
    data = info.card_data.to_dict() if info.card_data else {}
    told = data.get("budget_zoo")
    facts: dict[str, Any] = told if isinstance(told, dict) else {}
    tasks = {kind.pipeline: kind.name for kind in TASK_TYPES.values()}
    tags = [str(tag) for tag in info.tags or ()]
    results = {str(r.metric_type): r.metric_value for r in getattr(info.card_data, "eval_results", None) or ()}
    metric, score = _headline(facts, results)
    if not isinstance(info.id, str):  # pyright: ignore[reportUnnecessaryIsInstance] - the Hub's JSON is not checked
        return None
    return Row(
        name=info.id,
        origin="hub",
        title=info.id.rpartition("/")[2],
        task=tasks.get(str(info.pipeline_tag), ""),
        method=_word(facts.get("method")),
        base_model=_word(data.get("base_model")),
        parameters=whole(facts.get("parameters")),
        bytes=whole(facts.get("bytes")),
        score=score,
        p50_ms=_number(facts.get("p50_ms")),
        int8="int8" in tags,
        license=_word(data.get("license")),
        url=f"{get_settings().hub}/{info.id}",
        metric=metric,
        n=whole(facts.get("n")),
        tokens=whole(facts.get("latency_tokens")),
        timed=_word(facts.get("timed")),
    )


def _headline(facts: dict[str, Any], results: dict[str, Any]) -> tuple[str, float | None]:
    """A card's metric to choose by and its value: as this program states it, as older versions did, or as results."""
    metric = str(facts.get("metric") or "")
    for found in ({metric: facts.get("score")}, {"f1": facts.get("f1")}, results):
        usable = {key: number for key, value in found.items() if (number := _number(value)) is not None}
        for key, value in scores_of(usable).items():
            return key, value
    return "", None


def _word(value: object) -> str:
    value = value[0] if isinstance(value, list) and value else value
    return value[:200] if isinstance(value, str) else ""


def _number(value: object) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    return None
