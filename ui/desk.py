"""The desk behind the page: which models are open, and what every visitor last asked for."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from threading import Lock
from typing import Any, Generic, TypeVar

from ui import budget
from ui.reading import open_model
from zoo import catalog, measuring
from zoo.answers import Reply
from zoo.catalog import Entry
from zoo.engines import engine_class
from zoo.errors import UserError
from zoo.files import read_json
from zoo.lengths import Choice, LengthConfig, Shape
from zoo.measuring import BUDGET, FLOAT, FULL, Measured
from zoo.opened import Opened, Runner
from zoo.tasks import QUESTIONS

log = logging.getLogger(__name__)

LOADED_MODELS, KNOWN_ENTRIES, REPLIES, VISITORS = 6, 32, 64, 1000
V = TypeVar("V")


class Recent(Generic[V]):
    """A dictionary that forgets what was not used for longest. A value is made once, without holding up other keys."""

    def __init__(self, size: int):
        self.size, self._items, self._lock = size, OrderedDict[Hashable, V](), Lock()
        self._making: dict[Hashable, Lock] = {}

    def get(self, key: Hashable, make: Callable[[], V]) -> V:
        """The value of `key`, made on first use."""
        with self._lock:
            if key in self._items:
                self._items.move_to_end(key)
                return self._items[key]
            making = self._making.setdefault(key, Lock())
        with making:
            value = self._items.get(key)
            if value is None:
                try:
                    value = make()
                    self.set(key, value)
                finally:
                    self._making.pop(key, None)
        return value

    def peek(self, key: Hashable) -> V | None:
        return self._items.get(key)

    def set(self, key: Hashable, value: V) -> None:
        with self._lock:
            self._items[key] = value
            self._items.move_to_end(key)
            while len(self._items) > self.size:
                self._items.popitem(last=False)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._items


@dataclass(frozen=True)
class Wish:
    """All that decides what a run computes. Two wishes are equal if one run serves both."""

    model: str
    engine: str
    unit: str
    value: float | None
    question: str
    passage: str
    pinned: int | None = None
    no_answer: bool | None = None


GONE = Wish("", "", "", None, "", "")


class Desk:
    """Everything that outlives one event: bounded, shared by all visitors, no components.

    What is kept of an entry is kept by its folder: siblings of different checkpoints may have the same name.

    Args:
        find: name -> Entry.
        sibling: Entry -> the one to run in fp32 beside it, or None.
        answerer: (Entry, engine) -> what asks it, see `ui.reading.open_model`.
    """

    def __init__(
        self,
        find: Callable[[str], Entry] = catalog.find,
        sibling: Callable[[Entry], Entry | None] = catalog.full_precision,
        answerer: Callable[[Entry, str], Opened] = open_model,
    ):
        self._find, self._sibling, self._answerer = find, sibling, answerer
        self._entries: Recent[Entry] = Recent(KNOWN_ENTRIES)
        self._models: Recent[Opened] = Recent(LOADED_MODELS)
        self._replies: Recent[Reply] = Recent(REPLIES)
        self._full_ms: Recent[float] = Recent(REPLIES)
        self._wishes: Recent[Wish] = Recent(VISITORS)

    def entry(self, name: str, fresh: bool = False) -> Entry:
        """The entry of a bundled name, folder or Hub id; found once, so that dragging a slider reads no files.

        Raises:
            UserError: see `zoo.catalog.find`.
        """
        name = (name or "").strip()
        if fresh:
            self._entries.set(name, self._find(name))
        return self._entries.get(name, lambda: self._find(name))

    def shape(self, entry: Entry) -> Shape:
        """The sizes of an entry's encoder."""
        return Shape.from_config(read_json(entry.folder / "config.json"))

    def is_loaded(self, entry: Entry, engine: str) -> bool:
        return (entry.folder, engine) in self._models

    def model(self, entry: Entry, engine: str) -> Opened:
        """An entry on an engine; the six used last stay in memory."""
        return self._models.get((entry.folder, engine), lambda: self._answerer(entry, engine))

    def choose(
        self,
        entry: Entry,
        unit: str,
        value: Any,
        full_ms: float | None = None,
        pinned: dict[str, Any] | None = None,
    ) -> Choice:
        """The point that a budget picks; full length where the entry has no front."""
        if entry.front is None:
            return budget.full_only(self.shape(entry).layers)
        return budget.choose(entry.front, unit, budget.number(value), full_ms, pinned)

    def wish(self, visitor: str, wish: Wish) -> None:
        """Note what a visitor asks for now: a run for anything else of theirs is then stale."""
        self._wishes.set(visitor, wish)

    def leave(self, visitor: str) -> None:
        """Note that a visitor has closed the page: whatever still runs for them is stale."""
        self._wishes.set(visitor, GONE)

    def is_stale(self, visitor: str, wish: Wish) -> bool:
        return self._wishes.peek(visitor) not in (None, wish)

    def ask(
        self,
        entry: Entry,
        engine: str,
        question: str,
        passage: str,
        config: LengthConfig | None,
        no_answer: bool | None = None,
    ) -> Reply:
        """Answer, classify or score on the given engine; `no_answer` as in `zoo.opened.Opened.ask`."""
        return self.model(entry, engine).ask(question, passage, config, no_answer)

    def reference(
        self, entry: Entry, engine: str, question: str, passage: str, no_answer: bool | None = None
    ) -> tuple[Reply, bool]:
        """The full-length answer to stand beside: in fp32, or, where there are no such weights, of the model itself.

        Where nothing is said of "no answer", both may say it if the entry may.

        Returns:
            The reply, and whether it is fp32's.
        """
        full, name = measuring.reference_of(entry, engine, self._sibling)
        able = entry.no_answer if no_answer is None and entry.type is QUESTIONS else no_answer
        key = (full.folder, name, question, passage, able)
        reply = self._replies.get(key, lambda: self.ask(full, name, question, passage, None, able))
        return reply, engine_class(name).precision == "fp32"

    def full_ms(self, entry: Entry, engine: str, question: str, passage: str, now: bool = False) -> float | None:
        """What full length takes on this input here, as first measured; with `now` it is measured if it was not yet.

        It stays as it is afterwards, so that a budget in milliseconds does not pick another point at every run.
        """
        key = (entry.folder, engine, question, passage)
        if not now:
            return self._full_ms.peek(key)
        run = self.runner(entry, engine, question, passage, None)
        return self._full_ms.get(key, lambda: measuring.full_length_ms(run))

    def runner(self, entry: Entry, engine: str, question: str, passage: str, config: LengthConfig | None) -> Runner:
        """What is timed; see `zoo.opened.Opened.runner`."""
        return self.model(entry, engine).runner(question, passage, config)

    def measure(
        self,
        entry: Entry,
        engine: str,
        question: str,
        passage: str,
        config: LengthConfig,
        stale: Callable[[], bool] = lambda: False,
    ) -> Measured:
        """Time this input at the budget, at full length on the same engine, and in fp32 torch at full length, in turn.

        Raises:
            Superseded: `stale` became true meanwhile.
            UserError: bad input, or somebody else kept the device.
        """
        runs = {FULL: self.runner(entry, engine, question, passage, None)}
        if not config.is_full:  # the same thing twice would show nothing but noise
            runs = {BUDGET: self.runner(entry, engine, question, passage, config), **runs}
        full, name = measuring.reference_of(entry, engine, self._sibling)
        if name != engine:
            runs[FLOAT] = self.runner(full, name, question, passage, None)
        measured = measuring.measure(runs, stale)
        self._full_ms.get((entry.folder, engine, question, passage), lambda: measured.timings[FULL].p50_ms)
        return measured

    def warm_up(self, name: str, engine: str, question: str, passage: str) -> None:
        """Load what the first visitor needs; a failure is only logged, since asking will say it better."""
        try:
            entry = self.entry(name)
            self.ask(entry, engine, question, passage, None)
            self.reference(entry, engine, question, passage)
        except UserError as error:
            log.warning("Not warmed up: %s", error)
        except Exception:
            log.exception("Not warmed up")
