"""Which products become integers, and how their weights are rounded.

Weights: symmetric, one scale a column. With `reduce_range` they take 7 bits: x86 CPUs without VNNI add pairs of 8-bit
products in 16 bits, which overflows with 8-bit weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import numpy.typing as npt

from compress.int8.ranges import Range, grid
from zoo.errors import UserError
from zoo.modeling import LengthAdaptiveModel
from zoo.operators import Weights
from zoo.weights import linears

WORDS = "words"  # the word embeddings, where products are named


def operators(model: LengthAdaptiveModel) -> list[str]:
    """Names of all that can be quantized: the word embeddings (`WORDS`) and the products."""
    return [WORDS, *linears(model)]


def matching(names: Sequence[str], patterns: Iterable[str]) -> list[str]:
    """The names that fit a glob pattern, in their own order.

    Raises:
        UserError: a pattern fits none.
    """
    globs = list(patterns)
    for pattern in globs:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise UserError(f"No product is called {pattern!r}. There are {', '.join(names[:5])} and the like.")
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in globs)]


def round_columns(w: npt.NDArray[Any], bits: int) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Symmetric integers `[in, out]` int8 and their scales `[out]` float32."""
    top = 2 ** (bits - 1) - 1
    scale = np.maximum(np.abs(w).max(0), 1e-8) / top
    return np.clip(np.round(w / scale), -top, top).astype(np.int8), scale.astype(np.float32)


def integer_weights(
    weights: Weights,
    names: Iterable[str],
    ranges: Mapping[str, Range] | None,
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
    rounded, columns = dict(weights), dict[tuple[int, bytes], tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]]()
    for name in names:
        w, inputs = rounded.pop(f"{name}.w"), ranges[name] if ranges is not None else None
        matrix, by = id(w), None
        if inputs is not None:
            inputs, by = inputs.smoothed(smoothing)
            if by is not None:
                w, rounded[f"{name}.x_factor"] = w * by[:, None], (1 / by).astype(np.float32)
        key = matrix, b"" if by is None else by.tobytes()
        if key not in columns:  # layers that share their weights share the integers
            columns[key] = round_columns(w, 7 if reduce_range else 8)
        rounded[f"{name}.q"], rounded[f"{name}.scale"] = columns[key]
        if inputs is not None:
            if inputs.by is None:  # where rounding took part in training, the bias has learned this already:
                # What rounding the weights adds on average goes off the bias (Nagel et al., arXiv 1906.04721).
                lost = w - rounded[f"{name}.q"] * rounded[f"{name}.scale"]
                rounded[f"{name}.bias"] = (rounded[f"{name}.bias"] + inputs.mean @ lost).astype(np.float32)
            scale, zero = grid(inputs.low, inputs.high)
            rounded[f"{name}.x_scale"] = np.array(scale, np.float32)
            rounded[f"{name}.x_zero"] = np.array(zero, np.uint8)
    if words:
        rows, scale = round_columns(rounded.pop("words.w").T, 8)
        rounded["words.q"], rounded["words.scale"] = rows.T.copy(), scale[:, None].copy()
    return rounded
