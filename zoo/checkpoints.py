"""Checkpoints of Hugging Face as this program spells them: configurations, heads, labels, names of weights."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.encoders import SIZES, encoder_of, encoder_titles
from zoo.errors import UserError
from zoo.families import CURVES, FAMILIES, Family, family_of, titles
from zoo.families.rotary import turns_of
from zoo.files import read_json
from zoo.foreign import refuse_settings
from zoo.lazily import Lazy
from zoo.pooling import KEY, SHORTCUTS, Pooling, with_pooling
from zoo.significance import KEY as SIGNIFICANCE_KEY
from zoo.significance import LEARNED
from zoo.significance import NAME as SIGNIFICANCE
from zoo.sizes import MOST, check_sizes
from zoo.task_types import TASK_TYPES, TaskType
from zoo.tasks import RANKING, TASKS, are_unnamed, is_number
from zoo.tensors import Tensors, has_tensors

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = Lazy("torch")

DECODER = "LMHeadModel"  # how transformers ends names that would pass for those of encoders without a head


def read_config(folder: Path | str) -> dict[str, Any]:
    """A checkpoint's `config.json`: keys that are null left out, a classifier's labels as many as its weights have.

    Raises:
        UserError: the file is missing, broken or no JSON object.
    """
    folder = Path(folder)
    stated = read_json(folder / "config.json")
    if not isinstance(stated, dict):
        raise UserError(f"{folder / 'config.json'} should hold a JSON object. Restore the file.")
    config: dict[str, Any] = {key: value for key, value in stated.items() if value is not None}
    check_sizes(config, str(folder / "config.json"))
    if not config.get("id2label") and "num_labels" not in config and has_tensors(folder):
        outputs = _outputs(config, Tensors.of(folder))
        # Its default of two unnamed labels is left out by transformers.
        if outputs not in (None, 2) and outputs <= MOST["num_labels"]:
            config["id2label"] = {str(i): f"LABEL_{i}" for i in range(outputs)}
    return with_pooling(config, folder)


def _outputs(config: dict[str, Any], tensors: Tensors) -> int | None:
    """Outputs of a classifier's last layer by its weights; None where there is no such layer."""
    try:
        head, family = head_of(config), str(config.get("model_type"))
        last = tensors.stored.get(theirs(f"{head.layers[-1]}.bias", family)) if head.has_labels else None
    except UserError:
        return None
    return last.shape[0] if last else None


def normalized(config: dict[str, Any]) -> dict[str, Any]:
    """A `config.json` with the sizes under the names that BERT gives them, the family's own beside them."""
    family = FAMILIES.get(str(config.get("model_type")))
    if family is None or not (family.sizes or family.defaults):
        return config
    return {**family.defaults, **config, **{name: config[own] for own, name in family.sizes.items() if own in config}}


def renamed(config: dict[str, Any]) -> dict[str, Any]:
    """A `config.json` with the family's own names of the sizes brought to what BERT's names say."""
    sizes = family_of(config["model_type"]).sizes
    return {**config, **{own: config[name] for own, name in sizes.items() if own in config and name in config}}


def head_of(config: dict[str, Any]) -> TaskType:
    """The type of task that a checkpoint's head is for, by its architecture.

    Raises:
        UserError: the checkpoint has no such head.
    """
    name = (config.get("architectures") or [""])[0]
    for head in TASK_TYPES.values():
        if name.endswith(head.ending) and not name.endswith(DECODER) and (not head.by_name or _ranks(config)):
            return head
    titles = ", ".join(head.title for head in TASK_TYPES.values())
    raise UserError(f"This checkpoint is a {name or 'model without a name'}, which is for none of {titles}.")


def _ranks(config: dict[str, Any]) -> bool:
    """Whether a classifier ranks passages: it says so, or is one of sentence-transformers' cross-encoders, whose one
    output it takes as it is; those that score how alike two texts are have a sigmoid."""
    if config.get("finetuning_task") or config.get("problem_type"):
        return config.get("finetuning_task") == RANKING.name
    return "identity" in _stated_activation(config).casefold() and len(labels_of(config)) == 1


def has_head(config: dict[str, Any]) -> bool:
    """Whether a checkpoint is for one of the tasks that are run here."""
    try:
        return bool(head_of(config))
    except UserError:
        return False


def architecture(family: str, head: TaskType) -> str:
    """The name that transformers has for a family's model with this head."""
    return family_of(family).classes + head.ending


def labels_of(config: dict[str, Any]) -> list[str]:
    """The names of a classifier's outputs in their order; one output is a score."""
    names = config.get("id2label")
    if not names:  # transformers leaves its default of two unnamed labels out
        return [f"LABEL_{i}" for i in range(config.get("num_labels") or 2)]
    try:
        return [str(names[key]) for key in sorted(names, key=int)]
    except (TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"id2label of the checkpoint is {str(names)[:80]}: it should name a label for every number from 0 on. "
            "Correct config.json."
        ) from error


def compared_as(config: Mapping[str, Any]) -> TaskType:
    """The type of task of a checkpoint's head, as its outputs are compared: each for itself where several may hold."""
    head = head_of(dict(config))
    is_multi = config.get("problem_type") == "multi_label_classification"
    return replace(head, spread="each") if is_multi and head.has_labels else head


SOFTMAX, SIGMOID, RAW = "softmax", "sigmoid", "none"


def activation_of(config: Mapping[str, Any]) -> str:
    """What turns a classifier's outputs into what it says.

    Returns:
        `SOFTMAX` of labels of which one holds; `SIGMOID` of each label where several may hold at once
        (`problem_type`), and of a single output that is said to be a probability (by the keys of transformers and of
        sentence-transformers); `RAW` for another single output, a score.
    """
    problem, outputs = config.get("problem_type"), len(labels_of(dict(config)))
    if problem == "multi_label_classification":
        return SIGMOID
    if outputs > 1:
        return SOFTMAX
    return SIGMOID if "sigmoid" in _stated_activation(config).casefold() else RAW


def is_score_explained(config: Mapping[str, Any]) -> bool:
    """Whether a checkpoint says what its single output is: a probability, or a score on a scale."""
    return bool(config.get("problem_type") or config.get("finetuning_task") or _stated_activation(config))


def _stated_activation(config: Mapping[str, Any]) -> str:
    own = config.get("sentence_transformers")
    stated = own.get("activation_fn") if isinstance(own, Mapping) else None
    return str(stated or config.get("sbert_ce_default_activation_function") or config.get("function_to_apply") or "")


def lacks_names(config: dict[str, Any]) -> bool:
    """Whether a checkpoint tells classes apart and does not name them."""
    try:
        names = labels_of(config) if head_of(config).has_labels else []
    except UserError:
        return False
    return len(names) > 1 and not names_outputs(config)


def names_outputs(config: Mapping[str, Any]) -> bool:
    """Whether a classifier says what its outputs are called; numbers are names where it learned a person's own labels
    (`finetuning_task`), as stars are, and elsewhere only count."""
    names, task = labels_of(dict(config)), TASKS.get(str(config.get("finetuning_task")))
    if task is not None and task.is_open and all(is_number(name) for name in names):
        return True
    return not are_unnamed(names)


def head_size(config: dict[str, Any]) -> int:
    """Width of an attention head. `attention_head_size`, a key of ours, tells it where heads were removed."""
    config = normalized(config)
    return config.get("attention_head_size") or config["hidden_size"] // config["num_attention_heads"]


def most_tokens(config: Mapping[str, Any], limit: int | None = None) -> int:
    """The longest input that a checkpoint has positions for, `limit` at the most.

    `max_position_embeddings` is no answer: some families leave the first positions to padding.
    """
    if limit is not None and "max_position_embeddings" not in config:
        return limit
    most = config["max_position_embeddings"] - first_position(config)
    return most if limit is None else min(limit, most)


def embedding_size(config: Mapping[str, Any]) -> int:
    """Width of the embeddings, by BERT's names of the sizes."""
    return config.get("embedding_size") or config["hidden_size"] if is_widened(config) else config["hidden_size"]


def is_widened(config: Mapping[str, Any]) -> bool:
    """Whether embeddings are brought to the width of the layers."""
    family, hidden = family_of(config.get("model_type")), config["hidden_size"]
    return bool(family.widening) and (family.widens_always or config.get("embedding_size", hidden) != hidden)


def groups_of(config: Mapping[str, Any]) -> list[int]:
    """For every layer the number of the weights that it has, as checkpoints count them."""
    family, layers = family_of(config.get("model_type")), int(config["num_hidden_layers"])
    groups = int(config[family.groups]) if family.groups else layers
    return [int(i / (layers / groups)) for i in range(layers)]


def in_group(key: str, groups: Sequence[int]) -> str:
    """The name of a weight with the number of its layer's weights in place of that of the layer, see `groups_of`."""
    return re.sub(r"^layers\.(\d+)\.", lambda match: f"layers.{groups[int(match[1])]}.", key)


def first_position(config: Mapping[str, Any]) -> int:
    """Where the positions of tokens begin: some families leave the first ones to padding."""
    row = FAMILIES.get(str(config.get("model_type"))) or encoder_of(config)
    if row is None:
        return 0
    return pad_of(config) + 1 if row.counts_tokens else row.first


def pad_of(config: Mapping[str, Any]) -> int:
    """The id that stands for padding; the family's where the configuration has none."""
    pad = config.get("pad_token_id")
    return (encoder_of(config) or family_of(config.get("model_type"))).pad if pad is None else int(pad)


def keeps_first(config: dict[str, Any]) -> bool:
    """Whether the first token is never dropped: where a head reads it."""
    reads = reads_of(config)
    if reads == "pooled":
        return Pooling.of(config).mode == "cls"
    return reads == "first" or bool(config.get("always_keep_first_token", False))


def check_simulable(name: str | None) -> None:
    """Refuses what AIMET and NNCF are given no names for here.

    Raises:
        UserError: the family computes something that they would not see.
    """
    family = FAMILIES.get(str(name))
    if family is not None and family.peculiarity:
        raise UserError(
            f"Checkpoints of {family.title} cannot learn ranges here: {family.peculiarity}. Use the recipe "
            "static_int8 or dynamic_int8, or let it teach a BERT, RoBERTa or DistilBERT checkpoint."
        )


def curve_of(config: Mapping[str, Any]) -> str:
    """What the activation of the layers computes, one of the values of `CURVES`.

    Raises:
        UserError: it is none of them.
    """
    name = str(config.get("hidden_act", "gelu"))
    if name not in CURVES:
        raise UserError(f"Activation {name!r} is not supported: use a checkpoint with one of {', '.join(CURVES)}.")
    return CURVES[name]


def check_config(config: dict[str, Any]) -> None:
    """Refuses what this encoder would compute wrongly."""
    family = family_of(config.get("model_type"))
    refuse_settings(config)
    config = normalized(config)
    curve_of(config)
    for key, value in family.only.items():
        if config.get(key, value) != value:
            raise UserError(
                f"{key} is {config[key]} in config.json, but {family.title} checkpoints run with {value} only. "
                "Take one that has it."
            )
    if config.get(SIGNIFICANCE_KEY, LEARNED) != LEARNED:
        raise UserError(
            f"{SIGNIFICANCE_KEY} is {config[SIGNIFICANCE_KEY]!r} in config.json: it is {LEARNED!r}, or left out where "
            "tokens are ranked by the attention that they receive."
        )
    if family.rotary:
        turns_of(config)
    if config.get("position_embedding_type", "absolute") != "absolute":
        raise UserError("Relative position embeddings are not supported: use a checkpoint with absolute ones.")
    if config.get("is_decoder"):
        raise UserError(
            "is_decoder is true in config.json: such a model reads no token behind the one at hand, and an encoder "
            "reads all. Take an encoder; if this is one by its training, set is_decoder to false."
        )


def check_checkpoint(config: dict[str, Any]) -> None:
    """Refuses what neither this program's encoder nor transformers' own runs here, by its configuration.

    Raises:
        UserError: it names the family and what to take instead.
    """
    row, name = encoder_of(config), str(config.get("model_type"))
    if row is None and name not in FAMILIES:
        raise UserError(
            f"Model type {name!r} is not supported: it is no encoder of text that runs here. Use a {titles()} "
            f"checkpoint, or one of {encoder_titles()}, which transformers computes."
        )
    if row is None:
        check_config(config)
        return
    refuse_settings(config)
    architecture = str((config.get("architectures") or [""])[0])
    if architecture.endswith(row.lacks or ("\n",)):
        raise UserError(f"transformers has no {architecture}: take a {row.title} checkpoint with another head.")
    if absent := [size for size in SIZES if not isinstance(config.get(size), int)]:
        raise UserError(f"config.json does not say {', '.join(absent)} of this {row.title} checkpoint. Restore it.")


def ours(key: str, family: str, head: TaskType) -> str:
    """A Hugging Face parameter name of this family, with this head, as our encoder spells it."""
    row = family_of(family)
    key = key.removeprefix(f"{row.root}.")
    key = key.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
    if match := re.fullmatch(rf"{re.escape(row.stem)}\.(\d+)\.(.+)\.(weight|bias)", key):
        names = {there: here for here, there in row.layer.items()}
        return f"layers.{match[1]}.{names.get(match[2], match[2])}.{match[3]}"
    part, _, kind = key.rpartition(".")
    # A bare encoder's pooler is where a classifier starts.
    names = {"pooler.dense": "dense"} | {
        there.removeprefix(f"{row.root}."): here for here, there in _outside(row, head).items()
    }
    return f"{names[part]}.{kind}" if part in names else key


def theirs(key: str, family: str) -> str:
    """Our parameter name as Hugging Face spells it for this family; of what only we have, as it is."""
    if key.startswith((f"{SIGNIFICANCE}.", f"{SHORTCUTS}.")):
        return key
    row = family_of(family)
    if match := re.fullmatch(r"layers\.(\d+)\.(.+)\.(weight|bias)", key):
        places = {part: pack for pack, parts in row.packs.items() for part in (pack, *parts)} | dict(row.layer)
        return f"{row.root}.{row.stem}.{match[1]}.{places[match[2]]}.{match[3]}"
    part, _, kind = key.rpartition(".")
    return f"{_outside(row, *TASK_TYPES.values())[part]}.{kind}"


def _outside(row: Family, *heads: TaskType) -> dict[str, str]:
    """Names of the weights outside the layers, by ours; several heads may call different things the same."""
    names = {here: f"{row.root}.{there}" for here, there in row.embeddings.items()}
    tables = {"distances": row.distances, "widen": row.widening, "final_norm": row.final_norm}
    names |= {here: f"{row.root}.{there}" for here, there in tables.items() if there}
    own = {"qa_outputs": row.spans, "tags": "classifier", "dense": row.dense, "classifier": row.classifier}
    names |= {name: own[name] for head in heads for name in head_layers(row, head)}
    return names | ({"head_norm": row.head_norm} if row.head_norm else {})


def head_layers(row: Family, head: TaskType) -> tuple[str, ...]:
    """Linear layers of a head as a family has it, the one that gives the logits last."""
    return ("dense", head.layers[-1]) if row.head_norm and head.layers else head.layers


def is_mapped(config: Mapping[str, Any]) -> bool:
    """Whether a checkpoint's vectors are made of mapped states, too, see `zoo.pooling.Pooling`."""
    stated = config.get(KEY)
    return isinstance(stated, Mapping) and stated.get("over") == "mapped" and reads_of(dict(config)) == "pooled"


def reads_of(config: dict[str, Any]) -> str:
    """What the head of a checkpoint reads, as `TaskType.reads`, or "mean": a classifier that reads all tokens' mean."""
    head = head_of(config)
    mean = head.reads == "first" and normalized(config).get("classifier_pooling") == "mean"
    return "mean" if mean else head.reads


def with_heads(
    weights: dict[str, Tensor], config: dict[str, Any], pruned: Mapping[str | int, Sequence[int]]
) -> dict[str, Tensor]:
    """Weights with the attention heads that were cut out of them, as zeros, which add nothing to what is computed.

    Args:
        weights: by our names.
        config: sizes of the whole model.
        pruned: by layer the heads that are not there, `pruned_heads` of a `config.json`.
    """
    config, weights = normalized(config), dict(weights)
    heads, size = config["num_attention_heads"], head_size(config)
    for layer, gone in pruned.items():
        columns = [i for head in range(heads) if head not in gone for i in range(head * size, (head + 1) * size)]
        for name, axis in (("query", 0), ("key", 0), ("value", 0), ("project", 1)):
            for kind in ("weight", "bias") if axis == 0 else ("weight",):
                key = f"layers.{layer}.{name}.{kind}"
                part = weights.get(key)
                if part is not None and part.shape[axis] == len(columns) < heads * size:
                    whole = torch.zeros(*(heads * size if at == axis else n for at, n in enumerate(part.shape)))
                    weights[key] = whole.index_copy(axis, torch.tensor(columns, dtype=torch.long), part)
    return weights
