"""Two to four (checkpoint, budget) pairs on one input: answers, agreement, latency in turn, size, score."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ui import text
from ui.desk import Desk
from ui.reading import kind_of, reading_of
from ui.text import size
from zoo import latency
from zoo.answers import Reply
from zoo.catalog import Entry
from zoo.devices import gpu_of
from zoo.engines import engine_class
from zoo.errors import UserError
from zoo.fastest import default_engine
from zoo.latency import Timing
from zoo.lengths import Choice
from zoo.measuring import time_in_turn
from zoo.metrics import counted, metric_name, whole

LEAST, MOST = 2, 4
LETTERS = "ABCD"
SCORE = "Score"


@dataclass(frozen=True)
class Contestant:
    """One of those compared; `timing` comes last; `speedup` is how many times as fast as the first (with bounds).

    `gpu` is the one that it was timed on, empty for the CPU.
    """

    letter: str
    entry: Entry
    engine: str
    choice: Choice
    reply: Reply
    timing: Timing | None = None
    speedup: tuple[float, float, float] | None = None
    gpu: str = ""

    @property
    def metric(self) -> str:
        """Key of what `score` counts, empty where nothing is known."""
        return next(iter(self.choice.point.metrics), self.entry.metric)

    @property
    def score(self) -> float | None:
        """Of the chosen point, or of the entry where it has no front, as measured when it was made."""
        return self.choice.point.score if self.choice.point.metrics else self.entry.score

    @property
    def n(self) -> int | None:
        """Examples that the score is of."""
        front = self.entry.front
        return whole((front.measured_on if front and self.choice.point.metrics else self.entry.metrics).get("n"))

    @property
    def answer(self) -> str:
        return self.reply.words

    @property
    def compute(self) -> float:
        """Percent of the full-length MACs."""
        return 100 * self.choice.point.macs_ratio


def ask_all(desk: Desk, pairs: Sequence[tuple[str, Any]], question: str, passage: str) -> list[Contestant]:
    """The answers of all pairs of a checkpoint's name and a budget in percent of compute.

    Raises:
        UserError: too few or too many, a checkpoint that is none, or bad input.
    """
    rows = [(name.strip(), value) for name, value in pairs if (name or "").strip()]
    if not LEAST <= len(rows) <= MOST:
        raise UserError(f"Pick {LEAST} to {MOST} checkpoints, or one at several budgets.")
    entries = [desk.entry(name) for name, _ in rows]
    refuse_mixed(entries)
    contestants: list[Contestant] = []
    for letter, entry, (_, value) in zip(LETTERS, entries, rows, strict=False):
        engine = default_engine(entry)
        choice = desk.choose(entry, "macs", value)
        contestants.append(
            Contestant(letter, entry, engine, choice, desk.ask(entry, engine, question, passage, choice.point.config))
        )
    return contestants


def refuse_mixed(entries: Sequence[Entry]) -> None:
    """Only what reads and says the same kind of thing can be compared.

    Raises:
        UserError: some answer questions and others classify, or some read one text and others two, or some give labels
            and others scores.
    """
    if len({entry.task for entry in entries}) > 1:
        one = entries[0]
        other = next(entry for entry in entries if entry.task != one.task)
        raise UserError(
            f"{one.title} {kind_of(one).does} and {other.title} {kind_of(other).does}: compare checkpoints of one kind."
        )
    readings = [reading_of(entry) for entry in entries]
    firm = [(reading, entry) for reading, entry in zip(readings, entries, strict=True) if not reading.optional]
    for reading, entry in firm[1:]:
        first, beside = firm[0]
        if bool(reading.second) != bool(first.second) or bool(reading.scale) != bool(first.scale):
            raise UserError(
                f"{beside.title} and {entry.title} do not read or say the same kind of thing: compare checkpoints of "
                "one task."
            )


def time_all(
    desk: Desk, contestants: Sequence[Contestant], question: str, passage: str
) -> tuple[list[Contestant], bool]:
    """The same with latencies, all timed in the same rounds, and whether something else kept the machine busy."""
    calls = {c.letter: desk.runner(c.entry, c.engine, question, passage, c.choice.point.config) for c in contestants}
    timings, disturbed = time_in_turn(calls)
    first = timings[contestants[0].letter]
    timed = [
        replace(
            c,
            timing=timings[c.letter],
            gpu=gpu_of(calls[c.letter].engine),
            speedup=latency.speedup(first, timings[c.letter]) if c.letter != contestants[0].letter else None,
        )
        for c in contestants
    ]
    return timed, disturbed


def agreement(contestants: Sequence[Contestant]) -> str:
    """Who answers as the first does, in a sentence."""
    first, others = contestants[0], contestants[1:]
    if first.reply.tags is not None:
        return _shared(first, others)
    same = [c for c in others if c.reply.agrees(first.reply)]
    if len(same) == len(others):
        return "All give the same answer."
    if not same:
        return f"None of the others answers as {first.letter} does."
    return f"{', '.join(c.letter for c in same)} answer as {first.letter} does; the others differ."


def _shared(first: Contestant, others: Sequence[Contestant]) -> str:
    """How many of the spans that two label are the same for both."""
    parts = []
    for c in others:
        same, every = c.reply.shared_tags(first.reply)
        parts.append(f"{c.letter} {same} of {every}" if every else f"{c.letter}, as {first.letter}, nothing")
    return f"Spans labelled as by {first.letter}: {'; '.join(parts)}."


def tabulate(contestants: Sequence[Contestant]) -> str:
    """A row for each, as Markdown."""
    scored = score_name(contestants)
    rows = [
        f"| who | checkpoint | compute | answer | sure | p50 | p90 | against A | size | {scored} |",
        "|:--|:--|--:|:--|--:|--:|--:|:--|--:|--:|",
    ]
    for c in contestants:
        words, chance = text.escape(c.answer) or "*no answer*", c.reply.probability
        times = (f"{c.timing.p50_ms:.1f} ms", f"{c.timing.p90_ms:.1f} ms") if c.timing else ("…", "…")
        ratio = f"{c.speedup[0]:.2f}× as fast" if c.speedup else ""
        cells = (
            f"**{c.letter}**",
            f"{text.escape(c.entry.title)} ({engine_class(c.engine).precision})",
            f"{c.compute:.1f} %",
            words,
            f"{100 * chance:.0f} %" if chance is not None else "",
            *times,
            ratio,
            size(c.entry.bytes),
            f"{c.score:.1f}{'' if scored != SCORE else f' {metric_name(c.metric)}'} ({counted(c.n)})"
            if c.score is not None
            else "",
        )
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)


def score_name(contestants: Sequence[Contestant]) -> str:
    """What the scores are called: the metric's name where all are of one."""
    metrics = {c.metric for c in contestants if c.score is not None}
    return metric_name(metrics.pop()) if len(metrics) == 1 else SCORE


def bars(contestants: Sequence[Contestant]) -> dict[str, dict[str, float | None]]:
    """What the plot shows, by measure and letter."""
    names = {c.letter: f"{c.letter} · {c.compute:.0f} %" for c in contestants}
    return {
        "latency here, ms (median)": {names[c.letter]: c.timing.p50_ms if c.timing else None for c in contestants},
        f"{score_name(contestants)} when it was made": {names[c.letter]: c.score for c in contestants},
        "size, MB": {names[c.letter]: c.entry.bytes / 1e6 for c in contestants},
    }


def write_csv(contestants: Sequence[Contestant]) -> str:
    """All of it with full precision."""
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(
        ["model", "engine", "macs_ratio", "fractions", "answer", "probability", "no_answer", "same_as_first", "p50_ms"]
        + ["p90_ms", "p99_ms", "n", "speedup_against_first", "low", "high", "bytes", "metric", "score", "score_n"]
    )
    for c in contestants:
        chance = c.reply.probability
        t, point = c.timing, c.choice.point
        table.writerow(
            [c.entry.name, c.engine, point.macs_ratio, " ".join(f"{f:g}" for f in point.config.fractions)]
            + [_plain(c.answer), "" if chance is None else chance, int(not c.answer)]
            + [int(c.reply.agrees(contestants[0].reply))]
            + ([t.p50_ms, t.p90_ms, t.p99_ms, t.n] if t else [""] * 4)
            + (list(c.speedup) if c.speedup else [""] * 3)
            + [c.entry.bytes, c.metric, "" if c.score is None else c.score, "" if c.n is None else c.n]
        )
    return out.getvalue()


def _plain(words: str) -> str:
    """Text that no spreadsheet takes for a formula."""
    return f"'{words}" if words[:1] in ("=", "+", "-", "@", "\t", "\r") else words


def stamp(contestants: Sequence[Contestant], disturbed: bool) -> str:
    """Where and how it was timed."""
    m = latency.machine()
    timing = contestants[0].timing
    rounds = f"{timing.n} rounds in turn · " if timing else ""
    badge = "**Disturbed:** something else kept this machine busy, so read these figures with care.\n\n"
    tokens = sum(contestants[0].reply.tokens)
    where = f"{rounds}{tokens} tokens · {m['threads']} threads · {text.escape(str(m['cpu']))}"
    where += "".join(f" · {c.letter} on {text.escape(c.gpu)}" for c in contestants if c.gpu)
    note = f"{score_name(contestants)} is what was measured when each was made."
    return (badge if disturbed else "") + f"{where} · {m['date']}. {note}"
