"""One quantized model, judged at any length configuration: how well it answers, what it computes, how long it takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from compress.tasks.lengths import PaddedLengths, drop_layers_of, effective, macs_share
from compress.tasks.subject import Tell
from compress.tasks.subjects import Read, subject_of
from zoo.abstaining import with_threshold
from zoo.checkpoints import read_config
from zoo.engines import open_graph
from zoo.engines.base import Engine
from zoo.features import Window, load_tokenizer
from zoo.latency import Timing, device_lock, measure
from zoo.lengths import LengthConfig, Lengths, Shape
from zoo.opened import run_one
from zoo.settings import get_settings


class Judge:
    """Scores and times configurations of one quantized model.

    Args:
        folder: `model.int8.onnx`, `config.json` and tokenizer.
        recipe: what it is about, and in its group `evaluate` engine and threads.
        examples: questions or texts to score on, of `compress.tasks.subject.Subject.load`.
        null_threshold: of "no answer"; None: as `config.json` has it.
    """

    def __init__(self, folder: Path, recipe: Read, examples: Sequence[Any], null_threshold: float | None = None):
        settings = recipe.evaluate
        self.folder, self.engine, self.subject = folder, settings.engine, subject_of(recipe)
        self.threads = settings.threads or get_settings().threads
        self.examples, self.config = list(examples), with_threshold(read_config(folder), null_threshold)
        self.shape, self.drop_layers = Shape.from_config(self.config), drop_layers_of(self.config)
        self._tokenizer = load_tokenizer(folder)
        windows = self.subject.windows(self._tokenizer, self.examples)
        self._windows = sorted(windows, key=lambda window: len(window.input_ids))
        self.counts = [len(window.input_ids) for window in self._windows]

    def score(
        self,
        config: LengthConfig,
        progress: Tell | None = None,
        examples: Sequence[Any] | None = None,
    ) -> dict[str, float]:
        """The task's metrics, `n` and `macs_ratio` at the real lengths of the examples.

        Args:
            config: where to score.
            progress: called with (examples done, examples in all).
            examples: others of the same task to score on; the share of the MACs stays that of the judge's own.
        """
        config = effective(config, self.drop_layers)
        return {
            **self._scores(self.examples if examples is None else examples, config, progress),
            "macs_ratio": macs_share(self.shape, self.counts, config),
        }

    def score_padded(self, config: LengthConfig) -> dict[str, float]:
        """As `score`, with the papers' accounting: token counts at inputs padded to 384, or 128 for texts."""
        padded = PaddedLengths.of(effective(config, self.drop_layers), self.subject.padded)
        return {**self._scores(self.examples, padded, None), "macs_ratio": padded.macs_ratio(self.shape)}

    def _scores(self, examples: Sequence[Any], lengths: Lengths, progress: Tell | None) -> dict[str, float]:
        return self.subject.score(self._runner, self._tokenizer, examples, lengths, progress, self.config)

    def relative_latency(self, config: LengthConfig, rounds: int = 10) -> float:
        """Time at `config` against full length, measured in turn: mean over a short, a middling and a long input."""
        places = [len(self._windows) * quarter // 4 for quarter in (1, 2, 3)]
        ratios = []
        for window in (self._windows[place] for place in places):
            timings = self.timings({"full": LengthConfig.full(self.shape.layers), "this": config}, window, rounds)
            ratios.append(timings["this"].p50_ms / timings["full"].p50_ms)
        return sum(ratios) / len(ratios)

    def nearest(self, tokens: int) -> Window:
        """The input with the number of real tokens that is nearest to this."""
        return nearest(self._windows, tokens)

    def timings(
        self,
        configs: dict[str, LengthConfig],
        window: Window,
        rounds: int,
        others: Mapping[str, Callable[[], object]] | None = None,
    ) -> dict[str, Timing]:
        """Interleaved timings of the engine on one window, and of other calls by their names; nobody else measures
        meanwhile."""
        calls = {name: partial(run_one, self._runner, window, c) for name, c in configs.items()}
        return interleaved({**calls, **(others or {})}, rounds)

    @cached_property
    def _runner(self) -> Engine:
        return open_graph(self.folder, self.threads, self.engine)


def nearest(windows: Sequence[Window], tokens: int) -> Window:
    """Of some windows the one whose number of tokens is nearest to this."""
    return min(windows, key=lambda window: abs(len(window.input_ids) - tokens))


def interleaved(calls: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, Timing]:
    """Timings of calls in turn; nobody else measures meanwhile."""
    with device_lock(timeout=600):
        return measure(calls, rounds)
