"""Workers that die wherever they stand, one step at a time: processes that are told when to go on, and a plan of what
happens at each step."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from compress.recipe.layout import ATTEMPT, LOCK, RESULT
from zoo.files import write_json

KILLED = 137


class Killed(BaseException):
    """Whoever runs is gone, as after SIGKILL."""


class Process:
    """A job's process: begins with the lock of its folder, as `compress run` does, and ends by name of its start."""

    def __init__(self, folder: Path, number: int):
        self.folder, self.number = folder, number
        self.code: int | None = None
        self._lock, self._attempt = FileLock(folder / LOCK), ""

    @property
    def has_begun(self) -> bool:
        return bool(self._attempt)

    def go_on(self) -> bool:
        """One step: it begins, then it ends well; whether it has done its work now."""
        if self.code is not None:
            return False
        if not self.has_begun:
            try:
                self._lock.acquire(timeout=0)
            except Timeout:
                self.code = 1
                return False
            self._attempt = (self.folder / ATTEMPT).read_text()
            return False
        write_json(self.folder / RESULT, {"attempt": self._attempt})
        self.die(0)
        return True

    def die(self, code: int = KILLED) -> None:
        if self.code is None:
            self.code = code
            self._lock.release()


class Run:
    """What a worker has of a process."""

    def __init__(self, world: World, process: Process, is_own: bool):
        self._world, self._process, self._is_own = world, process, is_own
        self.facts: dict[str, object] = {"number": process.number}

    def poll(self) -> int | None:
        code = self._process.code
        return code if code is None or self._is_own else 255

    def memory(self) -> int:
        return 0

    def age(self) -> float | None:
        return 1.0

    def stop(self, grace: float = 0) -> None:
        if not self._world.is_dying:  # the dead stop nothing
            self._process.die()


class World:
    """All processes, and what happens next: an action at each step of a worker, or its death.

    Attributes:
        plan: names of actions, used up step by step; "kill" is the death of whoever runs.
        actions: what the others do, by its name; where the plan has ended every process goes on.
        done: how often a job's process did its work, by folder.
        started: how often one was started.
    """

    def __init__(self) -> None:
        self.plan: deque[str] = deque()
        self.actions: dict[str, Callable[[], Any]] = {}
        self.processes: list[Process] = []
        self.done: Counter[Path] = Counter()
        self.started: Counter[Path] = Counter()
        self.is_dying = False

    def alive(self, folder: Path) -> list[Process]:
        return [process for process in self.processes if process.folder == folder and process.code is None]

    def point(self, is_free: bool) -> None:
        """A step of a worker; one that is not free holds a lock, where others cannot act."""
        action = self.plan.popleft() if self.plan else "go on"
        if action == "kill":
            self.is_dying = True
            raise Killed
        if is_free:
            self.actions[action]()

    def go_on(self) -> None:
        for process in list(self.processes):
            self.done[process.folder] += process.go_on()

    def kill_runs(self) -> None:
        for process in self.processes:
            process.die()

    def survive(self, act: Callable[[], Any]) -> Any:
        """What somebody does who may die of it; None where they did."""
        try:
            return act()
        except Killed:
            return None
        finally:
            self.is_dying = False

    # A launcher, as `compress.jobs.launcher.Launcher`.
    def check(self) -> None:
        pass

    def start(self, folder: Path) -> Run:
        self.point(is_free=True)
        process = Process(folder, len(self.processes))
        self.processes.append(process)
        self.started[folder] += 1
        self.point(is_free=True)
        return Run(self, process, is_own=True)

    def adopt(self, folder: Path, facts: Mapping[str, object]) -> Run | None:
        for process in self.alive(folder):
            if facts.get("number", process.number) == process.number:
                return Run(self, process, is_own=False)
        return None
