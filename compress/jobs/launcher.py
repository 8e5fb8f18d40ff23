"""What starts a job's process, and what it has started, whatever machine runs it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

GRACE = 5.0  # seconds between being asked to end and being killed
UNKNOWN = 255  # exit status of a process that another worker had started


class Handle(Protocol):
    """A job's process or processes, running or ended."""

    facts: dict[str, object]  # what `adopt` finds it by, for JSON

    def poll(self) -> int | None:
        """None while it runs, then its exit status, UNKNOWN where nobody saw it."""
        ...

    def memory(self) -> int:
        """Bytes that it holds on this machine."""
        ...

    def age(self) -> float | None:
        """Seconds since it was started; None where that is not known here."""
        ...

    def stop(self, grace: float = GRACE) -> None:
        """Ends all of it: asks, waits, kills. Returns when it has ended."""
        ...

    def leave(self) -> None:
        """Somebody else looks after the job now: ends what only this process can look after."""
        ...


class Launcher(Protocol):
    """A way to run `python -m compress run FOLDER`."""

    def check(self) -> None:
        """Raises UserError where something is not installed or not reachable; it says what to do."""
        ...

    def start(self, folder: Path) -> Handle:
        """Starts the run; what it says goes to the end of `log.txt`."""
        ...

    def adopt(self, folder: Path, facts: Mapping[str, object]) -> Handle | None:
        """The run that an earlier worker started, if it still runs.

        Args:
            folder: of the run.
            facts: a handle's, or none of them, where that worker died before it could write them down.
        """
        ...
