"""An encoder of transformers as an ONNX graph, by torch's own exporters, compared with itself before it is used."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from zoo.encoders import encoder_of
from zoo.engines.base import logits_of
from zoo.engines.onnx import load
from zoo.errors import UserError
from zoo.graph_standard import STATES
from zoo.pretrained import INPUTS, Pretrained

if TYPE_CHECKING:
    from onnx import ModelProto

log = logging.getLogger(__name__)
OPSET = 20  # the first with a GELU
SIZES = ((1, 7, 0), (3, 21, 4), (2, 16, 2))  # examples, tokens and, of the last example, padding, to compare on
FINAL = "final_"  # begins the names of outputs while they are exported
CLOSE = 1e-4  # difference of logits, as a share of the largest where that is above 1


class _Answer(nn.Module):
    """The model as a function of its inputs in their order."""

    def __init__(self, model: Pretrained):
        super().__init__()
        self.model = model

    def forward(self, *values: Tensor) -> tuple[Tensor, ...]:
        return self.model.answer(dict(zip(self.model.inputs, values, strict=True)))


def export(model: Pretrained) -> ModelProto:
    """The float graph of a model, for any number of examples and tokens.

    It is traced, which takes a second; what cannot be traced, or says something else than the model, is captured by
    torch.export, which takes up to a minute.

    Raises:
        UserError: neither gives a graph that says what the model says.
    """
    reasons: list[str] = []
    row = encoder_of(model.config)
    for way in (_traced, _captured) if row is None or row.traced else (_captured,):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            try:
                with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
                    warnings.simplefilter("ignore")
                    way(_Answer(model).eval(), _sample(model, 1, 16, 0), path)
                graph = _named(onnx.load(str(path)), model.outputs)
                _compare(model, graph)
                return graph
            except Exception as error:  # noqa: BLE001 - exporters fail in many ways; the next one, or a sentence
                log.debug("%s", way.__name__, exc_info=True)
                reasons.append(next(iter(str(error).strip().splitlines()), type(error).__name__)[:200])
    raise UserError(
        f"This {model.config.get('model_type')} checkpoint cannot be exported to ONNX by torch: {'; '.join(reasons)}. "
        "Take another checkpoint, or a graph of `optimum-cli export onnx`."
    )


Export = Callable[[_Answer, dict[str, Tensor], Path], None]


def _traced(answer: _Answer, sample: dict[str, Tensor], path: Path) -> None:
    names, outputs = list(sample), list(answer.model.outputs)
    long = outputs if answer.model.head.per_token else [name for name in outputs if name == STATES]
    torch.onnx.export(
        answer,
        tuple(sample.values()),
        str(path),
        input_names=names,
        output_names=outputs,
        dynamic_axes={
            **{name: {0: "batch"} for name in outputs},
            **{name: {0: "batch", 1: "tokens"} for name in (*names, *long)},
        },
        opset_version=OPSET,
        dynamo=False,
    )


def _captured(answer: _Answer, sample: dict[str, Tensor], path: Path) -> None:
    dynamic = torch.export.Dim.DYNAMIC
    two = tuple(value.expand(2, -1).contiguous() for value in sample.values())  # one example would be taken for all
    torch.onnx.export(
        answer,
        two,
        str(path),
        input_names=list(sample),
        output_names=[f"{FINAL}{name}" for name in answer.model.outputs],
        dynamic_shapes=(tuple({0: dynamic, 1: dynamic} for _ in sample),),
        opset_version=OPSET,
        dynamo=True,
        external_data=False,
        verbose=False,
    )


def _named(graph: ModelProto, outputs: Sequence[str]) -> ModelProto:
    """The graph with its outputs called as a task has them; torch.export calls values within by such names, too."""
    final = {f"{FINAL}{name}": name for name in outputs}
    if not {part.name for part in graph.graph.output} & set(final):
        return graph
    names = {name: f"inner_{name}" for name in outputs} | final
    for node in graph.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for part in (*graph.graph.output, *graph.graph.value_info):
        part.name = names.get(part.name, part.name)
    return graph


def _sample(model: Pretrained, examples: int, tokens: int, padding: int) -> dict[str, Tensor]:
    """Random inputs, the last example padded."""
    chance, pad = torch.Generator().manual_seed(examples), int(model.config.get("pad_token_id") or 0)
    ids = torch.randint(0, int(model.config["vocab_size"]) - 1, (examples, tokens), generator=chance)
    ids += (ids >= pad).long()  # anything but padding
    mask = torch.ones_like(ids)
    if padding:
        ids[-1, -padding:], mask[-1, -padding:] = pad, 0
    values: dict[str, Tensor] = dict(zip(INPUTS, (ids, mask, torch.zeros_like(ids)), strict=True))
    return {name: values[name] for name in model.inputs}


def _compare(model: Pretrained, graph: ModelProto) -> None:
    """Refuses a graph that says something else than the model at some number of examples or tokens."""
    session, count = load(graph.SerializeToString(), 1), len(model.head.outputs)
    for size in SIZES:
        sample = _sample(model, *size)
        with torch.inference_mode():
            expected = logits_of([part.numpy() for part in model.answer(sample)[:count]])
        feed = {name: value.numpy() for name, value in sample.items() if name in session.inputs}
        given = logits_of(session.run(feed)[:count])
        far = float(np.abs(given - expected).max())
        if not far <= CLOSE * max(1.0, float(np.abs(expected).max())):
            raise ValueError(f"the graph's logits are off by {far:.2g} at {size[0]} x {size[1]} tokens")
