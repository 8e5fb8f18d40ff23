"""A score put into the card of the entry that it is of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from zoo import card, card_files, catalog
from zoo.errors import UserError
from zoo.files import atomic, read_json, write_json
from zoo.tasks import find_task

NAMES = ("dataset", "config", "split", "columns")  # what entries call the data that their recipe reports on
RENAMED = {"em": "exact_match"}  # keys of a report that are called otherwise than in entries


def check_recordable(name: str, budget: float | None, config: str | None) -> None:
    """Refuses what cannot be recorded, before it is scored.

    Args:
        name: of the entry.
        budget, config: as they are asked for.

    Raises:
        UserError: tokens are dropped, or the entry is not in a folder of one's own.
    """
    if budget is not None or config:
        raise UserError("A card has scores at full length, and those of its front: leave --budget and --config out.")
    folder = catalog.find(name).folder
    if folder.parent.name == "snapshots" or not (folder / "entry.json").is_file():
        raise UserError(f"{name} is no entry in a folder of this machine: pull it into one first.")


def record(name: str, report: Mapping[str, Any]) -> None:
    """Writes a score at full length into an entry's `entry.json`, and draws its card anew.

    A score of the task that the entry reports takes the place of its own; one of another task, such as SQuAD 2.0 beside
    1.1, stands under that task's name.

    Args:
        name: of an entry that `check_recordable` lets pass.
        report: from `compress.results.score.score_entry`.
    """
    entry = catalog.find(name)
    facts_file = entry.folder / "entry.json"
    facts, task = read_json(facts_file), find_task(report["task"])
    metrics = dict(facts.get("metrics") or {})
    figures = {key: report[RENAMED.get(key, key)] for key in task.metrics}
    figures |= {"n": report["n"], "engine": report["engine"]}
    machine = report["machine"]
    where = {key: machine[key] for key in ("threads", "cpu", "vnni", "amx", "date")}
    names = _names(entry.folder, report["eval_file"], metrics)
    if metrics.get("metric", task.title) == task.title:
        kept = {key: value for key, value in metrics.items() if key not in (*NAMES, "remark")}
        metrics = {**kept, **figures, "metric": task.title, **names, **where}
    else:
        metrics[task.name] = {**figures, **_names(entry.folder, report["eval_file"], {})}
    write_json(facts_file, {**facts, "metrics": metrics})
    _draw(entry)


def _names(folder: Path, source: str, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """What the data are called: as before, where they are those that the entry's recipe reports on."""
    recipe = yaml.safe_load(card_files.recipe(folder) or "") or {}
    own = str((recipe.get("dataset") or {}).get("evaluation"))
    if Path(own).name == Path(source).name and metrics.get("dataset"):
        return {key: metrics[key] for key in NAMES if key in metrics}
    return {"dataset": Path(source).name}


def _draw(entry: catalog.Entry) -> None:
    known = replace(catalog.find(str(entry.folder)), name=entry.folder.name)
    for name, content in card.files(known).items():
        with atomic(entry.folder / name) as draft:
            draft.write_bytes(content)
