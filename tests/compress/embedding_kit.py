"""Tiny sentence encoders and cross-encoders as the Hub has them, and data for likeness, search and ranking."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import torch

from tests.compress.text_kit import BAD, GOOD, sentence
from zoo import torchvision_fix
from zoo.features import load_tokenizer
from zoo.files import write_json

torchvision_fix.mend()
import transformers  # noqa: E402

SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 160,
    "initializer_range": 0.2,
}
MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
]


def sentence_encoder(folder: Path, tokenizer_of: Path, mode: str = "mean", seed: int = 1) -> Path:
    """A random BertModel in a folder of sentence-transformers."""
    tokenizer = load_tokenizer(tokenizer_of)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = transformers.BertModel(transformers.BertConfig(vocab_size=len(tokenizer), **SIZES))
        for parameter in model.parameters():  # far from initialization, where all vectors look alike
            parameter.data += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(str(folder))
    write_json(folder / "modules.json", MODULES)
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 128, "do_lower_case": False})
    modes = {f"pooling_mode_{name}": name.startswith(mode) for name in ("cls_token", "mean_tokens", "max_tokens")}
    write_json(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": 32, **modes})
    return folder


def cross_encoder(folder: Path, tokenizer_of: Path) -> Path:
    """A random classifier with one output, as the Hub's cross-encoders are."""
    tokenizer = load_tokenizer(tokenizer_of)
    with torch.random.fork_rng():
        torch.manual_seed(2)
        more: dict[str, Any] = {"num_labels": 1, **SIZES}
        config = transformers.BertConfig(vocab_size=len(tokenizer), **more)
        transformers.BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(str(folder))
    return folder


def write_pairs(path: Path, count: int, seed: int, key: str = "score") -> Path:
    """Pairs with a likeness from 0 to 5."""
    chance = random.Random(seed)
    rows = [
        {
            "sentence1": sentence(chance, chance.choice(GOOD)),
            "sentence2": sentence(chance, chance.choice(GOOD if i % 2 else BAD)),
            key: round(5 * chance.random(), 3),
        }
        for i in range(count)
    ]
    return _write(path, rows)


def write_queries(path: Path, count: int, seed: int) -> Path:
    """Queries with three passages each, one or two of them relevant."""
    chance = random.Random(seed)
    rows = [
        {
            "query": sentence(chance, "chess"),
            "passages": [sentence(chance, chance.choice(GOOD), 6) for _ in range(3)],
            "relevant": [0, 2] if i % 3 == 0 else [i % 3],
        }
        for i in range(count)
    ]
    return _write(path, rows)


def _write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
