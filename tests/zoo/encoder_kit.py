"""Tiny random checkpoints of the families that transformers computes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch

from tests.zoo.model_kit import transformers
from zoo.features import load_tokenizer
from zoo.tasks import TASK_TYPES

SIZES: dict[str, Any] = dict(
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    intermediate_size=64,
    max_position_embeddings=512,
    initializer_range=0.3,
    hidden_dropout_prob=0.1,
)
_RELATIVE: dict[str, Any] = dict(relative_attention=True, pos_att_type=["p2c", "c2p"], position_biased_input=False)
OWN: dict[str, dict[str, Any]] = {
    "deberta": _RELATIVE,
    "deberta-v2": {**_RELATIVE, "share_att_key": True, "position_buckets": 16, "norm_rel_ebd": "layer_norm"},
    "mobilebert": dict(
        embedding_size=16, intra_bottleneck_size=16, true_hidden_size=16, num_attention_heads=2, initializer_range=0.05
    ),
    "rembert": dict(input_embedding_size=16, output_embedding_size=16),
    "squeezebert": dict(embedding_size=32),
    "eurobert": dict(num_key_value_heads=4, head_dim=8),
}  # what only the family's configuration has
TASKS = ("qa", "classification", "tokens", "embeddings")
ENDINGS = {task: TASK_TYPES[task].ending for task in TASKS}


def checkpoint(
    folder: Path, family: str, tiny_model: Path, task: str = "qa", labels: tuple[str, ...] = ("bad", "good")
) -> Any:
    """Writes a tiny random checkpoint with the tokenizer of `tiny_model`; the model as transformers has it."""
    tokenizer = load_tokenizer(tiny_model)
    names = {"id2label": dict(enumerate(labels)), "label2id": {name: i for i, name in enumerate(labels)}}
    sizes = {**SIZES, **OWN.get(family, {}), **(names if TASK_TYPES[task].has_labels else {})}
    config = transformers.AutoConfig.for_model(
        family, vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, **sizes
    )
    torch.manual_seed(0)
    model = getattr(transformers, f"AutoModel{ENDINGS[task].removeprefix('Model')}").from_config(config).eval()
    with torch.no_grad():  # biases too are other than zero
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny_model / name, folder / name)
    return model
