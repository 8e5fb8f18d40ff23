"""Keys that are heard only where others have certain values: one table for every kind of recipe that has both."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from pydantic import BaseModel

from compress.recipe.place import group_of

R = TypeVar("R", bound=BaseModel)
SET: Final = object()  # any value but null, 0 and nothing


@dataclass(frozen=True)
class Rule:
    """Keys, and where they are heard.

    Attributes:
        keys: as `group.key`; those that a kind lacks do not count.
        where: other keys and what they have to be, of which one is enough. A kind without the first has no such rule.
        why: what a sentence says of the place where they are not heard.
        instead: what it says in the end.
    """

    keys: tuple[str, ...]
    where: Mapping[str, object]
    why: str = ""
    instead: str = ""


_RULES = (
    Rule(
        ("quantize.approach", "quantize.calibration_method", "quantize.percentile", "quantize.smoothing"),
        {"aware.apply": False},
        ", since training settles the ranges",
        "; aware.smoothing and aware.calibration_samples are heard",
    ),
    Rule(
        ("quantize.calibration_samples",),
        {"aware.apply": False, "criterion.apply": True, "quantize.neural_compressor": True},
        ", since training settles the ranges",
        "; aware.calibration_samples is heard",
    ),
    Rule(
        ("quantize.calibration_samples", "quantize.calibration_method", "quantize.smoothing"),
        {"quantize.approach": "static"},
    ),
    Rule(("quantize.percentile",), {"quantize.calibration_method": "percentile"}),
    Rule(("budgets.drop",), {"budgets.points": SET}),
    Rule(("distill.labels",), {"distill.teacher": SET}, instead="; dataset.labels are those of the recipe's model"),
    Rule(("distill.layers",), {"distill.hidden_weight": SET, "distill.attention_weight": SET}),
    *(
        Rule((f"{part}.temperature",), {f"{part}.teacher_weight": SET})
        for part in ("distill", "pretrain", "supernet", "tune")
    ),
    Rule(("pretrain.teacher",), {"pretrain.teacher_weight": SET, "pretrain.hidden_weight": SET}),
    Rule(("pretrain.layers",), {"pretrain.hidden_weight": SET}),
    *(Rule((f"{part}.epochs",), {f"{part}.steps": None}) for part in ("pretrain", "supernet")),
    Rule(("supernet.relation_heads",), {"supernet.relation_weight": SET}),
    Rule(("supernet.order_blocks",), {"supernet.order": True}),
    Rule(("search.limit_share",), {"search.limit_ms": None}),
    Rule(("search.calibration_samples",), {"search.approach": "ptq"}),
    Rule(("search.mutation_prob", "search.fresh", "search.parents"), {"search.strategy": "evolution"}),
    Rule(("aimet.percentile",), {"aimet.ranges": "percentile"}),
    Rule(("aimet.mask",), {"aimet.scope": "full"}),
    Rule(("quantize.reduce_range",), {"aimet.scope": "deploy"}, ", which has eight bits in any case"),
    Rule(
        ("evaluate.length_config", "evaluate.engine"), {"aimet.scope": "deploy"}, ", a simulation that no engine runs"
    ),
    *(
        Rule(("evaluate.length_config", "evaluate.engine"), where, ", which every engine is scored with at full length")
        for where in ({"nncf.placement": "products"}, {"nncf.backend": "torch"})
    ),
    Rule(("nncf.smooth_quant_alpha",), {"nncf.model_type": "transformer"}),
)


def rules_of(kind: type[BaseModel]) -> Iterator[Rule]:
    """The rules for a kind's schema, with the keys that it has."""
    for rule in _RULES:
        keys = tuple(key for key in rule.keys if _has(kind, key))
        where = {key: wanted for key, wanted in rule.where.items() if _has(kind, key)}
        if keys and next(iter(rule.where)) in where:
            yield Rule(keys, where, rule.why, rule.instead)


def unheard(recipe: BaseModel) -> Iterator[str]:
    """A sentence on every key of a recipe that is not as by default and that nothing would hear, with what to do.

    Groups that a recipe does not apply may say what they like.
    """
    for rule, key in _deaf(recipe):
        values = {other: value_of(recipe, other) for other in rule.where}
        place = " and ".join(f"{other} is {_shown(value)}" for other, value in values.items())
        first, wanted = next(iter(rule.where.items()))
        remedy = f"give {first} too" if wanted is SET else f"{first} to {_shown(wanted)}"
        default = _shown(default_of(type(recipe), key))
        yield f"{key} is not heard where {place}{rule.why}: set it to {default}, or {remedy}{rule.instead}."


def relaxed(recipe: R, base: Mapping[str, Any], said: Collection[str] = ()) -> R:
    """The recipe without what only its base says and nothing hears any more, since a person has changed other keys.

    Args:
        recipe: as changed.
        base: the keys and values that it was changed from.
        said: keys that the person gave, which are never left out.
    """
    data: dict[str, Any] | None = None
    for _, key in list(_deaf(recipe)):
        group, _, name = key.rpartition(".")
        stated = _at(base, key)
        if key not in said and stated is not None and stated == value_of(recipe, key):
            data = recipe.model_dump() if data is None else data
            _at(data, group)[name] = default_of(type(recipe), key)
    return recipe if data is None else type(recipe).model_validate(data)


def _deaf(recipe: BaseModel) -> Iterator[tuple[Rule, str]]:
    """The keys that are not as by default and that nothing would hear, with the rule of each."""
    for rule in rules_of(type(recipe)):
        if any(_is(value_of(recipe, key), wanted) for key, wanted in rule.where.items()):
            continue
        for key in rule.keys:
            group = value_of(recipe, key.rpartition(".")[0])
            if getattr(group, "apply", True) and value_of(recipe, key) != default_of(type(recipe), key):
                yield rule, key


def _at(data: Any, path: str) -> Any:
    """What lies at `group.key`; None where it is not stated."""
    for name in path.split("."):
        data = data.get(name) if isinstance(data, Mapping) else None
    return data


def value_of(recipe: BaseModel, path: str) -> Any:
    """What a recipe has at `group.key`."""
    value: Any = recipe
    for name in path.split("."):
        value = getattr(value, name)
    return value


def default_of(kind: type[BaseModel], path: str) -> object:
    """What a key of a kind is where a recipe does not say it."""
    name, _, rest = path.partition(".")
    field = kind.model_fields[name]
    if not rest:
        return field.get_default(call_default_factory=True)
    if isinstance(field.default, BaseModel):
        return value_of(field.default, rest)
    group = group_of(field.annotation)
    assert group is not None
    return default_of(group, rest)


def _has(kind: type[BaseModel], path: str) -> bool:
    name, _, rest = path.partition(".")
    field = kind.model_fields.get(name)
    group = group_of(field.annotation) if field else None
    return field is not None and (not rest or (group is not None and _has(group, rest)))


def _is(value: object, wanted: object) -> bool:
    return bool(value) if wanted is SET else value == wanted


def _shown(value: object) -> str:
    """As YAML has it."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
