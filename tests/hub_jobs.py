"""Jobs and volumes of the local Hub: as on the real one, but that a test is the machine that a job runs on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.hub_answers import error as _error
from tests.hub_state import DAY, Hub

ENDED = ("COMPLETED", "CANCELED", "ERROR", "DELETED")
T4 = {"type": "gpu", "model": "T4", "quantity": "1", "vram": "16 GB", "manufacturer": "Nvidia"}
HARDWARE = [
    ("t4-small", "Nvidia T4 - small", "4 vCPU", "15 GB", T4, 0.4 / 60, "minute"),
    ("cpu-basic", "CPU Basic", "2 vCPU", "16 GB", None, 0.000167, "minute"),
    ("cpu-hourly", "CPU by the hour", "8 vCPU", "32 GB", None, 0.6, "hour"),
]


@dataclass
class RemoteJob:
    """A job as the Hub knows it: `spec` is what was asked for, `lines` what it has said."""

    id: str
    owner: str
    spec: dict[str, Any]
    stage: str = "RUNNING"
    message: str | None = None
    lines: list[str] = field(default_factory=list)

    def say(self, *lines: str) -> None:
        self.lines += lines

    def end(self, stage: str = "COMPLETED", message: str | None = None) -> None:
        if self.stage not in ENDED:
            self.message, self.stage = message, stage

    def describe(self) -> dict[str, Any]:
        spec = self.spec
        owner = {"id": f"{1:024x}", "name": self.owner, "type": "user"}
        about = {"id": self.id, "createdAt": DAY, "owner": owner, "initiator": owner}
        about |= {key: spec.get(key) for key in ("dockerImage", "command", "arguments", "environment", "labels")}
        # Names of secrets alone are ever told.
        about |= {"flavor": spec["flavor"], "secrets": dict.fromkeys(spec.get("secrets", {}), "")}
        return {**about, "status": {"stage": self.stage, "message": self.message}}


class Jobs:
    """The endpoints of jobs, over one Hub."""

    def __init__(self, hub: Hub):
        self.hub = hub

    def routes(self, route: Callable[..., Route]) -> list[Route]:
        one = "/api/jobs/{owner}/{job}"
        return [
            route("/api/jobs/hardware", "hardware", self.hardware),
            route("/api/jobs/{owner}", "run_job", self.run, "POST"),
            route("/api/jobs/{owner}", "list_jobs", self.list),
            route(one, "inspect_job", self.inspect),
            route(one + "/logs", "job_logs", self.logs),
            route(one + "/cancel", "cancel_job", self.cancel, "POST"),
            route("/api/buckets/{owner}/{name}", "bucket", self.bucket, "POST"),
            route("/api/spaces/{owner}/{name}/volumes", "volumes", self.volumes, "PUT"),
        ]

    async def hardware(self, request: Request) -> Response:
        keys = ("name", "prettyName", "cpu", "ram", "accelerator", "unitCostUSD", "unitLabel")
        rows = [dict(zip(keys, row, strict=True)) for row in HARDWARE]
        return JSONResponse([{**row, "unitCostMicroUSD": round(row["unitCostUSD"] * 1e6)} for row in rows])

    async def run(self, request: Request) -> Response:
        user, owner, spec = self.hub.user(request), request.path_params["owner"], await request.json()
        if user is None:
            return _error(401, "", "Invalid credentials in Authorization header")
        if not user.writes(owner):
            return _error(403, "", f"You may not start jobs for {owner}")
        job = RemoteJob(f"{len(self.hub.jobs) + 1:024x}", owner, spec)
        self.hub.jobs[job.id] = job
        return JSONResponse(job.describe())

    async def list(self, request: Request) -> Response:
        user, owner = self.hub.user(request), request.path_params["owner"]
        if user is None or not user.reads(owner):
            return _error(403, "", "You may not see these jobs")
        labels = [tuple(text.split("=", 1)) for text in request.query_params.getlist("label")]
        mine = [job for job in self.hub.jobs.values() if job.owner == owner]
        fitting = [job for job in mine if set(labels) <= set((job.spec.get("labels") or {}).items())]
        return JSONResponse([job.describe() for job in fitting])

    def found(self, request: Request) -> RemoteJob | Response:
        user, owner = self.hub.user(request), request.path_params["owner"]
        if user is None:
            return _error(401, "", "Invalid credentials in Authorization header")
        job = self.hub.jobs.get(request.path_params["job"])
        return job if job and job.owner == owner and user.reads(owner) else _error(404, "", "Job not found")

    async def inspect(self, request: Request) -> Response:
        job = self.found(request)
        return job if isinstance(job, Response) else JSONResponse(job.describe())

    async def cancel(self, request: Request) -> Response:
        job = self.found(request)
        if isinstance(job, Response):
            return job
        job.end("CANCELED")
        return JSONResponse(job.describe())

    async def bucket(self, request: Request) -> Response:
        user, owner = self.hub.user(request), request.path_params["owner"]
        if user is None or not user.writes(owner):
            return _error(403, "", f"You may not write to {owner}")
        bucket_id = f"{owner}/{request.path_params['name']}"
        if bucket_id in self.hub.buckets:
            return _error(409, "", "You already created this bucket")
        self.hub.buckets[bucket_id] = await request.json()
        return JSONResponse({"url": f"{self.hub.url}/buckets/{bucket_id}"})

    async def volumes(self, request: Request) -> Response:
        user, owner = self.hub.user(request), request.path_params["owner"]
        if user is None or not user.writes(owner):
            return _error(403, "", f"You may not write to {owner}")
        repo = self.hub.repo(f"{owner}/{request.path_params['name']}", "spaces")
        repo.extra["volumes"] = (await request.json())["volumes"]
        return JSONResponse({})

    async def logs(self, request: Request) -> Response:
        job = self.found(request)
        if isinstance(job, Response):
            return job

        async def events() -> AsyncIterator[str]:
            at = 0
            while True:
                has_ended = job.stage in ENDED  # looked at first: what is said before the end is still told
                for line in job.lines[at:]:
                    at += 1
                    yield f"data: {json.dumps({'timestamp': DAY, 'data': line})}\n\n"
                if has_ended:
                    return
                await asyncio.sleep(0.02)

        return StreamingResponse(events(), media_type="text/event-stream")
