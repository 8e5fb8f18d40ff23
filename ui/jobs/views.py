"""Jobs -> table rows and Markdown. Pure; whatever people wrote is escaped."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import psutil

from compress.jobs.estimate import duration
from compress.recipe import published
from ui.text import escape, size

if TYPE_CHECKING:
    from compress.jobs.ledger import Job

HEADERS = ["state", "recipe", "model", "stage", "progress", "time left", "started by", "when", "job"]
WIDTHS = [180, 170, 180, 110, 90, 100, 130, 110, 100]  # pixels: narrow screens scroll
LIVE = {"queued", "running", "cancelling"}
ENDED_BADLY = {"failed", "cancelled"}
PUBLISHABLE = {"ready to publish", "published"}
SIGNS = {
    "queued": "◌",
    "running": "▶",
    "cancelling": "◍",
    "cancelled": "■",
    "failed": "✗",
    "done": "✓",
    "ready to publish": "✓",
    "published": "★",
}
STAGE_SIGNS = {"done": "✓", "running": "▶", "waiting": "◌", "failed": "✗"}


def is_live(jobs: Sequence[Job]) -> bool:
    """Whether any of these will change by itself."""
    return any(job.state in LIVE for job in jobs)


def tabulate(jobs: Sequence[Job], now: float | None = None) -> list[list[str]]:
    """One row a job, as `HEADERS` say; the last cell is its id."""
    return [
        [
            f"{SIGNS.get(job.state, '')} {job.state}".strip(),
            job.name,
            short(job.model),
            (job.stage or "").replace("_", " "),
            share(job),
            duration(job.eta_s) if job.state == "running" and job.eta_s is not None else "",
            job.owner or "this machine",
            ago(job.created, now),
            job.id,
        ]
        for job in jobs
    ]


def share(job: Job) -> str:
    """How far the stage is, in percent."""
    if job.state in ("done", *PUBLISHABLE):
        return "100 %"
    return f"{100 * job.step / job.total:.0f} %" if job.total else ""


def short(model: str) -> str:
    """A checkpoint's name: of a folder only the last part."""
    parts = PurePath(model.replace("\\", "/")).parts
    is_path = len(parts) > 2 or model.startswith(("/", "~", ".", "$"))
    return parts[-1] if is_path and len(parts) > 0 else model


def describe(job: Job, now: float | None = None, results: Sequence[Mapping[str, Any]] = ()) -> str:
    """The head of a job's details: what it is, how it stands, why where it failed, and what was published of its kind.

    Args:
        job: the job.
        now: seconds since 1970.
        results: what the `entry.json` of each entry states that it made.
    """
    facts = [f"**{job.state}**", escape(short(job.model)), f"started {ago(job.created, now)}"]
    if job.owner:
        facts.append(f"by {escape(job.owner)}")
    if job.launcher != "local":
        facts.append(f"with {escape(job.launcher)}")
    if job.started:
        facts.append(f"ran {duration((job.ended or now or time.time()) - job.started)}")
    if job.published:
        facts.append(f"published as {escape(job.published)}")
    text = f"## {SIGNS.get(job.state, '')} {escape(job.name)}\n\n{' · '.join(facts)}"
    if job.reason:
        text += f"\n\n**{'What went wrong' if job.state == 'failed' else 'Note'}:** {escape(job.reason)}"
    if beside := next(filter(None, map(published.remark, results)), ""):
        text += f"\n\n{escape(beside)}"
    return text


def bar(job: Job) -> float:
    """How far the stage is, 0 to 100."""
    return min(100.0, max(0.0, 100 * job.step / job.total)) if job.total else 0.0


def list_stages(stages: Sequence[Mapping[str, Any]], job: Job) -> str:
    """A row a stage: whether it is done, how long it took, what came out."""
    rows = ["| state | stage | took | outcome |", "|:--|:--|--:|:--|"]
    for stage in stages:
        state = str(stage.get("state", "waiting"))
        outcome = facts_of(stage.get("result"))
        if state == "running" and job.total:
            left = f", {duration(job.eta_s)} left" if job.eta_s is not None else ""
            outcome = f"{_gauge(bar(job))} {bar(job):.0f} %, step {job.step:,} of {job.total:,}{left}"
        took = duration(stage["seconds"]) if isinstance(stage.get("seconds"), int | float) else ""
        name = escape(str(stage.get("name", "")).replace("_", " "))
        rows.append(f"| {STAGE_SIGNS.get(state, '')} | {name} | {took} | {outcome} |")
    return "\n".join(rows)


def _gauge(percent: float, width: int = 10) -> str:
    """How far something is, as a row of blocks that every font has."""
    full = round(width * percent / 100)
    return "▰" * full + "▱" * (width - full)


def facts_of(result: object, most: int = 4) -> str:
    """The numbers of a stage's result, and short words; the rest is in the log."""
    if not isinstance(result, Mapping):
        return ""
    facts: list[str] = []
    for key, value in result.items():
        if isinstance(value, bool) or value is None:
            continue
        if isinstance(value, int | float):
            words = f"{value:,.4g}" if isinstance(value, float) else f"{value:,}"
        elif isinstance(value, str) and len(value) <= 24:
            words = value
        else:
            continue
        facts.append(f"{escape(str(key).replace('_', ' '))} {escape(words)}")
    return " · ".join(facts[:most])


def actions(job: Job, results: int = 0) -> dict[str, bool]:
    """Which buttons do something now."""
    return {
        "cancel": job.state in ("queued", "running"),
        "retry": job.state in ENDED_BADLY,
        "again": True,
        "publish": job.state in PUBLISHABLE and results > 0,
    }


def ago(moment: float | None, now: float | None = None) -> str:
    """How long since a moment, in one unit."""
    if moment is None:
        return ""
    seconds = max(0.0, (time.time() if now is None else now) - moment)
    for length, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= length:
            return f"{seconds // length:.0f} {unit} ago"
    return "just now"


def describe_load() -> str:
    """What this machine does at the moment."""
    memory = psutil.virtual_memory()
    return (
        f"This machine: {psutil.cpu_percent():.0f} % of {psutil.cpu_count() or 1} CPUs busy, "
        f"{size(memory.total - memory.available)} of {size(memory.total)} memory in use."
    )


def describe_estimate(estimate: Mapping[str, Any]) -> str:
    """What `compress.jobs.estimate.estimate` says."""
    minutes = estimate.get("minutes")
    took = "not known before it runs" if minutes is None else f"about {duration(60 * minutes)}"
    rows = [("time", took)]
    rows += [
        (name, f"about {estimate[key]:.1f} GiB")
        for name, key in (("memory", "memory_gib"), ("disk", "disk_gib"))
        if isinstance(estimate.get(key), int | float)
    ]
    lines = [" | ".join(["", *(name for name, _ in rows), ""]), "|" + ":--|" * len(rows)]
    lines.append(" | ".join(["", *(escape(value) for _, value in rows), ""]))
    basis = f"\n\nBasis: {escape(str(estimate['basis']))}." if estimate.get("basis") else ""
    return "\n".join(line.strip() for line in lines) + basis
