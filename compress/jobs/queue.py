"""The durable queue: DBOS on SQLite at home, or on a Postgres that several workers share. Only workers launch it.

What a job is stands in its folder (`compress.jobs.ledger`); the queue holds its name and who runs it, no more. A job
whose submitter died before it was queued is queued by a worker. Workers that share a queue share the home, too.
"""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import time
import uuid
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout

from compress.children import PROJECT, environment
from compress.jobs import ledger
from compress.jobs.supervisor import execute
from zoo.errors import UserError
from zoo.files import read_json, write_json, write_text
from zoo.settings import get_settings

log = logging.getLogger(__name__)

APP, WORKFLOW, VERSION = "budget-zoo", "job", "1"  # the version is ours: DBOS's own would strand jobs at every edit
LOOK, SETTLE = 2.0, 10.0  # seconds between a worker's rounds; age at which a job that is not queued was forgotten
POLL = 0.5  # seconds between looks into the queue
IDLE = 600.0  # seconds after which a worker that nobody started by hand ends, if there is nothing to do
MOST_WORKERS = 64


def database_url() -> str:
    """Where the queue is kept, for SQLAlchemy."""
    settings = get_settings()
    if not settings.database_url:
        return f"sqlite:///{settings.home.resolve() / 'queue.sqlite'}"
    if not settings.database_url.startswith(("postgresql://", "postgres://")):
        raise UserError("BUDGET_ZOO_DATABASE_URL should look like postgresql://user:password@host:5432/name.")
    return settings.database_url.replace("postgres://", "postgresql://", 1)


def enqueue(job_id: str, attempt: int) -> None:
    """Queues an attempt of a job; once more does nothing.

    Raises:
        UserError: the queue's database cannot be reached.
    """
    try:
        client = _client(database_url())
        options = {"workflow_name": WORKFLOW, "queue_name": _name(), "app_version": VERSION}
        client.enqueue({**options, "workflow_id": f"{job_id}-{attempt}"}, job_id, attempt)
    except UserError:
        raise
    except Exception as error:  # SQLAlchemy's and the drivers' kinds; their messages may hold the password
        raise UserError(
            f"The job queue's database cannot be reached ({type(error).__name__}). "
            + ("Check BUDGET_ZOO_DATABASE_URL and the server." if get_settings().database_url else "Check the disk.")
        ) from None


def start_worker() -> None:
    """Starts a worker that outlives this process, unless one is alive at this home."""
    _reap()
    if worker():
        return
    folder = _workers()
    with FileLock(folder / "start.lock", timeout=30):
        if worker():
            return
        told = folder / "worker.log"
        if told.is_file() and told.stat().st_size > 2_000_000:
            told.replace(folder / "worker.old.log")
        with told.open("ab") as output:
            child = subprocess.Popen(
                [sys.executable, "-m", "compress", "worker", "--idle", str(IDLE)],
                cwd=PROJECT,
                env=environment(_settings()),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        _started.append(child)
        _sign(_starting(), child.pid)  # before it can do so itself: a second submit starts no second one


def worker() -> dict[str, Any] | None:
    """The process of a worker at this home, on this machine (`pid`); None where none is alive."""
    for path in sorted(_workers().glob("*.json")):
        with suppress(UserError, KeyError, TypeError):
            signed = read_json(path)
            if signed["host"] == socket.gethostname() and _is_same(signed["pid"], signed["born"]):
                return signed
    return None


def serve(idle: float | None = None) -> None:
    """A worker: runs job after job until it is ended, or for `idle` seconds there was none.

    Raises:
        UserError: a worker runs already and the queue is SQLite's, or the database cannot be reached.
    """
    number, claim = _claimed()
    executor = _executor(number)
    log.info("worker %s, process %d", executor, os.getpid())
    try:
        _launch(executor)
    except Exception as error:  # as in enqueue
        raise UserError(f"The job queue's database cannot be used ({type(error).__name__}).") from error
    busy = time.monotonic()
    while True:
        time.sleep(LOOK)
        try:
            jobs = [job for job in ledger.everything() if job.is_open]
            _requeue(jobs)
            if get_settings().database_url:
                _take_over(number)
        except Exception as error:  # a database that is gone for a while, a full disk: the next round may do better
            log.error("worker: %s: %s", type(error).__name__, error)
            continue
        busy = time.monotonic() if jobs else busy
        if idle is not None and time.monotonic() - busy > idle:
            (_workers() / f"{number}.json").unlink(missing_ok=True)
            _starting().unlink(missing_ok=True)
            claim.release()
            # Who submitted before this line saw a worker and relies on it.
            if not any(job.is_open for job in ledger.everything()):
                log.info("worker %s: nothing to do", executor)
                sys.stdout.flush()
                os._exit(0)  # DBOS's threads would be waited for
            number, claim = _claimed()


def _launch(executor: str) -> None:
    from dbos import DBOS, DBOSPortableJSONSerializer

    if not get_settings().database_url:
        # What was interrupted goes on before anything new begins: nothing leaves the queue until it is back in there.
        queue = {"worker_concurrency": 0, "polling_interval_sec": POLL, "on_conflict": "always_update"}
        _client(database_url()).register_queue(_name(), **queue)
    DBOS(
        config={
            "name": APP,
            "system_database_url": database_url(),
            "application_version": VERSION,
            "executor_id": executor,
            "serializer": DBOSPortableJSONSerializer(),
            "enable_otlp": False,
            "log_level": "WARNING",
        }
    )

    # An interrupted attempt goes on however often; `supervisor` counts what matters.
    @DBOS.workflow(name=WORKFLOW, max_recovery_attempts=None)
    def job(job_id: str, attempt: int) -> str:
        return step(job_id, attempt)

    @DBOS.step(name="execute")
    def step(job_id: str, attempt: int) -> str:
        return execute(job_id, attempt)

    DBOS.launch()
    while not get_settings().database_url and DBOS.list_workflows(status="PENDING", executor_id=[executor]):
        time.sleep(0.05)
    DBOS.register_queue(_name(), worker_concurrency=1, polling_interval_sec=POLL, on_conflict="always_update")


def _requeue(jobs: list[ledger.Job]) -> None:
    """Queues what a submitter that died had not, oldest first, and ends what the queue has given up."""
    from dbos import DBOS

    forgotten = [job for job in reversed(jobs) if job.state == "queued" and _age(job) > SETTLE]
    known = {f"{job.id}-{job.attempt}": job for job in [*forgotten, *(j for j in jobs if j.state != "queued")]}
    if not known:
        return
    found = {status.workflow_id: status.status for status in DBOS.list_workflows(workflow_ids=list(known))}
    for name, job in known.items():
        if name not in found:
            enqueue(job.id, job.attempt)
        elif found[name] not in ("ENQUEUED", "DELAYED", "PENDING"):
            now = ledger.read(job.id)
            if now.is_open and now.attempt == job.attempt:
                reason = f"The queue gave it up ({found[name].lower()}). Retry it."
                ledger.change(job.id, ledger.OPEN, state="failed", reason=reason, ended=time.time(), process=None)


def _age(job: ledger.Job) -> float:
    return time.time() - max(job.created, (job.folder / ledger.FILE).stat().st_mtime)


def _take_over(own: int) -> None:
    """Jobs of workers that died, on whatever machine, go to those that live: a dead worker's claim is free."""
    from dbos import DBOS

    for path in _workers().glob("*.json"):
        if path.stem == str(own) or not path.stem.isdigit():
            continue
        with suppress(Timeout, UserError), FileLock(_claim(int(path.stem)), timeout=0):
            DBOS._recover_pending_workflows([_executor(int(path.stem))])
            path.unlink(missing_ok=True)


def _claimed() -> tuple[int, Any]:
    """A number that no other worker at this home has, and the lock that says so."""
    shared = bool(get_settings().database_url)
    for number in range(MOST_WORKERS if shared else 1):
        claim = FileLock(_claim(number), timeout=0 if shared else 2)
        with suppress(Timeout):
            claim.acquire()
            _sign(_workers() / f"{number}.json", os.getpid())
            return number, claim
    running = worker() or {}
    raise UserError(f"A worker runs already (process {running.get('pid', 'of another machine')}). One is enough.")


def _claim(number: int) -> Path:
    return _workers() / f"{number}.lock"


def _workers() -> Path:
    folder = get_settings().home / "workers"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _starting() -> Path:
    return _workers() / "starting.json"


def _home_id() -> str:
    """What tells this home from others on the same Postgres, after a container came back with another name too."""
    path = _workers() / "home.txt"
    with FileLock(_workers() / "home.lock", timeout=30):
        if not path.is_file():
            write_text(path, uuid.uuid4().hex[:8])
    return path.read_text(encoding="utf-8").strip()


def _name() -> str:
    return f"jobs-{_home_id()}"


def _executor(number: int) -> str:
    return f"{_home_id()}-{number}"


def _settings() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key.startswith("BUDGET_ZOO_")}


def _sign(path: Path, pid: int) -> None:
    with suppress(psutil.Error):
        born = psutil.Process(pid).create_time()
        write_json(path, {"pid": pid, "born": born, "host": socket.gethostname()})


def _is_same(pid: int, born: float) -> bool:
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        return abs(process.create_time() - born) < 1 and process.status() != psutil.STATUS_ZOMBIE
    return False


_started: list[subprocess.Popen[bytes]] = []


def _reap() -> None:
    """Takes note of workers that this process started and that have ended."""
    _started[:] = [child for child in _started if child.poll() is None]


@lru_cache(maxsize=4)
def _client(url: str) -> Any:
    from dbos import DBOS, DBOSClient, DBOSPortableJSONSerializer

    with FileLock(_workers() / "database.lock", timeout=120):
        DBOS.migrate(url)  # a client does not make its tables
    return DBOSClient(
        system_database_url=url,
        serializer=DBOSPortableJSONSerializer(),
        application_name=APP,
        retry_connection_errors=False,
    )
