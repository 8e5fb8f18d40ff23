"""The Hugging Face Hub: ask it, list the zoo on it, and say in plain words what went wrong."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from zoo.errors import UserError
from zoo.lazily import Lazy
from zoo.settings import PUBLIC_HUB, get_settings
from zoo.tokens import hide_tokens, redact

if TYPE_CHECKING:
    import httpx2
    import huggingface_hub
    from huggingface_hub import HfApi, constants
    from huggingface_hub import errors as hub
    from huggingface_hub import utils as hub_utils
    from huggingface_hub.hf_api import ModelInfo
else:  # half a second, for those who ask the Hub
    httpx2, huggingface_hub = Lazy("httpx2"), Lazy("huggingface_hub")
    constants, hub, hub_utils = (Lazy(f"huggingface_hub.{name}") for name in ("constants", "errors", "utils"))

log = logging.getLogger(__name__)

LONGEST_WAIT = 60  # seconds that the Hub may ask us to wait before we tell the person instead
TRIES = 4
LISTED = 500
T = TypeVar("T")
# What is asked before the Hub is: whoever serves many lets it refuse those that would wait too much.
admission: Callable[[], AbstractContextManager[None]] = nullcontext


def client(token: str | None = None) -> HfApi:
    """The Hub's API, as nobody or with a token that lives in this object alone; for use inside `hub_settings`."""
    if token:
        hide_tokens()
    return huggingface_hub.HfApi(endpoint=get_settings().hub, token=token or False)


@contextmanager
def hub_settings() -> Generator[None]:
    """huggingface_hub as this program uses it, and afterwards as it was: what it reads is the whole process's.

    Calls have an end, and none waits for as long as the Hub may ask. A Hub of one's own (`HF_ENDPOINT`) rarely has the
    Xet store that huggingface_hub prefers to upload to, so there the plain LFS protocol is used, as
    `HF_HUB_DISABLE_XET=1` would do if it were set before the first import. Threads may be inside side by side.
    """
    with admission(), _as_used():
        yield


@contextmanager
def _as_used() -> Generator[None]:
    with _users:
        if not _before:
            session = huggingface_hub.get_session()
            _before.append((session, session.timeout, session.event_hooks, constants.HF_HUB_DISABLE_XET))
            if session.timeout == httpx2.Timeout(None):
                session.timeout = httpx2.Timeout(120, connect=15)
            hooks = session.event_hooks
            session.event_hooks = {**hooks, "response": [*hooks["response"], _refuse_long_waits]}
            if get_settings().hub != PUBLIC_HUB:
                constants.HF_HUB_DISABLE_XET = True
        else:
            _before.append(_before[0])
    try:
        yield
    finally:
        with _users:
            session, timeout, hooks, xet = _before.pop()
            if not _before:
                session.timeout, session.event_hooks, constants.HF_HUB_DISABLE_XET = timeout, hooks, xet


_users = threading.Lock()
_before: list[tuple[Any, Any, Any, bool]] = []  # what there was before, once for each that is inside


def zoo_models(author: str | None = None, token: str | None = None) -> list[ModelInfo]:
    """The models on the Hub that carry the zoo's tag, with what their cards say; of one owner where given.

    Raises:
        UserError: the Hub cannot be reached or does not answer as it should.
    """
    fields: list[Any] = ["author", "cardData", "lastModified", "pipeline_tag", "private", "sha", "tags"]
    with plainly("the zoo"):
        return list(client(token).list_models(filter=TAG, author=author, expand=fields, limit=LISTED))


@contextmanager
def plainly(repo_id: str) -> Generator[None]:
    """Whatever huggingface_hub raises inside comes out as a UserError that says what to do; see `explain`."""
    try:
        with hub_settings():
            yield
    except UserError:
        raise
    except (
        httpx2.HTTPError, hub.OfflineModeIsEnabled, hub.HFValidationError, RuntimeError, ValueError, OSError, KeyError,
    ) as error:  # fmt: skip
        if (buried := _buried(error)) is not None:
            raise buried from None
        log.info("the Hub and %s: %s", repo_id, redact(repr(error)))
        raise explain(error, repo_id) from error


def patiently(call: Callable[[], T]) -> T:
    """Calls until it succeeds, at most four times, waiting as the Hub asks; only for what may be done twice."""
    for attempt in range(TRIES):
        try:
            return call()
        except Exception as error:
            wait = pause(error, attempt)
            if wait is None or attempt == TRIES - 1:
                raise
            log.info("the Hub is busy (%s): again in %g s", type(error).__name__, wait)
            time.sleep(wait)
    raise AssertionError("unreachable")


def pause(error: BaseException, attempt: int) -> float | None:
    """Seconds to wait before trying again; None where trying again is of no use."""
    response = response_of(error)
    if response is not None and response.status_code == 429:
        return _asked(response) or 5.0
    if response is not None and response.status_code >= 500:
        return float(2**attempt)
    cause = _root(error)
    broken = isinstance(cause, httpx2.TransportError) and not isinstance(cause, httpx2.ConnectError)
    return float(2**attempt) if broken else None


Reason = tuple[type[BaseException] | tuple[type[BaseException], ...], Collection[int] | None, str]


@cache
def _reasons() -> tuple[Reason, ...]:
    """What went wrong, by the kind of error and the status of the answer (None for any), and what to do.

    The first that fits counts. `owner` is what stands before the slash.
    """
    return (
        (
            hub.OfflineModeIsEnabled,
            None,
            "This program was told to stay offline. Unset HF_HUB_OFFLINE and start it again.",
        ),
        (hub.HFValidationError, None, "“{repo_id:.100}” is no name of the Hub. Write owner/name."),
        (
            hub.RepositoryNotFoundError,
            None,
            "There is no {repo_id} on the Hub that you may see. Check the name and the token.",
        ),
        (hub.RevisionNotFoundError, None, "{repo_id} has no such revision. Check the branch, tag or commit."),
        (
            BaseException,
            (401,),
            "The Hub does not know this token: it was revoked, has expired or is mistyped. Sign in again.",
        ),
        (
            BaseException,
            (403,),
            "This token may not write to {owner}. Take one with write access, or another name before the slash.",
        ),
        (BaseException, (402,), "The Hub asks {owner} to pay for this. Look at the plan of that account."),
        (BaseException, (409,), "The name {repo_id} is taken. Choose another one."),
        (
            BaseException,
            (412,),
            "Somebody changed {repo_id} meanwhile, so nothing was done. Look at it on the Hub, then try again.",
        ),
        (
            BaseException,
            (429,),
            "The Hub asks to slow down. Wait some minutes and try again: what is uploaded is not sent twice.",
        ),
        (
            BaseException,
            range(500, 1000),
            "The Hub has trouble ({status}). Try again in a while: what is uploaded already is not sent twice.",
        ),
        (BaseException, range(1, 500), "The Hub refused {repo_id}: {message}"),
        (
            (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError),
            None,
            "The Hub cannot be reached. Check the network.",
        ),
        (
            httpx2.HTTPError,
            None,
            "The connection to the Hub broke off. Try again: what is uploaded already is not sent twice.",
        ),
        (BaseException, None, "The Hub's answer about {repo_id} could not be used ({kind}: {error})."),
    )


def explain(error: BaseException, repo_id: str) -> UserError:
    """What went wrong with a repository, and what to do, in plain words."""
    response, cause = response_of(error), _root(error)
    status = response.status_code if response is not None else 0
    fitting = (row for row in _reasons() if isinstance(cause, row[0]) and (row[1] is None or status in row[1]))
    message = str(getattr(cause, "server_message", None) or f"answer {status}")
    return UserError(
        next(fitting)[2].format(
            repo_id=repo_id,
            owner=repo_id.split("/")[0],
            status=status,
            message=redact(message)[:300],
            kind=type(cause).__name__,
            error=redact(str(cause))[:200],
        )
    )


def response_of(error: BaseException) -> Any:
    """The answer of the Hub behind an error, or None."""
    return getattr(_root(error), "response", None)


def _root(error: BaseException) -> BaseException:
    """Errors of an upload come wrapped in a RuntimeError."""
    while isinstance(error, RuntimeError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def _buried(error: BaseException) -> UserError | None:
    root = _root(error)
    return root if isinstance(root, UserError) else None


def _asked(response: httpx2.Response) -> float | None:
    """Seconds that an answer asks to wait."""
    limits = hub_utils.parse_ratelimit_headers(response.headers)
    if limits is not None and limits.remaining == 0:
        return float(limits.reset_in_seconds)
    text = response.headers.get("Retry-After", "").strip()
    return float(text) if text.isdigit() else None


def _refuse_long_waits(response: httpx2.Response) -> None:
    """huggingface_hub itself sleeps for as long as the Hub asks, which may be an hour."""
    wait = _asked(response) if response.status_code == 429 else None
    if wait is not None and wait > LONGEST_WAIT:
        raise UserError(
            f"The Hub asks to wait {wait / 60:.0f} minutes. Try again after that: what is uploaded is not sent twice."
        )


TAG = "budget-zoo"
