"""Locks in a Postgres, for workers of several machines: the locks of the files that they share may not reach so far."""

from __future__ import annotations

import hashlib
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from zoo.errors import UserError

if TYPE_CHECKING:
    from typing import LiteralString

    from psycopg import Connection

STEP = 0.05  # seconds between two attempts at a lock
CALM = 10.0  # seconds in which everybody finds a server again that was away
# A machine that is gone loses its locks half a minute later: without this it would keep them for hours.
ALIVE: LiteralString = (
    "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3; SELECT true"
)


class Unreachable(UserError):
    """The server cannot be reached."""


class Session:
    """A connection, opened when it is needed, and the locks that end with it.

    Args:
        url: `postgresql://...`; `postgres://` is understood, too.
        home: tells the jobs of one home from those of another on the same server.
    """

    def __init__(self, url: str, home: str):
        self._url, self._home = url, home
        self._guard = threading.RLock()
        self._connection: Connection | None = None
        self._names: set[str] = set()
        self._since = 0.0

    def connect(self) -> None:
        """Opens the connection where it is not open.

        Raises:
            UserError: the URL is not one of Postgres, or the server cannot be reached.
        """
        self._ask("SELECT true")

    def take(self, name: str, patience: float = 0.0) -> bool:
        """Takes a lock within `patience` seconds; whether it could be had.

        Raises:
            UserError: as in `connect`.
        """
        until = time.monotonic() + patience
        while not self._ask("SELECT pg_try_advisory_lock(%s)", self._key(name)):
            if time.monotonic() >= until:
                return False
            time.sleep(STEP)
        self._names.add(name)
        return True

    def release(self, name: str) -> None:
        """Gives a lock back; one that was lost with its connection needs none of it."""
        if name in self._names:
            self._names.discard(name)
            with suppress(UserError):
                self._ask("SELECT pg_advisory_unlock(%s)", self._key(name))

    def holds(self, name: str) -> bool:
        """Whether a lock is still ours, taken anew where the server restarted and nobody else was faster.

        A server that is away gives nothing to anybody: until it is back, the lock counts as ours.
        """
        try:
            self.connect()
            return name in self._names or self.take(name)
        except UserError:
            return True

    def is_calm(self) -> bool:
        """Whether the connection has stood long enough for everybody to have taken their locks anew."""
        return self._connection is not None and time.monotonic() - self._since >= CALM

    def close(self) -> None:
        """Ends the connection, and with it the locks."""
        with self._guard:
            if self._connection is not None:
                self._connection.close()
            self._connection = None
            self._names.clear()

    def _ask(self, query: LiteralString, *values: int) -> bool:
        import psycopg

        if not self._url.startswith(("postgresql://", "postgres://")):
            raise UserError("BUDGET_ZOO_DATABASE_URL should look like postgresql://user:password@host:5432/name.")
        with self._guard:
            is_old = self._connection is not None
            try:
                if self._connection is None:
                    self._connection = psycopg.connect(
                        self._url, autocommit=True, connect_timeout=10, keepalives_idle=10, tcp_user_timeout=20_000
                    )
                    self._connection.execute(ALIVE)
                    self._since = time.monotonic()
                row = self._connection.execute(query, values).fetchone()
            except psycopg.Error as error:
                self.close()
                if is_old:  # of a server that may have come back
                    return self._ask(query, *values)
                # Not the error's own words, nor the error itself: they may hold the password.
                raise Unreachable(
                    f"The job queue's database cannot be reached ({type(error).__name__}). "
                    "Check BUDGET_ZOO_DATABASE_URL and the server."
                ) from None
        return row is not None and bool(row[0])

    def _key(self, name: str) -> int:
        digest = hashlib.sha256(f"budget-zoo/{self._home}/{name}".encode()).digest()
        return int.from_bytes(digest[:8], signed=True)
