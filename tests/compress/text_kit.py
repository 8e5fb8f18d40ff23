"""Tiny sets in the shape of GLUE's, from a few words that the tiny tokenizer knows."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

GOOD, BAD, DULL = ("lake", "deep"), ("chess", "queen"), ("the", "and", "of", "in", "is")
SHARED = "the lake is deep and the lake is in the deep"  # stands in both splits of sst2


def sentence(chance: random.Random, telling: str, least: int = 4) -> str:
    """Dull words with a telling one somewhere."""
    words = chance.choices(DULL, k=chance.randint(least, least + 9))
    words.insert(chance.randrange(len(words)), telling)
    return " ".join(words)


def sst2(count: int, seed: int) -> list[dict[str, Any]]:
    chance = random.Random(seed)
    rows = [{"sentence": sentence(chance, chance.choice(GOOD if i % 2 else BAD)), "label": i % 2} for i in range(count)]
    return [*rows, {"sentence": SHARED, "label": 1}]


def stsb(count: int, seed: int) -> list[dict[str, Any]]:
    chance, made = random.Random(seed), []
    for i in range(count):
        one, other = chance.choice(GOOD), chance.choice(GOOD if i % 2 else BAD)
        row = {"sentence1": sentence(chance, one), "sentence2": sentence(chance, other)}
        made.append({**row, "label": round(4 + chance.random() if i % 2 else chance.random(), 2)})
    return made


def mnli(count: int, seed: int) -> list[dict[str, Any]]:
    chance, telling = random.Random(seed), (GOOD, DULL, BAD)
    return [
        {
            "premise": sentence(chance, chance.choice(GOOD)),
            "hypothesis": sentence(chance, chance.choice(telling[i % 3])),
            "label": i % 3,
        }
        for i in range(count)
    ]


def write_glue(folder: Path) -> Path:
    """The three sets under `folder`, in the files that the Hub's splits are called."""
    parts = {
        "sst2": {"train": sst2(160, 1), "validation": sst2(24, 2)},
        "stsb": {"train": stsb(120, 3), "validation": stsb(20, 4)},
        "mnli": {
            "train": mnli(120, 5),
            "validation_matched": mnli(18, 6),
            "validation_mismatched": mnli(15, 7),
        },
    }
    for task, splits in parts.items():
        (folder / task).mkdir(parents=True)
        for split, rows in splits.items():
            lines = [json.dumps({**row, "idx": i}) for i, row in enumerate(rows)]
            (folder / task / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder
