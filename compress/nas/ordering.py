"""What matters most comes first: columns of hidden states, heads and feed-forward channels in order of importance.

A sub-network is a leading slice, so in a checkpoint that was trained for its full size it should be the better half.
Importance is told from what passes through on real text, without gradients, in the spirit of Minitron (Muralidharan et
al., arXiv 2407.14679): how large a thing is, times how much the weights that read it make of it. The order is settled
before any training, and at full size the model computes what it did before.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from compress.learn.masked_lm import MaskedLanguageModel
from compress.learn.shards import Shards
from compress.learn.student import tokenizer_of
from compress.nas.space import space_of
from compress.nas.supernet import Net, encoder_of
from compress.progress import Progress
from compress.recipe.nas import NasRecipe
from compress.recipe.stage import StageContext
from compress.tasks.samples import collate
from zoo.catalog import checkpoint_of
from zoo.checkpoints import read_config
from zoo.files import write_json
from zoo.layers import Layer

BATCH = 8
FACTS = "order.json"


@dataclass
class Importance:
    """How much each part matters; larger is more, comparable within one tensor only.

    Attributes:
        hidden: of the columns of hidden states, `[hidden]`.
        heads, channels: of every layer's heads and feed-forward channels.
    """

    hidden: Tensor
    heads: list[Tensor]
    channels: list[Tensor]


def run(ctx: StageContext[NasRecipe]) -> dict[str, Any]:
    """Stage `order`: the starting checkpoint -> the same with its parts in order, ready to be sliced.

    What it has for masked words is kept; a head for another task and a pooler are not.

    Raises:
        UserError: the space does not fit the checkpoint.
    """
    recipe, settings = ctx.recipe, ctx.recipe.supernet
    if settings.checkpoint:
        return {}
    source = checkpoint_of(recipe.model)
    space_of(recipe.space, read_config(source))
    torch.manual_seed(recipe.training.seed)
    model = MaskedLanguageModel.load(source)
    facts: dict[str, Any] = {"words_head": model.has_head, "ordered": settings.order}
    if settings.order:
        blocks, tokenizer = Shards(ctx.inputs["generate_data"]), tokenizer_of(recipe.model, recipe.tokenizer)
        rows = blocks[: settings.order_blocks]
        parts = [collate(rows[at : at + BATCH], tokenizer.pad_token_id) for at in range(0, len(rows), BATCH)]
        ctx.progress.update(0, len(parts))
        arrange(model, importance(model, _told(parts, ctx.progress)))
        facts["blocks"] = len(rows)
    model.save(ctx.folder)
    tokenizer_of(recipe.model, recipe.tokenizer).save_pretrained(str(ctx.folder))
    write_json(ctx.folder / FACTS, facts)
    return facts


def importance(model: Net, batches: Iterable[dict[str, Tensor]]) -> Importance:
    """Runs the encoder on batches of `compress.tasks.samples.collate` and tells what matters in it.

    Of a channel, its mean size after GELU times the length of what `contract` makes of it. Of a head, the mean length
    of what it adds to the hidden states. Of a column of hidden states, its mean square at each of the norms times the
    squared weights that read it there, every norm with the same say.
    """
    encoder, sums = encoder_of(model), _Sums()
    handles = []
    readers = {"norm": _attention_reading(encoder.blocks[0])}
    places: dict[str, nn.Module] = {"norm": encoder.norm}
    for i, block in enumerate(encoder.blocks):
        after = encoder.blocks[i + 1] if i + 1 < len(encoder.blocks) else None
        places |= {f"{i}.attention_norm": block.attention_norm, f"{i}.output_norm": block.output_norm}
        readers[f"{i}.attention_norm"] = block.expand.weight.square().sum(0)
        readers[f"{i}.output_norm"] = (
            torch.ones_like(encoder.norm.weight) if after is None else _attention_reading(after)
        )
        handles.append(block.project.register_forward_pre_hook(sums.of_heads(f"{i}.heads", block)))
        handles.append(block.contract.register_forward_pre_hook(sums.of_channels(f"{i}.channels", block)))
    handles += [module.register_forward_hook(sums.of_columns(name)) for name, module in places.items()]
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            for batch in batches:
                sums.real = batch["attention_mask"].bool()
                if isinstance(model, MaskedLanguageModel):
                    model(batch["input_ids"], batch["attention_mask"], None)
                else:
                    model(batch["input_ids"], batch["attention_mask"], batch["token_type_ids"])
    finally:
        model.train(was_training)
        for handle in handles:
            handle.remove()
    shares = [sums.totals[name] * readers[name].detach().double() for name in places]
    return Importance(
        torch.stack([share / share.sum() for share in shares]).sum(0),
        [sums.totals[f"{i}.heads"] for i in range(len(encoder.blocks))],
        [sums.totals[f"{i}.channels"] for i in range(len(encoder.blocks))],
    )


def arrange(model: Net, found: Importance) -> None:
    """Puts the most important first, in place; what the model computes stays as it is but for rounding."""
    reorder(model, _places(found.hidden), [_places(each) for each in found.heads], [_places(c) for c in found.channels])


def reorder(model: Net, hidden: Tensor, heads: Sequence[Tensor], channels: Sequence[Tensor]) -> None:
    """Moves columns of hidden states, heads and channels to new places, in place.

    Args:
        model: its encoder, the head for a task and that for masked words move together.
        hidden: for every new place the old one, `[hidden]`.
        heads, channels: the same for every layer.
    """
    encoder = encoder_of(model)
    for table in encoder.embeddings:
        _move(table, columns=hidden)
    _move(encoder.norm, rows=hidden)
    for block, order, inner in zip(encoder.blocks, heads, channels, strict=True):
        rows = (order[:, None] * block.size + torch.arange(block.size)).flatten()
        for part in (block.query, block.key, block.value):
            _move(part, rows=rows, columns=hidden)
        _move(block.project, rows=hidden, columns=rows)
        _move(block.expand, rows=inner, columns=hidden)
        _move(block.contract, rows=hidden, columns=inner)
        for norm in (block.attention_norm, block.output_norm):
            _move(norm, rows=hidden)
    *before, last = (getattr(encoder, name) for name in encoder.head.layers)
    for layer in before:
        _move(layer, rows=hidden, columns=hidden)
    _move(last, columns=hidden)
    if isinstance(model, MaskedLanguageModel):
        _move(model.transform, rows=hidden, columns=hidden)
        _move(model.norm, rows=hidden)


def _move(module: nn.Module, rows: Tensor | None = None, columns: Tensor | None = None) -> None:
    with torch.no_grad():
        for parameter in module.parameters(recurse=False):
            moved = parameter if rows is None else parameter[rows]
            if columns is not None and parameter.ndim == 2:
                moved = moved[:, columns]
            parameter.copy_(moved.clone())


def _places(importance: Tensor) -> Tensor:
    """Old places, the most important first; of equals the earlier."""
    return importance.argsort(descending=True, stable=True)


def _attention_reading(block: Layer) -> Tensor:
    return torch.stack([part.weight.square().sum(0) for part in (block.query, block.key, block.value)]).sum(0)


def _told(parts: Sequence[dict[str, Tensor]], progress: Progress) -> Iterable[dict[str, Tensor]]:
    for at, part in enumerate(parts):
        yield part
        progress.update(at + 1, len(parts))


class _Sums:
    """Sums over real tokens of what passes; in double, so that their order does not decide."""

    def __init__(self):
        self.totals: dict[str, Tensor] = {}
        self.real = torch.empty(0)

    def _add(self, name: str, sizes: Tensor) -> None:
        total = sizes[self.real].double().sum(0)
        self.totals[name] = self.totals[name] + total if name in self.totals else total

    def of_columns(self, name: str) -> Any:
        return lambda _module, _args, out: self._add(name, out.square())

    def of_channels(self, name: str, block: Layer) -> Any:
        lengths = block.contract.weight.norm(dim=0)
        return lambda _module, args: self._add(name, args[0].abs() * lengths)

    def of_heads(self, name: str, block: Layer) -> Any:
        outward = block.project.weight.unflatten(1, (block.heads, block.size)).permute(1, 2, 0)
        gram = outward @ outward.transpose(1, 2)  # |W x|^2 is x (W^T W) x: no vector as wide as hidden states a head

        def hook(_module: nn.Module, args: tuple[Tensor, ...]) -> None:
            mixed = args[0].unflatten(-1, (block.heads, block.size))
            self._add(name, torch.einsum("bthi,hij,bthj->bth", mixed, gram, mixed).clamp_min(0).sqrt())

        return hook
