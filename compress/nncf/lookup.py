"""Where NNCF's simulation of a run or an entry lies, and how it is opened for `compress.results.simulated`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.nncf.store import FACTS, SimulatedEngine, open_simulated
from zoo import catalog
from zoo.files import read_json

if TYPE_CHECKING:
    from zoo.catalog import Entry

GRAPH, METHOD, SUFFIX = "model.int8.onnx", "nncf-int8", "-int8"  # of an entry that `compress.results.package` made


def in_run(root: Path) -> Path | None:
    """The folder of a run's simulation, None where there is none: yet, or with another backend than torch."""
    return root / "nncf" if (root / "nncf" / FACTS).is_file() else None


def in_entry(entry: Entry, whole: Entry | None) -> Path | None:
    """The folder of the int8 entry, whose graph says what was simulated: the entry itself, or the one beside it."""
    if _says_it_all(entry):
        return entry.folder
    if whole is None:
        return None
    beside = whole.folder.with_name(whole.folder.name + SUFFIX)
    if not (beside / "entry.json").is_file() or not (beside / GRAPH).is_file():
        return None
    other = catalog.open_folder(beside)
    return beside if _says_it_all(other) and other.full_precision == whole.folder.name else None


def open_engine(folder: Path, threads: int) -> SimulatedEngine:
    """The simulation as an engine.

    Raises:
        UserError: see `compress.nncf.store.open_simulated`.
    """
    return open_simulated(folder, threads)


def facts(folder: Path) -> dict[str, Any]:
    """What is simulated (`of`): a run's learned ranges with their `placement`, or an entry's int8 graph."""
    if (folder / FACTS).is_file():
        return {"of": "learned ranges", "placement": read_json(folder / FACTS)["placement"]}
    return {"of": "int8 graph"}


def summary(facts: dict[str, Any]) -> str:
    """One line for the report: what was simulated, and where it rounds."""
    rounded = f", placement {facts['placement']}" if "placement" in facts else ""
    return f"NNCF simulated, {facts['of']}{rounded}"


def _says_it_all(entry: Entry) -> bool:
    return entry.method == METHOD and (entry.folder / GRAPH).is_file()
