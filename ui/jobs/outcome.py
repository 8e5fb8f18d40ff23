"""What a finished job has changed: its model before and after, and what one can do with it next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ui.text import escape, size
from zoo import catalog
from zoo.catalog import Entry
from zoo.errors import UserError
from zoo.metrics import counted, metric_name, timed_on, whole

FLOAT_MS = "float_p50_ms"  # in a front's stamp, see `compress.results.evaluate`
LOST = 1.0  # points that the budget may lose which is shown


@dataclass(frozen=True)
class Outcome:
    """A finished job's first result, and the model that it came from.

    Attributes:
        after: what was made.
        before: its source: the float model that the job made beside it, else the one that it started from.
        name: what the source is found by, empty where it is not at hand.
        facts: of the job's report, by `float_f1` and the like.
    """

    after: Entry
    before: Entry | None
    name: str
    facts: Mapping[str, Any]

    @classmethod
    def of(cls, model: str, results: Sequence[Path], stages: Sequence[Mapping[str, Any]]) -> Outcome | None:
        """The outcome of a job; None where it has made nothing that can be read.

        Args:
            model: that its recipe names.
            results: folders of what it made, as `compress.jobs.jobs.results` has them.
            stages: as `compress.jobs.jobs.stages` has them.
        """
        made = [entry for folder in results if (entry := _look_at(folder))]
        if not made:
            return None
        after = made[0]
        sibling = next((entry for entry in made[1:] if entry.name == after.full_precision), None)
        folder = None if sibling else catalog.folder_here(model)
        before = sibling or (_look_at(folder, model) if folder else None)
        if before is not None and before.task != after.task:
            before = None  # an encoder that had learned nothing yet is none to compare with
        report = next((stage.get("result") for stage in reversed(stages) if stage.get("name") == "evaluate"), None)
        name = before.name if before else ""
        return cls(after, before, name, report if isinstance(report, Mapping) else {})

    def tabulate(self) -> str:
        """Size, speed and score before and after, as Markdown."""
        rows = [self._sizes(), self._speeds(), self._scores()]
        lines = ["## What came of it", "", "| | before | after | |", "|:--|--:|--:|:--|"]
        lines += [f"| {' | '.join(escape(cell) for cell in row)} |" for row in rows if row]
        stamp = timed_on(self.after.front.measured_on if self.after.front else self.after.metrics)
        return "\n".join(lines) + (f"\n\nMeasured with {escape(stamp)}." if stamp and self._speeds() else "")

    def _sizes(self) -> tuple[str, ...]:
        now = self.after.bytes
        then = self.before.bytes if self.before else 4 * self.after.parameters
        was = size(then) + ("" if self.before else " in fp32") if then else "–"
        return "size", was, size(now), _times(then, now, "as small")

    def _speeds(self) -> tuple[str, ...]:
        front = self.after.front
        now = front.full.p50_ms if front else self.after.metrics.get("p50_ms")
        if not isinstance(now, int | float):
            return ()
        then = front.measured_on.get(FLOAT_MS) if front else None
        was = f"{then:.1f} ms" if isinstance(then, int | float) else "not measured"
        more = _times(then, now, "as fast") if isinstance(then, int | float) else ""
        cheap = [p for p in front.everything if front.full.score - p.score <= LOST and p.p50_ms] if front else []
        best = min(cheap, key=lambda p: p.p50_ms or now, default=None)
        if best and front and best.p50_ms and best.p50_ms < 0.98 * now:
            loses = f"at most {LOST:g} {metric_name(front.metric)} point lost"
            more += f"{'; ' if more else ''}{best.p50_ms:.1f} ms with {loses}"
        return "speed", was, f"{now:.1f} ms", more

    def _scores(self) -> tuple[str, ...]:
        metric, now = self.after.metric, self.after.score
        if now is None:
            return ()
        n = whole(self.after.metrics.get("n"))
        then = self.facts.get(f"float_{metric}")
        was = f"{then:.1f}" if isinstance(then, int | float) else "not measured"
        change = f"{now - then:+.1f}".replace("-", "−") if isinstance(then, int | float) else ""
        return metric_name(metric), was, f"{now:.1f}", ", ".join(filter(None, [change, counted(n)]))


def _look_at(folder: Path, name: str = "") -> Entry | None:
    try:
        return catalog.look_at(folder, name or folder.name)
    except (UserError, OSError):
        return None


def _times(before: float, after: float, words: str) -> str:
    """How many times as small or as fast."""
    return f"{before / after:.1f}× {words}" if before and after and before > after else ""
