"""How long things take: several at a time in turn, so that what else the machine does touches all of them alike."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from filelock import FileLock, Timeout

from zoo.errors import UserError
from zoo.settings import get_settings


@dataclass(frozen=True)
class Timing:
    """Milliseconds of single calls; `samples` are in the order in which they were taken."""

    p50_ms: float
    p90_ms: float
    p99_ms: float
    n: int
    samples: list[float] = field(repr=False)

    @classmethod
    def from_samples(cls, samples: list[float]) -> Timing:
        """Summarize samples in milliseconds."""
        p50, p90, p99 = (float(p) for p in np.percentile(samples, (50, 90, 99)))
        return cls(p50, p90, p99, len(samples), samples)


def measure(
    calls: Mapping[str, Callable[[], object]],
    rounds: int = 30,
    warmup: int = 3,
    seconds: float | None = None,
    least: int = 3,
    pause: float = 0.002,
    clock: Callable[[], int] = time.perf_counter_ns,
) -> dict[str, Timing]:
    """Time callables in turn, A B A B, after a warm-up.

    Args:
        calls: what to time, by name.
        rounds: how often the round goes.
        warmup: calls of each before, at least one; not counted.
        seconds: about so much time for each name at the most: a slow one takes part in fewer rounds, spread evenly.
        least: but in at least so many.
        pause: seconds of rest before each call: onnxruntime's threads spin on for a while, to the next one's cost.
        clock: nanoseconds.

    Returns:
        A Timing by name.
    """

    def timed(call: Callable[[], object]) -> float:
        time.sleep(pause)
        before = clock()
        call()
        return (clock() - before) / 1e6

    costs = {name: min(timed(call) for _ in range(max(warmup, 1))) for name, call in calls.items()}
    turns = dict.fromkeys(calls, rounds)
    if seconds is not None:
        for name, cost in costs.items():
            affordable = int(1000 * seconds / cost) if cost > 0 else rounds
            turns[name] = min(rounds, max(least, affordable))

    samples: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds):
        for name, call in calls.items():
            if (number + 1) * turns[name] // rounds > number * turns[name] // rounds:
                samples[name].append(timed(call))
    return {name: Timing.from_samples(times) for name, times in samples.items()}


def speedup(a: Timing, b: Timing, resamples: int = 2000, seed: int = 0) -> tuple[float, float, float]:
    """How many times as fast as `a` is `b`: the ratio of medians, and its 95 % interval by bootstrap over rounds.

    A round's two samples are drawn together, since what slowed one down slowed the other.

    Raises:
        ValueError: the two were not measured in the same rounds.
    """
    if a.n != b.n:
        raise ValueError(f"{a.n} and {b.n} samples cannot be paired by round")
    rows = np.random.default_rng(seed).integers(0, a.n, (resamples, a.n))
    ratios = np.median(np.array(a.samples)[rows], axis=1) / np.median(np.array(b.samples)[rows], axis=1)
    low, high = np.percentile(ratios, (2.5, 97.5))
    return a.p50_ms / b.p50_ms, float(low), float(high)


def machine(cpuinfo: str | Path = "/proc/cpuinfo") -> dict[str, Any]:
    """The stamp that every figure carries: CPU, its int8 instructions, cores, threads, Python, date (UTC)."""
    settings, facts = get_settings(), _facts(cpuinfo)
    flags = set(facts.get("flags", "").split())
    return {
        "cpu": facts.get("model name") or platform.processor() or platform.machine(),
        "cores": os.cpu_count() or 1,
        "threads": settings.threads,
        "vnni": bool(flags & {"avx512_vnni", "avx_vnni"}),
        "amx": "amx_int8" in flags,
        "avx512": "avx512f" in flags,
        "python": platform.python_version(),
        "date": datetime.now(UTC).date().isoformat(),
    }


def multiplies_bf16(cpuinfo: str | Path = "/proc/cpuinfo") -> bool:
    """Whether the CPU has products of bf16 numbers; without them bf16 is slower than fp32, not faster."""
    return bool({"avx512_bf16", "amx_bf16"} & set(_facts(cpuinfo).get("flags", "").split()))


def _facts(cpuinfo: str | Path) -> dict[str, str]:
    """What Linux says of the last CPU; {} elsewhere."""
    try:
        lines = Path(cpuinfo).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}


@contextmanager
def device_lock(timeout: float = 60) -> Generator[None]:
    """Have the CPU to oneself among all processes and threads of this program; a thread may take it again inside.

    Raises:
        UserError: somebody else kept it for more than `timeout` seconds.
    """
    home = get_settings().home
    home.mkdir(parents=True, exist_ok=True)
    lock = FileLock(home / "device.lock", is_singleton=True)
    try:
        lock.acquire(timeout=timeout)
    except Timeout as error:
        raise UserError(
            f"The machine was busy with another measurement for {timeout:.0f} s. Try again later."
        ) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def running_job() -> Generator[None]:
    """Mark that a job computes in this process, so that figures taken meanwhile are called disturbed."""
    jobs = get_settings().home / "jobs"
    jobs.mkdir(parents=True, exist_ok=True)
    with FileLock(jobs / f"{os.getpid()}.lock", is_singleton=True):
        yield


def disturbed(busy: float = 0.5, within_job: bool = False) -> bool:
    """Whether a job runs, or others keep more than `busy` CPUs at work. Takes a tenth of a second; call it idle.

    Args:
        busy: CPUs.
        within_job: this process is a job itself, which is no other.
    """
    return _job_runs(but=os.getpid() if within_job else 0) or _others_load() > busy


def _job_runs(but: int = 0) -> bool:
    for path in (get_settings().home / "jobs").glob("*.lock"):
        if path.stem == str(but):
            continue
        # A killed job leaves its file behind but not its lock: the system lets go of that.
        try:
            with FileLock(path, timeout=0):
                pass
        except Timeout:
            return True
        path.unlink(missing_ok=True)
    return False


def _others_load(interval: float = 0.1) -> float:
    """CPUs kept busy by other processes, on average over `interval` seconds."""
    own = psutil.Process()
    own.cpu_percent()
    everything = psutil.cpu_percent(interval) / 100 * (psutil.cpu_count() or 1)
    return max(0.0, everything - own.cpu_percent() / 100)
