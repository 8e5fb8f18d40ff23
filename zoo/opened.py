"""An entry that is open on an engine, whatever it is made for, and windows that an engine runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from zoo.answers import AS_TRAINED, KeptWindow, NoAnswer, Reply
from zoo.checkpoints import read_config
from zoo.engines import DEFAULT_ENGINE, open_engine
from zoo.engines.base import Batch, Engine, EngineOutput
from zoo.errors import UserError
from zoo.features import Tokenizer, Window, pad, tokenizer_of
from zoo.lengths import LengthConfig, Lengths, Shape, macs

if TYPE_CHECKING:
    from zoo.catalog import Entry

BATCH = 8


@dataclass(frozen=True)
class Inputs:
    """What an engine gets of one input: the texts as they are read, their windows, and what a reader should know."""

    texts: tuple[str, ...]
    windows: list[Window]
    notices: list[str]


@dataclass(frozen=True)
class Runner:
    """Runs an engine over one input, everything else prepared: what is timed.

    Attributes:
        engine: a loaded model.
        batches: its inputs, a window each, and their lengths.
        tokens: real tokens of every window.
    """

    engine: Engine
    batches: list[tuple[Batch, np.ndarray]]
    tokens: list[int]

    def __call__(self) -> None:
        for batch, lengths in self.batches:
            self.engine.run(batch, lengths)


class Opened(ABC):
    """An entry on an engine; a class of its own for each task says what goes in and what comes out.

    Args:
        entry: of the catalog.
        engine: as `zoo.engines.open_engine` takes it.
        threads: defaults to the settings.

    Raises:
        UserError: the entry is made for another task or does not run on this engine.
    """

    task: ClassVar[str]
    refusal: ClassVar[str]  # of an entry that is made for something else

    def __init__(self, entry: Entry, engine: str = DEFAULT_ENGINE, threads: int | None = None):
        if entry.task != self.task:
            raise UserError(f"{entry.name} is made for {entry.task}, {self.refusal}")
        self.entry = entry
        self.engine = open_engine(engine, entry, threads)

    @cached_property
    def _tokenizer(self) -> tuple[Tokenizer, str]:
        return tokenizer_of(self.entry.folder)

    @property
    def tokenizer(self) -> Tokenizer:
        return self._tokenizer[0]

    @cached_property
    def config(self) -> dict[str, Any]:
        return read_config(self.entry.folder)

    @cached_property
    def shape(self) -> Shape:
        return Shape.from_config(self.config)

    @property
    def remarks(self) -> list[str]:
        """What a reader should know of the model whatever it is asked."""
        _, remark = self._tokenizer
        return [remark] if remark else []

    def checked(self, config: LengthConfig | None) -> LengthConfig:
        """The configuration, full length for None."""
        config = config or LengthConfig.full(self.engine.layers)
        if len(config.fractions) != self.engine.layers:
            raise UserError(
                f"{self.entry.name} has {self.engine.layers} layers, but {config} is for {len(config.fractions)}. "
                "Write one length a layer."
            )
        return config

    @abstractmethod
    def prepare(self, first: str, second: str | None) -> Inputs:
        """The windows of an input.

        Raises:
            UserError: a text that is needed is empty.
        """

    @abstractmethod
    def ask(
        self, first: str, second: str | None, config: LengthConfig | None = None, no_answer: NoAnswer = AS_TRAINED
    ) -> Reply:
        """What the model says of a question and its passage, or of one or two texts.

        Args:
            first, second: the texts.
            config: length configuration; None for full length.
            no_answer: of questions, whether "no answer" may win, and by what threshold; by default as the entry has it.

        Raises:
            UserError: bad input, or something is asked of "no answer" that is not heard.
        """

    def run(self, inputs: Inputs, config: LengthConfig | None) -> tuple[list[EngineOutput], Reply]:
        """What the engine computes for every window, and a reply that tells all but what the model says."""
        config = self.checked(config)
        outputs = [run_one(self.engine, window, config) for window in inputs.windows]
        if any(np.isnan(output.logits).any() for output in outputs):
            raise UserError(
                f"{self.entry.name} answers with what is no number (NaN): its weights are broken. Take another model."
            )
        kept = [
            KeptWindow(
                self.tokenizer.convert_ids_to_tokens(w.input_ids), w.offsets, np.array([k[0] for k in o.kept]), w.parts
            )
            for w, o in zip(inputs.windows, outputs, strict=True)
        ]
        tokens = [len(window.input_ids) for window in inputs.windows]
        full = sum(macs(self.shape, n) for n in tokens)
        ratio = sum(macs(self.shape, n, config.tokens(n)) for n in tokens) / full
        return outputs, Reply(inputs.texts, tokens, kept, ratio, [*inputs.notices, *self.remarks])

    def runner(self, first: str, second: str | None = None, config: LengthConfig | None = None) -> Runner:
        """What runs the engine over this input, to be timed."""
        config, windows = self.checked(config), self.prepare(first, second).windows
        batches = [(pad([window]), _lengths(config, [window])) for window in windows]
        return Runner(self.engine, batches, [len(window.input_ids) for window in windows])


class Describer(Opened):
    """An entry that says something of its texts, whatever they are: there is always an answer."""

    def ask(
        self, first: str, second: str | None, config: LengthConfig | None = None, no_answer: NoAnswer = AS_TRAINED
    ) -> Reply:
        no_answer.of(self.entry)
        inputs = self.prepare(first, second)
        outputs, reply = self.run(inputs, config)
        return self.described(inputs, [output.logits[0] for output in outputs], reply)

    @abstractmethod
    def described(self, inputs: Inputs, logits: list[np.ndarray], reply: Reply) -> Reply:
        """The reply with what the model says.

        Args:
            inputs: of `prepare`.
            logits: of every window, without its batch.
            reply: all but what the model says.
        """


def run_one(engine: Engine, window: Window, config: Lengths) -> EngineOutput:
    """One window, unpadded."""
    return engine.run(pad([window]), _lengths(config, [window]))


def run_all(
    engine: Engine,
    windows: Sequence[Window],
    config: Lengths | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[tuple[list[int], EngineOutput]]:
    """Many windows, short ones first. Those of equal length share a batch, so nothing is ever padded.

    Args:
        engine: a loaded model.
        windows: of any lengths.
        config: length configuration; None for full length.
        progress: called with (windows done, windows in all).

    Yields:
        Places in `windows`, and what the engine said of these.
    """
    config = config or LengthConfig.full(engine.layers)
    order = sorted(range(len(windows)), key=lambda i: len(windows[i].input_ids))
    at = 0
    while at < len(order):
        length = len(windows[order[at]].input_ids)
        alike = [i for i in order[at : at + BATCH] if len(windows[i].input_ids) == length]
        rows = [windows[i] for i in alike]
        yield alike, engine.run(pad(rows), _lengths(config, rows))
        at += len(alike)
        if progress:
            progress(at, len(order))


def logits_of_all(
    engine: Engine,
    windows: Sequence[Window],
    config: Lengths | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[np.ndarray]:
    """The logits of many windows, in their order; see `run_all`."""
    logits: dict[int, np.ndarray] = {}
    for places, out in run_all(engine, windows, config, progress):
        logits |= zip(places, out.logits, strict=True)
    return [logits[place] for place in range(len(windows))]


def _lengths(config: Lengths, windows: Sequence[Window]) -> np.ndarray:
    return np.array([config.tokens(len(window.input_ids)) for window in windows], np.int64)
