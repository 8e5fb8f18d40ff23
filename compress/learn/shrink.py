"""A pruned model -> a smaller dense one that computes the same: channels and heads of zeros are really removed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from zoo.checkpoints import head_size, renamed
from zoo.layers import Curve, Layer
from zoo.modeling import LengthAdaptiveModel


def shrink(model: LengthAdaptiveModel, multiple: int = 1) -> tuple[LengthAdaptiveModel, dict[str, Any]]:
    """Removes the feed-forward channels and the attention heads that no longer say anything.

    A channel is idle if what `contract` makes of it is zero, or if `expand` gives it the same value for every input;
    that value's share in the layer's output is then added to the bias of `contract`. A head is idle if it attends to
    all tokens alike (zero keys: then it has no say in which tokens are dropped either), and its values are constant or
    come to nothing in `project`; a constant goes to the bias of `project`. A model has one intermediate size and one
    number of heads, so every layer keeps as many as the one with the most that are not idle; the others are filled up
    with zeros. Pruning with `prune.scope=local` leaves every layer the same number of channels.

    transformers has no word for a model with fewer heads than hidden size / head size: it is told by the key
    `attention_head_size` in `config.json`, which this program reads.

    Args:
        model: with channels pruned by `channelx1` or `1xchannel`, for example.
        multiple: the new intermediate size is rounded up to a multiple of it, where that is still smaller than the old
            one.

    Returns:
        A new model, and `intermediate_size` and `heads` before and after, `busy` and `busy_heads`, what each layer uses
        of them, and the `parameters` before and after. The logits are those of `model` but for rounding.
    """
    busy = [~_idle(layer.expand.weight, layer.contract.weight) for layer in model.blocks]
    before = model.shape.intermediate
    most = max(1, *(int(flags.sum()) for flags in busy))
    size = min(before, -(-most // multiple) * multiple)
    awake = [~_idle_heads(layer) for layer in model.blocks]
    before_heads, width = model.config["num_attention_heads"], head_size(model.config)
    heads = max(1, *(int(flags.sum()) for flags in awake))
    config = {**model.config, "intermediate_size": size}
    if heads < before_heads:
        config |= {"num_attention_heads": heads, "attention_head_size": width}
    small = LengthAdaptiveModel(renamed(config), model.dropout)
    state = {key: value.detach().cpu() for key, value in model.state_dict().items()}
    for i, (channels, heads_left) in enumerate(zip(busy, awake, strict=True)):
        state |= _cut(state, f"layers.{i}.", channels.cpu(), size, model.blocks[i].curve)
        if heads < before_heads:
            state |= _cut_heads(state, f"layers.{i}.", heads_left.repeat_interleave(width).cpu(), heads * width)
    small.load_state_dict(state)
    return small.train(model.training), {
        "intermediate_size": [before, size],
        "heads": [before_heads, heads],
        "busy": [int(flags.sum()) for flags in busy],
        "busy_heads": [int(flags.sum()) for flags in awake],
        "parameters": [sum(p.numel() for p in each.parameters()) for each in (model, small)],
    }


def _idle(expand: Tensor, contract: Tensor) -> Tensor:
    return (contract == 0).all(0) | (expand == 0).all(1)


def _cut(state: dict[str, Tensor], at: str, busy: Tensor, size: int, curve: Curve) -> dict[str, Tensor]:
    """The feed-forward of a layer with its busy channels first and zeros up to `size`."""
    expand, bias = state[f"{at}expand.weight"], state[f"{at}expand.bias"]
    contract, shift = state[f"{at}contract.weight"], state[f"{at}contract.bias"]
    constant = contract[:, ~busy].double() @ curve(bias[~busy].double())
    places = torch.nonzero(busy).flatten()
    cut = {
        "expand.weight": expand.new_zeros(size, expand.shape[1]),
        "expand.bias": bias.new_zeros(size),
        "contract.weight": contract.new_zeros(contract.shape[0], size),
        "contract.bias": (shift.double() + constant).to(shift.dtype),
    }
    cut["expand.weight"][: len(places)] = expand[places]
    cut["expand.bias"][: len(places)] = bias[places]
    cut["contract.weight"][:, : len(places)] = contract[:, places]
    return {at + key: value for key, value in cut.items()}


def _idle_heads(layer: Layer) -> Tensor:
    keys = layer.key.weight.unflatten(0, (layer.heads, layer.size))
    values = layer.value.weight.unflatten(0, (layer.heads, layer.size))
    outward = layer.project.weight.unflatten(1, (layer.heads, layer.size))
    silent = (outward == 0).all(2).all(0) | (values == 0).all(2).all(1)
    return silent & (keys == 0).all(2).all(1)


def _cut_heads(state: dict[str, Tensor], at: str, awake: Tensor, size: int) -> dict[str, Tensor]:
    """The attention of a layer with the heads that are awake first and zeros up to `size`."""
    project, shift = state[f"{at}project.weight"], state[f"{at}project.bias"]
    constant = project[:, ~awake].double() @ state[f"{at}value.bias"][~awake].double()  # attention adds up to 1
    places = torch.nonzero(awake).flatten()
    cut = {
        "project.weight": project.new_zeros(project.shape[0], size),
        "project.bias": (shift.double() + constant).to(shift.dtype),
    }
    cut["project.weight"][:, : len(places)] = project[:, places]
    for name in ("query", "key", "value"):
        weight, bias = state[f"{at}{name}.weight"], state[f"{at}{name}.bias"]
        cut[f"{name}.weight"], cut[f"{name}.bias"] = weight.new_zeros(size, weight.shape[1]), bias.new_zeros(size)
        cut[f"{name}.weight"][: len(places)] = weight[places]
        cut[f"{name}.bias"][: len(places)] = bias[places]
    return {at + key: value for key, value in cut.items()}
