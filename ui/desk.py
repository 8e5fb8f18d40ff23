"""The desk behind the page: which models are open, and what every visitor last asked for."""

from __future__ import annotations

import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any, Generic, NamedTuple, TypeVar

from ui import budget, people
from ui.downloads import BRIEFLY, LINE, LONG, Busy
from ui.reading import open_model
from zoo import catalog, measuring
from zoo.answers import AS_TRAINED, NoAnswer, Reply
from zoo.catalog import Entry
from zoo.engines import engine_class
from zoo.errors import UserError, Withheld
from zoo.files import read_json
from zoo.lengths import Choice, LengthConfig, Shape
from zoo.measuring import BUDGET, FLOAT, FULL, Measured
from zoo.opened import Opened, Runner
from zoo.tensors import has_tensors

log = logging.getLogger(__name__)

LOADED_MODELS, KNOWN_ENTRIES, REPLIES, VISITORS = 6, 128, 64, 1000
LONGEST_KEPT = 500  # characters of a text that is kept beside what it was answered
V = TypeVar("V")


def _is_split(entry: Entry) -> bool:
    """Whether its float weights are another model of the Hub."""
    name = entry.full_precision
    if not name or has_tensors(entry.folder) or (entry.folder.parent / name).is_dir():
        return False
    return catalog.asks_hub(name)


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

    def forget(self, folders: Collection[Path]) -> None:
        """Leaves out what is of these folders, which are the first part of keys."""
        with self._lock:
            for key in [key for key in self._items if isinstance(key, tuple) and key[0] in folders]:
                del self._items[key]

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
    no_answer: NoAnswer = AS_TRAINED

    @property
    def brief(self) -> Wish:
        """The same, with long texts told by their digests: what is kept of a visitor stays small."""
        return replace(self, model=brief(self.model), question=brief(self.question), passage=brief(self.passage))


def _briefly(asked: tuple[Hashable, ...]) -> tuple[Hashable, ...]:
    """What was asked, with its texts in brief."""
    return tuple(brief(part) if isinstance(part, str) else part for part in asked)


def brief(text: str) -> str:
    """A text to know another one by: itself, or its digest where it is long."""
    if len(text) <= LONGEST_KEPT:
        return text
    return "sha256:" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


GONE = Wish("", "", "", None, "", "")


class Watch:
    """Who waits for a measurement.

    Args:
        stale: whether nobody does any longer.
    """

    def __init__(self, stale: Callable[[], bool] = lambda: False):
        self.stale, self.words = stale, "Measuring this budget…"

    def progress(self, done: int, rounds: int) -> None:
        """A round begins; `words` say so."""
        self.words = f"Measuring this budget: round {done} of {rounds}…"


class Answered(NamedTuple):
    """An answer, what full length says, and whether that is fp32's."""

    reply: Reply
    full: Reply
    in_float: bool


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
        find: Callable[..., Entry] = catalog.find,
        sibling: Callable[[Entry], Entry | None] = catalog.full_precision,
        answerer: Callable[[Entry, str], Opened] = open_model,
    ):
        self._find, self._sibling, self._answerer = find, sibling, answerer
        self._entries: Recent[Entry] = Recent(KNOWN_ENTRIES)
        self._models: Recent[Opened] = Recent(LOADED_MODELS)
        self._replies: Recent[Reply] = Recent(REPLIES)
        self._answered: Recent[Answered] = Recent(REPLIES)
        self._full_ms: Recent[float] = Recent(REPLIES)
        self._wishes: Recent[Wish] = Recent(VISITORS)
        self._settled: Recent[Wish] = Recent(VISITORS)
        self._references: Recent[tuple[Entry, str]] = Recent(KNOWN_ENTRIES)

    def entry(self, name: str, fresh: bool = False, token: str | None = None) -> Entry:
        """The entry of a bundled name, folder or Hub id; found once, so that dragging a slider reads no files.

        On a Space the results of others are not found, and what one person has found is not another's.

        Args:
            fresh: find it anew.
            token: to be used where the Hub shows the model to nobody without one.

        Raises:
            UserError: see `zoo.catalog.find`.
        """
        name, person = (name or "").strip(), people.present()
        owner = None if person.trusted else person.name
        key, find = (name, person), self._find if person.trusted else partial(self._find, owner=owner)

        def look() -> Entry:
            try:
                entry = find(name)
            except Withheld:
                if not token:
                    raise
                entry = find(name, token=token)
            self._entries.set(key, entry)
            if fresh:  # a recipe may have made it anew there
                self._references = Recent(KNOWN_ENTRIES)
                folders = entry.folder, entry.folder.with_name(Path(entry.full_precision or "-").name)
                for of_folder in (self._models, self._replies, self._answered, self._full_ms):
                    of_folder.forget(folders)
            return entry

        if not fresh and key in self._entries or not catalog.asks_hub(name, owner):
            return look() if fresh else self._entries.get(key, look)
        try:
            return LINE.fetch((key, bool(token)), name, look, LONG if fresh else BRIEFLY)
        except Busy:
            with suppress(UserError):
                if not fresh:
                    return catalog.find_kept(name)
            raise

    def shape(self, entry: Entry) -> Shape:
        """The sizes of an entry's encoder."""
        return Shape.from_config(read_json(entry.folder / "config.json"))

    def is_loaded(self, entry: Entry, engine: str) -> bool:
        return (entry.folder, engine) in self._models

    def model(self, entry: Entry, engine: str) -> Opened:
        """An entry on an engine; the six used last stay in memory.

        Raises:
            UserError: see `zoo.engines.open_engine`, or its float weights are still on their way from the Hub.
        """

        def load() -> Opened:
            return self._models.get((entry.folder, engine), lambda: self._answerer(entry, engine))

        if self.is_loaded(entry, engine) or engine_class(engine).precision != "fp32" or not _is_split(entry):
            return load()
        return LINE.fetch(("model", entry.folder, engine), str(entry.full_precision), load)

    def choose(
        self,
        entry: Entry,
        unit: str,
        value: object,
        full_ms: float | None = None,
        pinned: dict[str, Any] | None = None,
    ) -> Choice:
        """The point that a budget picks; full length where the entry has no front."""
        if entry.front is None:
            return budget.full_only(self.shape(entry).layers)
        return budget.choose(entry.front, unit, budget.number(value), full_ms, pinned)

    def wish(self, visitor: str, wish: Wish) -> None:
        """Note what a visitor asks for now: a run for anything else of theirs is then stale."""
        self._wishes.set(visitor, wish.brief)

    def settle(self, visitor: str, wish: Wish) -> None:
        """Note that all of a visitor's wish has been answered and measured."""
        self._settled.set(visitor, wish.brief)

    def is_settled(self, visitor: str, wish: Wish) -> bool:
        """Whether this wish is the one that was answered and measured last: nothing has changed since."""
        return self._settled.peek(visitor) == wish.brief

    def leave(self, visitor: str) -> None:
        """Note that a visitor has closed the page: whatever still runs for them is stale."""
        self._wishes.set(visitor, GONE)

    def is_stale(self, visitor: str, wish: Wish) -> bool:
        return self._wishes.peek(visitor) not in (None, wish.brief)

    def ask(
        self,
        entry: Entry,
        engine: str,
        question: str,
        passage: str,
        config: LengthConfig | None,
        no_answer: NoAnswer = AS_TRAINED,
    ) -> Reply:
        """Answer, classify or score on the given engine; `no_answer` as in `zoo.opened.Opened.ask`."""
        return self.model(entry, engine).ask(question, passage, config, no_answer)

    def reference(
        self, entry: Entry, engine: str, question: str, passage: str, no_answer: NoAnswer = AS_TRAINED
    ) -> tuple[Reply, bool]:
        """The full-length answer to stand beside: in fp32, or, where there are no such weights, of the model itself.

        Both say "no answer" as the entry does where nothing else is asked, by its threshold.

        Returns:
            The reply, and whether it is fp32's.
        """
        full, name = self._reference_of(entry, engine)
        settled = no_answer.of(entry)
        key = (full.folder, name, brief(question), brief(passage), settled)
        reply = self._replies.get(key, lambda: self.ask(full, name, question, passage, None, settled))
        return reply, engine_class(name).precision == "fp32"

    def _reference_of(self, entry: Entry, engine: str) -> tuple[Entry, str]:
        """Looked for once by each person: it reads the sibling's files, which is a tenth of what answering takes."""
        key = entry.folder, engine, people.present()

        def look() -> tuple[Entry, str]:
            return self._references.get(key, lambda: measuring.reference_of(entry, engine, self._sibling))

        if key in self._references or not _is_split(entry):
            return look()
        try:
            return LINE.fetch(("beside", *key), str(entry.full_precision), look)
        except Busy as busy:  # what is there answers, and the next time its fp32 may be there, too
            log.info("Without the fp32 of %s: %s", entry.name, busy)
            return entry, engine

    def remember(self, asked: tuple[Hashable, ...], answered: Answered) -> None:
        """Keep what was answered, so that it can be shown at once where the same is asked again."""
        self._answered.set(_briefly(asked), answered)

    def remembered(self, asked: tuple[Hashable, ...]) -> Answered | None:
        """What was answered when the same was asked, without waiting for a model; None where it was not."""
        return self._answered.peek(_briefly(asked))

    def full_ms(self, entry: Entry, engine: str, question: str, passage: str, now: bool = False) -> float | None:
        """What full length takes on this input here, as first measured; with `now` it is measured if it was not yet.

        It stays as it is afterwards, so that a budget in milliseconds does not pick another point at every run.
        """
        key = (entry.folder, engine, brief(question), brief(passage))
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
        watch: Watch | None = None,
    ) -> Measured:
        """Time this input at the budget, at full length on the same engine, and in fp32 torch at full length, in turn.

        Raises:
            Superseded: `watch.stale` became true meanwhile.
            UserError: bad input, or somebody else kept the device.
        """
        runs, watch = {FULL: self.runner(entry, engine, question, passage, None)}, watch or Watch()
        if not config.is_full:  # the same thing twice would show nothing but noise
            runs = {BUDGET: self.runner(entry, engine, question, passage, config), **runs}
        full, name = self._reference_of(entry, engine)
        if name != engine:
            runs[FLOAT] = self.runner(full, name, question, passage, None)
        measured = measuring.measure(runs, watch.stale, watch.progress)
        key = (entry.folder, engine, brief(question), brief(passage))
        self._full_ms.get(key, lambda: measured.timings[FULL].p50_ms)
        return measured

    def warm_up(self, name: str, engine: str, question: str, passage: str) -> None:
        """Load what the first visitor needs, and answer what the page opens with; a failure is only logged, since
        asking will say it better."""
        try:
            entry = self.entry(name)
            config = budget.default_point(entry.front).config if entry.front else self.choose(entry, "", 0).point.config
            no_answer = NoAnswer(entry.no_answer, entry.null_threshold if entry.no_answer else None)
            reply = self.ask(entry, engine, question, passage, config, no_answer)
            full, in_float = self.reference(entry, engine, question, passage, no_answer)
            asked = (entry.folder, engine, question, passage, config, no_answer)
            self.remember(asked, Answered(reply, full, in_float))
        except UserError as error:
            log.warning("Not warmed up: %s", error)
        except Exception:
            log.exception("Not warmed up")
