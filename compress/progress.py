"""Where a stage stands: lines of JSON for programs, a bar or now and then a line for people."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

EVERY, SHOWN_EVERY = 1.0, 30.0  # seconds between lines of the file, and between lines for people


class Progress:
    """Appends to `progress.jsonl`, at most a line a second, and shows a bar on a terminal.

    A line is `{"time", "stage", "step", "total", "rate", "eta_s", ...figures}` or `{"time", "stage", "note"}`;
    `rate` is steps a second in this process, `eta_s` seconds left, both null until there are two steps to compare.

    Args:
        path: the file; None writes none.
        stage: what is running.
        bar: a bar rather than lines; by default where stderr is a terminal.
        shown: tell people too.
        clock: seconds.
        report: takes what is written of a step too: the stage, the step, and those figures that are numbers.
    """

    def __init__(
        self,
        path: Path | None,
        stage: str,
        bar: bool | None = None,
        shown: bool = True,
        clock: Callable[[], float] = time.monotonic,
        report: Callable[[str, int, Mapping[str, float]], None] | None = None,
    ):
        self.path, self.stage, self._is_shown, self._clock = path, stage, shown, clock
        self._wants_bar = sys.stderr.isatty() if bar is None else bar
        self._bar: Any = None
        self._report = report
        self._first: tuple[int, float] | None = None
        self._written = self._shown = -math.inf
        self._pending: dict[str, Any] | None = None
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            _end_line(path)

    def update(self, step: int, total: int, **figures: Any) -> None:
        """`step` of `total` are done; figures are numbers, which the bar shows too, or anything else that fits JSON."""
        now = self._clock()
        self._first = self._first or (step, now)
        steps, seconds = step - self._first[0], now - self._first[1]
        rate = steps / seconds if steps > 0 and seconds > 0 else None
        eta = (total - step) / rate if rate else None
        line = {"step": step, "total": total, "rate": rate, "eta_s": eta, **figures}
        self._show(line, now)
        self._pending = line
        if step >= total or now - self._written >= EVERY:
            self._flush(now)

    def note(self, message: str) -> None:
        """Something that happened, in words."""
        self._append({"note": message})
        self._say(f"{self.stage}: {message}")

    def close(self) -> None:
        """Writes what the rate limit held back."""
        if self._pending:
            self._flush(self._clock())
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _flush(self, now: float) -> None:
        line = self._pending or {}
        self._append(line)
        if self._report and (figures := _figures(line)):
            self._report(self.stage, line["step"], figures)
        self._pending, self._written = None, now

    def _append(self, line: dict[str, Any]) -> None:
        if not self.path:
            return
        text = json.dumps({"time": time.time(), "stage": self.stage, **_finite(line)}, ensure_ascii=False)
        with self.path.open("ab", buffering=0) as file:  # one write, so that a reader never sees half a line
            file.write(text.encode() + b"\n")

    def _show(self, line: dict[str, Any], now: float) -> None:
        if not self._is_shown:
            return
        numbers = {k: v for k, v in line.items() if isinstance(v, int | float) and k not in ("step", "total", "rate")}
        if self._wants_bar:
            if self._bar is None:
                self._bar = tqdm(total=line["total"], initial=line["step"], desc=self.stage, dynamic_ncols=True)
            numbers.pop("eta_s", None)
            self._bar.total = line["total"]
            self._bar.set_postfix({k: f"{v:.4g}" for k, v in numbers.items()}, refresh=False)
            self._bar.update(line["step"] - self._bar.n)
        elif line["step"] >= line["total"] or now - self._shown >= SHOWN_EVERY:
            self._shown = now
            figures = " ".join(f"{key}={value:.4g}" for key, value in numbers.items())
            self._say(f"{self.stage} {line['step']}/{line['total']} {figures}")

    def _say(self, text: str) -> None:
        if self._bar is not None:
            self._bar.write(text, file=sys.stderr)
        elif self._is_shown:
            print(text, file=sys.stderr, flush=True)


def _figures(line: dict[str, Any]) -> dict[str, float]:
    numbers = ((key, value) for key, value in _finite(line).items() if key not in ("step", "total", "rate", "eta_s"))
    return {key: value for key, value in numbers if isinstance(value, int | float)}


def _finite(value: Any) -> Any:
    """JSON knows no NaN and no infinity: null."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    if hasattr(value, "tolist"):
        return _finite(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _end_line(path: Path) -> None:
    """A process that was killed may have left half a line: the next one begins on its own."""
    if path.is_file() and path.stat().st_size:
        with path.open("r+b") as file:
            file.seek(-1, 2)
            if file.read(1) != b"\n":
                file.write(b"\n")
