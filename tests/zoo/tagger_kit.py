"""A tiny int8 tagger in a zoo of its own, which says this and that of words."""

from __future__ import annotations

import shutil
from pathlib import Path

from compress.int8.rounding import integer_weights
from tests.compress.tag_kit import make_tagger
from zoo import catalog
from zoo.features import load_tokenizer
from zoo.files import write_json
from zoo.lengths import Front, LengthConfig, Point
from zoo.modeling import LengthAdaptiveModel
from zoo.weights import float_weights, linears, spec_of, write

TEXT = "The Angara is the only river that leaves the lake, and Russia is where it flows."
HALF = LengthConfig((0.7, 0.5))
LABELS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")


def make_entry(tiny_model: Path, root: Path) -> catalog.Entry:
    """An int8 tagger with its full-precision sibling beside it."""
    folder = make_tagger(tiny_model, root / "tagger", LABELS)
    model = LengthAdaptiveModel.load(folder)
    small = root / "tagger-int8"
    load_tokenizer(folder).save_pretrained(str(small))
    write(integer_weights(float_weights(model), linears(model), None, reduce_range=True), spec_of(model), small)
    shutil.copy(folder / "config.json", small)
    scores = {"f1": 80.0, "precision": 78.0, "recall": 82.0}
    cheap = Point(HALF, 0.6, {key: value - 1 for key, value in scores.items()})
    Front(Point(LengthConfig.full(2), 1.0, scores), [cheap]).save(small / "front.json")
    write_json(small / "entry.json", {"full_precision": "tagger", "method": "static-int8"})
    return catalog.find(str(small))
