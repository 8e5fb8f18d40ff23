"""What the page says, as Markdown. Whatever comes from outside goes through `escape` first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zoo.answers import Answer, Reply, Tag
from zoo.catalog import Entry
from zoo.encoders import ENCODERS, as_a_whole
from zoo.engines import engine_class, names, runs_graph
from zoo.families import titles
from zoo.fastest import Fastest, words
from zoo.lengths import PAPER_TOKENS, Choice, Shape, macs_ratio
from zoo.measuring import BUDGET, FLOAT, FULL, Measured
from zoo.metrics import metric_name, scored, whole

SHOWN_ANSWERS = 8
PADDED = "padded_to_"  # begins the key of the papers' account in a front


def escape(text: str) -> str:
    """Any text as Markdown that shows it letter by letter: punctuation becomes entities, line breaks blanks."""
    return "".join(
        c if c.isalnum() or not c.isascii() or c == " " else " " if c.isspace() else f"&#{ord(c)};" for c in text
    )


def engine_labels() -> dict[str, str]:
    """What the page calls each engine, by the engine's name."""
    return {name: f"{engine_class(name).label} · {engine_class(name).precision}" for name in names()}


def show_answer(title: str, reply: Reply, note: str = "", doubt: str = "") -> str:
    """A card: whose answer, the answer, label or score, how sure, and what speaks against that."""
    words = escape(reply.words) or "No answer in this passage"
    sure = f"{100 * reply.probability:.0f} % probability" if reply.probability is not None else ""
    card = f"{title}\n\n### {words}\n\n{sure}{' · ' if sure and note else ''}{note}"
    return f"{card}\n\n{doubt}" if doubt else card


def doubt(entry: Entry, reply: Reply) -> str:
    """What a probability does not say: that the model never learned to find no answer, and so always names one."""
    if not reply.answers or entry.no_answer:
        return ""
    return "It never learned to say “no answer”: it names something even where the passage holds nothing."


def compare(reply: Reply, full: Reply, precision: str) -> str:
    """Whether it is what full length says, in a few words."""
    if len(reply.matches) > 1 and len(full.matches) > 1:
        first = "The same line comes first as" if reply.agrees(full) else "Another line comes first than"
        return f"{first} at {precision} full length (rank correlation {order_likeness(reply, full):.2f})"
    if reply.matches and full.matches and not reply.agrees(full):
        return f"{abs(reply.matches[0].score - full.matches[0].score):.2f} away from {precision} full length"
    if reply.agrees(full):
        return f"Same as {precision} full length"
    if reply.span and full.span and reply.words == full.words:
        return f"The same words, another place than at {precision} full length"
    if reply.tags is not None and full.tags is not None:
        same, every = reply.shared_tags(full)
        return f"{same} of {every} labelled spans as at {precision} full length"
    if reply.score is not None and full.score is not None:
        return f"{abs(reply.score - full.score):.2f} away from {precision} full length"
    return f"Different from {precision} full length"


def order_likeness(reply: Reply, full: Reply) -> float:
    """Spearman's correlation of the order in which two replies have the same texts."""
    places = {match.index: place for place, match in enumerate(full.matches)}
    apart = sum((place - places[match.index]) ** 2 for place, match in enumerate(reply.matches))
    count = len(places)
    return 1 - 6 * apart / (count * (count**2 - 1))


def list_answers(answers: list[Answer], shown: int = SHOWN_ANSWERS) -> str:
    """The n-best list."""
    rows = ["| rank | answer | probability | score |", "|---:|:---|---:|---:|"]
    for place, answer in enumerate(answers[:shown], 1):
        words = escape(answer.text) if answer.text else "*no answer*"
        rows.append(f"| {place} | {words} | {100 * answer.probability:.1f} % | {answer.score:.2f} |")
    return "\n".join(rows)


def list_tags(now: list[Tag], full: list[Tag]) -> str:
    """What is labelled at this budget, and at full length, in the order of the text."""
    after = {(tag.start, tag.end, tag.label): tag for tag in now}
    before = {(tag.start, tag.end, tag.label): tag for tag in full}
    rows = ["| label | words | probability | at full length |", "|:---|:---|---:|---:|"]

    def sure(tag: Tag | None) -> str:
        return f"{100 * tag.probability:.1f} %" if tag else "–"

    for key in sorted({*after, *before}):
        tag = after.get(key) or before[key]
        rows.append(f"| {escape(tag.label)} | {escape(tag.text)} | {sure(after.get(key))} | {sure(before.get(key))} |")
    return "\n".join(rows) if len(rows) > 2 else "Nothing is labelled."


def name_rows(engine: str) -> dict[str, str]:
    """What a measurement's rows are called."""
    precision, label = engine_class(engine).precision, engine_class(engine).label
    return {
        BUDGET: f"{precision}, this budget ({label})",
        FULL: f"{precision}, full length ({label})",
        FLOAT: "fp32, full length (PyTorch)",
    }


def show_latency(measured: Measured, engine: str, expected: float | None = None) -> str:
    """Headline, table, and where it was measured; `expected` is the speed-up that the front has."""
    names = name_rows(engine)
    ratio, low, high = measured.speedups[FULL]
    timings = measured.distinct
    if BUDGET not in timings:
        head, spread = "### 1× <small>this budget is full length itself</small>\n\n", "Nothing is dropped"
    else:
        head = f"### {ratio:.2f}× <small>as fast as {engine_class(engine).precision} at full length</small>\n\n"
        spread = f"95 % of resampled rounds lie between {low:.2f}× and {high:.2f}×"
    if FLOAT in measured.speedups:
        other, other_low, other_high = measured.speedups[FLOAT]
        spread += f"; against fp32 PyTorch {other:.2f}× ({other_low:.2f}–{other_high:.2f})"
    if expected and BUDGET in timings:
        spread += f". Expected were {expected:.2f}×: the front's, of other inputs, where it was searched"
    rows = ["| run | p50 | p90 | n |", "|:---|---:|---:|---:|"]
    where = {name: f" on {escape(gpu)}" for name, gpu in measured.gpus.items()}
    rows += [
        f"| {names[k]}{where.get(k, '')} | {t.p50_ms:.1f} ms | {t.p90_ms:.1f} ms | {t.n} |" for k, t in timings.items()
    ]
    return f"{head}{spread}.\n\n" + "\n".join(rows)


def show_machine(measured: Measured, winner: Fastest | None = None) -> str:
    """The stamp below a measurement, the badge where something else was running, and why an engine is the default."""
    m = measured.machine
    int8 = ", ".join(name for name, key in (("VNNI", "vnni"), ("AMX", "amx")) if m.get(key)) or "no VNNI, no AMX"
    windows = len(measured.tokens)
    size = f"{sum(measured.tokens)} tokens" + (f" in {windows} windows" if windows > 1 else "")
    stamp = f"{size} · {m.get('threads')} threads · {escape(str(m.get('cpu')))} ({int8}) · {m.get('date')}"
    badge = "**Disturbed:** something else kept this machine busy, so read these figures with care.\n\n"
    return (badge if measured.disturbed else "") + stamp + (f"\n\n{escape(words(winner))}" if winner else "")


def describe_entry(entry: Entry) -> str:
    """One line about a checkpoint."""
    parts = [f"{entry.parameters / 1e6:.1f} M parameters"] if entry.parameters else []
    if entry.bytes:
        parts.append(f"{entry.bytes / 1e6:.{0 if entry.bytes >= 1e6 else 2}f} MB")
    if entry.weights_dtype:
        parts.append(escape(entry.weights_dtype))
    if entry.score is not None:
        parts.append(scored(entry.metric, entry.score, whole(entry.metrics.get("n"))))
    if entry.license:
        parts.append(escape(entry.license))
    if remark := predicted(entry.provenance):
        parts.append(escape(remark))
    if entry.front is None:
        parts.append(f"no budget: {why_no_budget(entry)}")
    return " · ".join(parts)


def why_no_budget(entry: Entry) -> str:
    """Why an entry without a front runs at full length only."""
    if row := ENCODERS.get(entry.family):
        return as_a_whole(row, titles())
    if runs_graph(entry):
        return "its ONNX graph was exported without inputs for lengths"
    return "no lengths were searched for it"


def account_for(choice: Choice, shape: Shape | None, tokens: list[int], measured_on: dict[str, Any]) -> str:
    """The two ways to count MACs, kept apart."""
    point = choice.point
    own = "**Real tokens only, as everywhere on this page:** "
    own += f"{100 * point.macs_ratio:.1f} % of the unpadded full-length model"
    if shape and tokens:
        share = sum(macs_ratio(shape, n, point.config) * n for n in tokens) / sum(tokens)
        own += f"; on this input of {sum(tokens)} tokens {100 * share:.1f} %"
    key = next((key for key in measured_on if key.startswith(PADDED)), f"{PADDED}{PAPER_TOKENS}")
    length, padded = key.removeprefix(PADDED), measured_on.get(key)
    theirs = "not measured for this model"
    if isinstance(padded, dict) and isinstance(padded.get("macs_ratio"), int | float):
        theirs = f"the lengths {escape(str(padded.get('lengths', '')))} take {100 * padded['macs_ratio']:.1f} %"
        if isinstance(padded.get("loss"), int | float):
            theirs += f" and lose {padded['loss']:.2f} {metric_name(next(iter(point.metrics), 'f1'))}"
    heading = f"**As the papers count, every input padded to {escape(length)}:**"
    return f"{own}.\n\n{heading} {theirs}. The two are not comparable."


def describe_origin(measured_on: dict[str, Any]) -> str:
    """Where a front's figures come from."""
    plain = {k: v for k, v in measured_on.items() if isinstance(v, str | int | float) and not isinstance(v, bool)}
    return " · ".join(f"{escape(k.replace('_', ' '))}: {escape(str(v))}" for k, v in plain.items())


def predicted(provenance: Mapping[str, Any]) -> str:
    """The latency that an architecture search predicted of its result, beside the measured one; empty elsewhere."""
    values = [provenance.get(f"{word} latency, ms") for word in ("predicted", "measured")]
    latencies = [value for value in values if isinstance(value, int | float) and value > 0]
    if len(latencies) < len(values):
        return ""
    before, after = map(float, latencies)
    how = provenance.get("latency measured with")
    return f"latency predicted {before:.3g} ms, measured {after:.3g} ms ({100 * (before / after - 1):+.0f} %)" + (
        f" at {how}" if how else ""
    )


def size(count: float) -> str:
    """Bytes for people."""
    for limit, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= limit:
            return f"{count / limit:.1f} {unit}"
    return f"{count:.0f} bytes"
