"""One input timed while someone waits: at a budget, at full length on the same engine, and in fp32, in turn."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from zoo import catalog, engines, latency
from zoo.catalog import Entry
from zoo.devices import gpu_of
from zoo.errors import UserError
from zoo.latency import Timing
from zoo.opened import Runner

log = logging.getLogger(__name__)

BUDGET, FULL, FLOAT = "budget", "full", "float"
Progress = Callable[[int, int], None]
MEASURE_SECONDS, MOST_ROUNDS, LEAST_ROUNDS = 2.5, 40, 3


class Superseded(Exception):
    """Nobody waits for this measurement any longer."""


@dataclass(frozen=True)
class Measured:
    """Timings of one input, taken in turn.

    Attributes:
        timings: by `BUDGET`, `FULL` and, where there is such a model, `FLOAT`.
        speedups: (ratio, low, high) of the budget against each of the others.
        machine: see `zoo.latency.machine`.
        disturbed: whether something else kept the machine busy.
        tokens: real tokens of every window.
        gpus: what was timed on a GPU, by the keys of `timings`, and its name; all else ran on the CPU of `machine`.
    """

    timings: dict[str, Timing]
    speedups: dict[str, tuple[float, float, float]]
    machine: dict[str, Any]
    disturbed: bool
    tokens: list[int] = field(default_factory=list[int])
    gpus: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def distinct(self) -> dict[str, Timing]:
        """The timings without that of a budget which is full length itself."""
        return {name: t for name, t in self.timings.items() if name == FULL or t is not self.timings[FULL]}


def time_in_turn(
    calls: Mapping[str, Callable[[], object]], progress: Progress = lambda _done, _rounds: None
) -> tuple[dict[str, Timing], bool]:
    """Timings for someone who waits, a few seconds long, and whether something else kept the machine busy.

    All take part in the same rounds, because only paired samples give an honest spread of the speed-up. `progress` is
    called with (round that begins, rounds).
    """
    with latency.device_lock():
        disturbed = latency.disturbed()
        pilot = latency.measure(calls, rounds=1, warmup=1)
        round_ms = sum(timing.p50_ms for timing in pilot.values())
        rounds = int(1000 * MEASURE_SECONDS / round_ms) if round_ms > 0 else MOST_ROUNDS
        rounds = min(MOST_ROUNDS, max(LEAST_ROUNDS, rounds))
        timings = latency.measure(_counted(calls, rounds, progress), rounds=rounds, warmup=1)
        return timings, disturbed or latency.disturbed()


def _counted(
    calls: Mapping[str, Callable[[], object]], rounds: int, progress: Progress
) -> dict[str, Callable[[], object]]:
    """The same calls, of which the last tells after each round that the next one begins; the warm-up is one, too."""
    *_, last = calls
    done = count(1)

    def tell() -> None:
        calls[last]()
        progress(min(next(done), rounds), rounds)

    return {**calls, last: tell}


def measure(
    runs: Mapping[str, Runner],
    stale: Callable[[], bool] = lambda: False,
    progress: Progress = lambda _done, _rounds: None,
) -> Measured:
    """Times an input.

    Args:
        runs: by `FULL`, and by `BUDGET` and `FLOAT` where these are not the same thing.
        stale: whether nobody waits for it any longer.
        progress: called with (round that begins, rounds).

    Raises:
        Superseded: `stale` became true meanwhile.
        UserError: somebody else kept the device.
    """
    timings, disturbed = time_in_turn(unless_stale(runs, stale), progress)
    timings = {BUDGET: timings.get(BUDGET, timings[FULL]), **timings}
    speedups = {name: latency.speedup(timings[name], timings[BUDGET]) for name in timings if name != BUDGET}
    names = {name: gpu_of(runs.get(name, runs[FULL]).engine) for name in timings}
    gpus = {name: gpu for name, gpu in names.items() if gpu}
    return Measured(timings, speedups, latency.machine(), disturbed, runs[FULL].tokens, gpus)


def unless_stale(runs: Mapping[str, Runner], stale: Callable[[], bool]) -> dict[str, Callable[[], object]]:
    """The same calls, each of which raises `Superseded` once nobody waits for them any longer."""

    def watched(run: Runner) -> Callable[[], object]:
        def call() -> None:
            if stale():
                raise Superseded
            run()

        return call

    return {name: watched(run) for name, run in runs.items()}


def full_length_ms(run: Runner) -> float:
    """What an input takes at full length, in milliseconds: enough to place a budget by."""
    with latency.device_lock():
        return latency.measure({FULL: run}, rounds=5, warmup=2)[FULL].p50_ms


def reference_of(
    entry: Entry, engine: str, sibling: Callable[[Entry], Entry | None] = catalog.full_precision
) -> tuple[Entry, str]:
    """The model whose full-length answer stands beside an entry's, and its engine: fp32, else the entry itself."""
    try:
        other = sibling(entry)
    except UserError as error:
        log.info("No fp32 to stand beside %s: %s", entry.name, error)
        other = None
    if other and other.task != entry.task:  # a cross-encoder is a classifier, where nobody says that it ranks
        other = None
    return (other, engines.full_precision(other.folder)) if other else (entry, engine)
