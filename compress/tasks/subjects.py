"""The subject of a recipe or of a task: the one door to the modules of the types of task."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from compress.data.fingerprints import TRAINED_ON, load_fingerprints, save_fingerprints
from compress.progress import Progress
from compress.recipe.stage import StageContext
from compress.tasks.samples import Sample
from compress.tasks.subject import About, Reading, Subject
from zoo.catalog import checkpoint_of, folder_here
from zoo.features import Tokenizer
from zoo.files import read_json, sha256
from zoo.task_types import TaskType
from zoo.tasks import Task, find_task


class Windowed(Protocol):
    """A group of a recipe that says how examples become windows."""

    @property
    def max_length(self) -> int: ...
    @property
    def stride(self) -> int: ...


class Read(About, Protocol):
    """A recipe that says how its examples become windows, too."""

    @property
    def reading(self) -> Windowed: ...


def kind_of(task: Task | TaskType) -> type[Subject[Any]]:
    """The class for a task, or for most of a type: called as its examples are, in the module of that name."""
    module = importlib.import_module(f"compress.tasks.{task.noun}")
    return getattr(module, task.noun.capitalize())


def subject_of(recipe: Read, reading: Windowed | None = None, task: str | None = None) -> Subject[Any]:
    """What a recipe is about.

    Args:
        recipe: its data, and how these are read.
        reading: the group that says how long windows are; by default `recipe.reading`.
        task: name of what is reported on where it is another task than the one that is learned.

    Raises:
        UserError: the recipe maps a column that rows of its task do not have.
    """
    find_task(recipe.dataset.task).refuse_unknown(recipe.dataset.columns)
    about, windowed = find_task(task or recipe.dataset.task), reading or recipe.reading
    kind = kind_of(about)
    about = kind.settled(about, recipe) if about.is_open else about
    return kind(about, Reading(windowed.max_length, windowed.stride), recipe)


def subject_for(task: str | Task, max_length: int | None = None, labels: Sequence[str] | None = None) -> Subject[Any]:
    """A task without a recipe, for scoring and reading; `load` has nothing to load from.

    Args:
        task: a name of `zoo.tasks`, or a task whose labels are settled.
        max_length: tokens of a window at most; by default as the published results have it.
        labels: what a classifier's outputs are called, in their order, where it does not say so itself.
    """
    about = find_task(task) if isinstance(task, str) else task
    subject = kind_of(about)(about, Reading(max_length or about.type.padded))
    subject.labels = labels
    return subject


def examples_to_search(ctx: StageContext[Any], limit: int | None, seed: int) -> list[Any]:
    """The examples that a run's search scores on.

    Args:
        ctx: the stage's.
        limit: so many of them at most, drawn with `seed`.

    Raises:
        UserError: they are also trained or reported on.
    """
    subject = subject_of(ctx.recipe)
    examples, what = subject.load("validation", limit, seed), f"the {subject.noun} to search on"
    reported = subject.fingerprints(subject.load("evaluation"))
    examples = subject.searchable(examples, reported)
    subject.refuse_overlap(trained_on(ctx), examples, what)
    subject.refuse_overlap(reported, examples, what, "are reported on")
    return examples


def examples_to_choose(recipe: Read, progress: Progress) -> list[Any]:
    """The examples that a recipe chooses the operators in eight bits by: of its validation, else of what it calibrates
    on, without those that are reported on; where there are no others, these are taken, which is told.

    Raises:
        UserError: validation is also reported on.
    """
    subject = subject_of(recipe)
    examples, reported = subject.load("validation"), subject.fingerprints(subject.load("evaluation"))
    if hasattr(recipe.dataset, "validation"):
        examples = subject.searchable(examples, reported)
        subject.refuse_overlap(reported, examples, f"the {subject.noun} to choose operators by", "are reported on")
        return examples
    others = [example for example in examples if not subject.fingerprints([example]) & reported]
    if not others:
        progress.note(f"operators are chosen by {subject.noun} that are reported on: dataset.train names no others")
    return others or examples


def training_samples(recipe: Read, tokenizer: Tokenizer, settings: Windowed) -> list[Sample]:
    """The recipe's training data as labelled windows.

    Args:
        settings: the group of the training, which says how long windows are.

    Raises:
        UserError: nothing of it can be used.
    """
    subject = subject_of(recipe, settings)
    return subject.samples(tokenizer, subject.load("train"))


def unlabelled_samples(recipe: Read, tokenizer: Tokenizer, settings: Windowed) -> list[Sample]:
    """The recipe's training data as a model that drops tokens learns from them, see `Subject.unlabelled`."""
    subject = subject_of(recipe, settings)
    return subject.unlabelled(tokenizer, subject.load("train"))


def taught_samples(recipe: Any, tokenizer: Tokenizer) -> list[Sample]:
    """All that the trainings of a recipe with a teacher learn from, of windows as in its group `finetune`."""
    drop, learned = getattr(recipe, "length_drop", None), list[Sample]()
    alone = drop is not None and drop.apply and subject_of(recipe).learns_alone
    if not alone or recipe.finetune.apply:
        learned += training_samples(recipe, tokenizer, recipe.finetune)
    return learned + (unlabelled_samples(recipe, tokenizer, recipe.finetune) if alone else [])


def trained_on(ctx: StageContext[Any]) -> set[str]:
    """The passages that a run's model learned from.

    Those of its starting checkpoint, of its teacher and of the ones it was averaged with are included, where these
    tell. The training data are read once and kept in the run's folder, until the recipe names others or a file that it
    names has changed. A recipe that trains nothing adds none.
    """
    path, data, model = ctx.root / TRAINED_ON, ctx.recipe.dataset, ctx.recipe.model
    learns, subject = ctx.recipe.trains, subject_of(ctx.recipe)
    source: dict[str, Any] = {"model": model} | ({"source": data.train, "titles": data.titles} if learns else {})
    source |= {"skip": True} if learns and data.skip else {}
    distill = getattr(ctx.recipe, "distill", None)
    teacher = distill.teacher if distill and distill.apply else None
    if teacher:
        source["teacher"] = teacher
    if learns and not subject.task.type.has_articles:
        source |= {"task": data.task, "kept_out": [data.validation, data.evaluation]}
    here = [folder / TRAINED_ON for name in (model, teacher) if name and (folder := folder_here(name))]
    here += [Path(data.train).expanduser()] if learns and data.train else []
    contents = {str(file): sha256(file) for file in here if file.is_file()}
    before = read_json(path) if path.is_file() else {}
    changed = {name for name, content in contents.items() if before.get("contents", {}).get(name) != content}
    if changed or not before or any(before.get(key) != value for key, value in source.items()):
        fingerprints = load_fingerprints(checkpoint_of(model))
        fingerprints |= load_fingerprints(checkpoint_of(teacher)) if teacher else set()
        fingerprints |= subject.everything_learned() if learns else set()
        save_fingerprints(path, fingerprints, contents=contents, **source)
    averaged = load_fingerprints(ctx.inputs["average"]) if "average" in ctx.inputs else set()
    return load_fingerprints(ctx.root) | averaged
