"""Which engine runs a model fastest on this machine: its engines are timed in turn once, and the fastest is remembered.

Only engines of the same weights take part, and of these only those that say what the default says: integers round
otherwise on every runtime, so logits are compared by a bound, and what a reader sees must be the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from zoo import engines, latency, measuring
from zoo.asking import open_entry
from zoo.catalog import Entry
from zoo.errors import UserError
from zoo.files import read_json, write_json
from zoo.lengths import LengthConfig
from zoo.opened import Opened
from zoo.settings import get_settings

AUTO = "auto"  # on the command line, in the place of an engine
BOUND = 0.1  # of the range of the default's logits; ONNX Runtime and OpenVINO differ by 0.02 on the bundled models
WORTH = 0.97  # another engine than the default is taken where it needs so much of its time or less


@dataclass(frozen=True)
class Fastest:
    """What was found for a model on this machine.

    Attributes:
        engine: to be taken by default.
        p50_ms: median milliseconds of each engine that took part, on `tokens` tokens at one budget.
        left_out: engines that did not, and why.
        tokens: real tokens of the input.
        date: of the measurement, UTC.
        disturbed: whether something else kept the machine busy; then it is not remembered.
    """

    engine: str
    p50_ms: dict[str, float]
    left_out: dict[str, str]
    tokens: int
    date: str
    disturbed: bool = False


def default_engine(entry: Entry) -> str:
    """The engine to take where nobody chose one: the remembered fastest, else `zoo.engines.DEFAULT_ENGINE`."""
    winner = remembered(entry)
    return winner.engine if winner else _default(entry)


def remembered(entry: Entry) -> Fastest | None:
    """What was found for the entry as it is now, on this machine and with these versions of its engines."""
    path = _place(entry)
    if not path.is_file():
        return None
    try:
        winner = Fastest(**read_json(path))
    except (TypeError, UserError):  # of another version of this program, or cut off
        return None
    return winner if winner.engine in engines.engines_here(entry) else None


def contenders(entry: Entry) -> list[str]:
    """Engines of the same weights that this machine has for the entry, `zoo.engines.DEFAULT_ENGINE` first."""
    first = _default(entry)
    weights = engines.engine_class(first).opens
    able = engines.engines_here(entry)
    return [first, *(name for name in able if name != first and engines.engine_class(name).opens == weights)]


def find(
    entry: Entry,
    first: str,
    second: str | None,
    config: LengthConfig | None = None,
    stale: Callable[[], bool] = lambda: False,
) -> Fastest:
    """Times the entry's engines in turn on an input, some seconds long, and remembers the fastest.

    Args:
        entry: of the catalog.
        first, second: as `zoo.opened.Opened.ask` takes them.
        config: length configuration; None for full length.
        stale: whether nobody waits for it any longer.

    Raises:
        UserError: bad input, or somebody else kept the device.
        Superseded: `stale` became true meanwhile.
    """
    first_engine, *others = contenders(entry)
    opened, left_out = {first_engine: open_entry(entry, first_engine)}, dict[str, str]()
    for name in others:
        try:
            opened[name] = open_entry(entry, name)
        except UserError as error:
            left_out[name] = str(error)
            continue
        if apart := _apart(opened[first_engine], opened[name], (first, second), config):
            left_out[name] = apart
            del opened[name]
    runs = {name: one.runner(first, second, config) for name, one in opened.items()}
    timings, disturbed = measuring.time_in_turn(measuring.unless_stale(runs, stale))
    p50 = {name: timing.p50_ms for name, timing in timings.items()}
    best = min(p50, key=p50.__getitem__)
    engine = best if p50[best] <= WORTH * p50[first_engine] else first_engine
    tokens = sum(runs[first_engine].tokens)
    winner = Fastest(engine, p50, left_out, tokens, str(latency.machine()["date"]), disturbed)
    if not disturbed:
        write_json(_place(entry), asdict(winner))
    return winner


def by_first(
    entry: Entry, texts: Iterator[tuple[str, str | None]], config: LengthConfig | None
) -> tuple[str, str, Iterator[tuple[str, str | None]]]:
    """The fastest engine by the first of some texts, why it is, and all of the texts.

    Raises:
        UserError: there is no text, or it is none for this model.
    """
    first = next(texts, None)
    if first is None:
        raise UserError("There is no text to time the engines on: give one, or lines on standard input.")
    winner = find(entry, *first, config)
    return winner.engine, words(winner), chain([first], texts)


def words(found: Fastest) -> str:
    """What was found, in a sentence or two."""
    label = {name: engines.engine_class(name).label for name in (*found.p50_ms, *found.left_out)}
    others = [f"{label[name]} {ms:.1f} ms" for name, ms in sorted(found.p50_ms.items(), key=lambda one: one[1])]
    if len(others) == 1:
        told = f"{label[found.engine]} is the only engine here that runs this model"
    else:
        told = f"{label[found.engine]} is taken by default here: on {found.tokens} tokens {', '.join(others)}"
    left_out = "".join(f" {label[name]} was left out: {why}." for name, why in found.left_out.items())
    disturbed = " Something else kept this machine busy, so it is not remembered." if found.disturbed else ""
    return f"{told}.{left_out}{disturbed}"


def _default(entry: Entry) -> str:
    return engines.DEFAULT_ENGINE if engines.DEFAULT_ENGINE in entry.engines else entry.engines[0]


def _apart(one: Opened, other: Opened, texts: tuple[str, str | None], config: LengthConfig | None) -> str:
    """Why two engines do not say the same; empty where they do."""
    inputs = one.prepare(*texts)
    (outputs, _), (others, _) = one.run(inputs, config), other.run(inputs, config)
    for a, b in zip(outputs, others, strict=True):
        seen = (np.abs(a.logits) < 1e3) & (np.abs(b.logits) < 1e3)  # what was dropped has a logit beyond all others
        reach = float(np.ptp(a.logits[seen])) or 1.0
        far = float(np.abs(a.logits[seen] - b.logits[seen]).max()) / reach
        if not far <= BOUND:
            return f"its scores are {100 * far:.0f} % of their range away, more than {100 * BOUND:.0f} %"
    if not one.ask(*texts, config).agrees(other.ask(*texts, config)):
        return "it says something else"
    return ""


def _place(entry: Entry) -> Path:
    """Where it is remembered: by the machine, the versions of the engines, and the files of weights as they are."""
    facts = latency.machine()
    machine: dict[str, Any] = {key: facts[key] for key in ("cpu", "cores", "threads")}
    able = engines.engines_here(entry)
    packages = sorted({engines.engine_class(name).package for name in able})
    files = sorted(
        (path.name, path.stat().st_size, path.stat().st_mtime_ns)
        for path in entry.folder.iterdir()
        if path.suffix in (".onnx", ".safetensors", ".pt")
    )
    known = json.dumps([machine, able, [_version(name) for name in packages], str(entry.folder.resolve()), files])
    return get_settings().home / "engines" / f"{hashlib.sha256(known.encode()).hexdigest()[:32]}.json"


def _version(package: str) -> str:
    try:
        return version(package.replace("_", "-"))
    except PackageNotFoundError:
        return ""
