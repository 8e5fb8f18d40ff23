"""Graphs of others (`optimum-cli export onnx`), which run as they are, at full length."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from zoo.checkpoints import head_of, normalized, read_config
from zoo.engines.base import Batch, EngineOutput, Session, logits_of
from zoo.errors import UserError, told
from zoo.onnx_files import names_in, stock_graph, whole
from zoo.tasks import LOST


def graph_of(folder: Path) -> Path:
    """The graph of a folder that another program exported.

    Raises:
        UserError: there is none.
    """
    name = stock_graph(names_in(folder))
    if name is None:
        raise UserError(f"{folder} has no ONNX graph that runs here. Export one with `optimum-cli export onnx`.")
    return folder / name


def read_bytes(folder: Path) -> bytes:
    """The graph of a folder with all of its data."""
    return whole(graph_of(folder)).SerializeToString()


class StockGraph:
    """A graph of another program on a runtime.

    Args:
        name: of the engine.
        session: the graph, loaded.
        folder: with its `config.json`.

    Raises:
        UserError: it wants other inputs than tokens, or gives other outputs than its task has.
    """

    def __init__(self, name: str, session: Session, folder: Path):
        config = read_config(folder)
        self.name, self.session, self.head = name, session, head_of(config)
        self.layers = int(normalized(config)["num_hidden_layers"])
        self.one_type = config.get("type_vocab_size") == 1
        more = session.inputs - {"input_ids", "attention_mask", "token_type_ids"}
        if more:
            raise UserError(
                f"The graph of {folder} wants {', '.join(sorted(more))}, which this program does not give. Export it "
                f"with `optimum-cli export onnx --task {self.head.pipeline}`."
            )
        absent = [name for name in self.head.outputs if name not in session.outputs]
        if absent:
            raise UserError(
                f"The graph of {folder} gives {', '.join(session.outputs)}, not {', '.join(absent)}. Export it with "
                f"`optimum-cli export onnx --task {self.head.pipeline}`."
            )

    def run(self, batch: Batch, lengths: np.ndarray) -> EngineOutput:
        mask = batch["attention_mask"].astype(bool)
        if (lengths < mask.sum(1)[:, None]).any():
            raise UserError("This graph was exported without inputs for lengths, so it runs at full length only.")
        feed = {name: values for name, values in batch.items() if name in self.session.inputs}
        if self.one_type and "token_type_ids" in feed:
            feed["token_type_ids"] = np.zeros_like(feed["token_type_ids"])
        with told("The graph does not run"):
            outputs = dict(zip(self.session.outputs, self.session.run(feed), strict=True))
        logits = logits_of([outputs[name].astype(np.float32) for name in self.head.outputs])
        if self.head.per_token:
            logits = np.where(mask[..., None], logits, np.float32(LOST))
        return EngineOutput(logits, [mask] * self.layers)
