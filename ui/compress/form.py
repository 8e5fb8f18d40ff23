"""A recipe's schema -> the fields of a form, and what is typed there -> a recipe. Any pydantic model will do."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

NAME = "Small letters, digits, dots, hyphens and underscores are allowed, the first a letter or digit."


@dataclass(frozen=True)
class Field:
    """One key of a recipe.

    `kind` says how it is edited: a switch, one of `choices` (as words), a whole number, a number, text, one text a
    line, numbers with commas between (one alone is a plain number where `single`), or, for anything else, YAML.
    """

    key: str
    kind: str
    help: str
    default: Any = None
    optional: bool = False
    choices: tuple[tuple[str, Any], ...] = ()
    bounds: str = ""
    single: bool = False

    @property
    def group(self) -> str:
        """The key of the group that it stands in, empty at the top."""
        return self.key.rpartition(".")[0]

    @property
    def label(self) -> str:
        words = self.key.rpartition(".")[2].replace("_", " ")
        return words[:1].upper() + words[1:]

    @property
    def info(self) -> str:
        """Its documentation and bounds."""
        text = re.sub(r"\bnull\b", "empty", _plain(self.help))
        return f"{text[:1].upper()}{text[1:]}{f' ({self.bounds})' if self.bounds else ''}"


@cache
def fields(model: type[BaseModel]) -> tuple[Field, ...]:
    """The keys of a recipe that can be edited, in its order; what is constant is left out."""
    schema = model.model_json_schema()
    return tuple(_walk(schema, schema.get("$defs", {}), ""))


def groups(model: type[BaseModel]) -> dict[str, str]:
    """The groups of a recipe by key, with what their documentation says in its first line."""
    schema = model.model_json_schema()
    defs = schema.get("$defs", {})
    found = {}
    for key, node in schema.get("properties", {}).items():
        target = _resolve(node, defs)
        if "properties" in target:
            found[key] = (target.get("description") or "").partition("\n")[0]
    return found


def show(field: Field, value: Any) -> Any:
    """A recipe's value as the form holds it: a switch as a boolean, all else as text, numbers as they are."""
    if field.kind == "switch":
        return bool(value)
    if field.kind == "choice":
        return next((word for word, meant in field.choices if meant is value or (meant == value and value)), None)
    if field.kind in ("whole", "number") and not field.optional:
        return value
    if value is None:
        return ""
    if field.kind == "lines":
        return "\n".join(map(str, value))
    if field.kind == "numbers":
        if not isinstance(value, list | tuple):
            return str(value)
        words = ", ".join(map(str, value))
        return f"[{words}]" if field.single and len(value) == 1 else words
    if field.kind == "yaml":
        return yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10_000).strip()
    return str(value)  # a number that may be left out is typed as text: empty is none


def read(field: Field, raw: Any) -> Any:
    """What the form holds as a recipe's value. What cannot be read stays as it is: the recipe refuses it."""
    if field.kind == "switch":
        return bool(raw)
    if field.kind == "choice":
        return next((meant for word, meant in field.choices if word == raw), raw)
    if raw is None or (isinstance(raw, str) and not raw.strip()):
        if field.kind in ("lines", "numbers") and not field.optional:
            return []
        return None if field.optional or field.kind != "text" else ""
    if field.kind in ("whole", "number"):
        number = _number(raw.strip()) if isinstance(raw, str) else raw
        return int(number) if field.kind == "whole" and isinstance(number, float) and number.is_integer() else number
    if field.kind == "lines":
        return [line.strip() for line in str(raw).splitlines() if line.strip()]
    if field.kind == "numbers":
        parts = [_number(part) for part in re.split(r"[,;\s]+", str(raw).strip(" ,;[]()\n")) if part]
        return parts[0] if field.single and len(parts) == 1 and "[" not in str(raw) else parts
    if field.kind == "yaml":
        try:
            return yaml.safe_load(str(raw))
        except yaml.YAMLError:
            return raw
    if field.kind == "text":
        return str(raw) if "\n" in str(raw) else str(raw).strip()
    return raw


def spread(model: type[BaseModel], data: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe's data as its form holds it, by key."""
    return {field.key: show(field, _get(data, field)) for field in fields(model)}


def collect(model: type[BaseModel], raws: Mapping[str, Any]) -> dict[str, Any]:
    """What the form holds, by key, as a recipe's data. What it does not hold is left to the recipe's defaults."""
    data: dict[str, Any] = dict(_fixed(model))
    for field in fields(model):
        if field.key not in raws:
            continue
        *path, last = field.key.split(".")
        here = data
        for part in path:
            here = here.setdefault(part, {})
        here[last] = read(field, raws[field.key])
    return data


def outline(kind: str, model: type[BaseModel]) -> list[dict[str, Any]]:
    """What `form.js` builds the form from: the groups in their order, each with its fields."""
    meanings = groups(model)
    found = []
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
        meaning = _plain(meanings.get(group, ""))
        found.append({"title": title, "meaning": meaning, "open": group in ("", "dataset"), "fields": members})
    return found


def check(model: type[BaseModel], data: Mapping[str, Any]) -> tuple[Any, dict[str, str]]:
    """The recipe, or None and what is wrong: a sentence by key of a field, or by `group` where it is about several."""
    try:
        return model.model_validate(data), {}
    except ValidationError as error:
        return None, _faults(model, error)


def changes(base: Mapping[str, Any], data: Mapping[str, Any], model: type[BaseModel]) -> list[str]:
    """What differs from `base`, as `key=value` with the value in YAML: what `--set` of the command line takes."""
    found = []
    for field in fields(model):
        value = _get(data, field)
        if value != _get(base, field):
            found.append(f"{field.key}={_flow(value)}")
    return found


def _flow(value: Any) -> str:
    """A value on one line. JSON is YAML too, but for plain text quotes would only be in the way."""
    if isinstance(value, str):
        try:
            if value and "\n" not in value and yaml.safe_load(value) == value:
                return value
        except yaml.YAMLError:
            pass
        return json.dumps(value, ensure_ascii=False)
    dumped = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=100_000)
    return dumped.removesuffix("...\n").strip()


def _plain(text: str) -> str:
    """Words of code in quotation marks: a form has no markup."""
    return re.sub(r"`([^`]*)`", "“\\1”", text)


def _walk(schema: dict[str, Any], defs: dict[str, Any], before: str) -> Iterator[Field]:
    for key, node in schema.get("properties", {}).items():
        target = _resolve(node, defs)
        if "properties" in target:
            yield from _walk(target, defs, f"{before}{key}.")
        elif "const" not in node:
            yield _field(before + key, node, defs)


def _resolve(node: dict[str, Any], defs: dict[str, Any]) -> dict[str, Any]:
    """The group that a node refers to, or the node itself."""
    for inner in (node, *node.get("allOf", ()), *node.get("anyOf", ())):
        if "$ref" in inner:
            return defs.get(inner["$ref"].rpartition("/")[2], {})
    return node


def _field(key: str, node: dict[str, Any], defs: dict[str, Any]) -> Field:
    variants = [v for v in node.get("anyOf", [node]) if v.get("type") != "null"]
    optional = len(variants) < len(node.get("anyOf", [node]))
    kind, single = _kind(variants)
    choices: list[tuple[str, Any]] = []
    if kind == "choice":
        for variant in variants:
            values = variant.get("enum") or ([variant["const"]] if "const" in variant else [True, False])
            choices += [("yes" if v is True else "no" if v is False else str(v), v) for v in values]
        choices += [("none", None)] if optional else []
    bounds = next((text for v in variants for text in [_bounds(v) or _bounds(v.get("items", {}))] if text), "")
    return Field(key, kind, node.get("description", ""), node.get("default"), optional, tuple(choices), bounds, single)


def _kind(variants: list[dict[str, Any]]) -> tuple[str, bool]:
    """How it is edited, and whether a list may also be one value."""
    fixed = ["enum" in v or "const" in v for v in variants]
    types = [v.get("type") for v in variants]
    if all(f or t == "boolean" for f, t in zip(fixed, types, strict=True)):
        return ("switch", False) if types == ["boolean"] and not any(fixed) else ("choice", False)
    if any(fixed):
        return "yaml", False
    items = [v.get("items", {}).get("type") for v in variants if v.get("type") == "array"]
    plain = [t for t in types if t != "array"]
    if items and all(i in ("integer", "number") for i in items) and set(plain) <= {"integer", "number"}:
        return "numbers", bool(plain)
    if items == ["string"] and not plain:
        return "lines", False
    if not items and len(plain) == 1:
        return {"integer": "whole", "number": "number", "string": "text"}.get(str(plain[0]), "yaml"), False
    return "yaml", False


def _bounds(node: dict[str, Any]) -> str:
    low, above = node.get("minimum"), node.get("exclusiveMinimum")
    high, below = node.get("maximum"), node.get("exclusiveMaximum")
    if low is not None and high is not None:
        return f"{low:,g} to {high:,g}"
    parts = [f"at least {low:,g}"] if low is not None else [f"more than {above:,g}"] if above is not None else []
    parts += [f"at most {high:,g}"] if high is not None else [f"less than {below:,g}"] if below is not None else []
    if "maxLength" in node:
        parts.append(f"at most {node['maxLength']:,g} characters")
    return ", ".join(parts)


@cache
def _fixed(model: type[BaseModel]) -> tuple[tuple[str, Any], ...]:
    properties = model.model_json_schema().get("properties", {})
    return tuple((key, node["const"]) for key, node in properties.items() if "const" in node)


def _get(data: Mapping[str, Any], field: Field) -> Any:
    """A field's value, or its default where the data leave it out."""
    here: Any = data
    for part in field.key.split("."):
        if not isinstance(here, Mapping) or part not in here:
            return field.default
        here = here[part]
    return here


def _number(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def _faults(model: type[BaseModel], error: ValidationError) -> dict[str, str]:
    known = {field.key: field for field in fields(model)}
    found: dict[str, str] = {}
    for fault in error.errors(include_url=False):
        parts = [str(part) for part in fault["loc"]]
        steps = [".".join(parts[:n]) for n in range(len(parts), 0, -1)]
        key = next((step for step in steps if step in known), steps[0] if steps else "recipe")
        text = fault["msg"].removeprefix("Value error, ").replace("Input should be", "Should be")
        if key not in known:
            # About a group: it belongs to the field that the sentence begins with.
            first = f"{key}.{text.partition(' ')[0]}"
            key = first if first in known else key
        if fault["type"] == "missing":
            text = "This is needed."
        elif fault["type"] == "string_pattern_mismatch":
            pattern = str(fault.get("ctx", {}).get("pattern"))
            text = NAME if pattern.startswith("^[a-z0-9][a-z0-9._-]") else f"This has to fit {pattern}"
        found.setdefault(key, f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}")
    return found
