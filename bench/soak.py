"""Mixed use of a running app while its workers, its jobs and itself are killed at random: what is lost, and who waits.

Publishing takes a Hub on this machine: `python -m tests.hub_server` starts one and prints what to set.
"""

from __future__ import annotations

import itertools
import logging
import os
import random
import re
import shutil
import tempfile
import threading
import time
import urllib.error
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer
from huggingface_hub.utils import disable_progress_bars

from bench.report import Json, report
from bench.soak_acts import Acts, Page, kill_run, kill_worker, running_twice
from bench.soak_troubles import Clock, Disk
from compress.jobs import jobs
from compress.jobs.workers import get_workers
from zoo.errors import UserError, sentence_of
from zoo.settings import get_settings

log = logging.getLogger(__name__)
app = typer.Typer()

SENTENCE = re.compile(r".{15,}[.?!…]\W*$", re.DOTALL)
UNEXPECTED = "should not have"  # what the page says of an error that nobody has thought of
KILL_EVERY = 1.2  # seconds, on the whole
TROUBLE_EVERY = 6.0  # likewise, for what befalls the machine
OFTEN = {"worker": 5, "app": 3, "run": 2}  # how often they are drawn
WARM = 12  # times that everything is done before memory counts: what is measured, at all lengths, and once more
MORE_MEMORY = 10  # percent that the app may hold more at the end
LAST = 600.0  # seconds that jobs have to end, once nothing is killed any more
OUTCOMES = ("right", "wrong", "refused", "interrupted", "without a word")


@dataclass
class Tally:
    """What a soak found.

    Attributes:
        acts: outcomes by act; `refused` is told in a sentence, `interrupted` had its page killed meanwhile.
        kills: of processes, by what was killed.
        troubles: that befell the machine, by name.
        states: of jobs in the end.
        lost, twice, endless: names of jobs that are gone, ran twice at once, or did not end.
        mute: errors without a sentence, a few.
        before, after: megabytes of the app, the same process, when it had warmed up and at the end.
    """

    acts: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict[str, Counter[str]](Counter))
    kills: Counter[str] = field(default_factory=Counter[str])
    troubles: Counter[str] = field(default_factory=Counter[str])
    states: Counter[str] = field(default_factory=Counter[str])
    lost: list[str] = field(default_factory=list[str])
    twice: set[str] = field(default_factory=set[str])
    endless: list[str] = field(default_factory=list[str])
    mute: list[str] = field(default_factory=list[str])
    before: float = 0.0
    after: float = 0.0

    def count(self, outcome: str) -> int:
        """How often an outcome was met, whatever was done."""
        return sum(outcomes[outcome] for outcomes in self.acts.values())

    @property
    def growth(self) -> float:
        """Percent that the app holds more at the end."""
        return 100 * (self.after / self.before - 1) if self.before else 0.0

    @property
    def faults(self) -> list[str]:
        """What did not hold."""
        counts = {
            "jobs lost": len(self.lost),
            "jobs run twice": len(self.twice),
            "jobs that did not end": len(self.endless),
            "wrong answers": self.count("wrong"),
            "answers refused without a word": self.count("without a word"),
        }
        faults = [f"{count} {what}" for what, count in counts.items() if count]
        return faults + ([f"{self.growth:.0f} % more memory"] if self.growth > MORE_MEMORY else [])


def table(tally: Tally) -> str:
    """A line for each act and kind of loss."""
    columns = [*OUTCOMES, *sorted({key for each in tally.acts.values() for key in each} - {*OUTCOMES})]
    lines = [f"{'':<10}" + "".join(f"{column:>16}" for column in columns)]
    for name, outcomes in tally.acts.items():
        lines.append(f"{name:<10}" + "".join(f"{outcomes[column] or '':>16}" for column in columns))
    killed, befell = (
        ", ".join(f"{count} × {what}" for what, count in each.items()) for each in (tally.kills, tally.troubles)
    )
    states = ", ".join(f"{count} {state}" for state, count in tally.states.items())
    lines += [
        f"killed {tally.kills.total()} times: {killed or 'nothing'}; besides {befell or 'nothing befell the machine'}",
        f"jobs: {tally.states.total()}: {states or 'none'}; {len(tally.lost)} lost, {len(tally.twice)} run twice, "
        f"{len(tally.endless)} did not end",
        f"the app held {tally.before:.0f} MB once warm and {tally.after:.0f} MB at the end ({tally.growth:+.1f} %)",
        *tally.mute,
        f"Did not hold: {', '.join(tally.faults)}." if tally.faults else "All of it held.",
    ]
    return "\n".join(lines)


class Soak:
    """Threads that act, one that kills and one that troubles the machine, until the time is over.

    Args:
        page: killed in the first half alone, so that its memory can be compared in the second.
        acts: by name; each returns an outcome or raises.
        victims: what is killed besides the page, by name; each says whether there was something to kill.
        chance: what decides.
        troubles: that befall the machine, by name.
        rhythm: what decides when they do, in a thread of their own.
    """

    def __init__(
        self,
        page: Page,
        acts: Mapping[str, Callable[[], str]],
        victims: Mapping[str, Callable[[], bool]],
        chance: random.Random,
        after_a_kill: Callable[[], None] = lambda: None,
        troubles: Mapping[str, Callable[[], None]] | None = None,
        rhythm: random.Random | None = None,
    ):
        self.page, self.tally = page, Tally()
        self._acts, self._victims, self._chance, self._after = acts, victims, chance, after_a_kill
        self._troubles, self._rhythm = troubles or {}, rhythm or random.Random(0)
        self._over, self._lock = threading.Event(), threading.Lock()

    def run(self, seconds: float, watch: Callable[[], None] = lambda: None) -> Tally:
        """Acts and kills for so long; `watch` is called all the while."""
        threads = [threading.Thread(target=self._repeat, args=one, daemon=True) for one in self._acts.items()]
        threads.append(threading.Thread(target=self._trouble, daemon=True))
        begun = time.monotonic()
        for thread in threads:
            thread.start()
        self._kill_until(begun + seconds / 2, watch, "app")
        self._warm_up(begun + 0.75 * seconds, watch)
        self.tally.before = self.page.megabytes()
        self._kill_until(begun + seconds, watch)
        self.tally.after = self.page.megabytes()
        self._over.set()
        for thread in threads:
            thread.join(180)
        return self.tally

    def _warm_up(self, latest: float, watch: Callable[[], None]) -> None:
        """Goes on until everything was done often enough that the page holds what it needs for that."""
        seen = {name: self.tally.acts[name].total() for name in self._acts}
        while time.monotonic() < latest and any(self.tally.acts[n].total() < WARM + count for n, count in seen.items()):
            self._kill_until(min(latest, time.monotonic() + KILL_EVERY), watch)

    def _kill_until(self, end: float, watch: Callable[[], None], *more: str) -> None:
        kinds = [name for name in (*self._victims, *more) for _ in range(OFTEN.get(name, 1))]
        following = time.monotonic() + self._chance.uniform(0, 2 * KILL_EVERY)
        while time.monotonic() < end:
            watch()
            time.sleep(min(0.25, max(0.0, end - time.monotonic())))
            if time.monotonic() < following:
                continue
            kind = self._chance.choice(kinds)
            if kind == "app":
                self.page.kill()
                self.page.start()
            elif not self._victims[kind]():  # there was none: another is drawn at once
                continue
            self.tally.kills[kind] += 1
            self.page.note(f"killed: {kind}")
            following = time.monotonic() + self._chance.uniform(0, 2 * KILL_EVERY)

    def _trouble(self) -> None:
        """Troubles the machine whatever is killed meanwhile, each of the troubles in turn."""
        for kind in itertools.cycle(self._troubles):
            if self._over.wait(self._rhythm.uniform(0, 2 * TROUBLE_EVERY)):
                return
            self.page.note(f"{kind}: from now on")
            self._troubles[kind]()
            self.page.note(f"{kind}: done")
            self.tally.troubles[kind] += 1

    def _repeat(self, name: str, act: Callable[[], str]) -> None:
        while not self._over.is_set():
            if self.page.is_up.wait(1):
                outcome = self._outcome(name, act)
                with self._lock:
                    self.tally.acts[name][outcome] += 1

    def _outcome(self, name: str, act: Callable[[], str]) -> str:
        begun = time.monotonic()
        try:
            return act()
        except Exception as error:  # whatever reaches a person is what is counted here
            said = words_of(error)
        if self.page.was_down(begun):
            self._after()
            return "interrupted"
        if SENTENCE.match(said) and UNEXPECTED not in said:
            time.sleep(0.5)
            return "refused"
        if len(self.tally.mute) < 10:
            age = time.monotonic() - self.page.came
            told = f"without a word ({name}, {time.strftime('%X')}, {age:.0f} s after the page came): {said[:300]}"
            self.page.note(told)
            self.tally.mute.append(told)
        self._after()
        return "without a word"


def words_of(error: Exception) -> str:
    """What a person reads of an error: a server's own words where it has some."""
    if isinstance(error, urllib.error.HTTPError):
        return error.read().decode(errors="replace").strip(' "{}')
    return sentence_of(error) or str(error).strip() or type(error).__name__


def run(minutes: float, seed: int = 0, disk: Disk | None = None, log_file: Path | None = None) -> Tally:
    """A soak of a real app in a home of its own.

    Args:
        minutes: how long.
        seed: what decides by chance.
        disk: where the home lies, to be filled now and then; None for a temporary folder.
        log_file: for what the app said, and between it what befell it.

    Raises:
        UserError: the app does not start.
    """
    endpoint = get_settings().hub
    is_local = urlsplit(endpoint).hostname in ("127.0.0.1", "localhost") and bool(os.environ.get("HF_TOKEN"))
    if not is_local:
        log.warning("Nothing is published: start a Hub here with `python -m tests.hub_server`, and set what it says.")
    within = disk.folder if disk else None
    with (
        tempfile.TemporaryDirectory(prefix="budget-zoo-clock-") as apart,
        tempfile.TemporaryDirectory(prefix="budget-zoo-soak-", dir=within) as place,
        _home(Path(place)) as home,
        Clock(Path(apart) / "ahead") as clock,
    ):
        page = Page(home)
        acts = Acts(page, home, random.Random(seed), endpoint if is_local else "")
        page.start()
        try:
            acts.learn()
            victims = {"worker": kill_worker, "run": kill_run}
            troubles = {"clock": clock.befall, **({"disk": disk.befall} if disk else {})}
            soak = Soak(
                page,
                acts.all(),
                victims,
                random.Random(seed + 1),
                acts.forget_client,
                troubles,
                random.Random(seed + 2),
            )

            def watch() -> None:
                soak.tally.twice |= running_twice([job.folder for job in jobs.jobs()])

            tally = soak.run(60 * minutes, watch)
            _settle(tally, acts.submitted)
            return tally
        finally:
            page.kill()
            _end_jobs()
            if log_file:
                shutil.copyfile(page.log, log_file)


@contextmanager
def _home(place: Path) -> Generator[Path]:
    before = os.environ.get("BUDGET_ZOO_HOME")
    os.environ["BUDGET_ZOO_HOME"] = str(place)
    get_settings.cache_clear()
    try:
        yield place
    finally:
        os.environ.pop("BUDGET_ZOO_HOME")
        if before is not None:
            os.environ["BUDGET_ZOO_HOME"] = before
        get_settings.cache_clear()


def _settle(tally: Tally, submitted: Mapping[str, str], patience: float = LAST) -> None:
    """Lets all jobs come to their ends, as a person does who retries what was killed, and counts them."""
    end = time.monotonic() + patience
    while time.monotonic() < end and any(job.is_open or job.state == "failed" for job in jobs.jobs()):
        for job in jobs.jobs():
            if job.state == "failed":
                log.info("%s failed and is retried: %s", job.name, job.reason)
                jobs.retry(job.id)
        if ill := jobs.illness():  # that no worker runs, and to start one
            log.info("%s", ill)
            get_workers().start()
        time.sleep(1)
    seen = {job.id: job for job in jobs.jobs()}
    tally.lost = [name for job_id, name in submitted.items() if job_id not in seen]
    tally.endless = [job.name for job in seen.values() if job.is_open or job.state == "failed"]
    tally.states = Counter(job.state for job in seen.values())


def _end_jobs() -> None:
    """Nothing that a soak has started outlives it."""
    for job in jobs.jobs():
        if job.is_open:
            jobs.cancel(job.id)
    end = time.monotonic() + 30
    while time.monotonic() < end and any(job.is_open for job in jobs.jobs()):
        time.sleep(0.2)
    kill_run()
    kill_worker()


@app.command("soak")
def command(
    minutes: Annotated[float, typer.Option(metavar="N", help="how long, more than 0")] = 30,
    seed: Annotated[int, typer.Option(metavar="S", help="what decides by chance; the same one acts alike")] = 0,
    volume: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="an empty folder on a small disk of its own, which is filled now and then"),
    ] = None,
    log_file: Annotated[
        Path | None,
        typer.Option("--log", metavar="FILE", help="for what the app said, and between it what befell it and when"),
    ] = None,
    path: Json = None,
) -> None:
    """Mixed use of the app while workers, jobs and the app itself are killed at random and the clock is put forward and
    back; what is lost is counted."""
    logging.getLogger().setLevel(logging.WARNING)  # clients tell every request
    disable_progress_bars()
    warnings.filterwarnings("ignore", "Not enough free disk space")  # that is what is tried
    threading.excepthook = lambda told: log.info("a client's thread: %s", told.exc_value)  # of a page that was killed
    if minutes <= 0:
        raise typer.BadParameter("--minutes must be more than 0")
    tally = run(minutes, seed, Disk.of(volume) if volume else None, log_file)
    figures = {"acts": tally.acts, "kills": tally.kills, "jobs": tally.states, "lost": tally.lost}
    figures |= {
        "troubles": tally.troubles,
        "twice": sorted(tally.twice),
        "endless": tally.endless,
        "mb": [tally.before, tally.after],
    }
    report(table(tally), path, figures)
    if tally.faults:
        raise UserError("Not all of it held.")
