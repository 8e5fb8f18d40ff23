"""A model soup: the mean of the weights of checkpoints that were fine-tuned from one another."""

from __future__ import annotations

from typing import Any

import torch

from compress.data.fingerprints import TRAINED_ON, load_fingerprints, save_fingerprints
from compress.recipe.length_adaptive import LengthAdaptiveRecipe
from compress.recipe.stage import StageContext, float_checkpoint
from compress.tasks.subjects import subject_of
from zoo.catalog import checkpoint_of
from zoo.errors import UserError
from zoo.features import load_tokenizer


def run(ctx: StageContext[LengthAdaptiveRecipe]) -> dict[str, Any]:
    """Stage `average`: the trained checkpoint -> its mean with the recipe's others; nothing where there are none.

    Between checkpoints of one origin the loss is nearly flat, and their mean is better than each of them (Wortsman et
    al., arXiv 2203.05482; arXiv 2109.01903 for two). The passages that the others were trained on are noted in the
    stage's folder: none of them may be reported on.

    Returns:
        The shares, the trained checkpoint's first; empty where nothing was averaged.

    Raises:
        UserError: a checkpoint is of another shape or has other words.
    """
    settings, trained = ctx.recipe.average, float_checkpoint(ctx)[0]
    if not settings.checkpoints:
        return {}
    count = len(settings.checkpoints)
    others = settings.shares or [1 / (count + 1)] * count
    shares = [1 - sum(others), *others]
    subject, tokenizer = subject_of(ctx.recipe), load_tokenizer(trained)
    model = subject.load_model(trained, new_head=False)
    mean = {name: shares[0] * value for name, value in model.state_dict().items()}
    passages: set[str] = set()
    for source, share in zip(settings.checkpoints, others, strict=True):
        folder = checkpoint_of(source)
        state = subject.load_model(folder, new_head=False).state_dict()
        if {n: v.shape for n, v in state.items()} != {n: v.shape for n, v in mean.items()}:
            raise UserError(f"{source} has other layers or widths than what was trained: they cannot be averaged.")
        if load_tokenizer(folder).get_vocab() != tokenizer.get_vocab():
            raise UserError(f"{source} has other words than what was trained: they cannot be averaged.")
        mean = {name: value + share * state[name] for name, value in mean.items()}
        passages |= load_fingerprints(folder) | load_fingerprints(folder.parent)
    with torch.no_grad():
        model.load_state_dict(mean)
    model.save(ctx.folder)
    tokenizer.save_pretrained(str(ctx.folder))
    save_fingerprints(ctx.folder / TRAINED_ON, passages)
    return {"shares": shares}
