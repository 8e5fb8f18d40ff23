"""A job on a machine of the Hub (HF Jobs): sent there, followed, and what came of it fetched back."""

from __future__ import annotations

import json
import logging
import os
import shlex
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, snapshot_download
from huggingface_hub import __version__ as hub_version
from huggingface_hub.errors import RepositoryNotFoundError

from compress.jobs import keys
from compress.jobs.launcher import GRACE, Handle
from compress.jobs.machines import machine
from compress.jobs.parcel import LOCK, PARCEL, THERE, pack
from compress.jobs.there import KEPT, MARK, RUN
from compress.recipe.layout import ATTEMPT, FAILURE, LOG, PROGRESS, RESULT
from compress.recipe.load import load
from compress.run.run import register
from compress.run.traces import entries
from zoo import safety, trial
from zoo.errors import UserError
from zoo.files import read_json, write_json, write_text
from zoo.hub import client, hub_settings, patiently, plainly, response_of
from zoo.settings import get_settings
from zoo.tokens import redact

if TYPE_CHECKING:
    from huggingface_hub import HfApi

log = logging.getLogger(__name__)

IMAGE = "python:3.11"
LABEL = "budget-zoo"  # by which a job of ours is found there again
ENDED = ("COMPLETED", "CANCELED", "ERROR", "DELETED")
EVERY = 3.0  # seconds between looks at a job there
DRAIN = 20.0  # seconds that the last lines of an ended job's log may take
NO_KEY = "Waits. Nobody who may look after it on the Hub is signed in."


class OnHub:
    """A machine of the Hub as a launcher; the token is the one that `keys` holds for the job.

    Args:
        flavor: the Hub's name of the machine.
    """

    def __init__(self, flavor: str):
        self.flavor = flavor

    def check(self) -> None:
        """Raises UserError where there is no such machine, or the Hub cannot be asked."""
        machine(self.flavor)

    def start(self, folder: Path) -> Handle:
        """Sends the job there, unless it is there already and has not ended: none is paid for twice."""
        api = _api(folder)
        with plainly("your account"):
            namespace = str(patiently(lambda: api.whoami())["name"])
        with plainly(namespace):
            jobs = patiently(lambda: list(api.list_jobs(labels={LABEL: folder.name}, namespace=namespace)))
            running = [job.id for job in jobs if job.status.stage not in ENDED]
            job_id = running[0] if running else self._send(api, namespace, folder)
        facts: dict[str, object] = {"hub_job": job_id, "namespace": namespace}
        facts |= {"log": _size(folder / LOG), "progress": _size(folder / PROGRESS)}
        return HubRun(folder, facts)

    def adopt(self, folder: Path, facts: Mapping[str, object]) -> Handle | None:
        """The job that was sent there earlier, running or ended: what it has said is read anew from its beginning."""
        if not isinstance(facts.get("hub_job"), str):
            return None
        for name, key in ((LOG, "log"), (PROGRESS, "progress")):
            size = facts.get(key)
            if isinstance(size, int) and _size(folder / name) > size:
                os.truncate(folder / name, size)
        return HubRun(folder, dict(facts))

    def _send(self, api: HfApi, namespace: str, folder: Path) -> str:
        repo_id = f"{namespace}/{LABEL}-job-{folder.name}"
        (folder / FAILURE).unlink(missing_ok=True)  # of an earlier attempt
        with tempfile.TemporaryDirectory() as temporary:
            parcel = Path(temporary) / PARCEL
            pack(load(folder), parcel)
            patiently(lambda: api.create_repo(repo_id, private=True, exist_ok=True))
            there = patiently(lambda: api.model_info(repo_id))
            if not there.private:
                raise UserError(f"{repo_id} is public, and what a job works with is nobody else's. Make it private.")
            old = any(file.rfilename.startswith(f"{RUN}/") for file in there.siblings or ())
            patiently(
                lambda: api.create_commit(
                    repo_id,
                    [
                        CommitOperationAdd(PARCEL, str(parcel)),
                        *([CommitOperationDelete(f"{RUN}/", is_folder=True)] if old else []),
                    ],
                    commit_message="What the recipe needs",
                )
            )
        sent = api.run_job(
            image=IMAGE,
            command=["sh", "-c", script(repo_id)],
            env={"HF_HUB_DISABLE_TELEMETRY": "1", "PYTHONUNBUFFERED": "1", **_endpoint()},
            secrets={"HF_TOKEN": str(api.token)},
            flavor=self.flavor,
            timeout=int(3600 * get_settings().job_hours),
            name=f"{LABEL}-{folder.name}",
            labels={LABEL: folder.name},
            namespace=namespace,
        )
        return sent.id


def script(repo_id: str) -> str:
    """What the machine does: fetches the parcel, installs what the program needs, runs, and delivers."""
    where, repo = shlex.quote(THERE), shlex.quote(repo_id)
    steps = [
        f"mkdir -p {where}",
        f"pip install --quiet huggingface_hub=={hub_version}",
        f"hf download {repo} {PARCEL} --local-dir {where}",
        f"python -m zipfile -e {where}/{PARCEL} {where}",
        f"cd {where}/program",
        f'pip install --quiet "$(grep ^torch== {LOCK})"',  # with what it needs of an accelerator
        f"pip install --quiet --no-deps -r {LOCK}",
        f"exec python -m compress.jobs.there {repo} {where}",
    ]
    return " && ".join(steps)


class HubRun:
    """A job on the Hub, followed from here.

    Args:
        folder: the run's, here.
        facts: `hub_job`, its id; `namespace`; `log` and `progress`, the bytes of these files before it.
    """

    def __init__(self, folder: Path, facts: dict[str, object]):
        self.facts = facts
        self._folder, self._id, self._namespace = folder, str(facts["hub_job"]), str(facts["namespace"])
        self._asked = 0.0
        self._code: int | None = None
        self._gone, self._drained = threading.Event(), threading.Event()
        threading.Thread(target=self._follow, daemon=True, name=f"log of {self._id}").start()

    def poll(self) -> int | None:
        if self._code is not None or time.monotonic() < self._asked + EVERY:
            return self._code
        self._asked = time.monotonic()
        try:
            api = _api(self._folder)
            with hub_settings():
                status = api.inspect_job(job_id=self._id, namespace=self._namespace).status
                if status.stage not in ENDED:
                    return None
                if not self._drained.wait(DRAIN):
                    log.info("the end of the log of %s is missing", self._id)
                self._gone.set()
                try:
                    self._fetch(api)
                except UserError as error:  # what came is not what a recipe makes
                    write_text(self._folder / FAILURE, str(error))
                    self._code = 1
            self._code = self._code or (0 if status.stage == "COMPLETED" else 1)
            if self._code and not (self._folder / FAILURE).is_file():
                said = status.message or {"CANCELED": "somebody cancelled it there"}.get(status.stage, "see the log")
                write_text(self._folder / FAILURE, f"It ended on the Hub without a result: {redact(said)[:300]}.")
            keys.forget(self._folder.name)
        except Exception as error:
            response = response_of(error)
            if response is not None and response.status_code == 401:
                keys.refuse(self._folder.name)
            log.warning("job %s on the Hub: %s", self._id, redact(f"{type(error).__name__}: {error}"))
        return self._code

    def memory(self) -> int:
        return 0  # another machine's

    def age(self) -> float | None:
        return None

    def stop(self, grace: float = GRACE) -> None:
        """Cancels it there."""
        self._gone.set()
        try:
            api = _api(self._folder)
            patiently(lambda: api.cancel_job(job_id=self._id, namespace=self._namespace))
        except Exception as error:  # it ended meanwhile, or the time limit that it was sent with ends it
            log.warning("job %s was not cancelled on the Hub: %s", self._id, redact(str(error)))
        keys.forget(self._folder.name)

    def leave(self) -> None:
        """Goes on without being followed from here."""
        self._gone.set()

    def _follow(self) -> None:
        """Writes what the job says to its log and its progress here, until it has ended."""
        seen = 0
        while not self._gone.is_set():
            try:
                api = _api(self._folder)
                lines = api.fetch_job_logs(job_id=self._id, namespace=self._namespace, follow=True)
                for number, line in enumerate(lines):
                    if self._gone.is_set():
                        return
                    if number >= seen:
                        self._take(line)
                        seen = number + 1
                self._drained.set()  # it ends with the job
                return
            except Exception as error:
                log.info("the log of %s: %s", self._id, redact(f"{type(error).__name__}: {error}"))
                self._gone.wait(EVERY)

    def _take(self, line: str) -> None:
        name, text = LOG, line.rstrip("\n")
        if text.startswith(MARK):
            with suppress(ValueError):
                if isinstance(json.loads(text.removeprefix(MARK)), dict):
                    name, text = PROGRESS, text.removeprefix(MARK)
        with (self._folder / name).open("ab", buffering=0) as file:
            file.write(text.encode() + b"\n")

    def _fetch(self, api: HfApi) -> None:
        """Brings what was delivered into the run's folder; last what says that it is whole.

        Raises:
            UserError: it holds a model that may not be opened here.
        """
        repo_id = f"{self._namespace}/{LABEL}-job-{self._folder.name}"
        patterns = [f"{RUN}/{name}" for name in KEPT if name not in (LOG, "recipe.yaml")]
        with tempfile.TemporaryDirectory(dir=self._folder) as temporary:
            try:
                patiently(
                    lambda: snapshot_download(
                        repo_id,
                        allow_patterns=patterns,
                        local_dir=temporary,
                        token=api.token,
                        endpoint=api.endpoint,
                    )
                )
            except RepositoryNotFoundError:
                return  # its owner has deleted it meanwhile
            came = Path(temporary) / RUN
            for entry in entries(came):  # whoever owns the repository may have changed it: no result of our own yet
                trial.check(safety.check_files(entry))
            result = read_json(came / RESULT) if (came / RESULT).is_file() else None
            for path in sorted(came.rglob("*")) if came.is_dir() else ():
                target = self._folder / path.relative_to(came)
                if path.is_file() and path.name != RESULT:
                    target.parent.mkdir(parents=True, exist_ok=True)
                    os.replace(path, target)
        register(self._folder)
        attempt = self._folder / ATTEMPT
        if isinstance(result, dict) and attempt.is_file():
            write_json(self._folder / RESULT, {**result, "attempt": attempt.read_text(encoding="utf-8")})


def _api(folder: Path) -> HfApi:
    """The Hub with the token of this job.

    Raises:
        UserError: nobody's token is at hand.
    """
    if (token := keys.token_of(folder.name)) is None:
        raise UserError(NO_KEY)
    return client(token)


def _endpoint() -> dict[str, str]:
    """Where the Hub is, for the machine, where it is none of the usual place."""
    return {"HF_ENDPOINT": os.environ["HF_ENDPOINT"]} if "HF_ENDPOINT" in os.environ else {}


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
