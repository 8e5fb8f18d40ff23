"""An entry that is open on an engine, whatever it is made for, and windows that an engine runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from zoo.engines import open_engine
from zoo.engines.base import Engine, EngineOutput
from zoo.errors import UserError
from zoo.features import Window, load_tokenizer, pad
from zoo.files import read_json
from zoo.lengths import LengthConfig, Lengths, Shape, macs

if TYPE_CHECKING:
    from zoo.catalog import Entry

BATCH = 8


class Opened:
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

    def __init__(self, entry: Entry, engine: str = "onnxruntime", threads: int | None = None):
        if entry.task != self.task:
            raise UserError(f"{entry.name} is made for {entry.task}, {self.refusal}")
        self.entry = entry
        self.engine = open_engine(engine, entry, threads)

    @cached_property
    def tokenizer(self) -> Any:
        return load_tokenizer(self.entry.folder)

    @cached_property
    def _config(self) -> dict[str, Any]:
        return read_json(self.entry.folder / "config.json")

    @cached_property
    def shape(self) -> Shape:
        return Shape.from_config(self._config)

    def checked(self, config: LengthConfig | None) -> LengthConfig:
        """The configuration, full length for None."""
        config = config or LengthConfig.full(self.engine.layers)
        if len(config.fractions) != self.engine.layers:
            raise UserError(
                f"{self.entry.name} has {self.engine.layers} layers, but {config} is for {len(config.fractions)}. "
                "Write one length a layer."
            )
        return config

    def _runner(self, windows: Sequence[Window], config: LengthConfig | None) -> Callable[[], object]:
        config = self.checked(config)
        inputs = [(pad([window]), _lengths(config, [window])) for window in windows]

        def run() -> None:
            for batch, lengths in inputs:
                self.engine.run(batch, lengths)

        return run

    def _macs_ratio(self, counts: Sequence[int], config: LengthConfig) -> float:
        """Share of the full model's MACs over windows of so many tokens."""
        return sum(macs(self.shape, n, config.tokens(n)) for n in counts) / sum(macs(self.shape, n) for n in counts)


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


def _lengths(config: Lengths, windows: Sequence[Window]) -> np.ndarray:
    return np.array([config.tokens(len(window.input_ids)) for window in windows], np.int64)
