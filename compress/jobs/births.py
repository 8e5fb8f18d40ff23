"""When a process was born, told so that no step of the clock and no other process of its number is mistaken for it."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

import psutil

PROC = Path("/proc")
BOOT = PROC / "sys" / "kernel" / "random" / "boot_id"
NEAR = 1.0  # seconds, where there is only the clock to go by


def born(pid: int) -> str | float:
    """What tells a process from every other: on Linux the machine's start and the ticks since, else the clock's time.

    Raises:
        psutil.NoSuchProcess: there is none.
    """
    with suppress(OSError, IndexError):
        # The name before the last bracket may hold anything.
        fields = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return f"{BOOT.read_text(encoding='ascii').strip()}/{fields[19]}"
    return psutil.Process(pid).create_time()


def lives(pid: object, since: object) -> bool:
    """Whether the process of this number that was born then, as `born` told, still runs."""
    if not isinstance(pid, int):
        return False
    with suppress(psutil.Error, ValueError, OverflowError):
        process, now = psutil.Process(pid), born(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        if isinstance(since, int | float):  # elsewhere, and as older versions of this program wrote it
            return abs(process.create_time() - since) < NEAR
        return now == since
    return False


def age(process: psutil.Process) -> float:
    """Seconds since a process was born: both times that are compared move with the clock."""
    return time.time() - psutil.Process(process.pid).create_time()
