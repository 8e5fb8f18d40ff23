"""Tiny random checkpoints of the families that transformers computes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from bench.families import small_model
from zoo.features import load_tokenizer
from zoo.task_types import TASK_TYPES

TASKS = ("qa", "classification", "tokens", "embeddings")
ENDINGS = {task: TASK_TYPES[task].ending for task in TASKS}


def checkpoint(
    folder: Path, family: str, tiny_model: Path, task: str = "qa", labels: tuple[str, ...] = ("bad", "good")
) -> Any:
    """Writes a tiny random checkpoint with the tokenizer of `tiny_model`; the model as transformers has it."""
    tokenizer = load_tokenizer(tiny_model)
    model = small_model(family, TASK_TYPES[task], len(tokenizer), tokenizer.pad_token_id, labels)
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tiny_model / name, folder / name)
    return model
