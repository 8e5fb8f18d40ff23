"""Quantization-aware training: what the int8 graph will compute is computed while weights are learned.

Inputs of products are rounded to unsigned eight-bit integers over a range, weights to symmetric integers a column,
word embeddings a row, with outlying columns divided down before: the rules of `compress.int8` and `zoo.graph`, so that
the model that is trained is the one that will run. Rounding passes gradients through as if it were not there, except
where an input lies outside its range (straight-through estimator). Ranges are not parameters: they follow a moving
average of the lowest and highest values of every step until they are frozen (Jacob et al., arXiv 1712.05877).
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compress.int8.ranges import RANGES_FILE, Range, calibrate, grid, save_ranges
from compress.learn.loop import Hook
from compress.recipe.groups import Budgets
from compress.recipe.training_groups import Aware
from compress.tasks.samples import Sample
from zoo.errors import UserError
from zoo.features import pad
from zoo.lengths import LengthConfig, ladder
from zoo.modeling import LengthAdaptiveModel
from zoo.weights import linears

MEMORY = 0.99  # share of a range that a step leaves as it was
FROZEN = 0.8  # share of the steps after which ranges stay, if nothing else is said


class Product:
    """One product: its modules, the range of its input, and what the input is divided by."""

    def __init__(self, modules: Sequence[nn.Linear], first: Range, smoothing: float):
        smooth, by = first.smoothed(smoothing)
        self.modules = list(modules)
        self.low, self.high = smooth.low, smooth.high
        self.by = None if by is None else torch.from_numpy(np.asarray(by, np.float32))
        self.extremes: Tensor | None = None  # lowest value and minus the highest one of this step
        self.entered: Tensor | None = None  # the rounded input, from the first module that takes it to the last


class FakeQuant(Hook):
    """Simulates int8 in every forward pass of `model` until `finish`, which leaves plain float weights.

    Nothing is added to the model's parameters or their names. Zeros stay zeros: weights are rounded symmetrically.
    Under autocast the products are those of bf16 numbers, as without simulation.

    Args:
        model: what is to be trained, on the CPU, with the weights that training starts from.
        settings: the group `Aware` of a recipe.
        data: training windows; the first ranges are taken from some, drawn at random.
        seed: of the draw.
        pad_id: of the tokenizer.
        reduce_range: seven-bit weights, as in `quantize.reduce_range`.
        configs: length configurations to calibrate at beside full length; None takes a ladder of them where the model
            was made to drop tokens.

    Raises:
        UserError: there is no data.
    """

    def __init__(
        self,
        model: LengthAdaptiveModel,
        settings: Aware,
        data: Sequence[Sample],
        seed: int,
        pad_id: int,
        reduce_range: bool = True,
        configs: Sequence[LengthConfig] | None = None,
    ):
        if not data:
            raise UserError("There are no training windows to take the first ranges from. Give data to train on.")
        self.model, self.settings, self.bits = model, settings, 7 if reduce_range else 8
        self.active, self.observing = True, False
        rows = random.Random(seed).sample(range(len(data)), min(len(data), settings.calibration_samples))
        batches = [{k: torch.from_numpy(v) for k, v in pad([data[i].window], pad_id).items()} for i in rows]
        training = model.training
        first = calibrate(model.eval(), batches, smaller_lengths(model) if configs is None else configs)
        model.train(training)
        self.products = {
            name: Product(modules, first[name], settings.smoothing) for name, modules in linears(model).items()
        }
        for product in self.products.values():
            for module in product.modules:
                module.forward = partial(self._multiply, product, module)  # type: ignore[method-assign]
        self._handles = [
            model.words.register_forward_hook(self._look_up),
            model.register_forward_pre_hook(self._note_padding, with_kwargs=True),
        ]
        self._real: Tensor | None = None

    def before_step(self, step: int, total: int) -> None:
        """Settles whether this step is simulated, and whether ranges still follow what they see.

        Raises:
            UserError: see `check`.
        """
        check(self.settings, total)
        freeze = self.settings.freeze_step
        self.active = step >= self.settings.start_step
        self.observing = step < (int(FROZEN * total) if freeze is None else freeze)

    def after_step(self, step: int, total: int) -> None:
        """Moves the ranges towards what all processes together have seen in this step."""
        if not self.observing:
            return
        products = list(self.products.values())
        unseen = torch.full((2,), math.inf, device=next(self.model.parameters()).device)
        extremes = torch.stack([unseen if product.extremes is None else product.extremes for product in products])
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(extremes, torch.distributed.ReduceOp.MIN)
        for product, (low, negated) in zip(products, extremes.tolist(), strict=True):
            product.extremes = None
            if math.isfinite(low) and math.isfinite(negated):  # a layer that was left out has seen nothing
                product.low += (1 - MEMORY) * (low - product.low)
                product.high += (1 - MEMORY) * (-negated - product.high)

    def finish(self) -> None:
        """Takes the simulation off; the weights stay, in float."""
        self.active = self.observing = False
        for handle in self._handles:
            handle.remove()
        for product in self.products.values():
            product.entered = product.extremes = None
            for module in product.modules:
                module.__dict__.pop("forward", None)

    def ranges(self) -> dict[str, Range]:
        """The learned input ranges by product."""
        return {
            name: Range.learned(
                product.low,
                product.high,
                np.ones(product.modules[0].in_features) if product.by is None else product.by.cpu().numpy(),
            )
            for name, product in self.products.items()
        }

    def save(self, folder: Path) -> None:
        """Writes the ranges beside a checkpoint; stage `quantize` takes what `load_ranges` reads of them."""
        save_ranges(folder / RANGES_FILE, self.ranges())

    def state_dict(self) -> dict[str, Any]:
        """Ranges and what columns are divided by, by product."""
        return {name: (product.low, product.high, product.by) for name, product in self.products.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from `state_dict`."""
        for name, product in self.products.items():
            product.low, product.high, product.by = state[name]

    def _multiply(self, product: Product, module: nn.Linear, x: Tensor) -> Tensor:
        if product.by is not None and product.by.device != x.device:
            product.by = product.by.to(x.device)
        if module is product.modules[0]:
            product.entered = self._enter(product, x)
        entered = product.entered
        if module is product.modules[-1]:
            product.entered = None
        if entered is None:
            return F.linear(x, module.weight, module.bias)
        weight = module.weight if product.by is None else module.weight * product.by
        return F.linear(entered, round_rows(weight, self.bits), module.bias)

    def _enter(self, product: Product, x: Tensor) -> Tensor | None:
        """The rounded input of a product, None where nothing is rounded; what it holds is noted."""
        divided = x.float() if product.by is None else x.float() * (1 / product.by)
        if self.observing and product.modules[0].training:
            low, high = torch.aminmax(self._unpadded(divided.detach()))
            extremes = torch.stack([low, -high])
            product.extremes = extremes if product.extremes is None else torch.minimum(product.extremes, extremes)
        return round_inputs(divided, product.low, product.high) if self.active else None

    def _note_padding(self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        mask = kwargs["attention_mask"] if "attention_mask" in kwargs else args[1]
        self._real = mask.bool()

    def _unpadded(self, x: Tensor) -> Tensor:
        """Without padding, which is never there when a model is served, and may be far out of range."""
        if self._real is None or self._real.shape != x.shape[:2]:  # some tokens were dropped, padding before all
            return x
        return x[self._real]

    def _look_up(self, _module: nn.Module, _args: object, rows: Tensor) -> Tensor:
        return round_rows(rows, 8) if self.active else rows


def check(settings: Aware, total_steps: int) -> None:
    """Tells what cannot work before any work is done.

    Args:
        settings: the group `Aware` of a recipe.
        total_steps: of the training.

    Raises:
        UserError: the training ends before the simulation would begin, or before the ranges would stay.
    """
    if settings.start_step >= total_steps:
        raise UserError(
            f"aware.start_step is {settings.start_step}, but the training has {total_steps} steps only: nothing would "
            "be simulated. Make it smaller."
        )
    if settings.freeze_step is not None and settings.freeze_step > total_steps:
        raise UserError(
            f"aware.freeze_step is {settings.freeze_step}, but the training has {total_steps} steps only: set it to "
            f"{total_steps} at most, or to null for 80 % of the steps, or train longer."
        )


def smaller_lengths(model: LengthAdaptiveModel) -> list[LengthConfig]:
    """Configurations that a model which was made to drop tokens will be run at, beside full length."""
    return ladder(model.config, Budgets())[1:]


def round_inputs(x: Tensor, low: float, high: float) -> Tensor:
    """The nearest values of the range's 256, with the gradient cut where `x` lies outside."""
    scale, zero = grid(low, high)
    return torch.fake_quantize_per_tensor_affine(x, scale, zero, 0, 255)


def round_rows(w: Tensor, bits: int) -> Tensor:
    """Symmetric rounding with one scale a row (the last dimension), through which gradients pass unchanged."""
    top = 2 ** (bits - 1) - 1
    rows = w.float().flatten(0, -2)
    scale = rows.detach().abs().amax(1).clamp_min(1e-8) / top
    zero = torch.zeros_like(scale, dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(rows, scale, zero, 0, -top, top).view(w.shape)
