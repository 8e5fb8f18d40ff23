"""A float checkpoint becomes one int8 ONNX file that takes the lengths as an input.

Weights are rounded as `compress.int8.rounding` says. Activations: asymmetric, one scale a tensor, calibrated on real
inputs at the length configurations that will be served (static) or measured anew in every run (dynamic). Softmax, layer
norm, GELU, TopK and the head stay in float.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from compress.int8.ranges import Range, calibrate
from compress.int8.rounding import WORDS, integer_weights, matching, operators
from compress.recipe.groups import Quantize
from compress.recipe.kind import Kind
from compress.tasks.subjects import subject_of
from zoo.errors import UserError
from zoo.features import Tokenizer, Window, load_tokenizer, pad
from zoo.files import write_json
from zoo.lengths import LengthConfig
from zoo.modeling import LengthAdaptiveModel
from zoo.weights import float_weights, linears, spec_of, write

ReadWindows = Callable[[Tokenizer], Sequence[Window]]  # reads what to calibrate on
LoadModel = Callable[[Path], LengthAdaptiveModel]


@dataclass(frozen=True)
class Calibrated:
    """A checkpoint that is ready to be quantized, in one way or several.

    Attributes:
        ranges: input of each product, None for ranges that are measured anew in every run.
        windows: how many windows were calibrated on.
    """

    model: LengthAdaptiveModel
    tokenizer: Tokenizer
    ranges: Mapping[str, Range] | None
    windows: int


def calibrate_checkpoint(
    checkpoint: Path,
    settings: Quantize,
    read: ReadWindows,
    configs: Sequence[LengthConfig] = (),
    ranges: Mapping[str, Range] | None = None,
    load: LoadModel = LengthAdaptiveModel.load,
) -> Calibrated:
    """Loads a checkpoint and settles the ranges of its inputs.

    Args:
        checkpoint: its folder.
        settings: how.
        read: reads what to calibrate on; called where something is.
        configs: length configurations that calibration runs at, beside full length.
        ranges: those that a training has learned; nothing is calibrated then.
        load: loads the model; see `loader`.

    Raises:
        UserError: a pattern of `keep_float` fits no product.
    """
    model, tokenizer = load(checkpoint), load_tokenizer(checkpoint)
    matching(operators(model), settings.keep_float or ())
    if ranges is not None or settings.approach == "dynamic":
        return Calibrated(model, tokenizer, ranges, 0)
    windows = read(tokenizer)
    batches = [{key: torch.from_numpy(value) for key, value in pad([window]).items()} for window in windows]
    percentile = 100.0 if settings.calibration_method == "minmax" else settings.percentile
    return Calibrated(model, tokenizer, calibrate(model, batches, configs, percentile), len(windows))


def store_graph(ready: Calibrated, out: Path, settings: Quantize, keep_float: Sequence[str] = ()) -> dict[str, Any]:
    """Quantizes what was calibrated into `out` (graph, config and tokenizer).

    Args:
        ready: from `calibrate_checkpoint`.
        out: a folder.
        settings: how.
        keep_float: glob patterns of products to leave in float, beside those of the settings; see `operators`.

    Returns:
        What was decided: bytes, approach, bits of the weights, calibration windows, products left in float.

    Raises:
        UserError: a pattern fits no product, or nothing is left to quantize.
    """
    model = ready.model
    floats = matching(operators(model), [*(settings.keep_float or ()), *keep_float])
    names = [name for name in linears(model) if name not in floats]
    if not names:
        raise UserError("quantize.keep_float leaves every product in float: quantize some of them.")
    # The file is to give the same answers everywhere, so "auto" takes the bits that no CPU overflows with.
    reduce_range = settings.reduce_range is not False
    weights = integer_weights(
        float_weights(model), names, ready.ranges, reduce_range, settings.smoothing, WORDS not in floats
    )
    path = write(weights, spec_of(model), out)
    write_json(out / "config.json", model.config)
    ready.tokenizer.save_pretrained(str(out))
    return {
        "bytes": path.stat().st_size,
        "approach": settings.approach,
        "weight_bits": 7 if reduce_range else 8,
        "calibration_windows": ready.windows,
        "kept_float": floats,
    }


def loader(recipe: Kind) -> LoadModel:
    """Loads a checkpoint for the recipe's task, which it has learned: its labels come in the task's order."""
    return partial(subject_of(recipe).load_model, new_head=False)


def calibration_windows(recipe: Kind, tokenizer: Tokenizer) -> list[Window]:
    """Windows of `quantize.calibration_samples` questions or texts, drawn at random with the recipe's seed.

    They are those trained on, where the recipe trains.
    """
    subject = subject_of(recipe)
    everything = subject.load("train")
    examples = random.Random(recipe.seed).sample(everything, min(len(everything), recipe.quantize.calibration_samples))
    return subject.windows(tokenizer, examples)
