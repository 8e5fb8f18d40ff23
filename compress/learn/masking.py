"""Inputs with holes, of which a masked language model has to tell what stood there."""

from __future__ import annotations

import random

import torch
from torch import Tensor

from zoo.errors import UserError
from zoo.features import Tokenizer

SHARE = 0.15  # of the tokens are to be told
HIDDEN, SWAPPED = 0.8, 0.1  # of those are masked, and are other tokens; the rest stand as they are


class Masking:
    """Makes holes in texts, of which a model has to tell what stood there.

    Of all but the special tokens 15 % are to be told; of those 80 % are masked, 10 % are replaced by any other token
    and 10 % are left.

    Args:
        tokenizer: of the model.
    """

    def __init__(self, tokenizer: Tokenizer):
        if tokenizer.mask_token_id is None:
            raise UserError("The tokenizer has no mask token: take a checkpoint that was made for masked texts.")
        self.mask = tokenizer.mask_token_id
        special = set(tokenizer.all_special_ids)
        self.ordinary = torch.tensor([token for token in range(len(tokenizer)) if token not in special])
        self._is_special = torch.zeros(len(tokenizer), dtype=torch.bool)
        self._is_special[torch.tensor(sorted(special))] = True

    def __call__(self, batch: dict[str, Tensor], chance: random.Random) -> tuple[Tensor, Tensor]:
        """The holes that `chance`, which a training seeds by its step, and the first of the rows decide on.

        Returns:
            int64 ids with holes, and where they are, bool, both `[batch, tokens]`; there is one at least.
        """
        ids = batch["input_ids"].cpu()
        draw = torch.Generator().manual_seed(chance.getrandbits(62) ^ int(batch["row"][0]))
        possible = batch["attention_mask"].cpu().bool() & ~self._is_special[ids]
        order = torch.rand(ids.shape, generator=draw).masked_fill(~possible, 2.0)
        holes = order < SHARE
        if not holes.any():
            holes = order == order.min()
        fate = torch.rand(ids.shape, generator=draw)
        others = self.ordinary[torch.randint(len(self.ordinary), ids.shape, generator=draw)]
        filled = torch.where(fate < HIDDEN, self.mask, torch.where(fate < HIDDEN + SWAPPED, others, ids))
        device = batch["input_ids"].device
        return torch.where(holes, filled, ids).to(device), holes.to(device)
