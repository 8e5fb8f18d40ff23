"""How long encoders of a search space take on this machine: a row an encoder and mode, measured alone and in any order.

Every row is on disk before the next one is begun, so whoever kills the process loses one. Rows carry the stamp of
their machine, and a table takes those of one machine only.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from itertools import islice
from statistics import NormalDist
from typing import Any

import numpy as np

from compress.nas.base import base_of
from compress.nas.predictor import fit
from compress.nas.space import GENES, Arch, Space
from compress.nas.table import STRAY, Job, Measured, Row, Table, refuse_foreign, row_key, setup_json, stamp
from compress.nas.timed import MODES, Setup, ready
from compress.progress import Progress
from compress.recipe.nas import NasRecipe
from compress.recipe.nas_groups import LatencyTable
from compress.recipe.stage import StageContext
from compress.tasks.fanout import cluster
from zoo.files import Archive
from zoo.latency import device_lock, measure

PATIENCE = 3600.0  # seconds to wait for other measurements on this machine


def plan(space: Space, count: int, seed: int) -> list[Arch]:
    """Encoders to measure: the corners of the space, then others at random; all of them where there are no more."""
    ends = {name: (getattr(space, name)[0], getattr(space, name)[-1]) for name in GENES}
    corners = [space.arch(x, y, z) for x in ends["layers"] for y in ends["hidden"] for z in ends["intermediate"]]
    chosen = dict.fromkeys(corners)
    everything = list(space)
    random.Random(seed).shuffle(everything)
    chosen |= dict.fromkeys(everything)
    return list(islice(chosen, max(count, len(dict.fromkeys(corners)))))


def time_row(arch: Arch, mode: str, setup: Setup, settings: LatencyTable) -> Measured:
    """Times one encoder with made-up weights; see `time_call`."""
    with ready(arch, mode, setup) as call:
        return time_call(call, settings)


def time_arch(arch: Arch, mode: str, setup: Setup, settings: LatencyTable) -> Measured:
    """As `time_row`, but the fastest of several; see `time_again`."""
    with ready(arch, mode, setup) as call:
        return time_again(call, settings)


def time_call(call: Callable[[], Any], settings: LatencyTable) -> Measured:
    """Times a call: `p50_ms`, `p90_ms`, `noise`, `n`; where calls differ much it is done again, the calmest kept.

    Args:
        call: what to time.
        settings: a recipe's `latency_table` group.
    """
    best: Measured = {}
    for _ in range(settings.retries + 1):
        with device_lock(timeout=PATIENCE):
            timing = measure({"": call}, settings.rounds, settings.warmup, settings.seconds, least=5)[""]
        low, high = np.percentile(timing.samples, (25, 75))
        noise = float(high - low) / timing.p50_ms
        if not best or noise < best["noise"]:
            best = {"p50_ms": timing.p50_ms, "p90_ms": timing.p90_ms, "noise": noise, "n": timing.n}
        if noise <= settings.noise:
            break
    return best


def time_again(call: Callable[[], Any], settings: LatencyTable) -> Measured:
    """The fastest of several measurements with pauses between them, as a table's slow rows get: see `strays`.

    Args:
        call: what to time.
        settings: a recipe's `latency_table` group; `turns` says how often after the first.
    """
    return time_in_turn([call], settings)[0]


def time_in_turn(calls: Sequence[Callable[[], Any]], settings: LatencyTable) -> list[Measured]:
    """As `time_again`, of several calls: each is timed once in every turn."""
    timings = [[time_call(call, settings) for call in calls]]
    for _ in range(settings.turns):
        time.sleep(settings.seconds)
        timings.append([time_call(call, settings) for call in calls])
    return [min(each, key=lambda one: one["p50_ms"]) for each in zip(*timings, strict=True)]


def measure_table(
    space: Space,
    setup: Setup,
    settings: LatencyTable,
    archive: Archive,
    progress: Progress,
    spread: Callable[[Sequence[Job]], Iterable[Measured]] | None = None,
) -> Table:
    """Measures what the settings ask for; what is in the archive is not measured again.

    Args:
        space: which encoders there are.
        setup: input, threads, family.
        settings: of a recipe.
        archive: rows so far.
        progress: hears of every row.
        spread: measures jobs in their order, elsewhere perhaps; by default here, one after the other.

    Raises:
        UserError: the archive's rows, or those of a worker, are from another machine.
    """
    mine = stamp()
    begun = archive.get("machine")
    if begun is None:
        archive.add("machine", mine)
    else:
        refuse_foreign(begun, f"What {archive.path} holds")
    archs = plan(space, settings.rows, settings.seed)
    jobs = [(mode, arch) for arch in archs for mode in dict.fromkeys(settings.modes)]
    todo = [job for job in jobs if archive.get(row_key(job)) is None]
    work = spread or (lambda some: (time_row(arch, mode, setup, settings) for mode, arch in some))
    done, since = len(jobs) - len(todo), time.monotonic()
    for job, timing in zip(todo, work(todo), strict=True):
        archive.add(row_key(job), timing)
        done += 1
        pace = 60 * (done - len(jobs) + len(todo)) / (time.monotonic() - since)
        progress.update(done, len(jobs), rows_a_minute=pace, p50_ms=timing["p50_ms"])
    rows = [Row(arch, mode, **(archive.get(row_key((mode, arch))) or {})) for mode, arch in jobs]
    again = 0
    for turn in range(2, 2 + settings.turns):
        slow = [job for mode in dict.fromkeys(settings.modes) for job in strays([r for r in rows if r.mode == mode])]
        missing = [job for job in slow if archive.get(row_key(job, turn)) is None]
        for number, (job, timing) in enumerate(zip(missing, work(missing), strict=True), 1):
            archive.add(row_key(job, turn), timing)
            progress.update(len(jobs), len(jobs), measured_again=again + number)
        rows = [_settled(row, archive.get(row_key((row.mode, row.arch), turn))) for row in rows]
        again += len(slow)
    facts = {"encoders": len(archs), "measured_again": again, "noise": float(np.median([r.noise for r in rows]))}
    if facts["noise"] > settings.noise:
        progress.note(
            f"the quartiles of half of the rows lie {100 * facts['noise']:.0f} % apart or more: something else kept "
            "the machine busy, and predictions will be as far off. Measure again when nothing else runs"
        )
    return Table(rows, mine, setup_json(setup), space, facts)


def strays(rows: Sequence[Row]) -> list[Job]:
    """Rows far slower than their sizes let expect: something else was going on. At most a quarter of them.

    A neighbour on the same cores slows seconds down, evenly, so that a row does not show it by itself; and it only ever
    slows down, so that the spread is told from the rows that are faster than expected.
    """
    if len(rows) < 20:
        return []
    archs, times = [row.arch for row in rows], np.array([row.p50_ms for row in rows])
    off = np.log(times / fit(archs, times, "hinges").predict(archs))
    low, middle = np.percentile(off, (100 * NormalDist().cdf(-1), 50))
    far = off - middle > max(STRAY * float(middle - low), 0.05)
    worst = np.argsort(-off)[: max(1, len(rows) // 4)]
    return [(rows[i].mode, rows[i].arch) for i in worst if far[i]]


def _settled(row: Row, second: Measured | None) -> Row:
    """The faster of two measurements: what disturbs one only ever slows it down."""
    return row if second is None or second["p50_ms"] >= row.p50_ms else Row(row.arch, row.mode, **second)  # type: ignore[arg-type]


@contextmanager
def machines(setup: Setup, settings: LatencyTable) -> Generator[Callable[[Sequence[Job]], Iterable[Measured]] | None]:
    """What measures rows on the machines of a Ray cluster, `None` where this one works alone.

    A worker takes as many of a machine's CPUs as the engine has threads, and measures only while no other process of
    this program does; its rows come with its machine's stamp.

    Raises:
        UserError: Ray is not installed.
    """
    if settings.workers == 1:
        yield None
        return
    with cluster(settings.workers, setup.threads) as ray:
        timer = ray.remote(num_cpus=1, scheduling_strategy="SPREAD")(Timer)
        timers = [timer.remote(setup, settings.model_dump(mode="json")) for _ in range(settings.workers)]
        for other in ray.get([one.stamp.remote() for one in timers]):
            refuse_foreign(other, "A machine of the Ray cluster")
        from ray.util import ActorPool

        pool: Any = ActorPool(timers)
        yield lambda jobs: pool.map(lambda actor, job: actor.row.remote(*job), list(jobs))


class Timer:
    """Times rows in a process of its own."""

    def __init__(self, setup: Setup, settings: dict[str, Any]):
        self._setup, self._settings = setup, LatencyTable.model_validate(settings)

    def stamp(self) -> dict[str, Any]:
        return stamp()

    def row(self, mode: str, arch: Arch) -> Measured:
        return time_row(arch, mode, self._setup, self._settings)


def run(ctx: StageContext[NasRecipe]) -> dict[str, Any]:
    """Stage `latency_table`: the search space -> `table.json`, measured here or taken from an earlier run.

    Raises:
        UserError: a given table is of another machine, setup or space.
    """
    settings = ctx.recipe.latency_table
    base = base_of(ctx)
    if settings.table:
        table = Table.load(settings.table)
        table.check(base.setup, base.space)
        for mode in settings.modes:
            table.of(mode)
        ctx.progress.update(1, 1)
    else:
        began = time.monotonic()
        archive = Archive(ctx.folder / "rows.jsonl")
        before = len(archive)
        with machines(base.setup, settings) as spread:
            table = measure_table(base.space, base.setup, settings, archive, ctx.progress, spread)
        minutes = (time.monotonic() - began) / 60
        table.facts["rows_a_minute"] = round((len(archive) - before) / minutes, 1)
    table.save(ctx.folder / "table.json")
    modes = [MODES[mode] for mode in table.modes]
    return {"rows": len(table.rows), "modes": modes, "encoders_of_the_space": len(base.space), **table.facts}
