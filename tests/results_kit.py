"""The tables of `docs/results.md` whose figures lie in files: `python -m tests.results_kit` writes them anew."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from textwrap import fill
from typing import Any

from zoo.catalog import MODELS
from zoo.files import read_json
from zoo.metrics import metric_name, scores_of

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results.md"
BEGIN, END = "<!-- written by python -m tests.results_kit -->\n\n", "\n<!-- until here -->"


def tables() -> str:
    """What is known of the bundled entries: their scores, then each front, point for point."""
    parts = [
        _table(["entry", "scored on", "n", "score", "engine, CPU"], "|---|---|--:|---|---|", map(_row, _entries()))
    ]
    for entry in _entries():
        front = read_json(entry / "front.json") if (entry / "front.json").is_file() else {}
        if len(front.get("points", ())) > 1:
            parts.append(_front(entry.name, front))
    return "\n\n".join(parts) + "\n"


def written(text: str) -> str:
    """The document with its tables as they are now."""
    pattern = re.escape(BEGIN) + ".*?" + re.escape(END)
    made, count = re.subn(pattern, lambda _: BEGIN + tables() + END, text, flags=re.DOTALL)
    assert count == 1, f"{RESULTS} should hold {BEGIN.strip()} once"
    return made


def _entries() -> list[Path]:
    return sorted(path.parent for path in MODELS.glob("*/entry.json"))


def _row(entry: Path) -> list[str]:
    facts: dict[str, Any] = read_json(entry / "entry.json")["metrics"]
    scores = ", ".join(f"{metric_name(key)} {value:.2f}" for key, value in scores_of(facts).items())
    instructions = " with VNNI" if facts["vnni"] else ""
    where = f"{facts['engine']}, {facts['cpu']}{instructions}"
    return [f"`{entry.name}`", facts["metric"], f"{facts['n']:,}", scores, where]


def _front(name: str, front: dict[str, Any]) -> str:
    """A front's points by their compute, under a sentence on how they were measured."""
    on = front["measured_on"]
    (metric, *_) = scores_of(front["full"]["metrics"])
    points = [point for point in front["points"] if point["fractions"] != front["full"]["fractions"]] + [front["full"]]
    rows = [
        [f"{100 * point['macs_ratio']:.1f} %", f"{point['metrics'][metric]:.2f}", f"{point['p50_ms']:.1f}"]
        for point in sorted(points, key=lambda point: point["macs_ratio"])
    ]
    instructions = " with VNNI" if on["vnni"] else ""
    threads = f"{on['threads']} thread{'s' if on['threads'] > 1 else ''}"
    about = (
        f"The front of `{name}` ({on['metric']}, {on['n']:,} scored; p50 at {on['latency_tokens']} tokens, {threads}, "
        f"{on['engine']}, {on['cpu']}{instructions}):"
    )
    table = _table(["MACs", metric_name(metric), "p50 ms"], "|--:|--:|--:|", rows)
    return f"{fill(about, 120, break_on_hyphens=False)}\n\n{table}"


def _table(head: list[str], rule: str, rows: Iterable[list[str]]) -> str:
    return "\n".join([_line(head), rule, *map(_line, rows)])


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    RESULTS.write_text(written(RESULTS.read_text(encoding="utf-8")), encoding="utf-8")
