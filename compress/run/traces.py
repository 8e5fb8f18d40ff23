"""What a run leaves in its folder, read back: where it stands, its log, its stages, what came out."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from compress.recipe.layout import CRITERION, PER_STAGE, PROGRESS
from compress.recipe.load import stages_of
from zoo.yaml_files import parse_yaml

TAIL, LONGEST = 65_536, 4_194_304  # bytes that are read from the end of a file: at first, and at most


def latest_step(path: Path) -> dict[str, Any]:
    """`stage`, `step`, `total` and `eta_s` by the last lines of `progress.jsonl`."""
    step: dict[str, Any] = {"stage": None, "step": 0, "total": 0, "eta_s": None}
    for text in reversed(_last_lines(path)):
        try:
            line = json.loads(text)
            if step["stage"] is None:
                step["stage"] = line["stage"]
            if line["stage"] != step["stage"]:
                break
            if "step" in line:
                return {**step, **{key: line[key] for key in ("step", "total", "eta_s")}}
        except (ValueError, KeyError, TypeError):
            continue  # half a line of a process that was killed
    return step


def tail(path: Path, lines: int = 200) -> str:
    """The last lines of a text file, "" where there is none; a bar that redraws itself counts as its last state."""
    return "\n".join(line.rpartition("\r")[2] for line in _last_lines(path, lines)[-lines:])


def progress(folder: Path) -> list[dict[str, Any]]:
    """The lines of `progress.jsonl`, at most 500 of a stage: evenly spaced, notes and the last line among them."""
    stages: dict[str, list[dict[str, Any]]] = {}
    for line in _lines(folder / PROGRESS):
        stages.setdefault(line["stage"], []).append(line)
    return [line for lines in stages.values() for line in _thinned(lines)]


def stages(folder: Path, kind: str, current: str | None, state: str) -> list[dict[str, Any]]:
    """The recipe's stages in order: `name`, `state` (done, running, waiting, failed), `seconds` and `result`."""
    recipe = folder / "recipe.yaml"
    settings = parse_yaml(recipe.read_text(encoding="utf-8"), str(recipe)) if recipe.is_file() else None
    rows: list[dict[str, Any]] = []
    for name in stages_of(kind, settings or {}):
        done = _json(folder / name / "done.json")
        if done:
            here = "done"
        elif name == current:
            here = {"running": "running", "cancelling": "running", "failed": "failed"}.get(state, "waiting")
        else:
            here = "waiting"
        rows.append({"name": name, "state": here, "seconds": done.get("seconds"), "result": done.get("result")})
    if state == "failed" and all(row["state"] != "failed" for row in rows):
        first = next((row for row in rows if row["state"] == "waiting"), None)
        if first:
            first["state"] = "failed"
    return rows


def entries(folder: Path) -> list[Path]:
    """The packaged entries in a run's folder; those that quantize another come first."""
    folders = [path.parent for path in (folder / "package").glob("*/entry.json")]
    whole = [path for path in folders if not path.name.startswith(".")]
    return sorted(whole, key=lambda path: (not (path / "model.int8.onnx").is_file(), path.name))


def sensitivity(folder: Path) -> dict[str, Any] | None:
    """What the criterion measured of each operator, and what it returned to float; None where it measured none.

    Returns:
        `rows` (`name`, `kl`, `share`, `parameters`), `together`, `windows` and `approach`, as
        `compress.int8.sensitivity.Report`; `returned` and `kept_float`, names: the latter are all that stay in float.
    """
    for path in sorted(folder.glob(f"*/{CRITERION}")):
        report = _json(path)
        if report.get("sensitivity"):
            return {**report["sensitivity"], **{key: report.get(key, []) for key in ("returned", "kept_float")}}
    return None


def _thinned(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if len(lines) <= PER_STAGE:
        return lines
    notes = {number for number, line in enumerate(lines) if "note" in line} | {len(lines) - 1}
    room = max(1, PER_STAGE - len(notes))
    numbers = sorted(notes | {number * len(lines) // room for number in range(room)})
    return [lines[number] for number in numbers[-PER_STAGE:]]


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    if not path.is_file():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        for text in file:
            try:
                line = json.loads(text)
            except ValueError:
                continue
            if isinstance(line, dict) and isinstance(line.get("stage"), str):
                yield line


def _last_lines(path: Path, least: int = 3) -> list[str]:
    """At least so many lines from a file's end, where it has them; a line that was cut is left out."""
    if not path.is_file():
        return []
    with path.open("rb") as file:
        size, reach = file.seek(0, 2), TAIL
        while True:
            at = max(0, size - reach)
            file.seek(at)
            text = file.read(reach)
            lines = deque(text.decode("utf-8", "replace").split("\n"))
            if at:
                lines.popleft()
            if lines and not lines[-1]:
                lines.pop()
            if at == 0 or len(lines) >= least or reach >= LONGEST:
                return list(lines)
            reach *= 4


def _json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}
