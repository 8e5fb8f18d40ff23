"""Recipes: what is done to which model with which data, checked, documented, in YAML."""

from __future__ import annotations

import copy
import difflib
import pkgutil
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar, cast

import yaml
from pydantic import BaseModel, ValidationError

from compress import recipe as package
from compress.recipe import heard
from compress.recipe.kind import KINDS, Kind
from compress.recipe.place import group_of
from compress.recipe.stage import Stage
from zoo.errors import UserError
from zoo.files import write_text
from zoo.settings import get_settings
from zoo.yaml_files import parse_yaml

R = TypeVar("R", bound=Kind)
RECIPES = Path(__file__).parent / "shipped"
DEFAULT = "length_adaptive"  # the kind of a recipe that names none


def discover() -> None:
    """Imports what lies in this folder, so that every kind of recipe is in `KINDS`."""
    for module in pkgutil.iter_modules(package.__path__):
        import_module(f"{package.__name__}.{module.name}")


discover()


def shipped() -> list[str]:
    """Names of the recipes that come with the program."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def load(source: str | Path, changes: Iterable[str] = ()) -> Kind:
    """Reads a recipe.

    Args:
        source: a shipped name, a YAML file, or the folder of an earlier run.
        changes: `a.b=value`, the value in YAML. What the source says and these make idle is left out.

    Raises:
        UserError: not found, no YAML, unknown keys or values out of bounds; one line for each fault.
    """
    data = _read(source)
    base, changes = copy.deepcopy(data), list(changes)
    for change in changes:
        _set(data, change)
    recipe = validate(data, str(source))
    return heard.relaxed(recipe, base, {change.partition("=")[0].strip() for change in changes}) if changes else recipe


def _read(source: str | Path, above: tuple[str, ...] = ()) -> dict[str, Any]:
    """A recipe's keys and values; a shipped recipe that it `extends` gives those that it does not have itself."""
    path = RECIPES / f"{source}.yaml" if str(source) in shipped() else Path(source).expanduser()
    path = path / "recipe.yaml" if path.is_dir() else path
    try:
        data = parse_yaml(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise UserError(f"There is no recipe {source}. Take {', '.join(shipped())}, or a YAML file.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(data, dict):
        raise UserError(f"{path} should hold keys and values. See `python -m compress show length_adaptive`.")
    base = data.pop("extends", None)
    if base is None:
        return data
    if base not in shipped() or base in above:
        raise UserError(f"{path} extends {base!r}, which is no other shipped recipe: {', '.join(shipped())}.")
    return _merged(_read(base, (*above, base)), data)


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """The values of `above` over those of `below`, group by group."""
    both = {k: _merged(below[k], v) for k, v in above.items() if isinstance(v, dict) and isinstance(below.get(k), dict)}
    return {**below, **above, **both}


def validate(data: dict[str, Any], name: str = "the recipe") -> Kind:
    """Keys and values -> a recipe; faults as in `load`."""
    kind = data.get("kind", DEFAULT)
    if kind not in KINDS:
        raise UserError(f"{name}: there is no kind {kind!r}. Choose one of {', '.join(sorted(KINDS))}.")
    try:
        return KINDS[kind].model_validate(data)
    except ValidationError as error:
        faults = "\n".join(f"  {line}" for line in _faults(error, KINDS[kind]))
        raise UserError(f"Unusable recipe {name}:\n{faults}") from error


def dump(recipe: BaseModel) -> str:
    """A recipe as YAML, every key of it."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120)


def save(recipe: BaseModel, path: Path) -> None:
    write_text(path, dump(recipe))


def expanded(recipe: R) -> R:
    """The recipe with `${BUDGET_ZOO_DATA}` replaced by the folder that the settings name.

    Raises:
        UserError: the recipe needs that folder and it is not set.
    """

    def walk(value: object) -> object:
        if isinstance(value, dict):
            return {key: walk(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [walk(inner) for inner in value]
        if isinstance(value, str) and "${BUDGET_ZOO_DATA}" in value:
            folder = get_settings().data
            if folder is None:
                raise UserError(f"{value} is needed: set BUDGET_ZOO_DATA to the folder that holds your data.")
            return value.replace("${BUDGET_ZOO_DATA}", str(folder))
        return value

    return heard.said_by(type(recipe).model_validate(walk(recipe.model_dump())), heard.said_of(recipe))


def stages_of(kind: str, settings: Mapping[str, Any]) -> dict[str, Stage]:
    """The stages of a run by name, in their order.

    Args:
        kind: of the recipe.
        settings: the recipe's, as of `recipe.yaml`.
    """

    def applies(stage: Stage) -> bool:
        value: Any = settings
        path, _, other = stage.only_if.partition(" != ")
        model: type[BaseModel] | None = KINDS[kind]
        for key in filter(None, path.split(".")):
            field = model.model_fields[key] if model else None
            unnamed = field.default if field else None  # as in a run's recipe that an earlier version wrote
            value = value.get(key, unnamed) if isinstance(value, Mapping) else getattr(value, key, unnamed)
            model = group_of(field.annotation) if field else None
        return value != other if other else bool(value) or not path

    return {name: stage for name, stage in KINDS[kind].stages.items() if applies(stage)}


def describe(recipe: BaseModel) -> str:
    """The recipe as YAML with every key's meaning behind it."""
    return "\n".join(_lines(recipe, 0)) + "\n"


def _lines(group: BaseModel, depth: int) -> Iterator[str]:
    space = "  " * depth
    for key, field in type(group).model_fields.items():
        value = getattr(group, key)
        if isinstance(value, BaseModel):
            yield f"{space}{key}:  # {(type(value).__doc__ or '').splitlines()[0]}"
            yield from _lines(value, depth + 1)
        else:
            text = yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True).splitlines()[0]
            yield f"{space}{key}: {text}  # {field.description}"


def _set(data: dict[str, Any], change: str) -> None:
    key, equals, text = change.partition("=")
    key = key.strip()
    if not key.strip(".") or not equals:
        raise UserError(f"{change!r}: write key=value, for example finetune.epochs=1.")
    keys = list(_keys(KINDS.get(data.get("kind", ""), KINDS[DEFAULT])))
    inside = [k.removeprefix(f"{key}.") for k in keys if k.startswith(f"{key}.")]
    if inside:
        raise UserError(f"{key} is a group of keys: set one of {', '.join(inside)}.")
    if key not in keys:
        raise UserError(f"There is no key {key}. {_hint(key, keys)}")
    *groups, last = key.split(".")
    here: dict[str, Any] = data
    for group in groups:
        inner: object = here.setdefault(group, {})
        if not isinstance(inner, dict):
            raise UserError(f"{group} should hold keys and values in the recipe.")
        here = cast("dict[str, Any]", inner)
    here[last] = parse_yaml(text, f"{change[:200]!r}: the value")


def _keys(model: type[BaseModel], before: str = "") -> Iterator[str]:
    for key, field in model.model_fields.items():
        if inner := group_of(field.annotation):
            yield from _keys(inner, f"{before}{key}.")
        else:
            yield before + key


def _hint(key: str, keys: list[str]) -> str:
    last = key.rpartition(".")[2]
    close = (
        difflib.get_close_matches(key, keys, 3, 0.6)
        or [k for k in keys if difflib.SequenceMatcher(None, last, k.rpartition(".")[2]).ratio() > 0.6][:3]
    )
    return f"Did you mean {' or '.join(close)}?" if close else "See `python -m compress show length_adaptive`."


def _faults(error: ValidationError, model: type[BaseModel]) -> Iterator[str]:
    """One line for each key at fault (a value of several allowed types has several complaints)."""
    keys, complaints = list(_keys(model)), set[str]()
    for fault in error.errors(include_url=False):
        names: list[str] = []
        for part in fault["loc"]:
            if isinstance(part, int) and names:
                names[-1] += f"[{part}]"
            elif isinstance(part, str) and ".".join(names).partition("[")[0] not in keys:
                names.append(part)  # behind a key pydantic adds names of types
        key = ".".join(names) or "recipe"
        if key in complaints:
            continue
        complaints.add(key)
        if fault["type"] == "extra_forbidden":
            yield f"{key}: there is no such key. {_hint(key, keys)}"
        elif fault["type"] == "missing":
            yield f"{key}: is missing and has no default."
        else:
            text = fault["msg"].removeprefix("Value error, ").replace("Input should be", "should be")
            value = f" (it is {fault['input']!r})" if not isinstance(fault["input"], dict | BaseModel) else ""
            yield f"{key}: {text}{value}"
