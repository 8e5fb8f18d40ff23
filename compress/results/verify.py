"""Loading back what a recipe made, by the code that users run, and comparing what it says with what was made."""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from compress.int8.simulation import simulate
from zoo import catalog
from zoo.checkpoints import most_tokens, read_config
from zoo.engines import GRAPH, engine_class, full_precision, is_installed, open_engine
from zoo.engines.base import INTEGERS, Engine
from zoo.engines.onednn import OneDnnEngine
from zoo.engines.onnx import load as load_graph
from zoo.engines.stock import StockGraph, read_bytes
from zoo.errors import UserError
from zoo.features import Window, load_tokenizer, make_texts, make_windows, pad
from zoo.graph import read
from zoo.integers import open_integers
from zoo.lengths import Front, LengthConfig
from zoo.modeling import LengthAdaptiveModel
from zoo.opened import run_one
from zoo.pretrained import FloatModel, load_any
from zoo.settings import get_settings

# Median distance of logits allowed, as a share of their spread. Weights that were rounded alike, to half precision, say
# the same up to the order of sums; an input on the edge between two integers may round either way, so single logits of
# an int8 model differ between engines.
HALF, INTEGER = 0.001, 0.15
LEAST = 0.01  # spread that logits have at least: below, float32's own digits would count
LONGEST = 96  # tokens of a text: many short ones have more logits than a few long ones in the same time


def verify_loading(entry_folder: Path, trained: Path | FloatModel) -> dict[str, float]:
    """Compares an entry, opened as the explorer opens it, with the checkpoint that it was made of.

    Float weights are compared with the checkpoint's own, rounded to half precision as the entry's are: what rounding
    changes is no fault, however little a model has learned. An int8 graph is compared, on every engine that is
    installed, at full length and at its cheapest budget, with the checkpoint under the graph's integers simulated in
    torch; a graph that was exported, with itself as it is written, its integers in float.

    Args:
        entry_folder: a packaged entry.
        trained: the float checkpoint that training left, or the model that was loaded from it.

    Returns:
        Median distance of the logits as a share of their spread, by engine and budget.

    Raises:
        UserError: one is too far off; the entry should not be used.
    """
    entry = catalog.find(str(entry_folder))
    model = load_any(trained) if isinstance(trained, Path) else trained
    says = partial(_logits, model)
    configs = {"full length": LengthConfig.full(model.shape.layers)}
    engines = [name for name in entry.engines if engine_class(name).opens == GRAPH and is_installed(name)]
    tolerance = INTEGER if engines else HALF
    rounded = entry.folder / INTEGERS
    if not engines and rounded.is_file():
        engines, tolerance = [OneDnnEngine.name], INTEGER
        says = partial(_logits, open_integers(rounded, real=False))
    elif not engines:
        engines = [full_precision(entry.folder)]
        if entry.weights_dtype == "f16":
            says = partial(_logits, _halved(model))
    elif entry.front is None:
        session = load_graph(read_bytes(entry.folder), get_settings().threads, optimized=False)
        says = partial(_of_engine, StockGraph("as written", session, entry.folder))
    elif isinstance(model, LengthAdaptiveModel):
        weights, _ = read(entry.folder / catalog.GRAPH)
        own = {name: value.copy() for name, value in weights.items()}  # as read they are read-only
        says = partial(_logits, simulate(model, own))
        configs["the cheapest budget"] = Front.load(entry.folder / catalog.FRONT).everything[0].config
    examples, tokenizer = catalog.examples()[: entry.type.compared], load_tokenizer(entry.folder)
    firsts, seconds = [e["question"] for e in examples], [e["context"] for e in examples]
    if not entry.type.has_articles:
        # Every other text beside itself: scores of likeness lie close together where no pair is alike.
        seconds[::2] = firsts[::2]
        most = most_tokens(read_config(entry.folder), entry.type.padded)
        windows = make_texts(tokenizer, firsts, seconds, min(most, LONGEST))
    else:
        windows = make_windows(tokenizer, firsts, seconds)
    expected = {budget: [says(window, config) for window in windows] for budget, config in configs.items()}
    distances: dict[str, float] = {}
    for name in engines:
        engine = open_engine(name, entry)
        for budget, config in configs.items():
            said = (run_one(engine, window, config).logits[0] for window in windows)
            far = [np.abs(got - right) for got, right in zip(said, expected[budget], strict=True)]
            logits = np.concatenate(expected[budget])
            # Scores of a model that has learned little hardly differ: then a tenth of their size counts.
            scale = max(float(logits.std()), 0.1 * float(np.abs(logits).mean()), LEAST)
            share = float(np.median(np.concatenate(far))) / scale
            distances[f"{name} at {budget}"] = share
            if not share <= tolerance:
                raise UserError(
                    f"{entry.name} says something else on {name} at {budget} than what was trained: its logits are off "
                    f"by {share:.2%} of their spread, {tolerance:.1%} is allowed. Do not use it: delete the folder "
                    f"{entry.folder.parent} and run the recipe again, which packages it anew."
                )
    return distances


def _halved(model: FloatModel) -> FloatModel:
    """The model with weights as half precision stores them; buffers are no weights, and are not stored."""
    copied = copy.deepcopy(model)  # another entry may be compared with it, too
    for parameter in copied.parameters():
        parameter.data = parameter.data.half().float()
    return copied


def _of_engine(engine: Engine, window: Window, config: LengthConfig) -> np.ndarray:
    return run_one(engine, window, config).logits[0]


def _logits(model: nn.Module, window: Window, config: LengthConfig) -> np.ndarray:
    batch = {key: torch.from_numpy(value) for key, value in pad([window]).items()}
    lengths = torch.tensor([config.tokens(len(window.input_ids))])
    with torch.inference_mode():
        return model(**batch, lengths=lengths).logits[0].numpy()
