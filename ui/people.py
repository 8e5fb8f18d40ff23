"""Who is at the page, which jobs are theirs, and with whose token they publish. Nothing here is kept."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr
from gradio.context import LocalContext
from gradio.helpers import special_args

from compress.jobs import jobs
from compress.jobs.launchers import is_on_hub
from compress.jobs.ledger import Job
from ui.gate import is_loopback, visitor_of
from zoo import publishing
from zoo.errors import UserError
from zoo.settings import get_settings

HERE = ("127.0.0.1", "::1", "localhost")
READ_ONLY = "explorer"


@dataclass(frozen=True)
class Person:
    """`name` is that of the Hub account on a Space and empty elsewhere; `trusted` sees and cancels every job."""

    name: str
    trusted: bool

    @property
    def may_start(self) -> bool:
        return self.trusted or bool(self.name)

    def owns(self, job: Job) -> bool:
        return self.trusted or bool(self.name) and job.owner == self.name


def who(profile: gr.OAuthProfile | None) -> Person:
    """The person of an event.

    Off a Space gradio makes up a profile for every visitor, so there it says nothing: who reaches the page is trusted.
    """
    if not get_settings().on_space:
        return Person("", True)
    return Person(profile.username if profile else "", False)


def present() -> Person:
    """The person whose event runs now; off a Space, as `who` says. On a Space whatever is no event is nobody's.

    What looks something up by a name asks this, wherever the name came from: no handler can forget to say it.
    """

    def keep(profile: gr.OAuthProfile | None) -> None:
        pass

    if not get_settings().on_space:
        return who(None)
    (profile, *_), *_ = special_args(keep, [], LocalContext.request.get(None))
    return who(profile)


def visitor() -> str | None:
    """Who asks, in the event that runs now: the name of who has signed in, else an address; None in no event."""
    request = LocalContext.request.get(None)
    if request is None:
        return None
    asked = request.request
    return present().name or (visitor_of(asked.scope, asked.headers) if asked else "")


def read_only() -> bool:
    """Whether this page only explores and starts no jobs."""
    return getattr(get_settings(), "preset", "full") == READ_ONLY


def jobs_of(person: Person, limit: int | None = None) -> list[Job]:
    """The jobs that a person may see, newest first."""
    if person.trusted:
        return jobs.jobs(limit=limit)
    return jobs.jobs(owner=person.name, limit=limit) if person.name else []


def job_of(person: Person, job_id: str | None) -> Job:
    """A job that a person may see.

    Raises:
        UserError: none is given, there is none, or it is somebody else's, which is told in the same words.
    """
    if not job_id:
        raise UserError("Pick a job in the table first.")
    job = jobs.find(job_id)
    if not person.owns(job):
        raise UserError(f"There is no job {job_id} of yours. Sign in as the one who started it.")
    return job


def must_start(person: Person) -> None:
    """Raises UserError where this person may start nothing."""
    if read_only():
        raise UserError("Jobs are off on this page. Run your own copy to start recipes.")
    if not person.may_start:
        raise UserError("Sign in first: jobs belong to the person who starts them.")


def at_machine(request: gr.Request | None) -> bool:
    """Whether who asks sits at this machine: a proxy or a tunnel that ends here asks under another name."""
    if request is None or getattr(getattr(request, "client", None), "host", None) not in HERE:
        return False
    headers = getattr(request, "headers", {})
    names = [headers.get("host", ""), headers.get("x-forwarded-host") or headers.get("host", "")]
    return all(is_loopback(name) for name in names)


def token_here(request: gr.Request | None) -> str | None:
    """This machine's token, to open what the Hub shows to its owner alone; None for visitors from elsewhere.

    On a Space none is used: a model that is open there is open to everybody.
    """
    return publishing.standard_token() if at_machine(request) and not get_settings().on_space else None


def token_for(oauth: gr.OAuthToken | None, request: gr.Request | None) -> str:
    """The token to publish, or to run on the Hub, with: on a Space the signed-in person's, this machine's elsewhere.

    Raises:
        UserError: there is none, or the visitor does not sit at this machine.
    """
    if get_settings().on_space:
        if oauth is None:
            raise UserError("Sign in first, at the top of the page: this goes to your own account.")
        return oauth.token
    if not at_machine(request):
        raise UserError(
            "This machine's token is only for those who sit at it and open the page as localhost. Use "
            "`python -m zoo publish` there."
        )
    token = publishing.standard_token()
    if not token:
        raise UserError(
            "There is no token of the Hub on this machine. Sign in with `hf auth login`, or start the app with "
            "HF_TOKEN set, then try again."
        )
    return token


def token_of_launcher(launcher: str, oauth: gr.OAuthToken | None, request: gr.Request | None) -> str | None:
    """The token that a job on the Hub runs with, and is paid by; None for jobs that run elsewhere.

    Raises:
        UserError: as `token_for`.
    """
    return token_for(oauth, request) if is_on_hub(launcher) else None
