"""The worker processes of a home: which are alive on this machine, and the start of one that outlives its starter."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import TypedDict

import psutil
from filelock import FileLock, Timeout

from compress.children import PROJECT, environment
from compress.jobs.births import born, lives
from zoo.errors import UserError
from zoo.files import read_json, write_json
from zoo.settings import get_settings

IDLE = 600.0  # seconds after which a worker that nobody started by hand ends, if there is nothing to do
LONGEST_LOG = 2_000_000  # bytes
PATIENCE = 10.0  # seconds that a start waits for another


class Signature(TypedDict):
    """A process, told from a later one that has its number."""

    pid: int
    born: str | float
    host: str


class Workers:
    """The workers of a home.

    Args:
        home: of runs and jobs.
        are_many: whether several may work side by side, as those that share a Postgres do.

    Attributes:
        was_killed: whether the last that this process started, and that is gone, was killed from outside.
    """

    was_killed = False

    def __init__(self, home: Path, are_many: bool = False):
        self._folder, self._are_many = home / "workers", are_many
        self._children: list[subprocess.Popen[bytes]] = []

    def alive(self) -> Signature | None:
        """A worker of this machine; None where there is none."""
        for path in sorted(self._folder.glob("*.json")):
            with suppress(UserError, KeyError, TypeError):
                signature: Signature = read_json(path)
                if signature["host"] == socket.gethostname() and _is_same(signature):
                    return signature
        return None

    def start(self) -> bool:
        """Starts a worker that outlives this process, unless one is alive on this machine; whether it did.

        Raises:
            UserError: it could not be started; says why.
        """
        if ended := [child for child in self._children if child.poll() is not None]:
            self.was_killed = ended[-1].returncode < 0
        self._children = [child for child in self._children if child.returncode is None]
        if self.alive():
            return False
        lock = self._folder / "start.lock"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with FileLock(lock, timeout=PATIENCE):
                return self._start()
        except Timeout:
            raise UserError(f"No worker was started: another program holds {lock}. End that, or try again.") from None
        except OSError as error:
            raise UserError(f"No worker was started in {self._folder}: {error.strerror or error}.") from error

    @property
    def log(self) -> Path:
        """What workers say."""
        return self._folder / "worker.log"

    def _start(self) -> bool:
        if self.alive():
            return False
        log = self.log
        if log.is_file() and log.stat().st_size > LONGEST_LOG:
            log.replace(log.with_name("worker.old.log"))
        with log.open("ab") as output:
            child = subprocess.Popen(
                [sys.executable, "-m", "compress", "worker", "--idle", str(IDLE)],
                cwd=PROJECT,
                env=environment({k: v for k, v in os.environ.items() if k.startswith("BUDGET_ZOO_")}),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._children.append(child)
        _sign(self._starting, child.pid)  # before it can do so itself: a second submit starts no second one
        return True

    @contextmanager
    def on_duty(self) -> Generator[None]:
        """While this process is a worker.

        Raises:
            UserError: a worker runs already, and one is enough.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as duty:
            if self._are_many:
                signature = self._folder / f"{socket.gethostname()}-{os.getpid()}.json"
            else:
                signature = self._folder / "0.json"
                try:
                    duty.enter_context(FileLock(self._folder / "0.lock", timeout=2))
                except Timeout:
                    process = (self.alive() or {}).get("pid", "of another machine")
                    raise UserError(f"A worker runs already (process {process}). One is enough.") from None
            duty.callback(self._starting.unlink, missing_ok=True)
            duty.callback(signature.unlink, missing_ok=True)
            self._forget_dead()
            _sign(signature, os.getpid())
            yield

    def _forget_dead(self) -> None:
        """Removes the signatures of workers of this machine that were killed."""
        for path in self._folder.glob("*.json"):
            with suppress(UserError, KeyError, TypeError):
                signature: Signature = read_json(path)
                if signature["host"] == socket.gethostname() and not _is_same(signature):
                    path.unlink(missing_ok=True)

    @property
    def _starting(self) -> Path:
        return self._folder / "starting.json"


def get_workers() -> Workers:
    """The workers of the home that the settings name."""
    settings = get_settings()
    return _workers(settings.home, bool(settings.database_url))


@lru_cache(maxsize=4)
def _workers(home: Path, are_many: bool) -> Workers:
    return Workers(home, are_many)


def _sign(path: Path, pid: int) -> None:
    with suppress(psutil.Error):
        write_json(path, {"pid": pid, "born": born(pid), "host": socket.gethostname()})


def _is_same(signature: Signature) -> bool:
    return lives(signature["pid"], signature["born"])
