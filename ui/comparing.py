"""Two to four (checkpoint, budget) pairs on one input: answers, agreement, latency in turn, size, F1."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr

from ui import curves, text
from ui.handlers import Speaker, Updates, explain
from ui.jobviews import size
from ui.selecting import DEFAULT_ENGINE
from ui.session import Desk, time_in_turn
from zoo import latency
from zoo.ask import Reply
from zoo.catalog import Entry
from zoo.errors import UserError
from zoo.latency import Timing
from zoo.lengths import Choice

LEAST, MOST = 2, 4
LETTERS = "ABCD"


@dataclass(frozen=True)
class Contestant:
    """One of those compared; `timing` comes last; `speedup` is how many times as fast as the first (with bounds)."""

    letter: str
    entry: Entry
    engine: str
    choice: Choice
    reply: Reply
    timing: Timing | None = None
    speedup: tuple[float, float, float] | None = None

    @property
    def f1(self) -> float | None:
        """Of the chosen point, or of the entry where it has no front, as measured when it was made."""
        found = self.choice.point.f1
        if math.isfinite(found):
            return found
        stated = self.entry.metrics.get("f1")
        return float(stated) if isinstance(stated, int | float) else None

    @property
    def answer(self) -> str:
        return self.reply.answers[0].text if self.reply.answers else ""

    @property
    def compute(self) -> float:
        """Percent of the full-length MACs."""
        return 100 * self.choice.point.macs_ratio


def ask_all(desk: Desk, pairs: Sequence[tuple[str, Any]], question: str, passage: str) -> list[Contestant]:
    """The answers of all pairs of a checkpoint's name and a budget in percent of compute.

    Raises:
        UserError: too few or too many, a checkpoint that is none, or bad input.
    """
    wanted = [(name.strip(), value) for name, value in pairs if (name or "").strip()]
    if not LEAST <= len(wanted) <= MOST:
        raise UserError(f"Pick {LEAST} to {MOST} checkpoints, or one at several budgets.")
    found = []
    for letter, (name, value) in zip(LETTERS, wanted, strict=False):
        entry = desk.entry(name)
        engine = DEFAULT_ENGINE if DEFAULT_ENGINE in entry.engines else entry.engines[0]
        choice = desk.choose(entry, "macs", value)
        found.append(
            Contestant(letter, entry, engine, choice, desk.ask(entry, engine, question, passage, choice.point.config))
        )
    return found


def time_all(desk: Desk, found: Sequence[Contestant], question: str, passage: str) -> tuple[list[Contestant], bool]:
    """The same with latencies, all timed in the same rounds, and whether something else kept the machine busy."""
    calls = {
        c.letter: desk.model(c.entry, c.engine).runner(question, passage, c.choice.point.config) for c in found
    }
    timings, disturbed = time_in_turn(calls)
    first = timings[found[0].letter]
    timed = [
        replace(
            c,
            timing=timings[c.letter],
            speedup=latency.speedup(first, timings[c.letter]) if c.letter != found[0].letter else None,
        )
        for c in found
    ]
    return timed, disturbed


def agreement(found: Sequence[Contestant]) -> str:
    """Who answers as the first does, in a sentence."""
    first, others = found[0], found[1:]
    same = [c for c in others if text.same_answer(c.reply, first.reply)]
    if len(same) == len(others):
        return "All give the same answer."
    if not same:
        return f"None of the others answers as {first.letter} does."
    return f"{', '.join(c.letter for c in same)} answer as {first.letter} does; the others differ."


def tabulate(found: Sequence[Contestant]) -> str:
    """A row for each, as Markdown."""
    rows = [
        "| | checkpoint | compute | answer | sure | p50 | p90 | against A | size | F1 |",
        "|:--|:--|--:|:--|--:|--:|--:|:--|--:|--:|",
    ]
    for c in found:
        best = c.reply.answers[0] if c.reply.answers else None
        words = text.escape(best.text) if best and best.text else "*no answer*"
        times = (f"{c.timing.p50_ms:.1f} ms", f"{c.timing.p90_ms:.1f} ms") if c.timing else ("…", "…")
        ratio = f"{c.speedup[0]:.2f}× as fast" if c.speedup else ""
        cells = (
            f"**{c.letter}**",
            f"{text.escape(c.entry.title)} ({text.name_precision(c.engine)})",
            f"{c.compute:.1f} %",
            words,
            f"{100 * best.probability:.0f} %" if best else "",
            *times,
            ratio,
            size(c.entry.bytes),
            f"{c.f1:.1f}" if c.f1 is not None else "",
        )
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def bars(found: Sequence[Contestant]) -> dict[str, dict[str, float | None]]:
    """What the plot shows, by measure and letter."""
    names = {c.letter: f"{c.letter} · {c.compute:.0f} %" for c in found}
    return {
        "latency here, ms (median)": {names[c.letter]: c.timing.p50_ms if c.timing else None for c in found},
        "F1 when it was made": {names[c.letter]: c.f1 for c in found},
        "size, MB": {names[c.letter]: c.entry.bytes / 1e6 for c in found},
    }


def write_csv(found: Sequence[Contestant]) -> str:
    """All of it with full precision."""
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(
        ["model", "engine", "macs_ratio", "fractions", "answer", "probability", "no_answer", "same_as_first", "p50_ms"]
        + ["p90_ms", "p99_ms", "n", "speedup_against_first", "low", "high", "bytes", "f1"]
    )
    for c in found:
        best = c.reply.answers[0] if c.reply.answers else None
        t, point = c.timing, c.choice.point
        table.writerow(
            [c.entry.name, c.engine, point.macs_ratio, " ".join(f"{f:g}" for f in point.config.fractions)]
            + [_plain(c.answer), best.probability if best else "", int(c.reply.no_answer)]
            + [int(text.same_answer(c.reply, found[0].reply))]
            + ([t.p50_ms, t.p90_ms, t.p99_ms, t.n] if t else [""] * 4)
            + (list(c.speedup) if c.speedup else [""] * 3)
            + [c.entry.bytes, "" if c.f1 is None else c.f1]
        )
    return out.getvalue()


def _plain(words: str) -> str:
    """Text that no spreadsheet takes for a formula."""
    return f"'{words}" if words[:1] in ("=", "+", "-", "@", "\t", "\r") else words


class Comparing(Speaker):
    """Events of the Compare tab."""

    def __init__(self, parts: Any, desk: Desk, examples: list[dict[str, Any]]):
        super().__init__(parts)
        self.desk, self.examples = desk, examples

    def count(self, many: Any) -> Updates:
        """As many rows as are to be compared."""
        wanted = many if isinstance(many, int) and LEAST <= many <= MOST else LEAST
        return {row: gr.update(visible=i < wanted) for i, row in enumerate(self.parts.rows)}

    def pick(self, index: Any) -> Updates:
        """An example fills question and passage."""
        if not isinstance(index, int) or not 0 <= index < len(self.examples):
            return self.nothing(self.parts.question)
        example = self.examples[index]
        return {self.parts.question: example["question"], self.parts.passage: example["context"]}

    def run(self, many: Any, question: str, passage: str, *pairs: Any) -> Iterator[Updates]:
        """Answers first, then latencies; `pairs` are names and budgets in turn."""
        p = self.parts
        wanted = list(zip(pairs[::2], pairs[1::2], strict=True))[: many if isinstance(many, int) else LEAST]
        try:
            yield {p.stamp: "Answering…"} | self.note("notice", None)
            found = ask_all(self.desk, wanted, question or "", passage or "")
            notices = list(dict.fromkeys(notice for c in found for notice in c.reply.notices))
            yield {
                p.verdict: agreement(found),
                p.table: tabulate(found),
                p.stamp: "Measuring, in turn…",
                **self.note("notice", " ".join(notices)),
            }
            found, disturbed = time_all(self.desk, found, question, passage)
            yield {
                p.table: tabulate(found),
                p.plot: gr.update(value=curves.draw_bars(bars(found)), visible=True),
                p.stamp: stamp(found, disturbed),
                p.csv_text: write_csv(found),
                p.csv: gr.update(interactive=True),
            }
        except Exception as error:
            yield {p.stamp: "", p.verdict: "", p.table: "", p.plot: gr.update(visible=False)} | self.note(
                "notice", explain(error)
            )


def stamp(found: Sequence[Contestant], disturbed: bool) -> str:
    """Where and how it was timed."""
    m = latency.machine()
    timing = found[0].timing
    rounds = f"{timing.n} rounds in turn · " if timing else ""
    badge = "**Disturbed:** something else kept this machine busy, so read these figures with care.\n\n"
    where = f"{rounds}{sum(found[0].reply.tokens)} tokens · {m['threads']} threads · {text.escape(str(m['cpu']))}"
    return (badge if disturbed else "") + f"{where} · {m['date']}. F1 is what was measured when each was made."
