"""A tiny model that would rather not answer."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from zoo.features import load_tokenizer
from zoo.modeling import LengthAdaptiveModel

QUESTION, PASSAGE = "Who plays chess?", "The Angara is the only river that leaves the lake."


def make_silent(tiny_model: Path, folder: Path) -> Path:
    """A copy of a model, in a new folder, whose first token beats every span of `PASSAGE`."""
    shutil.copytree(tiny_model, folder)
    model = LengthAdaptiveModel.load(folder)
    with torch.no_grad():  # the head looks for what the first token's last state holds and no other's does
        ids = load_tokenizer(folder)(QUESTION, PASSAGE, return_tensors="pt")
        states: list[torch.Tensor] = []
        hook = model.qa_outputs.register_forward_hook(lambda _m, inputs, _o: states.append(inputs[0]))
        model(ids["input_ids"], ids["attention_mask"])
        hook.remove()
        apart = states[0][0, 0] - states[0][0, 1:].mean(0)
        model.qa_outputs.weight.copy_(torch.stack([apart, apart]))
    model.save(folder)
    return folder
