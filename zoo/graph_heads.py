"""What a graph's heads compute, operator by operator: as `zoo.heads` does in torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from zoo.pooling import SHORTCUTS, Pooling
from zoo.tasks import LOST

if TYPE_CHECKING:
    from zoo.graph import Graph, State


def class_logits(g: Graph, x: str) -> str:
    """What both matrices of a head make of states: of the first token, at place 0 after every drop, or of more."""
    inner = g.curve(g.family.bend, g.linear("dense", x))
    inner = g.normed("head_norm", inner) if g.family.head_norm else inner
    return g.linear(g.task.layers[-1], inner)


def every_token(g: Graph, x: str) -> str:
    """The logits `[batch, tokens, values]` of tokens that are left."""
    return class_logits(g, x) if g.family.head_norm else g.linear(g.task.layers[-1], x)


def real_logits(g: Graph, logits: str) -> str:
    """The logits of every token, those of padding lost."""
    if not g.padded:
        return logits
    real = g.op("Unsqueeze", g.op("Cast", "attention_mask", to=9), g.const([2]))
    return g.op("Where", real, logits, g.const(LOST, np.float32))


def token_logits(g: Graph, restored: str | None, fresh: str, where: str | None, alive: str | None) -> str:
    """The logits `[batch, tokens, values]` with those of the tokens that are left written over the earlier ones."""
    if restored is None or where is None:
        return fresh
    column = g.op("Unsqueeze", where, g.const([2]))
    index = g.op("Concat", *([column] * g.width), axis=2)
    if alive is not None:  # dead rows ride along with longer batch-mates: their earlier logits stand
        keep = g.op("Cast", g.op("Unsqueeze", alive, g.const([2])), to=9)
        fresh = g.op("Where", keep, fresh, g.op("GatherElements", restored, index, axis=1))
    return g.op("ScatterElements", restored, index, fresh, axis=1)


def gone_states(
    g: Graph, layer: int, gone: str | None, x: str, alive: str | None, pick: str, lives: str | None
) -> str | None:
    """Sum, or maximum, of the last states of all dropped tokens, `[batch, hidden]`; None where none is asked for.

    Args:
        layer: which drops more.
        gone: of those that were dropped before.
        x: states before the drop.
        alive: which of them are real, `[batch, tokens]`; None: all.
        pick: places that go on, `[batch, longest]`.
        lives: which of these are real; None: all.
    """
    pooling = Pooling.of(g.spec)
    if pooling.over == "left" or pooling.mode == "cls":
        return None
    every = lives or g.op("Expand", g.const(1, np.float32), g.op("Shape", pick))
    none = g.op("Expand", g.const(0, np.float32), g.op("Shape", x, start=0, end=2))
    left = g.op("ScatterElements", none, pick, every, axis=1)
    dropped = g.op("Sub", g.const(1, np.float32) if alive is None else alive, left)
    fresh = _gathered(g, pooling.mode, x, dropped)
    if pooling.over == "mapped":
        weight, bias = (g.weight(f"{SHORTCUTS}.{layer}.{name}") for name in ("weight", "bias"))
        count = g.op("ReduceSum", dropped, g.const([1]), keepdims=1)
        fresh = g.op("Add", g.op("MatMul", fresh, weight), g.op("Mul", count, bias))
    if gone is None:
        return fresh
    return g.op("Add" if pooling.mode == "mean" else "Max", gone, fresh)


def text_vector(g: Graph, state: State) -> str:
    """The vector of the input, `[batch, hidden]`."""
    pooling = Pooling.of(g.spec)
    if pooling.mode == "cls":
        vector = g.op("Gather", state.x, g.const(0), axis=1)
    else:
        vector = _gathered(g, pooling.mode, state.x, state.alive)
        if state.restored is not None:
            vector = g.op("Add" if pooling.mode == "mean" else "Max", vector, state.restored)
        if pooling.mode == "mean":
            counted = state.alive if pooling.over == "left" else g.op("Cast", "attention_mask", to=1)
            if counted is None:
                count = g.op("Cast", g.size(state.x, 1), to=1)
            else:
                count = g.op("ReduceSum", counted, g.const([1]), keepdims=1)
            vector = g.op("Div", vector, count)
    if not pooling.normalize:
        return vector
    length = g.op("ReduceL2", vector, g.const([1]), keepdims=1)
    return g.op("Div", vector, g.op("Max", length, g.const(1e-12, np.float32)))


def _gathered(g: Graph, mode: str, x: str, chosen: str | None) -> str:
    """Sum, or maximum, of the states of tokens that are chosen (1 or 0, `[batch, tokens]`; None: all)."""
    if mode == "mean":
        if chosen is None:
            return g.op("ReduceSum", x, g.const([1]), keepdims=0)
        return g.op("Squeeze", g.op("MatMul", g.op("Unsqueeze", chosen, g.const([1])), x), g.const([1]))
    if chosen is not None:
        real = g.op("Cast", g.op("Unsqueeze", chosen, g.const([2])), to=9)
        x = g.op("Where", real, x, g.const(-np.inf, np.float32))
    return g.op("ReduceMax", x, g.const([1]), keepdims=0)


def named_outputs(g: Graph, logits: str) -> dict[str, str]:
    """Results by the names of the outputs that they go to."""
    count = len(g.task.outputs)
    if count == 1:
        return {g.task.outputs[0]: logits}
    parts = g.op("Split", logits, outputs=count, axis=-1, num_outputs=count)
    return {name: g.op("Squeeze", part, g.const([2])) for name, part in zip(g.task.outputs, parts, strict=True)}
