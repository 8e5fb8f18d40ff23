"""What the tests of distillation share: samples of the bundled questions, and models that differ."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch

from compress.data.squad import load_squad
from compress.tasks.samples import Sample, samples
from zoo.features import make_windows
from zoo.modeling import LengthAdaptiveModel


def question_samples(tokenizer: Any, source: Path) -> list[Sample]:
    """Windows of many lengths, several of some questions, with keys."""
    examples = load_squad(source)
    spans = [(e.answers[0]["answer_start"], e.answers[0]["answer_start"] + len(e.answers[0]["text"])) for e in examples]
    made = []
    for length in (384, 128):
        windows = make_windows(tokenizer, [e.question for e in examples], [e.context for e in examples], length, 16)
        made += samples(windows, spans, [f"{e.id}/{length}" for e in examples])
    return made


def shuffled(data: list[Sample]) -> list[Sample]:
    order = list(data)
    random.Random(7).shuffle(order)
    return order


def disturbed(model: LengthAdaptiveModel, seed: int) -> LengthAdaptiveModel:
    """The same architecture, other weights."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=draw))
    return model
