"""What enters the products of a model: the ranges in which inputs are rounded, as calibrated or as learned."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from zoo.devices import compute_device
from zoo.errors import UserError
from zoo.files import read_json, write_json
from zoo.lengths import LengthConfig
from zoo.modeling import LengthAdaptiveModel
from zoo.weights import linears

RANGES_FILE = "ranges.json"  # beside a checkpoint whose training has learned them
SMOOTH_GAIN = 1.5  # a range that smoothing shrinks by less is left alone: dividing takes time in every run


Numbers = npt.NDArray[np.floating[Any]]


class Range(NamedTuple):
    """What enters a product: the range to quantize, and of every column its mean, lowest and highest value.

    Where products share their weights `shared` has the lowest and highest values of each column in all of them, since
    what columns are divided by goes into the weights.

    A range that was learned in training has `by`, which its columns are divided by, once and for all; `low` and
    `high` are then those of the divided input, and nothing is known of single columns.
    """

    low: float
    high: float
    mean: Numbers
    lows: Numbers
    highs: Numbers
    by: Numbers | None = None
    shared: tuple[Numbers, Numbers] | None = None

    def smoothed(self, strength: float) -> tuple[Range, Numbers | None]:
        """The range with outlying columns divided down, and by what `[in]`; None where it would gain little.

        A column is divided by (its peak / the median peak) ** strength where that is more than 1. BERT's encoders
        have a column or two whose values are ten times those of all others, and one scale has to fit them all
        (SmoothQuant, arXiv 2211.10438, divides every column and so disturbs the weights more).
        """
        if self.by is not None:
            return self, self.by if (self.by != 1).any() else None
        if not strength:
            return self, None
        every_low, every_high = self.shared or (self.lows, self.highs)
        peaks = np.maximum(np.abs(every_low), np.abs(every_high))
        by = np.maximum(1.0, (peaks / max(float(np.median(peaks)), 1e-8)) ** strength).astype(np.float32)
        lows, highs = self.lows / by, self.highs / by
        low, high = max(self.low, float(lows.min())), min(self.high, float(highs.max()))
        before, after = self.high - self.low, high - low
        if self.shared:  # all layers decide alike
            before = float(every_high.max() - every_low.min())
            after = float((every_high / by).max() - (every_low / by).min())
        if after > before / SMOOTH_GAIN:
            return self, None
        return Range(low, high, self.mean / by, lows, highs), by

    @classmethod
    def learned(cls, low: float, high: float, by: Numbers) -> Range:
        """A range that training has settled."""
        unknown = np.empty(0, np.float32)
        return cls(low, high, unknown, unknown, unknown, np.asarray(by, np.float32))


def grid(low: float, high: float) -> tuple[float, int]:
    """Scale and zero point of unsigned eight-bit integers over a range; zero itself is always one of the values."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = float(np.float32(max(high - low, 1e-8) / 255))
    return scale, int(np.clip(round(-low / scale), 0, 255))


def calibrate(
    model: LengthAdaptiveModel,
    batches: Sequence[dict[str, Tensor]],
    configs: Sequence[LengthConfig],
    percentile: float = 100.0,
) -> dict[str, Range]:
    """Input ranges of every product over real inputs, each run at one of the configurations in turn and at full length.

    Args:
        percentile: 100 takes the extremes; less takes, per run, that percentile and its mirror, averaged over runs.
    """
    observed: dict[str, list[Range]] = {}

    def watch(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        def hook(_module: nn.Module, args: tuple[Tensor, ...]) -> None:
            observed[name].append(seen(args[0].detach(), percentile))

        return hook

    handles: list[RemovableHandle] = []
    for name, modules in linears(model).items():
        observed[name] = []
        handles.append(modules[0].register_forward_pre_hook(watch(name)))
    home, device = next(model.parameters()).device, compute_device()
    try:
        model.to(device)
        with torch.no_grad():
            for turn, batch in enumerate(batches):
                counts = batch["attention_mask"].sum(1).tolist()
                chosen = [LengthConfig.full(model.shape.layers)]
                chosen += [configs[turn % len(configs)]] if configs else []
                for config in chosen:
                    lengths = torch.tensor([config.tokens(int(n)) for n in counts], device=device)
                    model(**{key: value.to(device) for key, value in batch.items()}, lengths=lengths)
    finally:
        model.to(home)
        for handle in handles:
            handle.remove()
    ranges = {name: over(runs, percentile) for name, runs in observed.items()}
    return {name: row._replace(shared=_shared(model, name, ranges)) for name, row in ranges.items()}


def seen(x: Tensor, percentile: float = 100.0) -> Range:
    """The range of one input of a product, `[..., in]`; see `calibrate`."""
    flat, rows = x.flatten(), x.flatten(0, -2)
    rest = max(1, round(flat.numel() * (100 - percentile) / 100))
    high, low = float(flat.topk(rest).values[-1]), -float((-flat).topk(rest).values[-1])
    mean, lows, highs = (part.cpu().numpy() for part in (rows.mean(0), rows.amin(0), rows.amax(0)))
    return Range(low, high, mean, lows, highs)


def over(runs: Sequence[Range], percentile: float = 100.0) -> Range:
    """The range of a product over several inputs; see `calibrate`."""
    lowest, highest = (min, max) if percentile >= 100 else (np.mean, np.mean)
    return Range(
        float(lowest([r.low for r in runs])),
        float(highest([r.high for r in runs])),
        np.mean([r.mean for r in runs], axis=0),
        np.min([r.lows for r in runs], axis=0),
        np.max([r.highs for r in runs], axis=0),
    )


def _shared(model: LengthAdaptiveModel, name: str, ranges: Mapping[str, Range]) -> tuple[Numbers, Numbers] | None:
    """Lowest and highest values of what enters the product of this name in all layers that share its weights."""
    _, layer, part = name.split(".")
    peers = [ranges[f"layers.{i}.{part}"] for i, group in enumerate(model.groups) if group == model.groups[int(layer)]]
    return shared_by(peers)


def shared_by(peers: Sequence[Range]) -> tuple[Numbers, Numbers] | None:
    """`Range.shared` of products with the same weights; None for one alone."""
    if len(peers) == 1:
        return None
    return np.min([row.lows for row in peers], axis=0), np.max([row.highs for row in peers], axis=0)


def save_ranges(path: Path, ranges: Mapping[str, Range]) -> None:
    """Stores ranges by product as JSON."""
    write_json(path, {name: row._asdict() for name, row in ranges.items()})


def load_ranges(path: Path) -> dict[str, Range]:
    """Reads what `save_ranges` wrote.

    Raises:
        UserError: the file is not there, or holds no ranges.
    """
    try:
        return {
            name: Range(
                float(row["low"]),
                float(row["high"]),
                np.array(row["mean"], np.float32),
                np.array(row["lows"], np.float32),
                np.array(row["highs"], np.float32),
                None if row["by"] is None else np.array(row["by"], np.float32),
            )
            for name, row in read_json(path).items()
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path} holds no ranges of a training. Run the training stage again.") from error
