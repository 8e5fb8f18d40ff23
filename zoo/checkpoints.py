"""Checkpoints of Hugging Face as this program spells them: configurations, heads, labels, names of weights."""

from __future__ import annotations

import re
from typing import Any

from zoo.errors import UserError
from zoo.tasks import TASK_TYPES, TaskType

FAMILIES = {  # model type -> how classes begin
    "bert": "Bert",
    "roberta": "Roberta",
    "distilbert": "DistilBert",
    "mpnet": "MPNet",
}

# DistilBERT's name of a size -> everybody else's
SIZES = {
    "dim": "hidden_size",
    "hidden_dim": "intermediate_size",
    "n_layers": "num_hidden_layers",
    "n_heads": "num_attention_heads",
    "activation": "hidden_act",
}

# Hugging Face parameter name within a layer <-> ours
NAMES = (
    ("attention.self.query", "query"),
    ("attention.self.key", "key"),
    ("attention.self.value", "value"),
    ("attention.output.dense", "project"),
    ("attention.output.LayerNorm", "attention_norm"),
    ("intermediate.dense", "expand"),
    ("output.dense", "contract"),
    ("output.LayerNorm", "output_norm"),
)
DISTIL_NAMES = (
    ("attention.q_lin", "query"),
    ("attention.k_lin", "key"),
    ("attention.v_lin", "value"),
    ("attention.out_lin", "project"),
    ("sa_layer_norm", "attention_norm"),
    ("ffn.lin1", "expand"),
    ("ffn.lin2", "contract"),
    ("output_layer_norm", "output_norm"),
)
MPNET_NAMES = (
    ("attention.attn.q", "query"),
    ("attention.attn.k", "key"),
    ("attention.attn.v", "value"),
    ("attention.attn.o", "project"),
    ("attention.LayerNorm", "attention_norm"),
    *NAMES[5:],
)
EMBEDDINGS = (
    ("embeddings.word_embeddings", "words"),
    ("embeddings.position_embeddings", "positions"),
    ("embeddings.token_type_embeddings", "types"),
    ("embeddings.LayerNorm", "norm"),
)


def normalized(config: dict[str, Any]) -> dict[str, Any]:
    """A `config.json` with the sizes under the names that BERT gives them, DistilBERT's own beside them."""
    if config.get("model_type") != "distilbert":
        return config
    return {**config, **{name: config[own] for own, name in SIZES.items() if own in config}}


def head_of(config: dict[str, Any]) -> TaskType:
    """The type of task that a checkpoint's head is for, by its architecture.

    Raises:
        UserError: the checkpoint has no such head.
    """
    name = (config.get("architectures") or [""])[0]
    for head in TASK_TYPES.values():
        if name.endswith(head.ending):
            return head
    raise UserError(
        f"This checkpoint is a {name or 'bare encoder'}: it needs a question-answering or classification head."
    )


def architecture(family: str, head: TaskType) -> str:
    """The name that transformers has for a family's model with this head."""
    return FAMILIES[family] + head.ending


def labels_of(config: dict[str, Any]) -> list[str]:
    """The names of a classifier's outputs in their order; one output is a score."""
    named = config.get("id2label")
    if not named:  # transformers leaves its default of two unnamed labels out
        return [f"LABEL_{i}" for i in range(config.get("num_labels") or 2)]
    try:
        return [str(named[key]) for key in sorted(named, key=int)]
    except (TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"id2label of the checkpoint is {str(named)[:80]}: it should name a label for every number from 0 on. "
            "Correct config.json."
        ) from error


def head_size(config: dict[str, Any]) -> int:
    """Width of an attention head. `attention_head_size`, a key of ours, tells it where heads were removed."""
    config = normalized(config)
    return config.get("attention_head_size") or config["hidden_size"] // config["num_attention_heads"]


def most_tokens(config: dict[str, Any]) -> int:
    """The longest input that a checkpoint has positions for."""
    return config["max_position_embeddings"] - first_position(config)


def first_position(config: dict[str, Any]) -> int:
    """Where the positions of tokens begin: RoBERTa and MPNet leave the first ones to padding."""
    family = config.get("model_type")
    # transformers has MPNet's 1 in the code, whatever stands for padding in the vocabulary.
    return {"roberta": config.get("pad_token_id", 1) + 1, "mpnet": 2}.get(str(family), 0)


def check_simulable(family: str | None) -> None:
    """Refuses what AIMET and NNCF are given no names for here.

    Raises:
        UserError: the family is MPNet.
    """
    if family == "mpnet":
        raise UserError(
            "An MPNet model cannot learn ranges here: its attention depends on how far apart tokens are. Use the "
            "recipe static_int8 or dynamic_int8, or let it teach a BERT, RoBERTa or DistilBERT checkpoint."
        )


def check_config(config: dict[str, Any]) -> None:
    """Refuses what this encoder would compute wrongly."""
    config = normalized(config)
    if config.get("model_type") not in FAMILIES:
        raise UserError(
            f"Model type {config.get('model_type')!r} is not supported: use a BERT, RoBERTa, DistilBERT or MPNet "
            "checkpoint."
        )
    if config.get("hidden_act", "gelu") != "gelu":
        raise UserError(f"Activation {config['hidden_act']!r} is not supported: use a checkpoint with hidden_act gelu.")
    if config.get("position_embedding_type", "absolute") != "absolute":
        raise UserError("Relative position embeddings are not supported: use a checkpoint with absolute ones.")


def ours(key: str) -> str:
    """A Hugging Face parameter name as our encoder spells it."""
    key = re.sub(r"^(bert|roberta|distilbert|mpnet)\.", "", key)
    key = key.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
    if match := re.fullmatch(r"(?:encoder|transformer)\.layer\.(\d+)\.(.+)\.(weight|bias)", key):
        return f"layers.{match[1]}.{dict((*NAMES, *DISTIL_NAMES, *MPNET_NAMES)).get(match[2], match[2])}.{match[3]}"
    for there, here in (
        *EMBEDDINGS,
        ("encoder.relative_attention_bias", "distances"),
        ("pooler.dense", "dense"),
        ("pre_classifier", "dense"),
        ("classifier.dense", "dense"),
        ("classifier.out_proj", "classifier"),
    ):
        if key.startswith(there + "."):
            return here + key[len(there) :]
    return key


def theirs(key: str, family: str) -> str:
    """Our parameter name as Hugging Face spells it for this family."""
    distil = family == "distilbert"
    if match := re.fullmatch(r"layers\.(\d+)\.(\w+)\.(weight|bias)", key):
        own = {"distilbert": DISTIL_NAMES, "mpnet": MPNET_NAMES}.get(family, NAMES)
        name = {here: there for there, here in own}[match[2]]
        return f"{family}.{'transformer' if distil else 'encoder'}.layer.{match[1]}.{name}.{match[3]}"
    part, _, kind = key.rpartition(".")
    heads = {
        "bert": (f"{family}.pooler.dense", "classifier"),
        "roberta": ("classifier.dense", "classifier.out_proj"),
        "mpnet": ("classifier.dense", "classifier.out_proj"),
        "distilbert": ("pre_classifier", "classifier"),
    }[family]
    names = {here: f"{family}.{there}" for there, here in EMBEDDINGS}
    names["distances"] = f"{family}.encoder.relative_attention_bias"
    names |= {"qa_outputs": "qa_outputs", "dense": heads[0], "classifier": heads[1]}
    return f"{names[part]}.{kind}"
