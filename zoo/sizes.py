"""Sizes that a configuration states, held within what any encoder needs and within what its weights hold.

Memory is taken by these figures before a weight is read: what they ask for is looked at first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zoo.errors import UserError
from zoo.families import FAMILIES

MOST = {
    "num_hidden_layers": 512,
    "num_hidden_groups": 512,
    "hidden_size": 2**16,
    "intermediate_size": 2**18,
    "embedding_size": 2**16,
    "num_attention_heads": 2**10,
    "attention_head_size": 2**16,
    "vocab_size": 2**22,
    "max_position_embeddings": 2**20,
    "type_vocab_size": 2**12,
    "relative_attention_num_buckets": 2**12,
    "global_attn_every_n_layers": 2**9,
    "local_attention": 2**20,
    "num_labels": 100_000,
}  # by BERT's names, far above any encoder's
KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("model_type", "_name_or_path"), (str,)),
    **dict.fromkeys(("architectures", "length_drop_layers", "layer_types"), (list,)),
    **dict.fromkeys(("pooling", "pruned_heads", "rope_parameters", "rope_scaling"), (dict,)),
    **dict.fromkeys(("layer_norm_eps", "norm_eps"), (int, float)),
    "pad_token_id": (int,),
}  # of other keys that decide what is computed
MAY_BE_ZERO = {"type_vocab_size", "local_attention", "global_attn_every_n_layers"}
LARGEST = 2**31  # of any whole number in a configuration
SLACK, SLACK_OF_OTHERS = 4, 32  # times what weights hold: an estimate; families of transformers may share matrices


def check_sizes(config: Mapping[str, Any], where: str) -> None:
    """Refuses sizes that are no whole numbers, or larger than any encoder's.

    Args:
        config: a `config.json`, by any family's names.
        where: the file, for the message.

    Raises:
        UserError: it names the size.
    """
    family = FAMILIES.get(str(config.get("model_type")))
    own = dict(family.sizes) if family else {}
    for key, value in config.items():
        name = own.get(key, key)
        is_stray = key not in own and name in own.values()  # a family's own name goes before it
        if name in MOST and not is_stray:
            _check_size(key, value, 0 if name in MAY_BE_ZERO else 1, MOST[name], where)
        elif isinstance(value, int | float) and not -LARGEST <= value <= LARGEST:
            raise UserError(f"{key} is {_shown(value)} in {where}, which nothing needs. Restore the file.")
    _check_kinds(config, where)
    sizes = _named(config)
    heads, hidden = sizes.get("num_attention_heads"), sizes.get("hidden_size")
    if family and heads and hidden and "attention_head_size" not in config and hidden % heads:
        raise UserError(f"{hidden} columns are not divided evenly among {heads} heads by {where}. Restore the file.")


def _check_size(key: str, value: object, least: int, most: int, where: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise UserError(
            f"{key} is {_shown(value)} in {where}: it should be a whole number from {least} to {most:,}. Restore the "
            "file that was saved with the weights."
        )


def _check_kinds(config: Mapping[str, Any], where: str) -> None:
    """Refuses values of another kind than is read, and more labels than there can be."""
    for key, kinds in KINDS.items():
        value = config.get(key)
        if value is not None and (not isinstance(value, kinds) or isinstance(value, bool)):
            kind = {list: "a list", dict: "an object", str: "a text"}.get(kinds[0], "a number")
            raise UserError(f"{key} is {_shown(value)} in {where}: it should be {kind}. Restore the file.")
    if not all(isinstance(name, str) for name in config.get("architectures") or ()):
        raise UserError(f"architectures in {where} should be a list of names. Restore the file.")
    drops = config.get("length_drop_layers") or ()
    if not all(isinstance(i, int) and 0 <= i < MOST["num_hidden_layers"] for i in drops):
        raise UserError(f"length_drop_layers in {where} should be a list of numbers of layers. Restore the file.")
    names = config.get("id2label")
    if isinstance(names, Mapping) and len(names) > MOST["num_labels"]:
        raise UserError(f"id2label in {where} names {len(names):,} labels, over the limit of {MOST['num_labels']:,}.")


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # a number of more digits than Python writes
        return "a number of thousands of digits"
    return text if len(text) <= 40 else f"{text[:40]}…"


def _named(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with sizes by BERT's names."""
    family = FAMILIES.get(str(config.get("model_type")))
    if family is None:
        return dict(config)
    return {**family.defaults, **config, **{name: config[own] for own, name in family.sizes.items() if own in config}}


def least_numbers(config: Mapping[str, Any]) -> int:
    """How many numbers the weights of a configuration hold at the least; 0 where it does not state its sizes.

    Args:
        config: whose sizes were checked.
    """
    sizes = _named(config)
    try:
        layers, hidden, inner, words = (
            int(sizes[key]) for key in ("num_hidden_layers", "hidden_size", "intermediate_size", "vocab_size")
        )
    except KeyError:
        return 0
    family = FAMILIES.get(str(config.get("model_type")))
    width = int(sizes.get("embedding_size") or hidden) if family is None or family.widening else hidden
    if family is not None and family.groups:
        layers = min(layers, int(sizes.get(family.groups) or 1))
    tables = words * width
    if family is not None and not family.rotary:
        tables += int(sizes.get("max_position_embeddings") or 0) * width
    return tables + layers * 2 * hidden * inner


def check_held(config: Mapping[str, Any], numbers: int, where: str) -> None:
    """Refuses a configuration that asks for far more numbers than its weights hold, before memory is taken for them.

    Args:
        config: whose sizes were checked.
        numbers: in the weights.
        where: the model, for the message.

    Raises:
        UserError: they do not belong together.
    """
    own = str(config.get("model_type")) in FAMILIES
    least = least_numbers(config)
    if least > (SLACK if own else SLACK_OF_OTHERS) * numbers:
        raise UserError(
            f"{where}: by its config.json a model has {least:,} numbers or more, the weights hold {numbers:,}. They do "
            "not belong together: take the config.json that was saved with these weights."
        )
