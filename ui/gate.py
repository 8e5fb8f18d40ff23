"""Which requests are obeyed: those of this page under a name of its own, and no larger than the page needs.

A website that somebody visits can have their browser send requests to any address that it reaches, this machine's among
them, and it can give its own name that address (DNS rebinding). Browsers say under which name they ask (`Host`) and for
which page (`Origin`, `Sec-Fetch-Site`). Programs as gradio_client send neither of the latter: nobody rides on them.
"""

from __future__ import annotations

import ipaddress
import json
import logging
import os
import secrets
import socket
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from urllib.parse import urlsplit

import gradio as gr
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from compress.jobs.limits import lacking_space
from ui.secret import HEADER
from zoo.errors import UserError, sentence_of
from zoo.settings import get_settings

log = logging.getLogger(__name__)

LOOPBACK = ("127.0.0.1", "::1", "localhost")
READING = ("GET", "HEAD", "OPTIONS")  # methods that change nothing
API = "/gradio_api/"  # nobody opens these addresses in a tab
MOST_BODY = 4 * 2**20  # bytes of a request that is no upload: a passage of 20,000 characters takes at most 80 KB
MOST_FILES = 200 * 2**20  # of one that is
HOUR, VISITORS = 3600.0, 10_000
SHARES = 4  # that all visitors together may upload within an hour, of what one may
ELSEWHERE = "This came from another website, which may not use this page. Open the page itself."
STRANGE = "This page is older than the app that answers it. Reload the page."


class Refused(UserError):
    """A request that is not obeyed, with the status that says so."""

    def __init__(self, status: int, sentence: str):
        super().__init__(sentence)
        self.status = status


def guarded(demo: gr.Blocks, host: str = "", secret: str = "") -> list[Middleware]:
    """What `app_kwargs={"middleware": …}` of `Blocks.launch` needs so that every route is guarded.

    Args:
        demo: what is launched; a link by which it is shared counts among its names.
        host: the name that it is launched with.
        secret: that the page carries; empty for none.
    """

    def known() -> set[str]:
        return {name_of(host), name_of(urlsplit(demo.share_url or "").netloc)}

    return [Middleware(Gate, known=known, secret=secret)]


def names_told() -> set[str]:
    """The names that the person set, and those of a Space: pages under them may use this one."""
    settings = get_settings()
    told = settings.names.split(",")
    if settings.on_space:  # with an own domain these are several
        told += os.environ.get("SPACE_HOST", "").split(",")
    return {name for each in told if (name := name_of(each.strip()))}


def name_of(place: str) -> str:
    """The host's name in `name:port`, small and without brackets; empty where there is none."""
    try:
        return (urlsplit(f"//{place}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def is_loopback(place: str) -> bool:
    """Whether `name:port` is this machine's for itself."""
    return name_of(place) in LOOPBACK


class Gate:
    """Refuses requests under foreign names, of foreign pages, and those that are too large.

    Args:
        app: what is guarded.
        known: host names of the page beside those that the settings tell.
        secret: that a browser's requests carry where they change something; empty for none.
    """

    def __init__(self, app: ASGIApp, known: Callable[[], set[str]] = set, secret: str = ""):
        self._app, self._known, self._secret, self._quota = app, known, secret, Quota()
        self._told: set[int] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            self._check(scope, headers)
            if scope["type"] == "http" and scope["method"] not in READING:
                await self._bounded(scope, headers, receive, send)
                return
        except Refused as refused:
            await self._refuse(scope, headers, send, refused)
        else:
            await self._app(scope, receive, send if get_settings().on_space else _unframed(send))

    def _check(self, scope: Scope, headers: Headers) -> None:
        """Raises Refused for a request under a foreign name or of a foreign page."""
        places = [headers.get("host", ""), *_listed(headers.get("x-forwarded-host", ""))[:1]]
        told = names_told()
        names = {*told, *self._known(), name_of(get_settings().host), socket.gethostname().lower()}
        for place in places:
            if not _is_ours(name_of(place), names):
                raise Refused(
                    421,
                    f"“{place[:80]}” is no name of this page. If it should be one, start the app with "
                    f"BUDGET_ZOO_NAMES={name_of(place)[:80]}.",
                )
        # Very old browsers name the page in `Referer` alone.
        origin = headers.get("origin") or (headers.get("referer") if scope.get("method") == "POST" else None)
        if origin is not None:
            page = urlsplit(origin).netloc if origin != "null" else ""
            if not page or not (_bare(page) in map(_bare, places) or name_of(page) in told):
                raise Refused(403, ELSEWHERE)
        elif headers.get("sec-fetch-site") in ("cross-site", "same-site") and not _is_visit(scope, headers):
            raise Refused(403, ELSEWHERE)
        is_browsers = origin is not None or "sec-fetch-site" in headers
        is_act = scope["type"] == "http" and scope["method"] not in READING
        if (
            is_browsers
            and is_act
            and not secrets.compare_digest(headers.get(HEADER, "").encode(), self._secret.encode())
        ):
            raise Refused(403, STRANGE if HEADER in headers else ELSEWHERE)

    async def _bounded(self, scope: Scope, headers: Headers, receive: Receive, send: Send) -> None:
        """Passes a request on whose body is counted as it comes, and refused once it is too large."""
        is_upload = scope["path"].rstrip("/").endswith("/upload")
        most = MOST_FILES if is_upload else MOST_BODY
        visitor, length = visitor_of(scope, headers), headers.get("content-length", "")
        told = int(length) if length.isdecimal() and len(length) < 20 else 0
        seen, begun = 0, False
        excess: Refused | None = None
        if told > most:
            raise _too_large(most)
        if is_upload:
            self._quota.check(visitor, told)
            if lack := lacking_space(told):
                raise Refused(507, lack)

        async def counted() -> Message:
            nonlocal seen, excess
            message = await receive()
            size = len(message.get("body", b""))
            seen += size
            try:
                if seen > most:
                    raise _too_large(most)
                if is_upload:
                    self._quota.take(visitor, size)
            except Refused as refused:
                excess = refused
            return {"type": "http.disconnect"} if excess else message

        async def answer(message: Message) -> None:
            nonlocal begun
            if begun or excess is None:  # what is made of half a body is nobody's answer
                begun = True
                await send(message)

        try:
            await self._app(scope, counted, answer)
        except Exception as error:
            if excess is None and not begun and (said := sentence_of(error)):
                excess = Refused(507, said)  # the disk was filled meanwhile
            if excess is None:
                raise
        if excess and not begun:
            raise excess

    async def _refuse(self, scope: Scope, headers: Headers, send: Send, refused: Refused) -> None:
        if refused.status not in self._told:  # once of each kind: whoever sends many fills no log
            self._told.add(refused.status)
            log.warning("Refused: %s %r: %s", scope.get("method", "websocket"), scope["path"][:80], refused)
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        is_page = scope["method"] == "GET" and "text/html" in headers.get("accept", "")
        body = str(refused) if is_page else json.dumps({"detail": str(refused)}, ensure_ascii=False)
        kind = b"text/plain; charset=utf-8" if is_page else b"application/json"
        fields = [(b"content-type", kind), (b"connection", b"close"), (b"x-content-type-options", b"nosniff")]
        await send({"type": "http.response.start", "status": refused.status, "headers": fields})
        await send({"type": "http.response.body", "body": body.encode()})


class Quota:
    """How much each visitor, and all of them together, uploaded within the last hour.

    Args:
        clock: seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._all: Counter[int] = Counter()  # bytes by minute
        self._by: OrderedDict[str, Counter[int]] = OrderedDict()

    def check(self, visitor: str, size: int) -> Counter[int]:
        """What the visitor took by minute; raises Refused where so many bytes more are too many."""
        most = get_settings().upload_mib * 2**20
        own = self._by.get(visitor) or Counter[int]()
        if self._sum(own) + size > most:
            raise Refused(429, f"You have uploaded {most / 2**20:,.0f} MB within the hour, as much as one may. Wait.")
        if self._sum(self._all) + size > SHARES * most:
            raise Refused(429, "Too much was uploaded here within the hour, by all visitors together. Try again later.")
        return own

    def take(self, visitor: str, size: int) -> None:
        """Notes what a visitor uploads; raises as `check` does, and notes nothing then."""
        own, minute = self.check(visitor, size), int(self._clock() // 60)
        own[minute] += size
        self._all[minute] += size
        self._by[visitor] = own
        self._by.move_to_end(visitor)
        while len(self._by) > VISITORS:
            self._by.popitem(last=False)

    def _sum(self, taken: Counter[int]) -> int:
        since = int(self._clock() // 60) - 60
        for minute in [minute for minute in taken if minute < since]:
            del taken[minute]
        return taken.total()


def visitor_of(scope: Scope, headers: Headers) -> str:
    """Who asks, by address: on a Space the one that its proxy saw, which appends it to what others claim."""
    client = scope.get("client")
    address = str(client[0]) if client else ""
    forwarded = _listed(headers.get("x-forwarded-for", ""))
    return forwarded[-1][:80] if forwarded and get_settings().on_space else address


def _is_ours(name: str, names: set[str]) -> bool:
    """Whether a host is this page's: an address is, since only names can be made to point elsewhere."""
    if name and (name in names or name in LOOPBACK or name.endswith(".localhost")):
        return True
    try:
        ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return True


def _is_visit(scope: Scope, headers: Headers) -> bool:
    """Whether somebody follows a link to the page, or a Space is shown where the Hub shows it."""
    shown = ("document", "iframe") if get_settings().on_space else ("document",)
    is_opened = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest", "document") in shown
    return is_opened and scope.get("method") in ("GET", "HEAD") and not scope["path"].startswith(API)


def _too_large(most: int) -> Refused:
    return Refused(413, f"This is larger than the {most / 2**20:,.0f} MB that a request may have. Shorten it.")


def _listed(text: str) -> list[str]:
    return [part for each in text.split(",") if (part := each.strip())]


def _bare(place: str) -> str:
    """`name:port` without a port that goes without saying."""
    return place.lower().removesuffix(":80").removesuffix(":443")


def _unframed(send: Send) -> Send:
    """Off a Space no other website shows the page in a frame, where clicks could be led astray."""

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            fields = [*message.get("headers", ()), (b"content-security-policy", b"frame-ancestors 'self'")]
            message = {**message, "headers": fields}
        await send(message)

    return sent
