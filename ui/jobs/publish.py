"""Publishing what a job made: where to, a dry run, then the real thing and whether it was verified."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any

import gradio as gr

from compress.jobs import jobs
from ui import people
from ui.events import QUICK, RAW, Inputs, Speaker, Updates, Values, explain, spoken
from ui.text import escape, size
from ui.widgets import markdown
from zoo import card, catalog, layouts, proposing, publishing
from zoo.commits import follow
from zoo.errors import UserError
from zoo.proposing import Proposal, Proposed
from zoo.publishing import Preview, Published
from zoo.safety import check_repo_id

log = logging.getLogger(__name__)

SHOWN_FILES = 40
NOBODY = "your-account"  # where a preview without a token would publish to
LAYOUTS = "Add what transformers.js, optimum and sentence-transformers open"
PROPOSE = "Propose the int8 files to {} as a pull request"


@dataclass
class PublishParts:
    """Every component that an event reads or writes."""

    panel: gr.Column
    notice: gr.Markdown
    entry: gr.Dropdown
    namespace: gr.Dropdown
    name: gr.Textbox
    private: gr.Checkbox
    layouts: gr.Checkbox
    propose: gr.Checkbox
    look: gr.Button
    preview: gr.Markdown
    card: gr.Markdown
    card_box: gr.Accordion
    go: gr.Button
    close: gr.Button
    result: gr.Markdown


@dataclass(frozen=True)
class Order:
    """What to publish, where, and with which token; it lives as long as its event."""

    job_id: str
    folder: Path
    repo_id: str
    private: bool
    with_layouts: bool
    proposes: bool
    token: str = field(repr=False)


class Publishing(Speaker[PublishParts]):
    """The token is looked up in each event, handed on as an argument, and forgotten with it.

    Args:
        job: holds the id of the job whose results are published.
    """

    def __init__(self, parts: PublishParts, job: gr.Textbox):
        super().__init__(parts)
        self.job = job

    @property
    def inputs(self) -> Inputs:
        """The components that say what is published, and where to."""
        p = self.parts
        return {self.job, p.entry, p.namespace, p.name, p.private, p.layouts, p.propose}

    @spoken("notice")
    def open(
        self, values: Values, request: gr.Request, profile: gr.OAuthProfile | None, oauth: gr.OAuthToken | None
    ) -> Updates:
        """Show the panel for a job: what it made, and where this token may write."""
        p = self.parts
        updates: Updates = {p.panel: gr.update(visible=True), **self._blank()}
        try:
            folders = self._folders(values, profile)
            names = [folder.name for folder in folders]
            best = next((n for n in names if n.endswith("int8")), names[0])
            updates |= {
                p.entry: gr.update(choices=names, value=best),
                p.namespace: gr.update(choices=[], value=None),
                p.name: best,
                **self._ticks(folders[names.index(best)]),
            }
            spaces = publishing.namespaces(people.token_for(oauth, request))
            updates[p.namespace] = gr.update(choices=spaces, value=spaces[0] if spaces else None)
        except Exception as error:
            return updates | self.note("notice", explain(error))
        return updates | self.note("notice", None)

    @spoken("notice")
    def choose(self, values: Values, profile: gr.OAuthProfile | None) -> Updates:
        """Another of the job's entries: its name is proposed."""
        p = self.parts
        updates: Updates = {p.name: values[p.entry] or "", **self._blank()}
        chosen = next((each for each in self._folders(values, profile) if each.name == values[p.entry]), None)
        return updates | (self._ticks(chosen) if chosen else {}) | self.note("notice", None)

    @spoken("notice")
    def preview(
        self, values: Values, request: gr.Request, profile: gr.OAuthProfile | None, oauth: gr.OAuthToken | None
    ) -> Updates:
        """A dry run: nothing is sent. Without a token it shows what this machine knows, and says what is missing."""
        p, lacking = self.parts, ""
        try:
            token = people.token_for(oauth, request)
        except UserError as error:
            token, lacking = "", str(error)
        order = self._order(values, profile, token)
        preview = publishing.preview(
            order.folder, order.repo_id, token or None, order.private, with_layouts=order.with_layouts
        )
        proposal = proposing.preview(order.folder, token) if order.proposes and token else None
        return {
            p.preview: describe_preview(preview) + (describe_proposal(proposal) if proposal else ""),
            p.card: gr.update(value=card.body(preview.card)),
            p.card_box: gr.update(visible=True),
            p.go: gr.update(interactive=not lacking),
            p.result: "",
        } | self.note("notice", f"A preview only. {lacking}" if lacking else None)

    def publish(
        self, values: Values, request: gr.Request, profile: gr.OAuthProfile | None, oauth: gr.OAuthToken | None
    ) -> Iterator[Updates]:
        """Send it, pull it back, verify it; what is going on shows meanwhile."""
        p = self.parts
        try:
            order = self._order(values, profile, people.token_for(oauth, request))
            yield {p.result: "Publishing…", p.go: gr.update(interactive=False)} | self.note("notice", None)
            said = yield from self._show(_send(order))
            yield {p.result: said, p.go: gr.update(interactive=True)}
        except Exception as error:
            yield {p.result: "", p.go: gr.update(interactive=True)} | self.note("notice", explain(error))

    def forget(self) -> Updates:
        """What was looked at is not what would be sent any more."""
        return self._blank()

    def close(self) -> Updates:
        """Hide the panel."""
        return {self.parts.panel: gr.update(visible=False)}

    def _show(self, steps: Generator[str, None, str]) -> Generator[Updates, None, str]:
        """Each step on the page. Where the page is closed, the rest is done without it."""
        try:
            while True:
                yield {self.parts.result: escape(next(steps))}
        except StopIteration as end:
            return end.value
        except GeneratorExit:
            # A thread of its own: gradio closes this on the loop that serves everybody.
            Thread(target=_finish, args=(steps,), name="publish").start()
            raise

    def _ticks(self, folder: Path) -> Updates:
        """What can be added of an entry, and to whom it can be proposed; else why not."""
        p, base, more, reason, refused = self.parts, "its base model", LAYOUTS, None, ""
        try:
            entry = catalog.open_folder(folder)
            reason, added = layouts.refusal(entry), layouts.added(entry)
            more += f" (adds about {size(added)})" if added else ""
            base = proposing.base_of(entry)
        except UserError as error:
            refused = str(error)
        return {
            p.layouts: _tick(more, refused if reason is None else reason),
            p.propose: _tick(PROPOSE.format(base), refused),
        }

    def _blank(self) -> Updates:
        p = self.parts
        return {
            p.preview: "",
            p.card: "",
            p.card_box: gr.update(visible=False),
            p.go: gr.update(interactive=False),
            p.result: "",
        }

    def _folders(self, values: Values, profile: gr.OAuthProfile | None) -> list[Path]:
        job = people.job_of(people.who(profile), values[self.job])
        folders = jobs.results(job.id)
        if not folders:
            raise UserError("This job has made nothing to publish yet.")
        return folders

    def _order(self, values: Values, profile: gr.OAuthProfile | None, token: str) -> Order:
        """What the panel says. The entry is sought among the job's own: a name from the page never becomes a path.

        Args:
            values: of the panel.
            profile: of who asks.
            token: to publish with; empty for a look alone, which needs no account.

        Raises:
            UserError: there is no such entry or job, or no name to publish under.
        """
        p, folders = self.parts, {folder.name: folder for folder in self._folders(values, profile)}
        if values[p.entry] not in folders:
            raise UserError(f"Pick what to publish: {' or '.join(folders)}.")
        where = repo_id(values[p.namespace] or ("" if token else NOBODY), values[p.name])
        private, more, proposes = (bool(values[part]) for part in (p.private, p.layouts, p.propose))
        return Order(values[self.job], folders[values[p.entry]], where, private, more, proposes, token)


def _tick(label: str, refusal: str) -> dict[str, Any]:
    """A box to tick, or why it cannot be ticked."""
    return gr.update(value=False, label=label, info=refusal or None, interactive=not refusal)


def _send(order: Order) -> Generator[str, None, str]:
    """Publishes, notes it at the job, and proposes; returns what came of it. See `zoo.publishing.publish`."""
    done = yield from publishing.publish(
        order.folder, order.repo_id, order.token, order.private, with_layouts=order.with_layouts
    )
    jobs.mark_published(order.job_id, done.repo_id, done.commit)
    if not order.proposes:
        return describe_published(done)
    try:
        proposed = yield from proposing.propose(order.folder, order.token)
    except UserError as error:  # it is published all the same
        return f"{describe_published(done)}\n\n**Not proposed:** {escape(str(error))}"
    return f"{describe_published(done)}\n\n{describe_proposed(proposed)}"


def _finish(steps: Generator[str, None, str]) -> None:
    """The rest of the steps, told to the log."""
    try:
        follow(steps, log.info)
    except Exception as error:
        log.warning("Publishing, the page being closed: %s", explain(error))


def repo_id(namespace: str | None, name: str | None) -> str:
    """`owner/name`.

    Raises:
        UserError: one of them is missing, or they make no id of the Hub.
    """
    if not namespace or not (name or "").strip():
        raise UserError("Say where to publish: an account or organisation, and a name.")
    return check_repo_id(f"{namespace}/{(name or '').strip()}")


def describe_preview(preview: Preview) -> str:
    """What would be sent, and to where."""
    where = "exists already: only what has changed is sent" if preview.exists else "will be made"
    visibility = "private" if preview.private else "public"
    new = [(path, count) for path, count in preview.files if path not in set(preview.unchanged)]
    text = (
        f"**{escape(preview.repo_id)}** {where}, {visibility}. {len(new)} files to send, {size(sum(c for _, c in new))}"
    )
    text += f" of {size(preview.total)}.\n\n" if new else "; everything is there already.\n\n"
    rows = ["| file | size | remark |", "|:--|--:|:--|"]
    for path, count in preview.files[:SHOWN_FILES]:
        rows.append(f"| {escape(path)} | {size(count)} | {'unchanged' if path in preview.unchanged else ''} |")
    if len(preview.files) > SHOWN_FILES:
        rows.append(f"| and {len(preview.files) - SHOWN_FILES} more | | |")
    notices = "".join(f"\n\n**Note:** {escape(notice)}" for notice in preview.notices)
    return text + "\n".join(rows) + notices


def describe_published(done: Published) -> str:
    """Where it is now, and what the check after pulling it back found; a failed check is said first."""
    link = f"[{escape(done.repo_id)}]({done.url})" if done.url.startswith(("https://", "http://")) else done.repo_id
    checks = "".join(f"\n- {escape(check)}" for check in done.checks)
    if not done.verified:
        return f"### ✗ Published, but what came back is not the same\n\n{link}: do not rely on it.\n{checks}"
    what = "Published and verified" if done.changed else "Nothing had changed; verified again"
    return f"### ✓ {what}\n\n{link}, commit `{escape(done.commit[:12])}`.\n{checks}"


def describe_proposal(proposal: Proposal) -> str:
    """What would be proposed, and to whom."""
    rows = "".join(
        f"| {escape(path)} | {size(count)} | {'replaced' if path in proposal.replaced else ''} |\n"
        for path, count in proposal.files
    )
    head = f"\n\n**A pull request to {escape(proposal.base)}**: {escape(proposal.title)}"
    return f"{head}\n\n| file | size | remark |\n|:--|--:|:--|\n{rows}"


def describe_proposed(done: Proposed) -> str:
    """Where the pull request is."""
    link = f"[pull request {done.number}]({done.url})" if done.url.startswith(("https://", "http://")) else done.url
    return f"{'✓ Proposed' if done.new else 'It is open already'}: {link} at {escape(done.base)}."


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
        p["layouts"] = gr.Checkbox(False, label=LAYOUTS, elem_id="publish-layouts")
        p["propose"] = gr.Checkbox(False, label=PROPOSE.format("its base model"), elem_id="publish-propose")
        with gr.Row(elem_id="publish-actions"):
            p["look"] = gr.Button("Preview", min_width=120, elem_id="publish-preview")
            p["go"] = gr.Button("Publish", variant="primary", interactive=False, min_width=120, elem_id="publish-go")
        p["result"] = markdown(elem_id="publish-result")
        p["preview"] = markdown(elem_id="publish-files", elem_classes="plain-table")
        with gr.Accordion("The card", open=False, visible=False) as box:
            p["card_box"] = box
            p["card"] = markdown(elem_id="publish-card-text")
    return PublishParts(**p)


def wire_publish(p: PublishParts, h: Publishing, opener: gr.Button, looks: Mapping[str, Any]) -> None:
    """`opener` shows the panel for the job; `looks` is the event that refreshes the table afterwards."""
    wide: dict[str, Any] = {**RAW, "concurrency_limit": None, "show_progress": "minimal"}
    ticks = [p.layouts, p.propose]
    blank = [p.preview, p.card, p.card_box, p.go, p.result, p.notice]
    opener.click(h.open, {h.job}, [p.panel, p.entry, p.namespace, p.name, *ticks, *blank], **wide).then(
        None, None, None, js="() => { budgetZoo.reveal('#publish-card'); }", **QUICK
    )
    p.entry.input(h.choose, {h.job, p.entry}, [p.name, *ticks, *blank], **QUICK)
    gr.on([tick.input for tick in (*ticks, p.private)], h.forget, None, blank[:-1], **QUICK)
    p.look.click(h.preview, h.inputs, blank, **wide)
    p.go.click(h.publish, h.inputs, [p.result, p.go, p.notice], **wide).then(**looks)
    p.close.click(h.close, None, p.panel, **QUICK)
    h.job.change(h.close, None, p.panel, **QUICK)
