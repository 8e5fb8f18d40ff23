"""A tiny int8 classifier in a zoo of its own."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from compress.int8.rounding import integer_weights
from zoo import catalog
from zoo.features import load_tokenizer
from zoo.files import write_json
from zoo.lengths import Front, LengthConfig, Point
from zoo.modeling import LengthAdaptiveModel
from zoo.tasks import TEXTS
from zoo.weights import float_weights, linears, spec_of, write

TEXT, OTHER = "The Angara is the only river that leaves the lake.", "Who plays chess on the lake?"
HALF = LengthConfig((0.7, 0.5))
LABELS = {"0": "no", "1": "maybe", "2": "yes"}


def make_entry(tiny_model: Path, root: Path, labels: dict[str, str]) -> catalog.Entry:
    """An int8 classifier with its full-precision sibling beside it."""
    torch.manual_seed(3)
    model = LengthAdaptiveModel.load(tiny_model, TEXTS, id2label=labels)
    with torch.no_grad():
        model.classifier.weight.mul_(5)
    model.save(root / "tiny")
    for name in ("tiny", "tiny-int8"):
        load_tokenizer(tiny_model).save_pretrained(str(root / name))
    weights = integer_weights(float_weights(model), linears(model), None, reduce_range=True)
    write(weights, spec_of(model), root / "tiny-int8")
    shutil.copy(root / "tiny" / "config.json", root / "tiny-int8")
    Front(Point(LengthConfig.full(2), 1.0, {"f1": 80, "em": 70}), [Point(HALF, 0.6, {"f1": 79, "em": 69})]).save(
        root / "tiny-int8" / "front.json"
    )
    write_json(root / "tiny-int8" / "entry.json", {"full_precision": "tiny", "method": "static-int8"})
    return catalog.find(str(root / "tiny-int8"))
