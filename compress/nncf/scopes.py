"""Names of an encoder's operators in NNCF's configurations: ours, transformers', and those of NNCF 1 and 2."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from zoo.checkpoints import architecture, head_of, normalized, theirs
from zoo.errors import UserError
from zoo.families import family_of
from zoo.task_types import TaskType

LAYERS = "encoder.layer"  # where most families have them; the others have blocks as DistilBERT does
LINEARS = ("query", "key", "value", "project", "expand", "contract")
# What is never rounded beside the products, by the class that it belongs to: NNCF 1 and 2 named such operators, too.
FLOAT_BERT = {
    "{attention}Self[self]": ("__add___0", "__truediv___0", "softmax_0", "matmul_0", "matmul_1"),
    "{attention}SelfOutput[output]": ("__add___0", "{norm}/layer_norm_0"),
    "Intermediate[intermediate]": ("__mul___0", "gelu_0"),
    "Output[output]": ("__add___0", "{norm}/layer_norm_0"),
}
FLOAT_DISTIL = {
    "MultiHeadSelfAttention[attention]": ("__truediv___0", "masked_fill_0", "softmax_0", "matmul_0", "matmul_1"),
    "FFN[ffn]": ("__mul___0", "gelu_0"),
}


def operators(config: Mapping[str, Any]) -> dict[str, list[str]]:
    """Every operator of an encoder that a configuration may name, under our name, with all names that it goes by.

    Args:
        config: the checkpoint's.
    """
    config = normalized(dict(config))
    family, layers, head = config["model_type"], config["num_hidden_layers"], head_of(dict(config))
    tables = family_of(family).tables
    heads = head.layers
    names = [*tables, *(f"layers.{i}.{part}" for i in range(layers) for part in LINEARS), *heads]
    aliases = {name: _aliases(name, family, head, "embedding" if name in tables else "linear") for name in names}
    for i in range(layers):
        aliases |= {f"layers.{i}: {name}": [name] for name in _floats(i, family, head)}
    return aliases


def matching(scopes: Iterable[str], named: Mapping[str, list[str]]) -> list[str]:
    """The operators that scopes name, in their own order.

    Args:
        scopes: names, beginnings of names that end where a part does, or regular expressions behind `{re}`.
        named: from `operators`.

    Raises:
        UserError: a scope that names none, or is no regular expression.
    """
    chosen: set[str] = set()
    for scope in scopes:
        try:
            fits = _fitting(scope)
        except re.error as error:
            raise UserError(f"The scope {scope!r} is no regular expression: {error}. Correct it.") from error
        matches = {operator for operator, names in named.items() if any(map(fits, names))}
        if not matches:
            raise UserError(
                f"The scope {scope!r} matches nothing in this model. It has {', '.join(list(named)[:4])} and so on; "
                "names of transformers and of NNCF's older versions are understood, too."
            )
        chosen |= matches
    return [operator for operator in named if operator in chosen]


def _fitting(scope: str) -> Any:
    if "{re}" in scope:
        return re.compile(scope.replace("{re}", "")).search
    return lambda name: name == scope or name.startswith((scope + "/", scope + "."))


def _aliases(name: str, family: str, head: TaskType, operation: str) -> list[str]:
    dotted = theirs(f"{name}.weight", family).removesuffix(".weight")
    today = f"{dotted.replace('.', '/')}/{operation}/0"
    old = []
    for layer in ("NNCF", ""):
        for prefix in dict.fromkeys((family_of(family).classes, "Bert")):
            path = _classes(dotted.split("."), family, prefix, f"{layer}{operation.capitalize()}")
            old.append(f"{architecture(family, head)}/{path}/{operation}_0")
    return [name, dotted, today, *old]


def _classes(parts: list[str], family: str, prefix: str, leaf: str) -> str:
    """A module's path with the classes on it: `BertLayer[0]/BertAttention[attention]/...`."""
    row = family_of(family)
    distil, own = row.stem != LAYERS, row.classes
    inner = "Transformer" if distil else f"{prefix}Layer"
    classes = {
        row.root: f"{own}Model",
        "embeddings": "Embeddings" if distil else f"{own}Embeddings",
        "encoder": f"{prefix}Encoder",
        "transformer": "Transformer",
        "layer": "ModuleList",
        "attention": "MultiHeadSelfAttention" if distil else f"{prefix}Attention",
        "self": f"{prefix}SelfAttention",
        "intermediate": f"{prefix}Intermediate",
        "ffn": "FFN",
        "pooler": f"{own}Pooler",
        "classifier": f"{own}ClassificationHead",
    }
    rows = []
    for place, part in enumerate(parts):
        if place == len(parts) - 1:
            kind = leaf
        elif part.isdigit():
            kind = f"{inner}Block" if distil else inner
        elif part == "output":
            kind = f"{prefix}SelfOutput" if parts[place - 1] == "attention" else f"{prefix}Output"
        else:
            kind = classes[part]
        rows.append(f"{kind}[{part}]")
    return "/".join(rows)


def _floats(i: int, family: str, head: TaskType) -> list[str]:
    """Operators of a layer that stay in float in any case, as NNCF 1 and 2 named them."""
    row, floats = family_of(family), []
    for prefix in dict.fromkeys((family_of(family).classes, "Bert")):
        stem = [row.root, *row.stem.split("."), str(i), "x"]
        above = _classes(stem, family, prefix, "x").rpartition("/")[0]
        for place, kinds in (FLOAT_BERT if row.stem == LAYERS else FLOAT_DISTIL).items():
            inside = place.replace("{attention}Self[self]", f"{prefix}Attention[attention]/{prefix}SelfAttention[self]")
            inside = inside.replace(
                "{attention}SelfOutput[output]", f"{prefix}Attention[attention]/{prefix}SelfOutput[output]"
            )
            inside = prefix + inside if inside.startswith(("Intermediate", "Output")) else inside
            for kind in kinds:
                for norm in ("NNCFLayerNorm[LayerNorm]", "LayerNorm[LayerNorm]") if "{norm}" in kind else ("",):
                    floats.append(f"{architecture(family, head)}/{above}/{inside}/{kind.replace('{norm}', norm)}")
    return floats
