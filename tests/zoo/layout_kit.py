"""Tiny int8 entries of every task with what was measured of them, and inputs of different lengths."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from compress.int8.rounding import integer_weights
from tests.compress.embedding_kit import cross_encoder, sentence_encoder
from zoo import catalog
from zoo.checkpoints import head_of, read_config
from zoo.features import load_tokenizer, make_texts, pad
from zoo.files import write_json
from zoo.lengths import Front, LengthConfig, Point
from zoo.modeling import LengthAdaptiveModel
from zoo.task_types import TASK_TYPES
from zoo.tasks import RANKING, TEXTS, TOKENS
from zoo.weights import float_weights, linears, spec_of, write

MEASURED = {"qa": "f1", "classification": "accuracy", "tokens": "f1", "ranking": "mrr_at_10", "embeddings": "spearman"}
SENTENCES = ["the lake is deep", "who was the queen of chess and when was the queen born?", "chess"]
SENTENCES.append("The Angara is the only river that leaves the lake.")
LABELS = {"0": "O", "1": "B-LAKE", "2": "I-LAKE"}


def float_folder(task: str, tiny_model: Path, folder: Path, mode: str = "mean") -> Path:
    """A random BERT for a task."""
    if task == "embeddings":
        return sentence_encoder(folder, tiny_model, mode)
    if task == RANKING.name:
        return cross_encoder(folder, tiny_model)
    if task == "qa":
        return shutil.copytree(tiny_model, folder)
    torch.manual_seed(3)
    model = LengthAdaptiveModel.load(tiny_model, {"tokens": TOKENS, "classification": TEXTS}[task], id2label=LABELS)
    with torch.no_grad():
        model.last.weight.mul_(5)
    model.save(folder)
    load_tokenizer(tiny_model).save_pretrained(str(folder))
    return folder


def int8_entry(source: Path, folder: Path, floats: tuple[str, ...] = (), **facts: Any) -> catalog.Entry:
    """The int8 entry of a float folder.

    Args:
        floats: products, and the word embeddings, that stay in float.
        facts: of its `entry.json`.
    """
    config = read_config(source)
    model = LengthAdaptiveModel.load(source)
    task = facts.get("task", head_of(config).name)
    names = [name for name in linears(model) if name not in floats]
    weights = integer_weights(float_weights(model), names, None, reduce_range=True, words="words" not in floats)
    folder.mkdir(parents=True)
    write(weights, {**spec_of(model), "head": task}, folder)
    write_json(folder / "config.json", config)
    load_tokenizer(source).save_pretrained(str(folder))
    layers, metric = model.shape.layers, MEASURED[task]
    half = Point(LengthConfig((0.5,) * layers), 0.5, {metric: 79.0}, 5.0)
    Front(Point(LengthConfig.full(layers), 1.0, {metric: 80.0}, 9.0), [half]).save(folder / "front.json")
    measured = {metric: 80.0, "dataset": "org/data", "split": "validation", "n": 100, "cpu": "Chip"}
    about = {"title": "Tiny, int8", "task": task, "license": "apache-2.0", "base_model": "org/base"}
    about |= {"method": "static-int8", "weights_dtype": "int8", "parameters": 9, "metrics": measured}
    write_json(folder / "entry.json", {**about, **facts})
    return catalog.open_folder(folder)


def batch_of(entry: catalog.Entry) -> dict[str, np.ndarray]:
    """Texts of four lengths, padded."""
    return pad(make_texts(load_tokenizer(entry.folder), SENTENCES, None))


def full_lengths(batch: dict[str, np.ndarray], layers: int) -> np.ndarray:
    """Lengths of a batch with which nothing is dropped."""
    return np.tile(batch["attention_mask"].sum(1)[:, None], (1, layers))


assert set(MEASURED) == set(TASK_TYPES)
