"""What a job may take of the machine, watched from outside; and why a job ended, in plain words."""

from __future__ import annotations

import os
import re
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from compress.recipe.layout import FAILURE, LOG
from compress.run.traces import tail
from zoo.errors import NO_ROOM, UserError
from zoo.settings import get_settings

GIB = 2**30
KILL = 9  # SIGKILL, for which Windows has no name
MEMORY = re.compile(
    r"MemoryError|std::bad_alloc|can't allocate memory|Cannot allocate memory|out of memory", re.IGNORECASE
)
ERROR = re.compile(r"^(?:\[rank\d+\]: ?)?((?:\w+\.)*\w*(?:Error|Exception|Interrupt|Timeout))\b:? ?(.*)$")
NOISE = ("ChildFailedError", "SignalException")  # torchrun about its processes; what they said stands before


@dataclass(frozen=True)
class Limits:
    """Bounds of one job.

    Attributes:
        hours: of an attempt.
        memory: bytes that all of its processes hold together.
        disk: bytes of its folder.
        spare: bytes of the disk that stay free.
    """

    hours: float
    memory: float
    disk: float
    spare: float

    @classmethod
    def of_settings(cls) -> Limits:
        settings = get_settings()
        memory = GIB * settings.job_memory_gib if settings.job_memory_gib else 0.9 * psutil.virtual_memory().total
        return cls(settings.job_hours, memory, GIB * settings.job_disk_gib, GIB * settings.spare_disk_gib)


class Watch:
    """Tells, called again and again, when a job takes more than it may.

    Args:
        folder: the job's.
        started: when its attempt began, in seconds since 1970.
        limits: of the job.
        clock: seconds; looks at memory and free space at most once a second and at the folder every five.
    """

    def __init__(self, folder: Path, started: float, limits: Limits, clock: Callable[[], float] = time.monotonic):
        self.folder, self.limits, self._clock = folder, limits, clock
        self._left = started + 3600 * limits.hours - time.time()
        self._began = clock()
        self._next, self._next_size = self._began, self._began

    def exceeded(self, memory: Callable[[], int]) -> str | None:
        """Why the job has to stop, or None; `memory` tells the bytes that its processes hold."""
        now, limits = self._clock(), self.limits
        if now - self._began > self._left:
            return f"It ran longer than the {limits.hours:g} hours that a job may (BUDGET_ZOO_JOB_HOURS)."
        if now >= self._next:
            self._next = now + 1
            size = memory()
            if size > limits.memory:
                return (
                    f"It ran out of memory: it took {size / GIB:.2f} GiB, and a job may take {limits.memory / GIB:.2f} "
                    "(BUDGET_ZOO_JOB_MEMORY_GIB). Take smaller batches or a smaller model."
                )
            free = shutil.disk_usage(self.folder).free
            if free < limits.spare:
                return (
                    f"The disk is nearly full: {free / GIB:.2f} GiB are free, and jobs leave {limits.spare / GIB:.2f} "
                    "(BUDGET_ZOO_SPARE_DISK_GIB). Free some space, then retry: it goes on from its last checkpoint."
                )
        if now >= self._next_size:
            self._next_size = now + 5
            size = folder_size(self.folder)
            if size > limits.disk:
                return (
                    f"Its folder holds {size / GIB:.2f} GiB, and a job may take {limits.disk / GIB:.2f} "
                    "(BUDGET_ZOO_JOB_DISK_GIB)."
                )
        return None


def folder_size(folder: Path) -> int:
    """Bytes of all files below a folder; those that vanish meanwhile do not count."""
    size = 0
    for here, _, names in os.walk(folder):
        for name in names:
            try:
                size += os.lstat(os.path.join(here, name)).st_size
            except OSError:
                continue
    return size


def lacking_space(needed: float = 0) -> str | None:
    """What to tell where a job that will write `needed` bytes does not fit on the disk, or None."""
    home, spare = get_settings().home, GIB * get_settings().spare_disk_gib
    home.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(home).free
    if free >= needed + spare:
        return None
    return (
        f"There is not enough disk space: {free / GIB:.2f} GiB are free, {(needed + spare) / GIB:.2f} are needed. "
        "Free some, or set BUDGET_ZOO_HOME to a folder on a larger disk."
    )


def check_space(needed: float) -> None:
    """Raises UserError where a job that will write `needed` bytes does not fit on the disk."""
    if lack := lacking_space(needed):
        raise UserError(lack)


def kills_by_memory() -> int:
    """How often this machine's kernel has killed a process for lack of memory; 0 where it does not tell."""
    try:
        lines = Path("/proc/vmstat").read_text(encoding="ascii").splitlines()
        return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
    except (OSError, ValueError):
        return 0


def reason_of(folder: Path, code: int | None, killed_by_memory: bool = False) -> str:
    """Why a run that was not stopped by us ended badly.

    Args:
        folder: the run's.
        code: exit status of its process, negative for a signal; None where nobody saw it.
        killed_by_memory: the kernel has killed something for lack of memory meanwhile.
    """
    failure = folder / FAILURE
    if failure.is_file():
        return failure.read_text(encoding="utf-8", errors="replace").strip()[:1000]
    text = tail(folder / LOG, 200)
    if NO_ROOM.search(text) or shutil.disk_usage(folder).free < 2**20:  # a full disk takes no last words
        return "The disk is full. Free some space, then retry: it goes on from its last checkpoint."
    if killed_by_memory or MEMORY.search(text):
        return "It ran out of memory. Take smaller batches or a smaller model, or end other programs."
    if line := _error_line(text):
        return f"It stopped with an error: {line[:500]}"
    if code in (-KILL, 128 + KILL):
        return "Its process was killed from outside (signal 9): by somebody, or by the system for lack of memory."
    if code is not None and code < 0:
        return f"Its process ended by the signal {signal_name(-code)}."
    last = next((line for line in reversed(text.splitlines()) if line.strip()), "")
    if code == 2 and last:  # how the command line ends after a message for people
        return last[:500]
    return f"Its process ended without a result (exit status {'unknown' if code is None else code}). See the log."


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


def _error_line(text: str) -> str | None:
    error = None
    for line in text.splitlines():
        match = ERROR.match(line.strip())
        if match and match[1].rpartition(".")[2] not in NOISE:
            error = f"{match[1].rpartition('.')[2]}: {match[2]}" if match[2] else match[1].rpartition(".")[2]
    return error
