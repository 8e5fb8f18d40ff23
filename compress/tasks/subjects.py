"""The subject of a recipe or of a task: where questions and texts part."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from compress.data.fingerprints import TRAINED_ON, load_fingerprints, save_fingerprints
from compress.data.tasks import find_task
from compress.tasks.questions import Questions
from compress.tasks.samples import Sample
from compress.tasks.subject import Subject
from compress.tasks.texts import Texts
from zoo.catalog import checkpoint_of
from zoo.files import read_json


def subject_of(recipe: Any, reading: Any = None) -> Subject:
    """What a recipe is about.

    Args:
        recipe: with a group `dataset`.
        reading: the group that says how long windows are; by default `recipe.reading`.
    """
    task = find_task(recipe.dataset.task)
    return (Questions if task.is_questions else Texts)(task, recipe, reading or recipe.reading)


def subject_for(task: str, max_length: int | None = None) -> Subject:
    """A task without a recipe, for scoring and reading; `load` has nothing to load from.

    Args:
        task: a name of `compress.data.tasks`.
        max_length: tokens of a window at most; by default as the published results have it.
    """
    found = find_task(task)
    kind = Questions if found.is_questions else Texts
    return kind(found, None, SimpleNamespace(max_length=max_length or kind.padded, stride=128))


def training_samples(recipe: Any, tokenizer: Any, settings: Any) -> list[Sample]:
    """The recipe's training data as labelled windows.

    Args:
        settings: the group of the training, which says how long windows are.

    Raises:
        UserError: nothing of it can be used.
    """
    subject = subject_of(recipe, settings)
    return subject.samples(tokenizer, subject.load("train"))


def trained_on(ctx: Any) -> set[str]:
    """The passages that a run's model learned from.

    Those of its starting checkpoint, of its teacher and of the ones it was averaged with are included, where these
    tell. The training data are read once and kept in the run's folder. A recipe that trains nothing adds none.
    """
    path, data = ctx.root / TRAINED_ON, ctx.recipe.dataset
    learns, subject = ctx.recipe.trains, subject_of(ctx.recipe)
    source = {"source": data.train, "titles": data.titles} if learns else {"source": ctx.recipe.model}
    distill = getattr(ctx.recipe, "distill", None)
    teacher = distill.teacher if distill and distill.apply else None
    if teacher:
        source["teacher"] = teacher
    if learns and not subject.task.is_questions:
        source |= {"task": data.task, "kept_out": [data.validation, data.evaluation]}
    if not path.is_file() or any(read_json(path).get(key) != value for key, value in source.items()):
        found = load_fingerprints(checkpoint_of(ctx.recipe.model))
        found |= load_fingerprints(checkpoint_of(teacher)) if teacher else set()
        found |= subject.everything_learned() if learns else set()
        save_fingerprints(path, found, **source)
    averaged = load_fingerprints(ctx.inputs["average"]) if "average" in ctx.inputs else set()
    return load_fingerprints(ctx.root) | averaged
