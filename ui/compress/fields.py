"""The fields of a recipe's form: one for each key of its schema, of a class for each way to edit one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import yaml
from pydantic import BaseModel

from zoo.errors import UserError
from zoo.yaml_files import parse_yaml

Schema = Mapping[str, Any]


@dataclass(frozen=True)
class Field:
    """One key of a recipe: how the form holds its value, and what is typed there as a value.

    Attributes:
        kind: what `form.js` calls this way to edit.
        optional: the value may be null, which is nothing in the form.
        bounds: in words.
    """

    key: str
    help: str = ""
    default: Any = None
    optional: bool = False
    bounds: str = ""
    kind: ClassVar[str]

    @property
    def group(self) -> str:
        """The key of the group that it stands in, empty at the top."""
        return self.key.rpartition(".")[0]

    @property
    def label(self) -> str:
        """The last part of its key in words."""
        words = self.key.rpartition(".")[2].replace("_", " ")
        return words[:1].upper() + words[1:]

    @property
    def info(self) -> str:
        """Its documentation and bounds."""
        text = re.sub(r"\bnull\b", "empty", plain(self.help))
        return f"{text[:1].upper()}{text[1:]}{f' ({self.bounds})' if self.bounds else ''}"

    @property
    def choices(self) -> tuple[tuple[str, Any], ...]:
        """What can be chosen, in words and as values; nothing where anything can be typed."""
        return ()

    def show(self, value: object) -> object:
        """A recipe's value as the form holds it."""
        return "" if value is None else self._write(value)

    def read(self, raw: object) -> object:
        """What the form holds as a recipe's value. What cannot be read stays as it is: the recipe refuses it."""
        if raw is None or (isinstance(raw, str) and not raw.strip()):
            return None if self.optional else self._nothing()
        return self._parse(raw)

    def _write(self, value: object) -> object:
        return str(value)

    def _nothing(self) -> object:
        """What an empty box stands for where null is no value."""
        return None

    def _parse(self, raw: object) -> object:
        return raw


class Switch(Field):
    """Yes or no."""

    kind = "switch"

    def show(self, value: object) -> bool:
        return bool(value)

    def read(self, raw: object) -> bool:
        return bool(raw)


@dataclass(frozen=True)
class Choice(Field):
    """One of a few values, each with a word for it."""

    options: tuple[tuple[str, Any], ...] = ()
    kind = "choice"

    @property
    def choices(self) -> tuple[tuple[str, Any], ...]:
        return self.options

    def show(self, value: object) -> str | None:
        return next((word for word, meant in self.options if meant is value or (meant == value and value)), None)

    def read(self, raw: object) -> object:
        return next((meant for word, meant in self.options if word == raw), raw)


class Number(Field):
    """A number; one that may be left out is typed as text, since empty is none."""

    kind = "number"

    def show(self, value: object) -> object:
        return super().show(value) if self.optional else value

    def _parse(self, raw: object) -> object:
        return _number(raw.strip()) if isinstance(raw, str) else raw


class Whole(Number):
    """A whole number."""

    kind = "whole"

    def _parse(self, raw: object) -> object:
        number = super()._parse(raw)
        return int(number) if isinstance(number, float) and number.is_integer() else number


class Text(Field):
    """Any text."""

    kind = "text"

    def _nothing(self) -> str:
        return ""

    def _parse(self, raw: object) -> str:
        return str(raw) if "\n" in str(raw) else str(raw).strip()


class Lines(Field):
    """One text a line."""

    kind = "lines"

    def _write(self, value: object) -> str:
        return "\n".join(map(str, value)) if isinstance(value, list | tuple) else str(value)

    def _nothing(self) -> list[str]:
        return []

    def _parse(self, raw: object) -> list[str]:
        return [line.strip() for line in str(raw).splitlines() if line.strip()]


@dataclass(frozen=True)
class Numbers(Field):
    """Numbers with commas between; one alone is a plain number where `single`."""

    single: bool = False
    kind = "numbers"

    def _write(self, value: object) -> str:
        if not isinstance(value, list | tuple):
            return str(value)
        words = ", ".join(map(str, value))
        return f"[{words}]" if self.single and len(value) == 1 else words

    def _nothing(self) -> list[float]:
        return []

    def _parse(self, raw: object) -> object:
        parts = [_number(part) for part in re.split(r"[,;\s]+", str(raw).strip(" ,;[]()\n")) if part]
        return parts[0] if self.single and len(parts) == 1 and "[" not in str(raw) else parts


class Yaml(Field):
    """Anything else."""

    kind = "yaml"

    def _write(self, value: object) -> str:
        return yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10_000).strip()

    def _parse(self, raw: object) -> object:
        try:
            return parse_yaml(str(raw), "The value")
        except UserError:
            return raw


@cache
def fields(model: type[BaseModel]) -> tuple[Field, ...]:
    """The keys of a recipe that can be edited, in its order; what is constant is left out."""
    schema = model.model_json_schema()
    return tuple(_walk(schema, schema.get("$defs", {}), ""))


def groups(model: type[BaseModel]) -> dict[str, str]:
    """The groups of a recipe by key, with what their documentation says in its first line."""
    schema = model.model_json_schema()
    nodes = {key: _resolve(node, schema.get("$defs", {})) for key, node in schema.get("properties", {}).items()}
    return {
        key: (node.get("description") or "").partition("\n")[0] for key, node in nodes.items() if "properties" in node
    }


@cache
def constants(model: type[BaseModel]) -> Mapping[str, Any]:
    """What every recipe of this kind says alike."""
    properties = model.model_json_schema().get("properties", {})
    return {key: node["const"] for key, node in properties.items() if "const" in node}


def plain(text: str) -> str:
    """Words of code in quotation marks: a form has no markup."""
    return re.sub(r"`([^`]*)`", "“\\1”", text)


def _walk(schema: Schema, defs: Schema, before: str) -> Iterator[Field]:
    for key, node in schema.get("properties", {}).items():
        target = _resolve(node, defs)
        if "properties" in target:
            yield from _walk(target, defs, f"{before}{key}.")
        elif "const" not in node:
            yield _field(before + key, node)


def _resolve(node: Schema, defs: Schema) -> Schema:
    """The group that a node refers to, or the node itself."""
    for inner in (node, *node.get("allOf", ()), *node.get("anyOf", ())):
        if "$ref" in inner:
            return defs.get(inner["$ref"].rpartition("/")[2], {})
    return node


def _field(key: str, node: Schema) -> Field:
    """The field for a key: its class follows from the types that the schema allows."""
    variants = [v for v in node.get("anyOf", [node]) if v.get("type") != "null"]
    optional = len(variants) < len(node.get("anyOf", [node]))
    bounds = next((text for v in variants for text in [_bounds(v) or _bounds(v.get("items", {}))] if text), "")
    common = (key, node.get("description", ""), node.get("default"), optional, bounds)
    fixed = ["enum" in v or "const" in v for v in variants]
    types = [v.get("type") for v in variants]
    if types == ["boolean"] and not any(fixed):
        return Switch(*common)
    if all(f or t == "boolean" for f, t in zip(fixed, types, strict=True)):
        return Choice(*common, options=tuple(_options(variants, optional)))
    items = [v.get("items", {}).get("type") for v in variants if v.get("type") == "array"]
    single = [t for t in types if t != "array"]
    if any(fixed):
        return Yaml(*common)
    if items and {*items, *single} <= {"integer", "number"}:
        return Numbers(*common, single=bool(single))
    if items == ["string"] and not single:
        return Lines(*common)
    if not items and len(single) == 1:
        return {"integer": Whole, "number": Number, "string": Text}.get(str(single[0]), Yaml)(*common)
    return Yaml(*common)


def _options(variants: list[Schema], optional: bool) -> Iterator[tuple[str, Any]]:
    for variant in variants:
        for value in variant.get("enum") or ([variant["const"]] if "const" in variant else [True, False]):
            yield "yes" if value is True else "no" if value is False else str(value), value
    if optional:
        yield "none", None


def _bounds(node: Schema) -> str:
    low, above = node.get("minimum"), node.get("exclusiveMinimum")
    high, below = node.get("maximum"), node.get("exclusiveMaximum")
    if low is not None and high is not None:
        return f"{low:,g} to {high:,g}"
    parts = [f"at least {low:,g}"] if low is not None else [f"more than {above:,g}"] if above is not None else []
    parts += [f"at most {high:,g}"] if high is not None else [f"less than {below:,g}"] if below is not None else []
    if "maxLength" in node:
        parts.append(f"at most {node['maxLength']:,g} characters")
    return ", ".join(parts)


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text
