"""Who may wait for the Hub: a few calls of each visitor, so that the page answers others however slow the Hub is.

Gradio serves every event in one of forty threads. What asks the Hub keeps its thread for as long as the Hub takes, so
at most twelve do; what fetches a model does so in a thread of its own, and goes on where nobody waits for it any more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Hashable
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from threading import BoundedSemaphore, Lock, Thread
from typing import Any, TypeVar

from ui import people
from zoo.errors import UserError

AT_ONCE = 4  # models that are fetched side by side
OWN_DOWNLOADS, OWN_CALLS, ALL = 2, 4, 12  # under way of one visitor; that wait of one; of all together
BRIEFLY, LONG = 20.0, 900.0  # seconds that a call waits: one that holds the device, and one that asked for the download
V = TypeVar("V")

_waits: ContextVar[bool] = ContextVar("waits", default=False)  # for the Hub, and is counted


class Busy(UserError):
    """Something that the Hub is too slow for at the moment."""


class Share:
    """How much of something each visitor has under way.

    Args:
        own: at most so much of one.
        refusal: what one with so much is told.
    """

    def __init__(self, own: int, refusal: str):
        self._own, self._refusal = own, refusal
        self._lock = Lock()
        self._by: Counter[str] = Counter()

    def take(self, visitor: str) -> None:
        """Counts one more; raises Busy where it is one too many."""
        with self._lock:
            if self._by[visitor] >= self._own:
                raise Busy(self._refusal)
            if self._by.total() >= ALL:
                raise Busy("Too many here wait for the Hub at the moment. Try again in a minute.")
            self._by[visitor] += 1

    def give_back(self, visitor: str) -> None:
        """One has ended."""
        with self._lock:
            self._by[visitor] -= 1
            if not self._by[visitor]:
                del self._by[visitor]


class Downloads:
    """Models on their way from the Hub, and the calls that wait for it."""

    def __init__(self) -> None:
        self._calls = Share(OWN_CALLS, "You wait for the Hub already. Try again when it has answered.")
        self._begun = Share(
            OWN_DOWNLOADS, f"You have {OWN_DOWNLOADS} models on their way from the Hub. Try again when one is here."
        )
        self._threads, self._lock = BoundedSemaphore(AT_ONCE), Lock()
        self._under_way: dict[Hashable, Future[Any]] = {}

    def fetch(self, key: Hashable, name: str, work: Callable[[], V], patience: float = BRIEFLY) -> V:
        """What `work` makes, in a thread of its own; calls for the same key wait for the same work.

        Args:
            name: of the model, to tell of.
            patience: seconds; the work goes on afterwards.

        Raises:
            Busy: one visitor, or all of them, wait for too much already, or it takes longer than that.
        """
        visitor = people.visitor() or ""
        with self._call(visitor):
            with self._lock:
                made = self._under_way.get(key)
                if made is None:
                    made = self._begin(key, visitor, work)
            try:
                return made.result(patience)
            except TimeoutError:
                if made.done():  # the work's own
                    raise
                raise Busy(f"{name} is still on its way from the Hub, and stays so. Ask again in a minute.") from None

    @contextmanager
    def turn(self) -> Generator[None]:
        """While something asks the Hub; in an event of a visitor who waits for too much already it raises Busy."""
        visitor = people.visitor()
        if visitor is None or _waits.get():
            yield
            return
        with self._call(visitor):
            yield

    @contextmanager
    def _call(self, visitor: str) -> Generator[None]:
        self._calls.take(visitor)
        token = _waits.set(True)
        try:
            yield
        finally:
            with suppress(ValueError):  # publishing is a generator, of which gradio runs each step in another context
                _waits.reset(token)
            self._calls.give_back(visitor)

    def _begin(self, key: Hashable, visitor: str, work: Callable[[], V]) -> Future[V]:
        self._begun.take(visitor)
        made: Future[V] = Future()
        self._under_way[key] = made

        def run() -> None:
            try:
                with self._threads:
                    value = work()
            except BaseException as error:  # whoever waits has to hear of it, whatever it is
                self._end(key, visitor)
                made.set_exception(error)
            else:
                self._end(key, visitor)
                made.set_result(value)

        # Not of a pool: the program would not end before the Hub had answered.
        Thread(target=run, daemon=True, name="download").start()
        return made

    def _end(self, key: Hashable, visitor: str) -> None:
        with self._lock:
            del self._under_way[key]
        self._begun.give_back(visitor)


LINE = Downloads()  # the one of this process, which has forty threads to serve all of its pages
