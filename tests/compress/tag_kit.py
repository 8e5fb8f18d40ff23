"""Sentences whose words have labels, from words that the tiny tokenizer knows, and a tiny tagger."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import torch

from compress.data.examples import TaggedExample
from compress.tasks.heads import head_settings
from zoo.features import load_tokenizer
from zoo.modeling import LengthAdaptiveModel
from zoo.tasks import TOKENS, find_task

PLACES, GAMES, DULL = ("lake", "river"), ("chess", "queen"), ("the", "and", "of", "in", "is")
LABELS = ("O", "B-GAME", "I-GAME", "B-PLACE", "I-PLACE")


def sentences(count: int, seed: int) -> list[TaggedExample]:
    """Dull words, among them entities of one or two words."""
    chance, made = random.Random(seed), []
    for i in range(count):
        words, tags = list[str](), list[str]()
        for _ in range(chance.randint(3, 7)):
            kind, names = chance.choice((("PLACE", PLACES), ("GAME", GAMES), ("", DULL), ("", DULL)))
            length = chance.randint(1, 2) if kind else 1
            words += chance.choices(names, k=length)
            tags += [f"{'BI'[bool(at)]}-{kind}" for at in range(length)] if kind else ["O"]
        made.append(TaggedExample(str(i), tuple(words), tuple(tags)))
    return made


def conll(examples: Sequence[TaggedExample], between: str = " ") -> str:
    """The sentences in columns, with one in the middle that nobody needs."""
    return "\n".join(
        "".join(f"{word}{between}_{between}{tag}\n" for word, tag in zip(e.words, e.tags, strict=True))
        for e in examples
    )


def make_tagger(tiny_model: Path, folder: Path, labels: Sequence[str] = LABELS, scale: float = 8.0) -> Path:
    """A random tagger that says this and that: a float checkpoint."""
    torch.manual_seed(4)
    settings = head_settings(find_task("tokens").with_labels(labels))
    model = LengthAdaptiveModel.load(tiny_model, TOKENS, **settings)
    with torch.no_grad():
        model.last.weight.mul_(scale)
    model.save(folder)
    load_tokenizer(tiny_model).save_pretrained(str(folder))
    return folder
