"""Events of the Jobs tab: the table, one job's details, cancelling and retrying."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from compress.jobs import jobs
from compress.jobs.ledger import Job
from ui import curves, people
from ui.checkpoints import name_of, stamped
from ui.events import Speaker, Updates, Values, spoken
from ui.jobs import sensitivity, views
from ui.jobs.outcome import Outcome
from ui.jobs.parts import JobParts
from ui.text import escape
from zoo import catalog
from zoo.errors import UserError
from zoo.safety import is_hub_id

SHOWN, LOG_LINES, LONGEST_ID = 200, 200, 80


class Watching(Speaker[JobParts]):
    """What looks at jobs, and stops or retries them. Whoever asks only ever reaches their own."""

    @spoken("notice")
    def open(self, request: gr.Request, profile: gr.OAuthProfile | None, oauth: gr.OAuthToken | None = None) -> Updates:
        """The page opens: the table, and the job that the link names. What ran on the Hub is followed again."""
        person = people.who(profile)
        if oauth and person.name:  # tokens are in nobody's memory after a restart
            jobs.follow_on_hub(person.name, oauth.token)
        job_id = str(request.query_params.get("job") or "")[:LONGEST_ID]
        return {self.parts.job: job_id} | self._look_at(person, job_id)

    @spoken("notice")
    def refresh(self, values: Values, profile: gr.OAuthProfile | None) -> Updates:
        """What has changed since the last look."""
        p = self.parts
        updates = self._show(people.who(profile), values[p.job], values[p.seen])
        if not values[p.job]:
            # A link opens its tab and its job at once; the look at the tab knows no job yet, and may come back later.
            del updates[p.details]
        return updates

    @spoken("notice")
    def pick(self, event: gr.SelectData, profile: gr.OAuthProfile | None) -> Updates:
        """A row of the table was clicked."""
        row = event.row_value or []
        job_id = str(row[-1]) if row else ""
        return {self.parts.job: job_id} | self._look_at(people.who(profile), job_id)

    @spoken("notice")
    def cancel(
        self,
        values: Values,
        profile: gr.OAuthProfile | None,
        request: gr.Request | None = None,
        oauth: gr.OAuthToken | None = None,
    ) -> Updates:
        """End the job; what it made so far is kept."""
        return self._do(jobs.cancel, values, people.who(profile), lambda job: _token(job, oauth, request))

    @spoken("notice")
    def retry(
        self,
        values: Values,
        profile: gr.OAuthProfile | None,
        request: gr.Request | None = None,
        oauth: gr.OAuthToken | None = None,
    ) -> Updates:
        """Go on with a job that failed or was cancelled, from its last checkpoint."""
        people.must_start(people.who(profile))
        return self._do(jobs.retry, values, people.who(profile), lambda job: _token(job, oauth, request))

    @spoken("notice")
    def to_explore(self, values: Values, profile: gr.OAuthProfile | None) -> Updates:
        """What the Explore tab shall load: what the job made, its int8 model first."""
        job = people.job_of(people.who(profile), values[self.parts.job])
        return {self.parts.wanted: stamped([name_of(_first(job))])} | self.note("notice", None)

    @spoken("notice")
    def to_compare(self, values: Values, profile: gr.OAuthProfile | None) -> Updates:
        """What the Compare tab shall hold: what the job began with, and what it made."""
        job = people.job_of(people.who(profile), values[self.parts.job])
        made, original = _first(job), _outcome(job)
        before = original.before if original else None
        if before is None and not is_hub_id(job.model):
            raise UserError("The original is not here any more, or has not learned this task: nothing can be compared.")
        name = name_of(before.folder) if before and before.folder.parent == made.parent else job.model
        return {self.parts.compared: stamped([name, name_of(made)])} | self.note("notice", None)

    def _do(
        self,
        action: Callable[[str, str | None], object],
        values: Values,
        person: people.Person,
        token: Callable[[Job], str | None],
    ) -> Updates:
        job = people.job_of(person, values[self.parts.job])
        action(job.id, token(job))
        return self._look_at(person, job.id)

    def _look_at(self, person: people.Person, job_id: str) -> Updates:
        """Everything anew. What was said before goes, what this look says stays."""
        return self.note("notice", None) | self._show(person, job_id, None)

    def _show(self, person: people.Person, job_id: str | None, seen: dict[str, Any] | None) -> Updates:
        p, seen = self.parts, seen or {}
        everything = people.jobs_of(person, SHOWN)
        rows = views.tabulate(everything)
        updates: Updates = {p.timer: gr.Timer(active=views.is_live(everything))}
        if rows != seen.get("rows"):
            updates[p.table] = gr.update(value={"headers": views.HEADERS, "data": rows}, visible=bool(rows))
        updates[p.empty] = gr.update(visible=not rows)
        if ill := jobs.illness():
            ours = "Jobs wait, and nobody runs them: the host of this page has to look."
            updates |= self.note("notice", ill if person.trusted else ours)
        mark = None
        try:
            job = people.job_of(person, job_id) if job_id else None
        except UserError as error:
            job = None
            updates |= self.note("notice", str(error))
        if job is None:
            updates[p.details] = gr.update(visible=False)
        else:
            details, mark = self._detail(job, seen.get("mark"))
            updates |= details
        return updates | {p.seen: {"rows": rows, "mark": mark}}

    def _detail(self, job: Job, before: object) -> tuple[Updates, list[Any]]:
        p = self.parts
        lines = jobs.progress(job.id)
        results, stages = jobs.results(job.id), jobs.stages(job.id)
        outcome = Outcome.of(job.model, results, stages) if results else None
        able = views.actions(job, len(results))
        updates: Updates = {
            p.details: gr.update(visible=True),
            p.head: views.describe(job, results=[catalog.stated(folder) for folder in results]),
            p.stages: views.list_stages(stages, job),
            p.log: jobs.logs(job.id, LOG_LINES),
            p.load: views.describe_load() if job.state in views.LIVE else "",
            p.cancel: gr.update(interactive=able["cancel"]),
            p.retry: gr.update(interactive=able["retry"]),
            p.publish: gr.update(interactive=able["publish"]),
            p.outcome: gr.update(visible=outcome is not None),
            p.changed: outcome.tabulate() if outcome else "",
            p.compare: gr.update(interactive=bool(outcome and outcome.before) or is_hub_id(job.model)),
        }
        mark = [job.id, job.state, len(lines), lines[-1].get("time") if lines else None]
        if mark != before:
            curve = curves.draw_curves(lines)
            growth = curves.draw_growth(lines) or curves.draw_candidates(lines, stages)
            updates[p.curves] = gr.update(value=curve, visible=curve is not None)
            updates[p.growth] = gr.update(value=growth, visible=growth is not None)
            report = jobs.sensitivity(job.id)
            bars = sensitivity.draw(report)
            updates[p.sensitive] = gr.update(visible=bars is not None)
            updates[p.sensitivity] = gr.update(value=bars)
            updates[p.operators] = sensitivity.tabulate(report)
            alone = curves.single_values(lines)
            is_empty = curve is None and growth is None
            told = f"One value so far: {'; '.join(alone)}." if alone else "No figures yet."
            updates[p.waiting] = gr.update(value=escape(told), visible=bool(alone) or is_empty)
        return updates, mark


def _token(job: Job, oauth: gr.OAuthToken | None, request: gr.Request | None) -> str | None:
    return people.token_of_launcher(job.launcher, oauth, request)


def _first(job: Job) -> Path:
    """The folder of the first thing that a job made.

    Raises:
        UserError: it has made nothing.
    """
    made = jobs.results(job.id)
    if not made:
        raise UserError("This job has made nothing yet.")
    return made[0]


def _outcome(job: Job) -> Outcome | None:
    return Outcome.of(job.model, jobs.results(job.id), jobs.stages(job.id))
