"""The launchers by name: this machine, several processes of a torchrun, a Ray cluster, a machine of the Hub."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from compress.children import PROJECT, environment, require_ray
from compress.jobs.births import age, born, lives
from compress.jobs.launcher import GRACE, UNKNOWN, Handle, Launcher
from compress.recipe.layout import LOG
from zoo.errors import UserError
from zoo.lazily import Lazy
from zoo.settings import get_settings

if TYPE_CHECKING:
    from compress.jobs import hub_job, machines
else:  # the Hub's client takes long to import
    hub_job, machines = Lazy("compress.jobs.hub_job"), Lazy("compress.jobs.machines")

MOST_PROCESSES = 8  # that train together on however small a machine
HUB = "hf-job"  # a machine of the Hub; its name follows after a colon


class Family:
    """A process, its group and all that it started, some of which leave the group.

    Args:
        process: psutil's.
        child: where this process started it.
    """

    def __init__(self, process: psutil.Process, child: subprocess.Popen[bytes] | None = None):
        self._process, self._child = process, child
        self._members: dict[int, psutil.Process] = {process.pid: process}
        self.facts: dict[str, object] = {"pid": process.pid, "born": born(process.pid)}

    def poll(self) -> int | None:
        code = self._child.poll() if self._child else None if _lives(self._process) else UNKNOWN
        if code is not None:
            self._end(list(self._members.values()), psutil.Process.kill)  # what it left behind
        return code

    def memory(self) -> int:
        size = 0
        for process in self._gather():
            with contextlib.suppress(psutil.Error):
                size += process.memory_info().rss
        return size

    def age(self) -> float | None:
        with contextlib.suppress(psutil.Error):
            return age(self._process)
        return None

    def stop(self, grace: float = GRACE) -> None:
        self._end(self._gather(), psutil.Process.terminate)
        until = time.monotonic() + grace
        while any(_lives(process) for process in self._members.values()) and time.monotonic() < until:
            if self._child:
                self._child.poll()
            time.sleep(0.05)
        self._end(self._gather(), psutil.Process.kill)
        if self._child:
            self._child.wait()

    def leave(self) -> None:
        self.stop()

    def _gather(self) -> list[psutil.Process]:
        for process in list(self._members.values()):
            with contextlib.suppress(psutil.Error):
                self._members |= {child.pid: child for child in process.children(recursive=True)}
        return list(self._members.values())

    def _end(self, processes: list[psutil.Process], how: Callable[[psutil.Process], None]) -> None:
        # Groups are Linux's and macOS's: whoever was adopted by another process is still of the group.
        if hasattr(os, "killpg") and (self._child or _lives(self._process)):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGTERM if how is psutil.Process.terminate else signal.SIGKILL)
        for process in processes:
            with contextlib.suppress(psutil.Error):
                how(process)  # psutil makes sure that it is still the same process


class Local:
    """Processes of this machine, in a group of their own.

    Args:
        command: a run's folder -> the command.
        extra: more of its environment.
        processes: that it starts.
    """

    def __init__(
        self, command: Callable[[Path], list[str]], extra: Mapping[str, object] | None = None, processes: int = 1
    ):
        self._command, self._extra, self._processes = command, extra, processes

    def check(self) -> None:
        most = max(MOST_PROCESSES, os.cpu_count() or 1)
        if self._processes > most:
            raise UserError(
                f"{self._processes} processes would get in each other's way: this machine has {os.cpu_count()} "
                f"processors. Take at most torchrun:{most}."
            )

    def start(self, folder: Path) -> Handle:
        with (folder / LOG).open("ab") as log:
            child = subprocess.Popen(
                self._command(folder),
                cwd=PROJECT,
                env=environment(self._extra),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return Family(psutil.Process(child.pid), child)

    def adopt(self, folder: Path, facts: Mapping[str, object]) -> Handle | None:
        pid = facts.get("pid") if "pid" in facts else self._find(folder)
        if isinstance(pid, int) and ("pid" not in facts or lives(pid, facts.get("born"))):
            with contextlib.suppress(psutil.Error):
                return Family(psutil.Process(pid))
        return None

    def _find(self, folder: Path) -> int | None:
        """The process of a folder's run by its command, and that it leads a group, which its forks do not."""
        command = self._command(folder)
        for process in psutil.process_iter(["cmdline"]):
            if process.info["cmdline"] == command and _lives(process) and _leads(process.pid):
                return process.pid
        return None


def run_command(folder: Path) -> list[str]:
    """The one command that computes."""
    return [sys.executable, "-m", "compress", "run", str(folder)]


def torchrun(processes: int) -> Local:
    """A launcher of so many processes that train together."""
    spawn = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    threads = max(1, get_settings().threads // processes)
    return Local(lambda folder: [*spawn, "-m", "compress", "run", str(folder)], {"OMP_NUM_THREADS": threads}, processes)


class Ray:
    """A Ray cluster, through its Jobs API; its machines see the same files as this one."""

    def check(self) -> None:
        require_ray()
        _ray_jobs()

    def start(self, folder: Path) -> Handle:
        # `env -i`: a cluster's processes may hold secrets of whoever started it. Commands are seen by all of its users.
        passed = environment({"RAY_ADDRESS": "auto"})
        settings = [f"{key}={value}" for key, value in passed.items() if not key.lower().endswith("_proxy")]
        command = shlex.join(["env", "-i", *settings, *run_command(folder)])
        name = f"{_name_of(folder)}-{int(time.time())}"
        entry = f"cd {shlex.quote(str(PROJECT))} && exec {command} >> {shlex.quote(str(folder / LOG))} 2>&1"
        _submit(entry, name)
        return _RayRun(name)

    def adopt(self, folder: Path, facts: Mapping[str, object]) -> Handle | None:
        name, known = facts.get("ray"), [job.submission_id or "" for job in _ray_jobs().list_jobs()]
        for found in known:
            if found == name or "ray" not in facts and found.startswith(f"{_name_of(folder)}-"):
                run = _RayRun(found)
                if run.poll() is None:
                    return run
        return None


class _RayRun:
    def __init__(self, name: str):
        self._name = name
        self.facts: dict[str, object] = {"ray": name}
        self._asked = 0.0

    def poll(self) -> int | None:
        time.sleep(max(0.0, self._asked + 0.5 - time.monotonic()))  # a cluster has more to do than to answer us
        self._asked = time.monotonic()
        try:
            status = _ray_jobs().get_job_status(self._name)
        except (UserError, RuntimeError):
            return None  # the cluster is not to be reached at the moment
        return (0 if status == "SUCCEEDED" else 1) if status.is_terminal() else None

    def memory(self) -> int:
        return 0  # another machine's

    def age(self) -> float | None:
        return None

    def stop(self, grace: float = GRACE) -> None:
        with contextlib.suppress(RuntimeError, UserError):
            _ray_jobs().stop_job(self._name)
        until = time.monotonic() + grace + 3  # Ray kills what has not ended after three seconds
        while self.poll() is None and time.monotonic() < until:
            time.sleep(0.1)

    def leave(self) -> None:
        self.stop()


def _name_of(folder: Path) -> str:
    return f"budget-zoo-{folder.name}"


def _ray_jobs() -> Any:
    require_ray()
    address = get_settings().ray_address
    try:
        return _ray_client(address)
    except (ConnectionError, RuntimeError) as error:
        raise UserError(
            f"No Ray cluster answers at {address}. Start one (`ray start --head`), or set BUDGET_ZOO_RAY_ADDRESS."
        ) from error


def _submit(entrypoint: str, name: str, patience: float = 60) -> None:
    """Submits a job; a cluster that has just started has no agent for it for some seconds, and says so."""
    deadline = time.monotonic() + patience
    while True:
        try:
            _ray_jobs().submit_job(entrypoint=entrypoint, submission_id=name)
            return
        except RuntimeError as error:
            if "No available agent" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(1)


@lru_cache(maxsize=4)
def _ray_client(address: str) -> Any:
    from ray.job_submission import JobSubmissionClient

    return JobSubmissionClient(address, headers=_ray_headers())


def _ray_headers() -> dict[str, str] | None:
    """What a cluster with token authentication asks for; its client sends it by itself only if it is told the mode."""
    if os.environ.get("RAY_AUTH_MODE", "token").lower() != "token":
        return None
    token = os.environ.get("RAY_AUTH_TOKEN", "")
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    with contextlib.suppress(OSError):
        token = token or path.read_text(encoding="utf-8")
    return {"Authorization": f"Bearer {token.strip()}"} if token.strip() else None


LAUNCHERS: dict[str, Callable[[], Launcher]] = {
    "local": lambda: Local(run_command),
    "torchrun": lambda: torchrun(2),
    "ray": Ray,
}


def launcher_of(name: str) -> Launcher:
    """The launcher of this name: one of LAUNCHERS, `torchrun:N` for N processes, `hf-job:FLAVOR` for one of the Hub's.

    Raises:
        UserError: there is none.
    """
    if is_on_hub(name):
        return hub_job.OnHub(name.partition(":")[2])
    if several := re.fullmatch(r"torchrun:([1-9]\d{0,2})", name):
        return torchrun(int(several[1]))
    if name not in LAUNCHERS:
        choices = [*LAUNCHERS, "torchrun:N", f"{HUB}:FLAVOR"]
        raise UserError(f"There is no launcher {name!r}. Choose one of {', '.join(choices)}.")
    return LAUNCHERS[name]()


def is_on_hub(name: str) -> bool:
    """Whether this launcher runs jobs on machines of the Hub."""
    return name.partition(":")[0] == HUB


def price_of(name: str) -> str:
    """What a launcher costs, in a sentence; empty where it costs nothing.

    Raises:
        UserError: it is on the Hub, which cannot be asked or has no such machine.
    """
    if not is_on_hub(name):
        return ""
    return machines.machine(name.partition(":")[2]).told()


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _leads(pid: int) -> bool:
    try:
        return os.getpgid(pid) == pid if hasattr(os, "getpgid") else True
    except OSError:
        return False
