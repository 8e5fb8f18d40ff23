"""A table of measured latencies: rows, where they were measured, and the refusal to mix machines."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from compress.nas.space import GENES, Arch, Space
from compress.nas.timed import Setup
from zoo.errors import UserError
from zoo.files import read_json, write_text
from zoo.latency import machine

STAMP = ("cpu", "cores", "vnni", "amx", "avx512")  # what has to agree for a latency to mean the same

STRAY = 3.0  # standard deviations above what the sizes let expect, beyond which a row is measured again

Job = tuple[str, Arch]

Measured = dict[str, float]


@dataclass(frozen=True)
class Row:
    """An encoder timed in a mode.

    Attributes:
        p50_ms, p90_ms: milliseconds of a call.
        noise: distance of the quartiles as a share of the median.
        n: calls that counted.
    """

    arch: Arch
    mode: str
    p50_ms: float
    p90_ms: float
    noise: float
    n: int


@dataclass(frozen=True)
class Table:
    """Rows of one machine at one setup.

    Attributes:
        rows: in the order in which they were planned.
        machine: its stamp.
        setup: see `Setup`, as a dictionary.
        space: what the encoders were drawn from.
    """

    rows: list[Row]
    machine: dict[str, Any]
    setup: dict[str, Any]
    space: Space
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def modes(self) -> list[str]:
        return list(dict.fromkeys(row.mode for row in self.rows))

    def of(self, mode: str) -> list[Row]:
        """The rows of a mode.

        Raises:
            UserError: it was not measured.
        """
        rows = [row for row in self.rows if row.mode == mode]
        if not rows:
            raise UserError(
                f"The latency table holds nothing of {mode}: it has {', '.join(self.modes)}. Add the mode to "
                "latency_table.modes, or search by another one."
            )
        return rows

    def save(self, path: Path) -> None:
        """Writes `table.json`: one line a row."""
        head = {"machine": self.machine, "setup": self.setup, "space": self.space.to_json(), "facts": self.facts}
        names = [f.name for f in fields(Row)]
        lines = [json.dumps([row.arch.key, *(getattr(row, n) for n in names[1:])]) for row in self.rows]
        text = json.dumps(head, indent=1)[:-2] + f',\n "columns": {json.dumps(names)},\n "rows": [\n'
        write_text(path, text + ",\n".join(lines) + "\n]}\n")

    @classmethod
    def load(cls, path: Path | str) -> Table:
        """Reads `table.json`, or the one in a folder.

        Raises:
            UserError: it is none.
        """
        path = Path(path).expanduser()
        path = path / "table.json" if path.is_dir() else path
        data = read_json(path)
        try:
            rows = [Row(Arch.parse(key), *values) for key, *values in data["rows"]]
            return cls(rows, data["machine"], data["setup"], Space.from_json(data["space"]), data.get("facts", {}))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"{path} is no latency table: {error!r}. Measure one: stage latency_table.") from error

    def check(self, setup: Setup, space: Space) -> None:
        """Makes sure that the table speaks of this machine, this setup and this space.

        Raises:
            UserError: it does not.
        """
        refuse_foreign(self.machine, "The latency table")
        other = {key: value for key, value in setup_json(setup).items() if self.setup.get(key) != value}
        if other:
            differs = ", ".join(f"{key} {self.setup.get(key)} instead of {value}" for key, value in other.items())
            raise UserError(f"The latency table was measured with {differs}. Measure one, or change the recipe.")
        for name in GENES:
            sizes = [getattr(row.arch, name) for row in self.rows]
            limits = getattr(space, name)
            if min(sizes) > limits[0] or max(sizes) < limits[-1]:
                raise UserError(
                    f"The latency table goes from {min(sizes)} to {max(sizes)} in {name}, the search space from "
                    f"{limits[0]} to {limits[-1]}. Measure a table for this space, or make the space smaller."
                )


def stamp() -> dict[str, Any]:
    """What a latency holds for: this machine, without the date."""
    facts = machine()
    return {key: facts[key] for key in STAMP}


def refuse_foreign(other: dict[str, Any], what: str) -> None:
    """Raises UserError where `other` is the stamp of another machine; `what` begins the message."""
    here = stamp()
    differs = [key for key in STAMP if other.get(key) != here[key]]
    if differs:
        listing = ", ".join(f"{key}: {other.get(key)} there, {here[key]} here" for key in differs)
        raise UserError(f"{what} is from another machine ({listing}). Latencies do not carry over: measure them here.")


def setup_json(setup: Setup) -> dict[str, Any]:
    """A setup as JSON gives it back."""
    return {**asdict(setup), "keep_float": list(setup.keep_float)}


def row_key(job: Job, turn: int = 1) -> str:
    mode, arch = job
    return f"{mode} {arch.key}" + (f" {turn}" if turn > 1 else "")
