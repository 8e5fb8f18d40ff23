"""Stage `text` of pre-training: the recipe's text in blocks of tokens, and what can be checked before it is read."""

from __future__ import annotations

from typing import Any

from compress.learn import aware
from compress.learn.distill import Guidance
from compress.learn.order import steps_of
from compress.learn.pretrain import open_dense
from compress.learn.pruning import prune
from compress.learn.shards import make_shards
from compress.learn.student import tokenizer_of
from compress.recipe.prune_once import PruneOnceRecipe
from compress.recipe.stage import StageContext
from compress.tasks.subjects import training_samples
from zoo.catalog import checkpoint_of
from zoo.checkpoints import read_config


def run(ctx: StageContext[PruneOnceRecipe]) -> dict[str, Any]:
    """Stage `text`: the recipe's text in blocks of tokens.

    Raises:
        UserError: there is no text, or what later stages need does not fit; before anything is trained.
    """
    recipe, settings = ctx.recipe, ctx.recipe.pretrain
    tokenizer = tokenizer_of(recipe.model, recipe.tokenizer)
    config = read_config(checkpoint_of(recipe.model))
    prune.check(config, recipe.prune, settings.steps)
    open_dense(settings, recipe.model, tokenizer)
    if recipe.distill.apply:
        Guidance.of(recipe).open(tokenizer)
    second = recipe.aware
    if second.apply and (second.start_step or second.freeze_step is not None):  # reads the data only for a named step
        samples = len(training_samples(recipe, tokenizer, second))
        aware.check(second, steps_of(samples, second.epochs, second.batch_size))
    blocks = make_shards(ctx.folder, checkpoint_of(recipe.tokenizer or recipe.model), settings, ctx.progress)
    if settings.steps is None:
        prune.check(config, recipe.prune, steps_of(len(blocks), settings.epochs, settings.batch_size))
    return {"blocks": len(blocks), "tokens": len(blocks) * settings.block_tokens}
