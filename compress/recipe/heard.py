"""Keys that are heard only where others have certain values: one table for every kind of recipe that has both."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from compress.recipe.place import group_of
from zoo.tasks import TASKS

R = TypeVar("R", bound=BaseModel)
SET: Final = object()  # any value but null, 0 and nothing
_NEEDED: Final = FieldInfo().default  # what a key has for a default that every recipe has to say


@dataclass(frozen=True)
class Other:
    """Any value but these."""

    than: tuple[object, ...]


@dataclass(frozen=True)
class Rule:
    """Keys, and where they are heard.

    Attributes:
        keys: as `group.key`, or `group.*` for all of a group; those that a kind lacks do not count.
        where: other keys and what they have to be, of which one is enough. A kind without the first has no such rule.
        why: what a sentence says of the place where they are not heard.
        instead: what it says in the end.
        but: keys of a `group.*` that are heard all the same.
        waits: what a recipe's file says is left waiting until it is heard; what a person says is refused.
        among: keys that people say together with these; where one of them is said too, this one is none by itself.
    """

    keys: tuple[str, ...]
    where: Mapping[str, object]
    why: str = ""
    instead: str = ""
    but: frozenset[str] = frozenset()
    waits: bool = False
    among: frozenset[str] = frozenset()


_QUESTIONS = tuple(name for name, task in TASKS.items() if task.type.has_articles)
_LEARNING = (
    *("learning_rate", "epochs", "batch_size", "warmup_ratio", "weight_decay", "dropout", "word_dropout"),
    *("max_grad_norm", "max_minutes", "average", "keep_start", "range_step"),
)
_CHOOSING = ({"criterion.apply": True, "search.seed": Other((None,))}, {"control.apply": True})  # or searched
_STEPS = ("gradient_accumulation", "gradient_checkpointing", "freeze_embeddings", "freeze_layers")
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
    Rule(("length_drop.scorer_steps",), {"length_drop.significance": "learned"}),
    Rule(
        ("finetune.significance_weight",),
        {"length_drop.significance": "attention"},
        ", which scorers rank tokens by, not attention",
        "; length_drop.significance_weight is heard",
    ),
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
    *(
        Rule(("package.layouts",), where, ", so that no int8 graph comes out whose layout could be another")
        for where in ({"aimet.scope": "deploy"}, {"nncf.placement": "products"}, {"nncf.backend": "torch"})
    ),
    Rule(("nncf.smooth_quant_alpha",), {"nncf.model_type": "transformer"}),
    Rule(
        ("evaluate.null_threshold",),
        {"dataset.version_2": True, "dataset.task": "squad_v2"},
        ", where every question has an answer",
    ),
    Rule(("evaluate.latency_tokens",), {"evaluate.latency_rounds": SET}, ", so that none is measured", waits=True),
    Rule(
        ("prune.*", "pretrain.*"),
        {"prune.approach": Other(("pattern_lock",))},
        ", which keeps the zeros that the checkpoint has",
        but=frozenset({"prune.apply", "prune.approach", "prune.excluded"}),
        waits=True,
    ),
    Rule(
        tuple(f"aimet.{key}" for key in _LEARNING),
        {"aimet.learn": True},
        waits=True,
    ),
    *(
        Rule(
            tuple(f"training.{key}" for key in ("precision", "checkpoint_minutes", *_STEPS)),
            {first: True, "finetune.apply": True},
            ", so that nothing is trained",
            waits=True,
        )
        for first in ("aimet.learn", "tune.apply", "length_drop.apply")
    ),
    Rule(
        ("supernet.*", "generate_data.*", "tokenizer"),
        {"supernet.checkpoint": None},
        but=frozenset({"supernet.checkpoint", "supernet.apply"}),
        waits=True,
    ),
    Rule(("generate_data.*",), {"supernet.apply": True, "supernet.order": True}, ", so that none is read", waits=True),
    Rule(
        ("latency_table.*",),
        {"latency_table.table": None},
        but=frozenset(f"latency_table.{key}" for key in ("table", "modes", "tokens", "batch", "threads")),
        waits=True,
    ),
    *(
        Rule(("dataset.validation_titles",), where, ", so that nothing is chosen by them", waits=True)
        for where in _CHOOSING
    ),
    *(  # of texts it is kept out of training in any case
        Rule(
            ("dataset.validation",),
            {**where, "dataset.task": Other(_QUESTIONS)},
            ", so that nothing is chosen by it",
            waits=True,
            among=frozenset({"dataset.train", "dataset.evaluation"}),  # all of one's data in the place of others
        )
        for where in _CHOOSING
    ),
    Rule(("tune.*",), {"search.scoring": "inside"}, ", each candidate by the group finetune", waits=True),
)
_APPLIED = "apply"  # the key that puts a group to work
# Of a group that is not applied: how the search starts, how a supernet's parts are put in order, what is calibrated on.
_ALL_THE_SAME = frozenset(
    {"length_drop.length_drop_ratio_bound", "length_drop.drop_layers", "tune.batch_size"}
    | {f"supernet.{key}" for key in ("checkpoint", "order", "order_blocks")}
)


def rules_of(kind: type[BaseModel]) -> Iterator[Rule]:
    """The rules for a kind's schema, with the keys that it has."""
    for rule in (*_RULES, *_of_groups(kind)):
        keys = tuple(key for pattern in rule.keys for key in _named(kind, pattern) if key not in rule.but)
        where = {key: wanted for key, wanted in rule.where.items() if _has(kind, key)}
        if keys and next(iter(rule.where)) in where:
            yield replace(rule, keys=keys, where=where)


def _of_groups(kind: type[BaseModel]) -> Iterator[Rule]:
    """Of every group that can be left out: its keys are heard where it is not."""
    for name, field in kind.model_fields.items():
        group = group_of(field.annotation)
        if group and _APPLIED in group.model_fields:
            windows = {f"{name}.{key}" for key in (_APPLIED, "max_length", "stride")}
            yield Rule((f"{name}.*",), {f"{name}.{_APPLIED}": True}, but=_ALL_THE_SAME | windows, waits=True)


def _named(kind: type[BaseModel], pattern: str) -> Iterator[str]:
    group, _, name = pattern.rpartition(".")
    if name != "*":
        yield from (pattern,) if _has(kind, pattern) else ()
    elif _has(kind, group):
        model = group_of(kind.model_fields[group].annotation)
        yield from (f"{group}.{key}" for key in (model.model_fields if model else ()))


def unheard(recipe: BaseModel) -> Iterator[str]:
    """A sentence on every key of a recipe that is not as by default and that nothing would hear, with what to do.

    What waits in the recipe's file, as in a group that it does not apply, is passed over; what a person has said of it
    is not (see `said_by`).
    """
    said = said_of(recipe)
    for rule, key in _deaf(recipe):
        if rule.waits and (key not in said or rule.among & said):
            continue
        values = {other: value_of(recipe, other) for other in rule.where}
        place = " and ".join(f"{other} is {_shown(value)}" for other, value in values.items())
        first, wanted = next(iter(rule.where.items()))
        another = f"choose another {first}" if isinstance(wanted, Other) else ""
        default = default_of(type(recipe), key)
        back, set_ = ("leave it out", "set ") if default is _NEEDED else (f"set it to {_shown(default)}", "")
        remedy = another or (f"give {first} too" if wanted is SET else f"{set_}{first} to {_shown(wanted)}")
        yield f"{key} is not heard where {place}{rule.why}: {back}, or {remedy}{rule.instead}."


def idle(recipe: BaseModel) -> set[str]:
    """The keys of a recipe that are not as by default and that nothing would hear, whoever has said them."""
    return {key for _, key in _deaf(recipe)}


def said_of(recipe: BaseModel) -> frozenset[str]:
    """The keys of a recipe of which it knows that a person has said them."""
    return getattr(recipe, "_said", frozenset())


def said_by(recipe: R, keys: Collection[str]) -> R:
    """The recipe, which knows from now on which of its keys a person has said, and not its file."""
    if "_said" in type(recipe).__private_attributes__:
        setattr(recipe, "_said", frozenset(keys))  # noqa: B010 - pydantic keeps it apart from the keys
    return recipe


def relaxed(recipe: R, base: Mapping[str, Any], said: Collection[str] = ()) -> R:
    """The recipe without what only its base says and nothing hears any more, since a person has changed other keys; it
    knows what these are.

    Args:
        recipe: as changed.
        base: the keys and values that it was changed from.
        said: keys that the person gave, which are never left out.
    """
    data: dict[str, Any] | None = None
    for rule, key in list(_deaf(recipe)):
        group, _, name = key.rpartition(".")
        stated = _at(base, key)
        if not rule.waits and key not in said and stated is not None and stated == value_of(recipe, key):
            data = recipe.model_dump() if data is None else data
            _at(data, group)[name] = default_of(type(recipe), key)
    return said_by(recipe if data is None else type(recipe).model_validate(data), said)


def _deaf(recipe: BaseModel) -> Iterator[tuple[Rule, str]]:
    """The keys that are not as by default and that nothing would hear, with the rule of each."""
    for rule in rules_of(type(recipe)):
        if any(_is(value_of(recipe, key), wanted) for key, wanted in rule.where.items()):
            continue
        for key in rule.keys:
            group = key.rpartition(".")[0]
            applied = f"{group}.{_APPLIED}" in rule.where or getattr(_of(recipe, group), _APPLIED, True)
            if applied and value_of(recipe, key) != default_of(type(recipe), key):
                yield rule, key


def _at(data: object, path: str) -> Any:
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


def _of(recipe: BaseModel, group: str) -> Any:
    return value_of(recipe, group) if group else recipe


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
    if isinstance(wanted, Other):
        return value not in wanted.than
    return bool(value) if wanted is SET else value == wanted


def _shown(value: object) -> str:
    """As YAML has it."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
