"""Where AIMET's simulation of a run or an entry lies, and how it is opened for `compress.results.simulated`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.aimet.engine import SimulatedEngine
from compress.aimet.packing import facts_of, of_graph
from compress.aimet.simulation import SETTINGS, STATE, open_simulated
from zoo.files import read_json
from zoo.graph import MODEL_FILE

if TYPE_CHECKING:
    from zoo.catalog import Entry

METHOD = "aimet-int8"  # of an int8 entry that `compress.aimet.stages` made


def in_run(root: Path) -> Path | None:
    """The folder of a run's simulation, None where there is none yet."""
    return _if_stored(root / "aimet")


def in_entry(entry: Entry, whole: Entry | None) -> Path | None:
    """The folder of an entry's simulation: its own, that of the float entry beside it, or the int8 graph that says it
    all."""
    beside = _if_stored(whole.folder) if whole else None
    graph = entry.folder if entry.method == METHOD and (entry.folder / MODEL_FILE).is_file() else None
    return _if_stored(entry.folder) or beside or graph


def open_engine(folder: Path, threads: int) -> SimulatedEngine:
    """The simulation as an engine.

    Raises:
        UserError: see `compress.aimet.simulation.open_simulated`.
    """
    return SimulatedEngine(open_simulated(folder) if _if_stored(folder) else of_graph(folder), threads)


def facts(folder: Path) -> dict[str, Any]:
    """What was rounded, and how: `compress.aimet.simulation.Settings` and AIMET's version."""
    return read_json(folder / SETTINGS) if _if_stored(folder) else facts_of(folder)


def summary(facts: dict[str, Any]) -> str:
    """One line for the report: bits and scope."""
    return f"W{facts['weight_bits']}A8 simulated, scope {facts['scope']}"


def _if_stored(folder: Path) -> Path | None:
    return folder if all((folder / file).is_file() for file in (STATE, SETTINGS)) else None
