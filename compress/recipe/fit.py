"""Whether a recipe can work with a checkpoint: by its `config.json` and by what its folder holds. Nothing is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compress.data.names import short_name
from zoo.catalog import folder_here, stated
from zoo.checkpoints import head_of, labels_of
from zoo.errors import UserError
from zoo.families import FAMILIES, Family
from zoo.tasks import RANKING, Task
from zoo.tensors import INTEGERS, has_tensors

OTHERS = "Take a BERT, RoBERTa or DistilBERT checkpoint, or the recipe static_int8 or dynamic_int8 for this one."


@dataclass(frozen=True)
class Wants:
    """What a recipe asks of a checkpoint.

    Attributes:
        task: what the recipe is about.
        labels: what a person says that the checkpoint's outputs are called.
        head: it has to have the task's head, since nothing here would train one.
        switch: the recipe could fine-tune one, if `finetune.apply` were true.
        apart: its layers are taken apart, as AIMET, NNCF and architecture search do.
        pruned: weights of it are set to zero.
    """

    task: Task
    labels: Sequence[str] | None = None
    head: bool = False
    switch: bool = False
    apart: bool = False
    pruned: bool = False


def misfits(name: str, config: Mapping[str, Any], wants: Wants) -> Iterator[str]:
    """Why a recipe cannot take a checkpoint, each a sentence with what to do.

    Args:
        name: of the checkpoint, as the recipe has it.
        config: its `config.json`.
        wants: what the recipe asks of it.
    """
    family = FAMILIES.get(str(config.get("model_type")))
    if family is not None and (wants.apart and family.peculiarity or wants.pruned and _is_shared(family)):
        yield (
            f"{short_name(name)} is of the family {family.title}, which this recipe cannot take: {family.peculiarity}. "
            f"{OTHERS}"
        )
    folder = folder_here(name)
    if folder is not None and not is_float(folder, by_name=not Path(name).expanduser().is_dir()):
        made_from = str(stated(folder).get("base_model") or "")
        other = f", such as {made_from}," if made_from else ""
        yield (
            f"{short_name(name)} has its weights in eight bits alone, and a recipe starts from float weights: take a "
            f"checkpoint that has them{other} instead."
        )
    if wants.head and not has_head(wants.task, config, wants.labels):
        title = wants.task.title or wants.task.name
        switch = "set finetune.apply to true, " if wants.switch else ""
        yield (
            f"{short_name(name)} {_gives(config)}, and nothing is trained here that could make a head for {title}: "
            f"{switch}take a checkpoint that was fine-tuned for it, a recipe that trains, or another task. If its "
            "outputs are the task's under other names, say so by dataset.labels."
        )


def is_float(folder: Path, by_name: bool = True) -> bool:
    """Whether a folder has float weights, of itself or, where it is taken by its name, of a sibling that it names.

    What has no weights of ours at all counts as such: whoever opens it tells.
    """
    if has_tensors(folder) or not [*folder.glob("*.onnx"), *folder.glob(INTEGERS)]:
        return True
    return by_name and bool(stated(folder).get("full_precision"))


def has_head(task: Task, config: Mapping[str, Any], labels: Sequence[str] | None = None) -> bool:
    """Whether a checkpoint with this `config.json` has a task's head.

    Args:
        task: of `zoo.tasks`; of an open one whose labels nobody has read yet any head of its type will do.
        config: of the checkpoint.
        labels: what a person says that its outputs are called.
    """
    if task.type is RANKING:  # a classifier with one output ranks, too: the Hub's cross-encoders are such
        architecture = str((config.get("architectures") or [""])[0])
        return architecture.endswith(RANKING.ending) and len(labels_of(dict(config))) == 1
    try:
        if head_of(dict(config)) is not task.type:
            return False
        names = labels_of(dict(config)) if task.type.has_labels else []
    except UserError:
        return False
    if not task.type.has_labels or task.is_open and not task.labels and not task.regression:
        return True
    if task.may_have(names):
        return True
    return bool(labels) and len(labels or ()) == len(names) and task.order_of(list(labels or ())) is not None


def _is_shared(family: Family) -> bool:
    """Whether its matrices are no plain ones of a layer each, so that none of them can be pruned."""
    return family.rotary or bool(family.groups)


def _gives(config: Mapping[str, Any]) -> str:
    """What a checkpoint is for, as far as it says so."""
    try:
        head = head_of(dict(config))
        what = f" with the labels {', '.join(labels_of(dict(config))[:6])}" if head.has_labels else ""
        return f"is for {head.title}{what}"
    except UserError:
        return f"({(config.get('architectures') or ['a bare encoder'])[0]}) is for no task yet"
