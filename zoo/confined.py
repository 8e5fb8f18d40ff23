"""Child processes that read what comes from outside: without tokens, within limits of memory and time."""

from __future__ import annotations

import contextlib
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

try:
    import resource
except ImportError:  # Windows
    resource = None

PROJECT = Path(__file__).parents[1]
PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT", "TMPDIR", "LANG")  # of the environment: no token, no home
ALONE = {"OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
SPARE = 512 * 1024**2  # bytes beside what is read


def run(module: str, arguments: Sequence[str], patience: float) -> subprocess.CompletedProcess[str]:
    """Runs a module of this program in a process of its own, and waits for it.

    Args:
        module: by its dotted name; what it does first is `limit` itself.
        arguments: of its command line.
        patience: seconds until it is killed.

    Raises:
        TimeoutExpired: it was killed.
    """
    environment = {key: os.environ[key] for key in PASSED_ON if key in os.environ} | ALONE
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=PROJECT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=patience,
        check=False,
    )


def limit(memory: int, seconds: int, written: int = 0) -> None:
    """Bounds what this process may use from now on, where the system can.

    Args:
        memory: bytes beside what is mapped already.
        seconds: of processor time beside those spent.
        written: bytes that a file may have.
    """
    if resource is None:
        return
    with contextlib.suppress(OSError, ValueError):
        pages = int(Path("/proc/self/statm").read_text().split()[0])  # libraries, mapped but hardly touched
        most = pages * resource.getpagesize() + memory
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    hasten(seconds)
    for kind, value in ((resource.RLIMIT_FSIZE, written), (resource.RLIMIT_CORE, 0)):
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(kind, (value, value))


def hasten(seconds: int) -> None:
    """Bounds the processor time that this process may take from now on, by no more than it was bounded before."""
    if resource is None:
        return
    usage = resource.getrusage(resource.RUSAGE_SELF)
    seconds += math.ceil(usage.ru_utime + usage.ru_stime)
    most = resource.getrlimit(resource.RLIMIT_CPU)[1]
    seconds = seconds if most == resource.RLIM_INFINITY else min(seconds, most)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
