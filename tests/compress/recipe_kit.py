"""Recipes of a known class and their stages' contexts; what decides a stage's fingerprint, and what a stage reads."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError

from compress.progress import Progress
from compress.recipe.groups import Group
from compress.recipe.heard import said_by, value_of
from compress.recipe.kind import Kind
from compress.recipe.load import load
from compress.recipe.place import Mark, group_of, marked
from compress.recipe.stage import Stage, StageContext
from compress.run.inputs import fingerprint

R = TypeVar("R", bound=Kind)

# Read beside what is named: they change nothing of what comes out, or are held otherwise.
BESIDE = {
    "evaluate.threads",  # of the engine that scores, whose answers are the same; where time decides it is named
}
# Stages that look at what later ones name, to refuse it before anything is computed.
AHEAD = {("train", "teacher"), ("prune_once", "text")}
READS: dict[Path, set[str]] = {}  # by a run's folder, the keys that its stages have read


def load_as(kind: type[R], source: str | Path, changes: Iterable[str] = ()) -> R:
    """`load`, of a recipe that is of this class."""
    recipe = load(source, changes)
    assert isinstance(recipe, kind)
    return recipe


def context(
    recipe: R, folder: Path, inputs: Mapping[str, Path] | None = None, root: Path | None = None
) -> StageContext[R]:
    """What a stage that works in `folder` gets; its progress is silent, its root by default the folder above."""
    return StageContext(
        recipe, root or folder.parent, folder, Progress(None, folder.name, shown=False), dict(inputs or {})
    )


def leaves(group: BaseModel, before: str = "") -> Iterator[tuple[str, Any]]:
    """The keys of a recipe that hold values, and their types."""
    for key, field in type(group).model_fields.items():
        if group_of(field.annotation):
            yield from leaves(getattr(group, key), f"{before}{key}.")
        else:
            yield f"{before}{key}", field.annotation


def switches(kind: type[Kind]) -> set[str]:
    """Keys that decide which stages a run has, or which other keys decide."""
    conditions = {condition for stage in kind.stages.values() for _, condition in (*stage.also, ("", stage.only_if))}
    return {condition.removeprefix("not ").partition(" != ")[0] for condition in conditions if condition}


def unread(kind: type[Kind], *roots: Path) -> set[str]:
    """Keys of a kind's schema that no stage of these finished runs has read, and that would not be refused there.

    Not asked for is the one value that a key can have, nor what hears of every stage: see `tests/compress/run`.
    """
    seen = {key for root in roots for key in READS[root.resolve()]}
    recipes = [load(root) for root in roots]
    keys = {
        key for key, type_ in leaves(recipes[0]) if not (get_origin(type_) is Literal and len(get_args(type_)) == 1)
    }
    return {key for key in keys - seen - {"training.report_to"} if not all(refused(recipe, key) for recipe in recipes)}


def refused(recipe: Kind, key: str) -> bool:
    """Whether another value of this key is refused: by what has to fit, or since nothing would hear it."""
    for value in others(value_of(recipe, key), dict(leaves(recipe))[key]):
        data = changed_to(recipe, key, value).model_dump(warnings=False)  # of values that fit no key of this type
        try:
            return any(True for _ in said_by(type(recipe).model_validate(data), {key}).unheard())
        except ValidationError as error:
            if any(fault["type"] == "value_error" for fault in error.errors()):
                return True
    return False  # no value of its type is at hand


def decides(recipe: Kind, stage: Stage, key: str) -> bool:
    """Whether another value of this key gives the stage another fingerprint."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of values that fit no key of this type
        other = fingerprint(_changed(recipe, key, dict(leaves(recipe))[key]), stage, "")
    return other != fingerprint(recipe, stage, "")


def watched(load: Callable[[Stage], Callable[..., Any]]) -> Callable[[Stage], Callable[..., Any]]:
    """`Stage.load` whose functions fail where they read a key that neither they nor a stage before them names."""

    def loaded(stage: Stage) -> Callable[..., Any]:
        function = load(stage)

        def run(ctx: StageContext[Any]) -> Any:
            with _reads(ctx.recipe, ctx.stated) as keys:
                result = function(ctx)
            READS.setdefault(ctx.root, set()).update(keys)
            names = list(type(ctx.recipe).stages)
            reach = len(names) if (ctx.recipe.kind, ctx.folder.name) in AHEAD else names.index(ctx.folder.name) + 1
            so_far = [type(ctx.recipe).stages[name] for name in names[:reach]]
            keys -= {"kind", *BESIDE, *marked(type(ctx.recipe), Mark.IDLE), *switches(type(ctx.recipe))}
            unnamed = {key for key in keys if not any(decides(ctx.stated, each, key) for each in so_far)}
            assert not unnamed, f"stage {ctx.folder.name} of {ctx.recipe.kind} reads, but does not name, {unnamed}"
            return result

        return run

    return loaded


@contextmanager
def _reads(*recipes: Kind) -> Iterator[set[str]]:
    """The keys that are read of these recipes meanwhile."""
    keys: set[str] = set()
    paths = {place: path for recipe in recipes for place, path in _groups(recipe)}

    def read(self: Group, name: str) -> Any:
        value = object.__getattribute__(self, name)
        path = paths.get(id(self))
        if path is not None and name in type(self).model_fields and not isinstance(value, BaseModel):
            keys.add(path + name)
        return value

    type.__setattr__(Group, "__getattribute__", read)
    try:
        yield keys
    finally:
        type.__delattr__(Group, "__getattribute__")


def _groups(group: BaseModel, path: str = "") -> Iterator[tuple[int, str]]:
    yield id(group), path
    for key in type(group).model_fields:
        if isinstance(inner := getattr(group, key), BaseModel):
            yield from _groups(inner, f"{path}{key}.")


def _changed(recipe: Any, key: str, annotation: Any) -> Any:
    """A copy of the recipe in which this key has another value."""
    return changed_to(recipe, key, next(others(value_of(recipe, key), annotation)))


def changed_to(recipe: Any, key: str, value: object) -> Any:
    """A copy of the recipe in which this key has this value."""
    *above, last = key.split(".")
    chain = [recipe]
    for name in above:
        chain.append(getattr(chain[-1], name))
    for name, group in zip([last, *reversed(above)], reversed(chain), strict=True):
        value = group.model_copy(update={name: value})
    return value


def others(value: Any, annotation: Any) -> Iterator[Any]:
    """Values that are not this one, nor the default of the key; which of them fits its type and bounds is not known."""
    if get_origin(annotation) is Literal:
        yield next((choice for choice in get_args(annotation) if choice != value), None)
    elif isinstance(value, bool):
        yield not value
    elif isinstance(value, list):
        yield from ([*value, *(value[:1] or [item])] for item in ("x", 0.5))
    elif isinstance(value, int | float):
        yield from (other for other in (value + 1, value / 2, value - 1, 0.5) if other != value)
    else:
        yield from (f"{value}x", 1, ["x"], True)
