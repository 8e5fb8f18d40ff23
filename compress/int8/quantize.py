"""A float checkpoint becomes one int8 ONNX file that takes the lengths as an input.

Weights: symmetric, one scale a column. Activations: asymmetric, one scale a tensor, calibrated on real inputs at the
length configurations that will be served (static) or measured anew in every run (dynamic). Softmax, layer norm, GELU,
TopK and the head stay in float. With `reduce_range` weights take 7 bits: x86 CPUs without VNNI add pairs of
8-bit products in 16 bits, which overflows with 8-bit weights.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from compress.int8.ranges import Range, calibrate, grid
from compress.recipe.stage import trained_in
from compress.tasks.subjects import subject_of
from zoo.checkpoints import head_size
from zoo.errors import UserError
from zoo.features import Window, load_tokenizer, pad
from zoo.files import write_json
from zoo.graph import Weights
from zoo.lengths import Front, LengthConfig
from zoo.modeling import LengthAdaptiveModel
from zoo.weights import float_weights, linears, spec_of, write

WORDS = "words"  # the word embeddings, where products are named


def round_columns(w: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Symmetric integers `[in, out]` int8 and their scales `[out]` float32."""
    top = 2 ** (bits - 1) - 1
    scale = np.maximum(np.abs(w).max(0), 1e-8) / top
    return np.clip(np.round(w / scale), -top, top).astype(np.int8), scale.astype(np.float32)


def integer_weights(
    weights: Weights,
    names: Iterable[str],
    ranges: dict[str, Range] | None,
    reduce_range: bool,
    smoothing: float = 0.0,
    words: bool = True,
) -> Weights:
    """Replaces the float matrices `names` and the word embeddings by integers.

    Args:
        weights: from `float_weights`.
        names: products to quantize.
        ranges: input of each product; None quantizes inputs dynamically.
        reduce_range: 7-bit weights.
        smoothing: how far outlying columns of the inputs are divided down, from 0 to 1; see `Range.smoothed`.
        words: quantize the word embeddings.
    """
    made = dict(weights)
    for name in names:
        w, seen = made.pop(f"{name}.w"), ranges[name] if ranges is not None else None
        if seen is not None:
            seen, by = seen.smoothed(smoothing)
            if by is not None:
                w, made[f"{name}.x_factor"] = w * by[:, None], (1 / by).astype(np.float32)
        made[f"{name}.q"], made[f"{name}.scale"] = round_columns(w, 7 if reduce_range else 8)
        if seen is not None:
            if seen.by is None:  # where rounding took part in training, the bias has learned this already:
                # What rounding the weights adds on average goes off the bias (Nagel et al., arXiv 1906.04721).
                lost = w - made[f"{name}.q"] * made[f"{name}.scale"]
                made[f"{name}.bias"] = (made[f"{name}.bias"] + seen.mean @ lost).astype(np.float32)
            scale, zero = grid(seen.low, seen.high)
            made[f"{name}.x_scale"], made[f"{name}.x_zero"] = np.array(scale, np.float32), np.array(zero, np.uint8)
    if words:
        rows, scale = round_columns(made.pop("words.w").T, 8)
        made["words.q"], made["words.scale"] = rows.T.copy(), scale[:, None].copy()
    return made


def simulate(model: LengthAdaptiveModel, weights: Weights) -> LengthAdaptiveModel:
    """The model with all of the graph's weights and its rounding of inputs: what the graph computes, in torch.

    A published checkpoint in half precision will not do: eight-bit rounding makes its last digits matter.
    """
    twin = copy.deepcopy(model).eval()
    products = linears(twin)
    whole = {module for modules in products.values() for module in modules}
    with torch.no_grad():
        for name, module in twin.named_modules():
            if isinstance(module, torch.nn.LayerNorm):
                module.weight.copy_(torch.tensor(weights[f"{name}.weight"]))
                module.bias.copy_(torch.tensor(weights[f"{name}.bias"]))
            elif isinstance(module, torch.nn.Linear) and module not in whole:
                module.weight.copy_(torch.tensor(weights[f"{name}.w"]).T)
                module.bias.copy_(torch.tensor(weights[f"{name}.bias"]))
            elif isinstance(module, torch.nn.Embedding) and f"{name}.w" in weights and name != "distances":
                rows = torch.tensor(weights[f"{name}.w"])  # the graph leaves first positions out that tokens never have
                module.weight[len(module.weight) - len(rows) :].copy_(rows)
        if "words.q" in weights:
            twin.words.weight.copy_(torch.from_numpy(weights["words.q"] * weights["words.scale"]))
    place(twin, weights, products)
    return twin


def place(model: LengthAdaptiveModel, weights: Weights, names: Iterable[str]) -> list[Any]:
    """Gives the model's products the graph's weights and biases and, where those are integers, its rounding of inputs.

    Returns:
        Handles of the hooks that round; `remove()` ends the rounding, the weights stay.
    """
    handles, products = [], linears(model)
    scale = head_size(model.config) ** -0.5
    for name in names:
        modules, integers = products[name], f"{name}.q" in weights
        w = weights[f"{name}.q"] * weights[f"{name}.scale"] if integers else weights[f"{name}.w"]
        if f"{name}.x_factor" in weights:
            w = w * weights[f"{name}.x_factor"][:, None]
        parts, biases = torch.tensor(w).chunk(len(modules), 1), torch.tensor(weights[f"{name}.bias"])
        for turn, (module, part, bias) in enumerate(zip(modules, parts, biases.chunk(len(modules)), strict=True)):
            folded = scale if len(modules) == 3 and turn == 0 else 1.0
            with torch.no_grad():
                module.weight.copy_(part.T / folded)
                module.bias.copy_(bias / folded)
            if integers:
                handles.append(module.register_forward_pre_hook(_rounding(weights, name)))
    return handles


def _rounding(weights: Weights, name: str) -> Callable:
    factor = torch.tensor(weights.get(f"{name}.x_factor", np.ones(1, np.float32)))

    def hook(_module: Any, args: tuple[Tensor, ...]) -> tuple[Tensor]:
        x = args[0] * factor
        if f"{name}.x_scale" in weights:
            scale, zero = float(weights[f"{name}.x_scale"]), int(weights[f"{name}.x_zero"])
        else:
            low, high = min(float(x.min()), 0.0), max(float(x.max()), 0.0)
            scale = (high - low) / 255
            zero = round(-low / scale)
        return (((x / scale).round() + zero).clamp(0, 255).sub(zero) * scale / factor,)

    return hook


@dataclass(frozen=True)
class Prepared:
    """A checkpoint that is ready to be quantized, in one way or several.

    Attributes:
        ranges: input of each product, None for ranges found anew in every run.
        windows: how many windows were calibrated on.
    """

    model: LengthAdaptiveModel
    tokenizer: Any
    ranges: dict[str, Range] | None
    windows: int


def prepare(
    checkpoint: Path,
    recipe: Any,
    configs: Sequence[LengthConfig],
    ranges: dict[str, Range] | None = None,
    windows: Sequence[Window] | None = None,
) -> Prepared:
    """Loads `checkpoint` and settles the ranges of its inputs as the recipe says.

    Args:
        configs: length configurations that calibration runs at, beside full length.
        ranges: those that a training has learned; nothing is calibrated then.
        windows: what to calibrate on; by default questions of the recipe, drawn at random with its seed.

    Raises:
        UserError: a pattern of `keep_float` fits no product.
    """
    settings = recipe.quantize
    model, tokenizer = LengthAdaptiveModel.load(checkpoint), load_tokenizer(checkpoint)
    matching(operators(model), settings.keep_float or ())
    if ranges is not None or settings.approach == "dynamic":
        return Prepared(model, tokenizer, ranges, 0)
    windows = calibration_windows(recipe, tokenizer) if windows is None else windows
    batches = [{key: torch.from_numpy(value) for key, value in pad([window]).items()} for window in windows]
    percentile = 100.0 if settings.calibration_method == "minmax" else settings.percentile
    return Prepared(model, tokenizer, calibrate(model, batches, configs, percentile), len(windows))


def store(ready: Prepared, out: Path, recipe: Any, keep_float: Sequence[str] = ()) -> dict[str, Any]:
    """Quantizes what was prepared into `out` (graph, config and tokenizer).

    Args:
        keep_float: glob patterns of products to leave in float, beside the recipe's; see `operators`.

    Returns:
        What was decided: bytes, approach, bits of the weights, calibration windows, products left in float.

    Raises:
        UserError: a pattern fits no product, or nothing is left to quantize.
    """
    settings, model = recipe.quantize, ready.model
    kept = matching(operators(model), [*(settings.keep_float or ()), *keep_float])
    names = [name for name in linears(model) if name not in kept]
    if not names:
        raise UserError("quantize.keep_float leaves every product in float: quantize some of them.")
    # The file is to give the same answers everywhere, so "auto" takes the bits that no CPU overflows with.
    reduce_range = settings.reduce_range is not False
    weights = integer_weights(
        float_weights(model), names, ready.ranges, reduce_range, settings.smoothing, WORDS not in kept
    )
    path = write(weights, spec_of(model), out)
    write_json(out / "config.json", model.config)
    ready.tokenizer.save_pretrained(str(out))
    return {
        "bytes": path.stat().st_size,
        "approach": settings.approach,
        "weight_bits": 7 if reduce_range else 8,
        "calibration_windows": ready.windows,
        "kept_float": kept,
    }


def build(
    checkpoint: Path,
    out: Path,
    recipe: Any,
    configs: Sequence[LengthConfig],
    ranges: dict[str, Range] | None = None,
    keep_float: Sequence[str] = (),
) -> dict[str, Any]:
    """Quantizes `checkpoint` as the recipe says into `out`: `prepare`, then `store`."""
    return store(prepare(checkpoint, recipe, configs, ranges), out, recipe, keep_float)


def operators(model: LengthAdaptiveModel) -> list[str]:
    """Names of all that can be quantized: the word embeddings (`WORDS`) and the products."""
    return [WORDS, *linears(model)]


def matching(names: Sequence[str], patterns: Iterable[str]) -> list[str]:
    """The names that fit a glob pattern, in their own order.

    Raises:
        UserError: a pattern fits none.
    """
    chosen = list(patterns)
    for pattern in chosen:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise UserError(f"No product is called {pattern!r}. There are {', '.join(names[:5])} and the like.")
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in chosen)]


def calibration_windows(recipe: Any, tokenizer: Any) -> list[Window]:
    """Windows of `quantize.calibration_samples` questions or texts, drawn at random with the recipe's seed.

    They are those trained on, where the recipe trains.
    """
    subject = subject_of(recipe)
    everything = subject.load("train")
    examples = random.Random(recipe.seed).sample(everything, min(len(everything), recipe.quantize.calibration_samples))
    return subject.windows(tokenizer, examples)


def run(ctx: Any) -> dict[str, Any]:
    """Stage `quantize`: the length-adaptive checkpoint, calibrated at the front's points -> the int8 file."""
    front = Front.load(ctx.inputs["search"] / "front.json")
    return build(trained_in(ctx)[0], ctx.folder, ctx.recipe, [p.config for p in front.everything])
