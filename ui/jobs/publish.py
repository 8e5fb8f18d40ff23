"""Publishing what a job made: where to, a dry run, then the real thing and whether it was verified."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from compress.jobs import jobs
from ui import people
from ui.events import QUICK, RAW, Speaker, Updates, explain, spoken
from ui.text import escape, size
from ui.widgets import markdown
from zoo import card, publishing, shelf
from zoo.errors import UserError
from zoo.safety import check_repo_id

if TYPE_CHECKING:
    from zoo.publishing import Preview, Published

SHOWN_FILES = 40


@dataclass
class PublishParts:
    """Every component that an event reads or writes."""

    panel: gr.Column
    notice: gr.Markdown
    entry: gr.Dropdown
    namespace: gr.Dropdown
    name: gr.Textbox
    private: gr.Checkbox
    look: gr.Button
    preview: gr.Markdown
    card: gr.Markdown
    card_box: gr.Accordion
    go: gr.Button
    close: gr.Button
    result: gr.Markdown


class Publishing(Speaker):
    """The token is looked up in each event, handed on as an argument, and forgotten with it."""

    @spoken("notice")
    def open(
        self,
        job_id: str | None,
        request: gr.Request,
        profile: gr.OAuthProfile | None,
        oauth: gr.OAuthToken | None,
    ) -> Updates:
        """Show the panel for a job: what it made, and where this token may write."""
        p = self.parts
        shown: Updates = {p.panel: gr.update(visible=True), **self._blank()}
        try:
            folders = self._folders(job_id, profile)
            spaces = publishing.namespaces(people.token_for(oauth, request))
            names = [folder.name for folder in folders]
            best = next((n for n in names if n.endswith("int8")), names[0])
            shown |= {
                p.entry: gr.update(choices=names, value=best),
                p.namespace: gr.update(choices=spaces, value=spaces[0] if spaces else None),
                p.name: best,
            }
        except Exception as error:
            return shown | self.note("notice", explain(error))
        return shown | self.note("notice", None)

    @spoken("notice")
    def choose(self, entry: str | None) -> Updates:
        """Another of the job's entries: its name is proposed."""
        return {self.parts.name: entry or "", **self._blank()} | self.note("notice", None)

    @spoken("notice")
    def preview(
        self,
        job_id: str | None,
        entry: str | None,
        namespace: str | None,
        name: str | None,
        private: bool,
        request: gr.Request,
        profile: gr.OAuthProfile | None,
        oauth: gr.OAuthToken | None,
    ) -> Updates:
        """A dry run: nothing is sent."""
        folder = self._folder(job_id, entry, profile)
        token = people.token_for(oauth, request)
        found = publishing.preview(folder, repo_id(namespace, name), token, private=bool(private))
        p = self.parts
        return {
            p.preview: describe_preview(found),
            p.card: gr.update(value=card.body(found.card)),
            p.card_box: gr.update(visible=True),
            p.go: gr.update(interactive=True),
            p.result: "",
        } | self.note("notice", None)

    def publish(
        self,
        job_id: str | None,
        entry: str | None,
        namespace: str | None,
        name: str | None,
        private: bool,
        request: gr.Request,
        profile: gr.OAuthProfile | None,
        oauth: gr.OAuthToken | None,
    ) -> Iterator[Updates]:
        """Send it, pull it back, verify it; what is going on shows meanwhile."""
        p = self.parts
        try:
            folder = self._folder(job_id, entry, profile)
            job = people.job_of(people.who(profile), job_id)
            told: list[str] = []
            yield {p.result: "Publishing…", p.go: gr.update(interactive=False)} | self.note("notice", None)
            with ThreadPoolExecutor(1) as pool:
                running = pool.submit(
                    publishing.publish,
                    folder,
                    repo_id(namespace, name),
                    people.token_for(oauth, request),
                    private=bool(private),
                    tell=told.append,
                )
                shown = 0
                while not running.done():
                    time.sleep(0.2)
                    if len(told) > shown:
                        shown = len(told)
                        yield {p.result: escape(told[-1])}
                done = running.result()
            jobs.mark_published(job.id, done.repo_id, done.commit)
            shelf.note_published(folder, done.url)
            yield {p.result: describe_published(done), p.go: gr.update(interactive=True)}
        except Exception as error:
            yield {p.result: "", p.go: gr.update(interactive=True)} | self.note("notice", explain(error))

    def close(self) -> Updates:
        return {self.parts.panel: gr.update(visible=False)}

    def _blank(self) -> Updates:
        p = self.parts
        return {
            p.preview: "",
            p.card: "",
            p.card_box: gr.update(visible=False),
            p.go: gr.update(interactive=False),
            p.result: "",
        }

    def _folders(self, job_id: str | None, profile: gr.OAuthProfile | None) -> list[Path]:
        job = people.job_of(people.who(profile), job_id)
        folders = jobs.results(job.id)
        if not folders:
            raise UserError("This job has made nothing to publish yet.")
        return folders

    def _folder(self, job_id: str | None, entry: str | None, profile: gr.OAuthProfile | None) -> Path:
        """The entry's folder, found among the job's own: a name from the page never becomes a path."""
        folders = {folder.name: folder for folder in self._folders(job_id, profile)}
        if entry not in folders:
            raise UserError(f"Pick what to publish: {' or '.join(folders)}.")
        return folders[entry]


def repo_id(namespace: str | None, name: str | None) -> str:
    """`owner/name`.

    Raises:
        UserError: one of them is missing, or they make no id of the Hub.
    """
    if not namespace or not (name or "").strip():
        raise UserError("Say where to publish: an account or organisation, and a name.")
    return check_repo_id(f"{namespace}/{(name or '').strip()}")


def describe_preview(found: Preview) -> str:
    """What would be sent, and to where."""
    where = "exists already: only what has changed is sent" if found.exists else "will be made"
    seen = "private" if found.private else "public"
    new = [(path, count) for path, count in found.files if path not in set(found.unchanged)]
    text = f"**{escape(found.repo_id)}** {where}, {seen}. {len(new)} files to send, {size(sum(c for _, c in new))}"
    text += f" of {size(found.total)}.\n\n" if new else "; everything is there already.\n\n"
    rows = ["| file | size | |", "|:--|--:|:--|"]
    for path, count in found.files[:SHOWN_FILES]:
        rows.append(f"| {escape(path)} | {size(count)} | {'unchanged' if path in found.unchanged else ''} |")
    if len(found.files) > SHOWN_FILES:
        rows.append(f"| and {len(found.files) - SHOWN_FILES} more | | |")
    notices = "".join(f"\n\n**Note:** {escape(notice)}" for notice in found.notices)
    return text + "\n".join(rows) + notices


def describe_published(done: Published) -> str:
    """Where it is now, and what the check after pulling it back found; a failed check is said first."""
    link = f"[{escape(done.repo_id)}]({done.url})" if done.url.startswith(("https://", "http://")) else done.repo_id
    checks = "".join(f"\n- {escape(check)}" for check in done.checks)
    if not done.verified:
        return f"### ✗ Published, but what came back is not the same\n\n{link}: do not rely on it.\n{checks}"
    what = "Published and verified" if done.changed else "Nothing had changed; verified again"
    return f"### ✓ {what}\n\n{link}, commit `{escape(done.commit[:12])}`.\n{checks}"


def place_publish() -> PublishParts:
    """The panel, not yet visible."""
    p: dict[str, Any] = {}
    with gr.Column(visible=False, elem_classes="card", elem_id="publish-card") as panel:
        p["panel"] = panel
        with gr.Row(elem_classes="head"):
            markdown("## Publish to the Hub")
            p["close"] = gr.Button("Close", size="sm", min_width=80, elem_id="publish-close")
        p["notice"] = markdown(visible=False, elem_id="publish-notice", elem_classes="note")
        with gr.Row():
            p["entry"] = gr.Dropdown([], label="What", min_width=220, elem_id="publish-entry")
            p["namespace"] = gr.Dropdown([], label="Account or organisation", min_width=160, elem_id="publish-space")
            p["name"] = gr.Textbox(label="Name there", max_lines=1, max_length=96, elem_id="publish-name")
        p["private"] = gr.Checkbox(True, label="Private: only the account can see it", elem_id="publish-private")
        with gr.Row(elem_id="publish-actions"):
            p["look"] = gr.Button("Preview", min_width=120, elem_id="publish-preview")
            p["go"] = gr.Button("Publish", variant="primary", interactive=False, min_width=120, elem_id="publish-go")
        p["result"] = markdown(elem_id="publish-result")
        p["preview"] = markdown(elem_id="publish-files", elem_classes="plain-table")
        with gr.Accordion("The card", open=False, visible=False) as box:
            p["card_box"] = box
            p["card"] = markdown(elem_id="publish-card-text")
    return PublishParts(**p)


def wire_publish(p: PublishParts, h: Publishing, opener: gr.Button, job: gr.Textbox, looks: Mapping[str, Any]) -> None:
    """`opener` shows the panel for `job`; `looks` is the event that refreshes the table afterwards."""
    wide: dict[str, Any] = {**RAW, "concurrency_limit": None, "show_progress": "minimal"}
    blank = [p.preview, p.card, p.card_box, p.go, p.result, p.notice]
    opener.click(h.open, job, [p.panel, p.entry, p.namespace, p.name, *blank], **wide).then(
        None, None, None, js="() => { budgetZoo.reveal('#publish-card'); }", **QUICK
    )
    p.entry.input(h.choose, p.entry, [p.name, *blank], **QUICK)
    what = [job, p.entry, p.namespace, p.name, p.private]
    p.look.click(h.preview, what, blank, **wide)
    p.go.click(h.publish, what, [p.result, p.go, p.notice], **wide).then(**looks)
    p.close.click(h.close, None, p.panel, **QUICK)
    job.change(h.close, None, p.panel, **QUICK)
