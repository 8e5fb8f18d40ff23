"""Labelled windows to learn from, in batches."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from zoo.features import Window, label, pad
from zoo.modeling import Output

INPUTS, SECOND = ("input_ids", "attention_mask", "token_type_ids"), "second_"
IGNORED = -100  # label of a token from which nothing is learned, as torch has it


@dataclass(frozen=True)
class Sample:
    """A training window with what is to be learned from it: its answer's token positions, a class or a score, or
    a class for each token (`IGNORED` where there is none), or 1 and 0 for each of several labels (a list).

    `key` names it among all windows of its data set, whatever their order; `second` is the window of a pair's other
    text, where the two are read apart. Of windows it holds what models read alone (`zoo.features.Window.slim`):
    all samples of a training are in memory.
    """

    window: Window
    start: int = 0
    end: int = 0
    label: int | float | tuple[int, ...] | list[float] | None = None
    key: str = ""
    second: Window | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "window", self.window.slim())
        if self.second is not None:
            object.__setattr__(self, "second", self.second.slim())

    @property
    def windows(self) -> list[Window]:
        """What is read of it."""
        return [self.window] if self.second is None else [self.window, self.second]


def samples(
    windows: Iterable[Window], answers: Sequence[tuple[int, int] | None], ids: Sequence[str] = ()
) -> list[Sample]:
    """Labels windows. `answers` holds the character span of every example's answer, None for "no answer".

    A window that lacks an existing answer is left out: it would teach "no answer" where there is one. With the
    examples' `ids`, a sample's key is its example's and the place of its first token in the passage.
    """
    rows = []
    for window in windows:
        answer = answers[window.example]
        start, end = label(window, *answer) if answer else (0, 0)
        if answer is None or (start, end) != (0, 0):
            at = next((offset[0] for offset in window.offsets if offset), 0)
            rows.append(Sample(window, start, end, key=f"{ids[window.example]}@{at}" if ids else ""))
    return rows


def collate(rows: Sequence[Sample], pad_id: int, length: int | None = None) -> dict[str, Tensor]:
    """int64 tensors `[batch, tokens]` and what is to be learned `[batch]`: `start` and `end`, and `label` if any, of
    classes for each token `[batch, tokens]`. Second texts of pairs that are read apart have keys `second_...`.

    Args:
        rows: the batch.
        pad_id: token that fills shorter rows.
        length: tokens of a row; those of the longest by default.
    """
    seconds = [row.second for row in rows if row.second is not None]
    if seconds and len(seconds) < len(rows):
        raise ValueError("some of a batch are pairs, and others are not")
    inputs = pad([*(row.window for row in rows), *seconds], pad_id, length)
    batch = {key: torch.from_numpy(value[: len(rows)]) for key, value in inputs.items()}
    batch |= {f"{SECOND}{key}": torch.from_numpy(value[len(rows) :]) for key, value in inputs.items() if seconds}
    batch["start"] = torch.tensor([row.start for row in rows])
    batch["end"] = torch.tensor([row.end for row in rows])
    if isinstance(rows[0].label, tuple):
        batch["label"] = torch.full_like(batch["input_ids"], IGNORED)
        for at, row in enumerate(rows):
            classes = torch.tensor(row.label)
            batch["label"][at, : len(classes)] = classes
    elif rows[0].label is not None:
        batch["label"] = torch.tensor([row.label for row in rows])
    return batch


def inputs_of(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What a model is given of a batch; the second texts of pairs that are read apart stand below the first ones."""
    parts = [[batch[key], *([batch[f"{SECOND}{key}"]] if f"{SECOND}{key}" in batch else [])] for key in INPUTS]
    return {key: torch.cat(part) if len(part) > 1 else part[0] for key, part in zip(INPUTS, parts, strict=True)}


Forward = Callable[..., Output]  # a model's, or what stands between it and a loss
Loss = Callable[[Any, dict[str, Tensor], random.Random], Iterator[tuple[Tensor, dict[str, float]]]]
