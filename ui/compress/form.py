"""What a recipe's form holds <-> the recipe's data, what is wrong with them, and how they differ from a preset's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from ui.compress.fields import Field, constants, fields, groups, plain
from zoo.errors import UserError
from zoo.yaml_files import parse_yaml

NAME = "Small letters, digits, dots, hyphens and underscores are allowed, the first a letter or digit."


def spread(model: type[BaseModel], data: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe's data as its form holds it, by key."""
    return {field.key: field.show(_get(data, field)) for field in fields(model)}


def collect(model: type[BaseModel], raws: Mapping[str, Any]) -> dict[str, Any]:
    """What the form holds, by key, as a recipe's data. What it does not hold is left to the recipe's defaults."""
    data: dict[str, Any] = dict(constants(model))
    for field in fields(model):
        if field.key not in raws:
            continue
        *path, last = field.key.split(".")
        here = data
        for part in path:
            here = here.setdefault(part, {})
        here[last] = field.read(raws[field.key])
    return data


def outline(kind: str, model: type[BaseModel]) -> list[dict[str, Any]]:
    """What `form.js` builds the form from: the groups in their order, each with its fields."""
    meanings = groups(model)
    outlines: list[dict[str, Any]] = []
    for group in dict.fromkeys(field.group for field in fields(model)):
        members = [
            {
                "key": field.key,
                "id": f"field-{kind}-{field.key.replace('.', '-')}",
                "kind": field.kind,
                "label": field.label,
                "info": field.info,
                "choices": [word for word, _ in field.choices],
            }
            for field in fields(model)
            if field.group == group
        ]
        title = group.replace("_", " ").replace(".", " · ").capitalize() if group else "General"
        meaning = plain(meanings.get(group, ""))
        outlines.append({"title": title, "meaning": meaning, "open": group in ("", "dataset"), "fields": members})
    return outlines


def check(model: type[BaseModel], data: Mapping[str, Any]) -> tuple[Any, dict[str, str]]:
    """The recipe, or None and what is wrong: a sentence by key of a field, or by `group` where it is about several."""
    try:
        return model.model_validate(data), {}
    except ValidationError as error:
        return None, _faults(model, error)


def changes(base: Mapping[str, Any], data: Mapping[str, Any], model: type[BaseModel]) -> list[str]:
    """What differs from `base`, as `key=value` with the value in YAML: what `--set` of the command line takes."""
    return [f"{key}={_flow(value)}" for key, value in changed(base, data, model).items()]


def changed(base: Mapping[str, Any], data: Mapping[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """What differs from `base`, by key."""
    values = {field.key: (_get(base, field), _get(data, field)) for field in fields(model)}
    return {key: value for key, (before, value) in values.items() if value != before}


def _flow(value: object) -> str:
    """A value on one line. JSON is YAML too, but for plain text quotes would only be in the way."""
    if isinstance(value, str):
        try:
            if value and "\n" not in value and parse_yaml(value, "The value") == value:
                return value
        except UserError:
            pass
        return json.dumps(value, ensure_ascii=False)
    dumped = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=100_000)
    return dumped.removesuffix("...\n").strip()


def _get(data: Mapping[str, Any], field: Field) -> Any:
    """A field's value, or its default where the data leave it out."""
    here: Any = data
    for part in field.key.split("."):
        if not isinstance(here, Mapping) or part not in here:
            return field.default
        here = here[part]
    return here


def _faults(model: type[BaseModel], error: ValidationError) -> dict[str, str]:
    keys = {field.key for field in fields(model)}
    faults: dict[str, str] = {}
    for fault in error.errors(include_url=False):
        parts = [str(part) for part in fault["loc"]]
        steps = [".".join(parts[:n]) for n in range(len(parts), 0, -1)]
        key = next((step for step in steps if step in keys), steps[0] if steps else "recipe")
        text = fault["msg"].removeprefix("Value error, ").replace("Input should be", "Should be")
        if key not in keys:
            # About a group: it belongs to the field that the sentence begins with.
            first = f"{key}.{text.partition(' ')[0]}"
            key = first if first in keys else key
        if fault["type"] == "missing":
            text = "This is needed."
        elif fault["type"] == "string_pattern_mismatch":
            pattern = str(fault.get("ctx", {}).get("pattern"))
            text = NAME if pattern.startswith("^[a-z0-9][a-z0-9._-]") else f"This has to fit {pattern}"
        faults.setdefault(key, f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}")
    return faults
