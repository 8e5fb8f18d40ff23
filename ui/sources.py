"""What a person picks as source and data -> the keys of a recipe. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from ui import form
from zoo.errors import UserError

OWN, ZOO, HUB, FOLDER = "own", "zoo", "hub", "folder"
EXAMPLES, FILE = "examples", "file"
# Belongs to the checkpoint that the preset names: with another one it would be wrong.
OF_THE_MODEL = ("tokenizer", "package.base_model")
# The bundled questions in three parts that share no article, as in the recipe length_adaptive_tiny.
EXAMPLE_TITLES = {"titles": ["[!E-M]*"], "validation_titles": ["[LM]*"], "evaluation_titles": ["[EH]*"]}
DATA_KEYS = ("train", "validation", "evaluation", *EXAMPLE_TITLES, "version_2")


def pick(
    base: Mapping[str, Any],
    source: str,
    name: str,
    data: str,
    hub_data: str,
    uploaded: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """The keys that the Source step decides, as `{"model": …, "dataset.train": …}`.

    Args:
        base: the preset's own data, which `OWN` goes back to.
        source: `OWN`, `ZOO`, `HUB` or `FOLDER`.
        name: the checkpoint, for all but `OWN`.
        data: `OWN`, `EXAMPLES`, `HUB` or `FILE`.
        hub_data: id of a data set, for `HUB`.
        uploaded: `{"parts": {role: path}, "impossible": n}`, for `FILE`.

    Raises:
        UserError: what was picked is not there yet.
    """
    found = {key: _get(base, key) for key in ("model", *OF_THE_MODEL)}
    if source != OWN:
        if not (name or "").strip():
            raise UserError("Say which checkpoint to start from.")
        if name.strip() != found["model"]:
            found = {"model": name.strip(), **dict.fromkeys(OF_THE_MODEL)}
    dataset = {key: _get(base, f"dataset.{key}") for key in DATA_KEYS}
    if data == EXAMPLES:
        dataset = {**dict.fromkeys(("train", "validation", "evaluation"), EXAMPLES), **EXAMPLE_TITLES}
        dataset["version_2"] = False
    elif data == HUB:
        if not (hub_data or "").strip():
            raise UserError("Say which data set of the Hub to use, as owner/name.")
        called = hub_data.strip().partition(":")[0]
        # The part that is reported on is never searched on, so the search takes some articles of the training part.
        dataset |= {
            "train": f"{called}:train",
            "validation": f"{called}:train",
            "evaluation": f"{called}:validation",
            "titles": ["[!V-Z]*"],
            "validation_titles": ["[V-Z]*"],
            "evaluation_titles": None,
        }
    elif data == FILE:
        if not uploaded:
            raise UserError("Give your own file first, or pick other data.")
        dataset |= {**uploaded["parts"], **dict.fromkeys(EXAMPLE_TITLES)}
        dataset["version_2"] = uploaded["impossible"] > 0
    return found | {f"dataset.{key}": value for key, value in dataset.items()}


def apply(model: type[BaseModel], data: Mapping[str, Any], picked: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe's data with the picked keys put in, as far as this kind of recipe has them."""
    raws = []
    for field, raw in zip(form.fields(model), form.spread(model, data), strict=True):
        raws.append(form.show(field, picked[field.key]) if field.key in picked else raw)
    return form.collect(model, raws)


def command(base: str, changes: list[str], name: str = "", launcher: str = "local") -> str:
    """The command line that does what the page does."""
    words = ["python", "-m", "compress", "submit", base]
    for change in changes:
        words += ["--set", change]
    words += ["--name", name] if name else []
    words += ["--launcher", launcher] if launcher != "local" else []
    return shlex.join(words)


def refuse_paths(data: Mapping[str, Any], uploads: str) -> None:
    """On a Space the folders are the host's: a recipe may name none of them but what was uploaded.

    Raises:
        UserError: it names one.
    """
    dataset = data.get("dataset") or {}
    named = [data.get("model"), data.get("tokenizer"), *(dataset.get(k) for k in ("train", "validation", "evaluation"))]
    for value in named:
        text = str(value or "")
        inside = text.startswith(f"{uploads}/") and ".." not in text
        if not inside and (re.match(r"[/~.$\\]", text) or ".." in text or text.count("/") > 1 or "\\" in text):
            raise UserError(f"“{text[:80]}” is a path of this server. Take a Hub id, a bundled model or your own file.")


def _get(data: Mapping[str, Any], key: str) -> Any:
    here: Any = data
    for part in key.split("."):
        here = here.get(part) if isinstance(here, Mapping) else None
    return here
