"""fp32 and what was simulated of it, side by side: `python -m compress evaluate --quantsim`."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from compress.data.fingerprints import load_fingerprints
from compress.data.intake import Intake
from compress.progress import Progress
from compress.recipe.kind import Simulation
from compress.recipe.load import KINDS, expanded, load
from compress.recipe.stage import source_of
from compress.results.score import read_unseen
from compress.tasks.subject import Asked
from zoo import catalog
from zoo.engines import open_engine
from zoo.engines.base import Engine
from zoo.engines.torch import TorchEngine
from zoo.errors import UserError
from zoo.features import load_tokenizer
from zoo.latency import machine
from zoo.metrics import listed
from zoo.settings import get_settings
from zoo.tasks import find_task
from zoo.tensors import has_tensors

SIMULATIONS = {name: kind.simulation for name, kind in sorted(KINDS.items()) if kind.simulation}


def part_of(simulation: Simulation) -> Any:
    """Its module, imported when it is needed.

    It has `in_run(root)` and `in_entry(entry, whole)`, the folder that holds the simulation or None (`whole`: the
    entry's full-precision model, if there is one);
    `open_engine(folder, threads)`; `facts(folder)`, what was rounded, and how; and `summary(facts)`, the same in one
    line.
    """
    return importlib.import_module(simulation.module)


def score_simulated(
    name: str, source: str | Intake, max_questions: int | None = None, seed: int = 0, task: str | Asked | None = None
) -> dict[str, Any]:
    """Scores a float model and what was simulated of it; where an entry has no float model, its int8 one instead.

    Args:
        name: an entry that a recipe of one of `SIMULATIONS` made, or the folder of its run.
        source: as `compress.results.score.score_entry` takes it.
        max_questions: score on so many, drawn at random.
        task: of a classifier; by default its own.

    Returns:
        `entry`, `task`, `eval_file`, `n`, `float` (or `int8`) and `simulated` (metrics in points of 100), `loss` (of
        the first metric, against that), `by` (whose simulation), `simulation` (what was rounded, and how), `machine`
        and `notices`.

    Raises:
        UserError: no such entry, none that was simulated, data that it was trained on, or the package that simulates
            is missing.
    """
    kind, entry, place = places(name)
    part = part_of(SIMULATIONS[kind])
    seen = load_fingerprints(entry.folder) | load_fingerprints(place) | load_fingerprints(place.parent)
    subject, settings, intake, examples = read_unseen(entry, source, seen, max_questions, seed, task)
    threads, tokenizer = get_settings().threads, load_tokenizer(entry.folder)
    if has_tensors(entry.folder):
        beside, engine = "float", TorchEngine.open(entry.folder, threads)
        notices = []
    else:
        beside, engine = "int8", open_engine(entry.engines[0], entry, threads)
        notices = [f"{entry.name} names no full-precision model: its integers on {engine.name} stand in its place"]
    engines: dict[str, Engine] = {beside: engine, "simulated": part.open_engine(place, threads)}
    scores: dict[str, dict[str, float]] = {}
    with Progress(None, f"evaluate {name}") as progress:
        for turn, (which, engine) in enumerate(engines.items()):
            scores[which] = subject.score(
                engine,
                tokenizer,
                examples,
                None,
                lambda at, of, turn=turn: progress.update(turn * of + at, 2 * of),
                settings,
            )
    n = int(scores[beside].pop("n"))
    scores["simulated"].pop("n")
    first = subject.primary
    return {
        "entry": name,
        "task": subject.task.name,
        "eval_file": intake.name,
        "n": n,
        **scores,
        "loss": scores[beside][first] - scores["simulated"][first],
        "by": SIMULATIONS[kind].by,
        "simulation": part.facts(place),
        "machine": machine(),
        "notices": [
            *notices,
            *intake.sentences,
            *subject.noted,
            *([subject.task.remark] if subject.task.remark else []),
        ],
    }


def side_by_side(report: dict[str, Any]) -> str:
    """What `score_simulated` returned, for people: a line each for fp32 and the simulation, and what they are of."""
    noun = find_task(report["task"]).type.noun
    one = next(one for one in SIMULATIONS.values() if one.by == report["by"])
    part = part_of(one)
    title = part.summary(report["simulation"])
    width = len(title)
    beside, label = ("float", "fp32") if "float" in report else ("int8", "int8")
    lines = [
        *report["notices"],
        f"{label:{width}}  {listed(report[beside])}",
        f"{title}  {listed(report['simulated'])}",
        f"on {report['n']} {noun}; lost {report['loss']:.2f}",
    ]
    return "\n".join(lines)


def places(name: str) -> tuple[str, catalog.Entry, Path]:
    """The kind of the simulation, the model to compare it with as an entry, and the folder of what was simulated.

    That is the float model, or the entry itself where it names none.

    Raises:
        UserError: there is neither such an entry nor such a run, or nothing in it was simulated.
    """
    folder = Path(name).expanduser()
    is_run = (folder / "recipe.yaml").is_file() and not (folder / "entry.json").is_file()  # entries keep recipes, too
    if is_run and not get_settings().on_space:
        kind = load(folder).kind
        place = part_of(SIMULATIONS[kind]).in_run(folder) if kind in SIMULATIONS else None
        if place is None:
            raise _nothing(name)
        return kind, catalog.open_folder(_trained(folder)), place
    entry = catalog.find(name)
    whole = catalog.full_precision(entry)
    for kind, one in SIMULATIONS.items():
        if place := part_of(one).in_entry(entry, whole):
            return kind, whole or entry, place
    raise _nothing(name)


def _nothing(name: str) -> UserError:
    makers = " or ".join(one.by for one in SIMULATIONS.values())
    stages = " or ".join(one.stage for one in SIMULATIONS.values())
    return UserError(
        f"{name} holds no simulation of {makers}. Give an entry that a recipe of kind {' or '.join(SIMULATIONS)} made, "
        f"or the folder of such a run whose stage {stages} is done; what "
        "nncf.backend onnx or openvino quantized is not simulated."
    )


def _trained(root: Path) -> Path:
    """The float checkpoint that a run started its simulation from."""
    trained = root / "finetune"
    return trained if (trained / "model.safetensors").is_file() else source_of(expanded(load(root)))[0]
