"""What a person picks as source and data -> the keys of a recipe. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from compress.recipe.kind import takes
from compress.recipe.load import KINDS, validate
from compress.recipe.place import Mark, marked
from ui.compress import form
from ui.compress.fields import fields
from ui.events import Checkpoint
from zoo.errors import UserError
from zoo.tasks import find_task

OWN, ZOO, HUB, FOLDER = "own", "zoo", "hub", "folder"
EXAMPLES, FILE = "examples", "file"
# The bundled questions in three parts that share no article, as in the recipe length_adaptive_tiny.
EXAMPLE_TITLES = {"titles": ["[!E-M]*"], "validation_titles": ["[LM]*"], "evaluation_titles": ["[EH]*"]}
HUB_TITLES = {"titles": ["[!V-Z]*"], "validation_titles": ["[V-Z]*"], "evaluation_titles": None}
DATA_KEYS = ("task", "train", "validation", "evaluation", *EXAMPLE_TITLES, "version_2", "columns", "label_values")
GUIDED = ("finetune.significance_weight", "length_drop.significance_weight")  # by the answer, which texts have not


def pick(
    base: Mapping[str, Any],
    source: str,
    name: str,
    data: str,
    hub_data: str,
    uploaded: Mapping[str, Any] | None,
    task: str = OWN,
) -> dict[str, Any]:
    """The keys that the Source step decides, as `{"model": …, "dataset.train": …}`.

    Args:
        base: the preset's own data, which `OWN` goes back to.
        source: `OWN`, `ZOO`, `HUB` or `FOLDER`.
        name: the checkpoint, for all but `OWN`.
        data: `OWN`, `EXAMPLES`, `HUB` or `FILE`.
        hub_data: id of a data set, for `HUB`.
        uploaded: `{"task": name, "parts": {role: path}, "impossible": n}`, for `FILE`.
        task: a name of `zoo.tasks`, or `OWN`.

    Raises:
        UserError: what was picked is not there yet.
    """
    of_model = list(marked(KINDS[base["kind"]], Mark.OF_MODEL))
    keys = {key: _get(base, key) for key in ("model", *of_model)}
    if source != OWN:
        if not (name or "").strip():
            raise UserError("Say which checkpoint to start from.")
        if name.strip() != keys["model"]:
            keys = {"model": name.strip(), **dict.fromkeys(of_model)}
    dataset: dict[str, Any] = {key: _get(base, f"dataset.{key}") for key in DATA_KEYS}
    chosen = dataset["task"] if task == OWN else task
    if chosen and not find_task(chosen).type.has_articles:
        if chosen != dataset["task"]:
            keys |= dict.fromkeys(GUIDED, 0.0)
        dataset |= _texts(chosen, data, hub_data, uploaded, chosen == dataset["task"])
        return keys | {f"dataset.{key}": value for key, value in dataset.items()}
    if task not in (OWN, dataset["task"]) and data == OWN and not find_task(dataset["task"] or task).type.has_articles:
        data = EXAMPLES  # the recipe's own are texts
    if data == EXAMPLES:
        dataset = {**dict.fromkeys(("train", "validation", "evaluation"), EXAMPLES), **EXAMPLE_TITLES}
        dataset["version_2"] = False
    elif data == HUB:
        if not (hub_data or "").strip():
            raise UserError("Say which data set of the Hub to use, as owner/name.")
        name = hub_data.strip().partition(":")[0]
        # The part that is reported on is never searched on, so the search takes some articles of the training part.
        dataset |= {
            "train": f"{name}:train",
            "validation": f"{name}:train",
            "evaluation": f"{name}:validation",
            **HUB_TITLES,
        }
    elif data == FILE:
        uploaded = _read_for(uploaded, chosen or "squad")
        dataset |= {**uploaded["parts"], **dict.fromkeys(EXAMPLE_TITLES)}
        dataset["version_2"] = uploaded["impossible"] > 0
    return keys | {f"dataset.{key}": value for key, value in (dataset | {"task": chosen}).items()}


def fitting(base: Mapping[str, Any], checkpoints: Sequence[Checkpoint], task: str = OWN) -> list[tuple[str, str]]:
    """The checkpoints that a recipe takes, as they are picked: title and name.

    Args:
        base: the preset's own data.
        checkpoints: title, name and task of each.
        task: a name of `zoo.tasks`, or `OWN`.
    """
    recipe = validate(dict(base))
    changes: dict[str, Any] = {"labels": None} | ({} if task == OWN else {"task": task})
    asked = recipe.model_copy(update={"dataset": recipe.dataset.model_copy(update=changes)})
    return [(title, name) for title, name, _ in checkpoints if takes(asked, name)]


def is_brought(key: str, value: object) -> bool:
    """Whether a key has titles that come with the data that were picked: no person has said them."""
    group, _, name = key.partition(".")
    return group == "dataset" and any(titles.get(name) == value for titles in (EXAMPLE_TITLES, HUB_TITLES))


def _texts(task: str, data: str, hub_data: str, uploaded: Mapping[str, Any] | None, is_own: bool) -> dict[str, Any]:
    """The data of a task for texts; `is_own` where it is the recipe's."""
    if data == OWN and is_own:
        return {}
    nothing: dict[str, Any] = {"task": task, "version_2": False, **dict.fromkeys(EXAMPLE_TITLES)}
    nothing |= {"columns": {}, "label_values": {}}
    if data == EXAMPLES:
        raise UserError(
            f"The bundled examples are questions, and {task} is about texts: take the recipe's own data, which are the "
            "task's, a data set of the Hub with the same columns, or your own file."
        )
    if data == FILE:
        mine = _read_for(uploaded, task)
        return nothing | mine["parts"] | mine.get("more", {})
    if data == HUB and not (hub_data or "").strip():
        raise UserError("Say which data set of the Hub to use, as owner/name.")
    if data != HUB and find_task(task).is_open:
        raise UserError(
            f"{find_task(task).title}: the task has no data of its own. Give your file, or a data set of the Hub."
        )
    source = hub_data.strip() if data == HUB else "hub"
    return nothing | {"train": source, "validation": "held-out", "evaluation": source}


def _read_for(uploaded: Mapping[str, Any] | None, task: str) -> Mapping[str, Any]:
    """What was uploaded, if it was read for this task or for one with the same columns and labels."""
    if not uploaded:
        raise UserError("Give your own file first, or pick other data.")
    mine, its = find_task(task), find_task(uploaded["task"])
    if (mine.columns, mine.labels, mine.regression, mine.several) != (
        its.columns, its.labels, its.regression, its.several,
    ):  # fmt: skip
        raise UserError(
            f"Your file was read for {its.title}, and the task is {mine.title} now. Go back to the source and pick "
            f"{mine.title} there: the file is then read again."
        )
    return uploaded


def apply(model: type[BaseModel], data: Mapping[str, Any], picked: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe's data with the picked keys put in, as far as this kind of recipe has them."""
    changed = {field.key: field.show(picked[field.key]) for field in fields(model) if field.key in picked}
    return form.collect(model, form.spread(model, data) | changed)


def command(base: str, changes: list[str], name: str = "", launcher: str = "local") -> str:
    """The command line that does what the page does."""
    words = ["python", "-m", "compress", "submit", base]
    for change in changes:
        words += ["--set", change]
    words += ["--name", name] if name else []
    words += ["--launcher", launcher] if launcher != "local" else []
    return shlex.join(words)


def _get(data: Mapping[str, Any], key: str) -> Any:
    here: Any = data
    for part in key.split("."):
        here = here.get(part) if isinstance(here, Mapping) else None
    return here
