"""Encoders of any size with made-up weights, ready to be timed: what a latency table is made of.

Latency depends on sizes and operators, not on what is learned. So nothing is trained, exported or calibrated: the
graph that the engines run is written at once for the sizes wanted, with integers where `compress.int8` would put them.
The authors of Bigger&Faster exported every model from PyTorch and gave the ONNX path up as too slow.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

import numpy as np
import torch

from compress.nas.space import Arch
from zoo.checkpoints import architecture
from zoo.engines.base import Engine
from zoo.engines.onnx import OnnxEngine
from zoo.engines.openvino import OpenVinoEngine
from zoo.engines.torch import TorchEngine
from zoo.errors import UserError
from zoo.families import family_of
from zoo.lengths import LengthConfig
from zoo.modeling import LengthAdaptiveModel
from zoo.operators import Weights
from zoo.task_types import TASK_TYPES
from zoo.tasks import QUESTIONS

MODES = {
    "onnxruntime_int8": "int8 on onnxruntime",
    "openvino_int8": "int8 on OpenVINO",
    "torch_dynamic_int8": "dynamic int8 on torch",
    "onnxruntime_fp32": "float on onnxruntime",
    "torch_fp32": "float on torch",
}
WORDS = 1000  # rows of the word embeddings: looking a few up takes as long in a larger table
POSITIONS = 514
MIDDLE = 36.5  # standard deviation of whole numbers that are spread evenly over -63 to 63


@dataclass(frozen=True)
class Setup:
    """What all encoders of a table share.

    Attributes:
        tokens, batch, threads: of the input and of the engine.
        family: "bert", "roberta" or "distilbert".
        head: name of the type of task.
        approach: "static" or "dynamic", as in a recipe's `quantize` group.
        keep_float: glob patterns of products that stay in float, as there.
        smoothed: whether a finished model may divide outlying columns of its inputs down, one multiplication a product.
    """

    tokens: int = 128
    batch: int = 1
    threads: int = 1
    family: str = "bert"
    head: str = QUESTIONS.name
    approach: str = "static"
    keep_float: tuple[str, ...] = ()
    smoothed: bool = False

    @property
    def pad(self) -> int:
        return family_of(self.family).pad

    def inputs(self, vocabulary: int = WORDS) -> dict[str, np.ndarray]:
        """A full batch of words below `vocabulary`, the same every time."""
        shape = (self.batch, self.tokens)
        words = np.random.default_rng(0).integers(5, vocabulary, shape)
        return {
            "input_ids": words.astype(np.int64),
            "attention_mask": np.ones(shape, np.int64),
            "token_type_ids": np.zeros(shape, np.int64),
        }


def spec_of(arch: Arch, setup: Setup) -> dict[str, Any]:
    """What `zoo.graph` needs to know beside the weights, as `zoo.weights.spec_of` tells it."""
    return {
        "layers": arch.layers,
        "hidden": arch.hidden,
        "intermediate": arch.intermediate,
        "heads": arch.heads,
        "eps": 1e-12,
        "family": setup.family,
        "head": setup.head,
        "pad": setup.pad,
        "drop_layers": list(range(arch.layers)),
        "keep_first": not TASK_TYPES[setup.head].per_token,
    }


def made_up(arch: Arch, setup: Setup, integers: bool) -> Weights:
    """Weights under the graph's names. States keep an even size through the layers, as trained ones do.

    Args:
        arch: the sizes.
        setup: see the class.
        integers: int8 where `compress.int8` makes it, with the multiplication that divides outlying columns down at
            every product: which have some, only a trained model tells, and a limit is to be kept.
    """
    h, f, q = arch.hidden, arch.intermediate, arch.qkv
    weights: Weights = {"positions.w": _floats(POSITIONS, h)}
    if integers and not _fits("words", setup.keep_float):
        weights |= {"words.q": _wholes(WORDS, h), "words.scale": np.full((WORDS, 1), 1 / MIDDLE, np.float32)}
    else:
        weights["words.w"] = _floats(WORDS, h)
    if family_of(setup.family).token_types:
        weights["types.w"] = _floats(2, h)
    norms = ["norm"]
    products = []
    for i in range(arch.layers):
        at = f"layers.{i}."
        norms += [f"{at}attention_norm", f"{at}output_norm"]
        products += [(f"{at}qkv", h, 3 * q), (f"{at}project", q, h), (f"{at}expand", h, f), (f"{at}contract", f, h)]
    for name in norms:
        weights |= {f"{name}.weight": np.ones(h, np.float32), f"{name}.bias": np.zeros(h, np.float32)}
    *before, last = TASK_TYPES[setup.head].layers
    head = [*((name, h, h) for name in before), (last, h, 2)]
    for name, rows, columns in (*products, *head):
        weights[f"{name}.bias"] = np.zeros(columns, np.float32)
        if not integers or (name, rows, columns) in head or _fits(name, setup.keep_float):
            weights[f"{name}.w"] = _floats(rows, columns) * np.float32(rows**-0.5)
            continue
        weights[f"{name}.q"] = _wholes(rows, columns)
        weights[f"{name}.scale"] = np.full(columns, rows**-0.5 / MIDDLE, np.float32)
        if setup.approach == "static":
            weights |= {f"{name}.x_scale": np.array(0.03, np.float32), f"{name}.x_zero": np.array(128, np.uint8)}
            if setup.smoothed:
                weights[f"{name}.x_factor"] = np.full(rows, 0.9, np.float32)  # by 1 would be left out
    return weights


@contextmanager
def ready(arch: Arch, mode: str, setup: Setup) -> Generator[Callable[[], Any]]:
    """A function that runs the encoder once on a full batch, as the engines of the zoo do.

    Raises:
        UserError: there is no such mode, the input is too long, or OpenVINO is not installed.
    """
    if mode not in MODES:
        raise UserError(f"There is no mode {mode!r}: choose one of {', '.join(MODES)}.")
    if setup.tokens > POSITIONS - 2:
        raise UserError(f"Encoders read {POSITIONS - 2} tokens at most, not {setup.tokens}.")
    if not mode.startswith("torch"):
        kind = OpenVinoEngine if mode.startswith("openvino") else OnnxEngine
        engine: Engine = kind(made_up(arch, setup, mode.endswith("int8")), spec_of(arch, setup), setup.threads)
        yield whole_run(engine, setup)
        return
    model = _made_up_model(arch, setup)
    engine = TorchEngine(dynamic(model) if mode == "torch_dynamic_int8" else model, setup.threads)
    yield whole_run(engine, setup)


def whole_run(engine: Engine, setup: Setup, vocabulary: int = WORDS) -> Callable[[], Any]:
    """A function that runs an engine on a setup's batch, with nothing dropped."""
    batch = setup.inputs(vocabulary)
    lengths = np.array([LengthConfig.full(engine.layers).tokens(setup.tokens)] * setup.batch)
    return lambda: engine.run(batch, lengths)


def dynamic(model: torch.nn.Module) -> Any:
    """A copy of a torch model with its linear layers in torch's dynamic int8, as Bigger&Faster has them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that this way of quantizing will move to another package
        quantize = torch.ao.quantization.quantize_dynamic  # pyright: ignore[reportDeprecated] - as Bigger&Faster has it
        return quantize(model, {torch.nn.Linear}, dtype=torch.qint8)


def _made_up_model(arch: Arch, setup: Setup) -> Any:
    config = {
        "model_type": setup.family,
        "architectures": [architecture(setup.family, TASK_TYPES[setup.head])],
        "num_hidden_layers": arch.layers,
        "hidden_size": arch.hidden,
        "intermediate_size": arch.intermediate,
        "num_attention_heads": arch.heads,
        "attention_head_size": arch.head_size,
        "vocab_size": WORDS,
        "max_position_embeddings": POSITIONS,
        "pad_token_id": setup.pad,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return LengthAdaptiveModel(config).eval()


def _fits(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _wholes(rows: int, columns: int) -> np.ndarray:
    return _pool(rows * columns)[0][: rows * columns].reshape(rows, columns)


def _floats(rows: int, columns: int) -> np.ndarray:
    return _pool(rows * columns)[1][: rows * columns].reshape(rows, columns)


def _pool(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers to cut weights from: drawing them anew for every encoder would take longer than timing it."""
    return _drawn(1 << max(20, (size - 1).bit_length()))


@cache
def _drawn(size: int) -> tuple[np.ndarray, np.ndarray]:
    chance = np.random.default_rng(0)
    return chance.integers(-63, 64, size, np.int8), chance.standard_normal(size, np.float32)
