"""A model made to read what another tokenizer writes: its word vectors under that tokenizer's numbers.

Tokenizers of one word list number it differently: MPNet has BERT's words four places further on, and other special
tokens. With its vectors moved, a model reads another's inputs and can teach it, token by token.
"""

from __future__ import annotations

import torch
from torch import nn

from zoo.errors import UserError
from zoo.features import Tokenizer
from zoo.modeling import LengthAdaptiveModel

SPECIAL = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")  # each stands for the other's
MISSING = 0.01  # share of the words that the model may lack: it reads those as unknown


def renumber(model: LengthAdaptiveModel, theirs: Tokenizer, ours: Tokenizer) -> bool:
    """Moves a model's word vectors from the numbers of one tokenizer to those of another, in place.

    Args:
        model: reads what `theirs` writes; afterwards what `ours` does.
        theirs: the model's own tokenizer.
        ours: another one that cuts texts into the same words.

    Returns:
        Whether there was anything to move.

    Raises:
        UserError: the model lacks more than a hundredth of the words: texts are cut in another way.
    """
    old, new = theirs.get_vocab(), ours.get_vocab()
    if old == new:
        return False
    unknown = theirs.unk_token_id
    roles = {getattr(ours, role): getattr(theirs, role) for role in SPECIAL}
    places = {number: old.get(roles.get(word) or word, unknown) for word, number in new.items()}
    lost = sum(word not in roles and word not in old for word in new)
    if lost > MISSING * len(new) or None in places.values():
        raise UserError(
            f"The model lacks {lost:,} of the tokenizer's {len(new):,} words, so it cannot read what that writes: "
            "give a tokenizer with the model's own words, or leave `tokenizer` out."
        )
    size = max(places) + 1
    words = nn.Embedding(size, model.words.embedding_dim, padding_idx=ours.pad_token_id)
    with torch.no_grad():
        words.weight.copy_(model.words.weight[torch.tensor([places.get(i, unknown) for i in range(size)])])
    model.words = words
    model.config |= {"vocab_size": size, "pad_token_id": ours.pad_token_id}
    return True
